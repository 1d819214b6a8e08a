"""Importance weights of posteriors that are independent: of rates, and of rows given columns."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Float
from scipy.sparse import csr_array

from vigamma.diagnostics.importance import ImportanceCheck, importance_check
from vigamma.families.gamma import Gamma
from vigamma.inference.fold_in import fold_in
from vigamma.models.factor_gibbs import SMALLEST
from vigamma.models.factor_model import FactorModel, check_poisson
from vigamma.models.factor_priors import Prior
from vigamma.models.gamma_poisson import CountStatistics, GammaPoisson
from vigamma.models.kernels import sum_over_factors
from vigamma.typing import Array, Key

_CERTAIN = 1e8
"""The shape of a Gamma that hardly varies."""


def check_rates(
    model: GammaPoisson, batch: CountStatistics, q: Gamma, key: Key, num_draws: int = 4000
) -> ImportanceCheck:
    """Checks the posterior of each rate of a `GammaPoisson` model; in float64.

    Args:
      model: the model, of M rates, in NumPy float64.
      batch: its counts, likewise.
      q: the posterior; shape (M,).
      key: a Threefry key.
      num_draws: S.

    Returns:
      the check of each rate; Σ_m log_evidence_m + batch.log_multinomial estimates log p(x).
    """
    with jax.enable_x64(True):
        q = Gamma(*(np.asarray(leaf, np.float64) for leaf in (q.concentration, q.rate)))
        log_theta = q.log_sample(key, (num_draws,))

        def log_weights(log_theta: Array) -> Array:
            return model.log_joint_of_each(log_theta, batch) - q.log_prob_from_log(log_theta)

        return importance_check(np.asarray(jax.vmap(log_weights)(log_theta)))


def check_rows(
    model: FactorModel,
    beta: Float[np.ndarray, "M K"],
    counts: csr_array,
    exposures: np.ndarray | None = None,
    *,
    key: Key,
    num_draws: int = 4000,
) -> ImportanceCheck:
    """Checks the mean-field posterior of each row, given the factors of the columns.

    The weights are w = p(x_n, θ_n, ξ_n | β) / q(θ_n, ξ_n), with q as of `fold_in` at this β.

    Args:
      model: the priors.
      beta: the factors of the columns, for example their posterior means.
      counts: canonical counts of N rows.
      exposures: e_n; shape (N,); by default 1.
      key: a random key.
      num_draws: S.

    Raises:
      ImportError: without ArviZ.
      ValueError: for fewer than 100 draws, or a model of other counts than Poisson counts.
    """
    check_poisson(model, "importance weights")
    dtype = jnp.result_type(float)
    beta = np.maximum(np.asarray(beta, dtype), SMALLEST)
    certain = np.full_like(beta, _CERTAIN)
    exposures = np.ones(counts.shape[0]) if exposures is None else exposures
    q = fold_in(model, {"columns": Gamma(certain, certain / beta)}, counts, exposures)
    model = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), model)
    entries, keys = counts.tocoo(), jax.random.split(key, num_draws)
    floats = (np.asarray(values, dtype) for values in (entries.data, exposures))
    return importance_check(_row_log_weights(model, q, beta, *entries.coords, *floats, keys))


@jax.jit
def _row_log_weights(
    model: FactorModel,
    q: dict[str, Gamma],
    beta: Array,
    rows: Array,
    columns: Array,
    counts: Array,
    exposures: Array,
    keys: Array,
) -> Float[Array, "S N"]:
    total = beta.sum(axis=0)

    def of_draw(key: Key) -> Array:
        keys = dict(zip(q, jax.random.split(key, len(q)), strict=True))
        logs = {name: gamma.log_sample(keys[name]) for name, gamma in q.items()}
        log_theta, log_rates = logs["rows"], logs.get("row_rates")
        prior: Prior = model.row_prior
        log_prior = prior.log_prob(log_theta, log_rates)
        log_q = q["rows"].log_prob_from_log(log_theta).sum(axis=1)
        if log_rates is not None:
            log_q += q["row_rates"].log_prob_from_log(log_rates)
        theta = jnp.exp(log_theta)
        rates = exposures[rows] * sum_over_factors(theta[rows] * beta[columns])
        of_entries = counts * jnp.log(rates) - gammaln(counts + 1)
        log_likelihood = jax.ops.segment_sum(of_entries, rows, len(theta))
        return log_prior + log_likelihood - exposures * (theta @ total) - log_q

    return jax.lax.map(of_draw, keys)
