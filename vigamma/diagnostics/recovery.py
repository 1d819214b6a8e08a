"""How well a fit to synthetic counts recovers the true factors and rates."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which imports scipy.optimize on first use: that takes 0.2 s
from jaxtyping import Float, Integer

from vigamma.families.gamma import Gamma
from vigamma.typing import Array, Key


def matched_cosines(
    beta: Float[np.ndarray, "M K_fitted"], truth: Float[np.ndarray, "M K"]
) -> Float[np.ndarray, " K"]:
    """The cosine similarity of every true column factor with its matched fitted factor.

    Factors have no order: they are matched one to one to maximize the sum of the cosines.
    """
    cosines = _cosines(beta, truth)
    return cosines[_matched(cosines)]


def matched_factors(
    beta: Float[np.ndarray, "M K_fitted"], others: Float[np.ndarray, "M K"]
) -> Integer[np.ndarray, " K"]:
    """The index of the factor of `beta` matched to each of the others, as in `matched_cosines`."""
    return _matched(_cosines(beta, others))[1]


def _cosines(beta: np.ndarray, others: np.ndarray) -> np.ndarray:
    norms, others_norms = (np.sqrt(np.einsum("mk,mk->k", t, t)) for t in (beta, others))
    return others.T @ beta / (others_norms[:, None] * norms)


def _matched(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scipy.optimize.linear_sum_assignment(cosines, maximize=True)


def interval_coverage(
    key: Key, rows: Gamma, columns: Gamma, rates: Float[Array, " E"], probability: float = 0.9
) -> float:
    """The share of cells whose true rate lies in the central credible interval of its posterior.

    The interval of Σ_k θ_k β_k is computed from 1,000 draws from q. `rows` and `columns`, of shape
    (E, K), are the posteriors of the factors of the row and of the column of each cell.
    """
    key_rows, key_columns = jax.random.split(key)
    draws = (rows.sample(key_rows, (1000,)) * columns.sample(key_columns, (1000,))).sum(axis=2)
    tail = (1 - probability) / 2
    low, high = jnp.quantile(draws, jnp.asarray([tail, 1 - tail], draws.dtype), axis=0)
    return float(((low <= rates) & (rates <= high)).mean())
