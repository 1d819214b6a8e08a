"""Random draws: `gamma`, `beta` and `dirichlet`, and their logarithms, `log_gamma` and so on.

`draws` is the interface of the Gammas, and `ratios` of what is made of them. `draws` uses the
rejection sampler of `rejection`, which takes its random numbers from `bits`; `implicit` computes
the derivative of draws in the shape, and `keys` converts all kinds of keys to Threefry keys.
(`coefficients` holds the generated tables of polynomials.)
"""

from vigamma.random.draws import gamma, log_gamma
from vigamma.random.ratios import beta, dirichlet, log_beta, log_dirichlet

__all__ = ["beta", "dirichlet", "gamma", "log_beta", "log_dirichlet", "log_gamma"]
