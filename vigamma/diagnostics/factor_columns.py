"""Summaries of factors: their columns of largest weight, and their most distinctive columns."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from vigamma.families.gamma import Gamma


class FactorColumns(NamedTuple):
    """Some columns of one factor, each with its share φ_mk = β_mk / Σ_m E[β_mk] of the factor.

    Attributes:
      columns: their indices.
      mean: E[φ_mk].
      low: the 5 % quantile of φ_mk.
      high: the 95 % quantile.
    """

    columns: Integer[np.ndarray, " top"]
    mean: Float[np.ndarray, " top"]
    low: Float[np.ndarray, " top"]
    high: Float[np.ndarray, " top"]


class FactorSummary(NamedTuple):
    """A summary of one factor.

    Attributes:
      index: k, from 0; its number in results is k + 1.
      share: the share of this factor in all expected counts.
      heaviest: the columns with the largest E[φ_mk].
      distinctive: the columns with the largest E[φ_mk] log(E[φ_mk] / π_m), where π_m is the share
        of column m in the expected counts of all factors: frequent here, and rarer elsewhere.
    """

    index: int  # type: ignore[assignment]  # a tuple's own is not needed
    share: float
    heaviest: FactorColumns
    distinctive: FactorColumns


def factor_summaries(
    columns: Gamma, shares: Float[np.ndarray, " K"], num_columns: int = 8
) -> list[FactorSummary]:
    """Summaries of all factors, in their order.

    Args:
      columns: q(β); shape (M, K).
      shares: those of the factors in all expected counts.
      num_columns: how many columns to list for each factor.
    """
    beta = np.asarray(columns.concentration, float) / columns.rate
    totals_k = beta.sum(axis=0)

    def of_columns(k: int, chosen: np.ndarray) -> FactorColumns:
        return _columns(columns, k, chosen, totals_k[k])

    return summaries_of(beta / totals_k, shares, of_columns, num_columns)


def summaries_of(
    phi: Float[np.ndarray, "M K"],
    shares: Float[np.ndarray, " K"],
    of_columns: Callable[[int, np.ndarray], FactorColumns],
    num_columns: int = 8,
) -> list[FactorSummary]:
    """The same, of any posterior.

    Args:
      phi: E[φ_mk].
      shares: those of the factors in all expected counts.
      of_columns: k and indices of columns to their shares of factor k.
      num_columns: how many columns to list for each factor.
    """
    overall_m = phi @ shares
    found = []
    for k, phi_m in enumerate(phi.T):
        relevance_m = phi_m * np.log(phi_m / overall_m)
        heaviest, distinctive = (
            of_columns(k, _largest(values, num_columns)) for values in (phi_m, relevance_m)
        )
        found.append(FactorSummary(k, float(shares[k]), heaviest, distinctive))
    return found


def factor_in_mean_row(theta: np.ndarray, columns: Gamma, k: int) -> FactorColumns:
    """All columns of factor k, as expected counts in an average row: mean_n(e_n E[θ_nk]) β_mk."""
    all_columns = np.arange(columns.concentration.shape[0])
    return _columns(columns, k, all_columns, 1 / theta[:, k].mean(dtype=float))


def _columns(columns: Gamma, k: int, chosen: np.ndarray, total: float) -> FactorColumns:
    of_factor = Gamma(columns.concentration[chosen, k], columns.rate[chosen, k])
    low, high = (np.asarray(of_factor.quantile(p)) / total for p in (0.05, 0.95))
    return FactorColumns(chosen, np.asarray(of_factor.mean) / total, low, high)


def _largest(values: np.ndarray, number: int) -> np.ndarray:
    """The indices of the largest values, in descending order of the values."""
    number = min(number, values.size)
    chosen = np.argpartition(-values, number - 1)[:number]
    return chosen[np.argsort(-values[chosen], kind="stable")]
