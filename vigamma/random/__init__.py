"""Random draws: `gamma` and `log_gamma`.

`draws` is the interface. It uses the rejection sampler of `rejection`, which takes its random
numbers from `bits`; `implicit` computes the derivative of draws in the shape, and `keys` converts
all kinds of keys to Threefry keys. (`coefficients` holds the generated tables of polynomials.)
"""

from vigamma.random.draws import gamma, log_gamma

__all__ = ["gamma", "log_gamma"]
