"""Random draws: `gamma` and `log_gamma`.

`draws` is the interface, on draws by `rejection` from the random numbers of `bits`; `implicit` is
their derivative in the shape, and `keys` makes one kind of all. (`coefficients` holds the generated
tables of polynomials.)
"""

from vigamma.random.draws import gamma, log_gamma

__all__ = ["gamma", "log_gamma"]
