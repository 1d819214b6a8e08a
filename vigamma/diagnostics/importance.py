"""Importance weights of a variational posterior: how good it is, and what the evidence is.

With draws z_s ~ q and weights w_s = p(x, z_s) / q(z_s), of which there are S (Burda, Grosse &
Salakhutdinov 2016, eq. 8),

    ELBO ≤ E[log(Σ_s w_s / S)] ≤ log p(x),

and the mean of the weights tends to p(x). Whether it can be trusted is decided by their upper tail,
a generalized Pareto distribution of shape k̂ (Vehtari, Simpson, Gelman, Yao & Gabry 2024).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vigamma.diagnostics.chains import arviz

_LARGEST_K = 0.7
_LEAST_DRAWS = 100

_EQUAL = 1e-3
"""Nats. The tail of weights that differ by less is of rounding errors, and k̂ any number."""


class ImportanceCheck(NamedTuple):
    """What importance weights say of N independent posteriors; log densities are in nats.

    Attributes:
      elbo: Σ_s log w_s / S, the ELBO by Monte Carlo.
      log_evidence: log(Σ_s w_s / S), which is above the ELBO.
      khat: k̂; -inf where weights differ by less than 0.1 %, as q is the posterior then.
      ess: the effective sample size of the weights, 1 to S.
      num_draws: S.
    """

    elbo: Float[np.ndarray, " N"]
    log_evidence: Float[np.ndarray, " N"]
    khat: Float[np.ndarray, " N"]
    ess: Float[np.ndarray, " N"]
    num_draws: int

    @property
    def is_good(self) -> Bool[np.ndarray, " N"]:
        """Whether k̂ < min(1 - 1 / log10 S, 0.7), where means of the weights can be trusted."""
        return self.khat < min(1 - 1 / np.log10(self.num_draws), _LARGEST_K)


def importance_check(log_weights: Float[np.ndarray, "S N"]) -> ImportanceCheck:
    """Checks importance weights, with the k̂ of ArviZ.

    Args:
      log_weights: log w_s of N posteriors, in nats; of at least 100 draws.

    Raises:
      ImportError: without ArviZ.
      ValueError: for too few draws, or weights that are NaN or infinite.
    """
    log_weights = np.asarray(log_weights, np.float64)
    num_draws = len(log_weights)
    if num_draws < _LEAST_DRAWS:
        raise ValueError(f"k̂ needs at least {_LEAST_DRAWS} draws, got {num_draws}")
    if not np.isfinite(log_weights).all():
        raise ValueError("log weights must be finite")
    largest = log_weights.max(axis=0)
    weights = np.exp(log_weights - largest)
    khat = np.atleast_1d(np.asarray(arviz().psislw(log_weights.T)[1], np.float64))
    return ImportanceCheck(
        elbo=log_weights.mean(axis=0),
        log_evidence=largest + np.log(weights.mean(axis=0)),
        khat=np.where(np.ptp(log_weights, axis=0) > _EQUAL, khat, -np.inf),
        ess=weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0),
        num_draws=num_draws,
    )
