"""How well a fit has found the truth, where counts are synthetic and it is known."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # and its scipy.optimize only when it is used: that takes 0.2 s to import

from vigamma.families.gamma import Gamma
from vigamma.typing import Array, Key


def matched_cosines(beta: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The cosine of every true factor with the fitted one that it is matched to; shape (K,).

    Factors have no order: they are matched one to one so that the sum of the cosines is largest.

    Args:
      beta: fitted factors of the columns, E[β]; shape (M, K') with K' ≥ K.
      truth: the true ones; shape (M, K).
    """
    cosines = _cosines(beta, truth)
    return cosines[_matched(cosines)]


def matched_factors(beta: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which factor of `beta` goes with each of the others, one to one, as `matched_cosines` does.

    Args:
      beta: shape (M, K').
      others: shape (M, K), K ≤ K'.

    Returns:
      indices of shape (K,).
    """
    return _matched(_cosines(beta, others))[1]


def _cosines(beta: np.ndarray, others: np.ndarray) -> np.ndarray:
    fitted, other = (table / np.linalg.norm(table, axis=0) for table in (beta, others))
    return other.T @ fitted


def _matched(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scipy.optimize.linear_sum_assignment(cosines, maximize=True)


def interval_coverage(
    key: Key, rows: Gamma, columns: Gamma, rates: Array, probability: float = 0.9
) -> float:
    """The share of cells whose true rate lies in the central credible interval of its posterior.

    The interval of Σ_k θ_k β_k is that of 1,000 draws from q.

    Args:
      key: the PRNG key.
      rows: q of the factors θ of the row of each cell; shape (E, K).
      columns: q of the factors β of the column of each cell; shape (E, K).
      rates: the true rates; shape (E,).
      probability: of the interval.
    """
    key_rows, key_columns = jax.random.split(key)
    draws = (rows.sample(key_rows, (1000,)) * columns.sample(key_columns, (1000,))).sum(axis=2)
    tail = (1 - probability) / 2
    low, high = jnp.quantile(draws, jnp.asarray([tail, 1 - tail], draws.dtype), axis=0)
    return float(((low <= rates) & (rates <= high)).mean())
