"""Residuals of sums and single counts under a factorization, without N × M work.

Under q all factors are independent Gammas, and given them the counts are Poisson. So the moments of
sums are sums of products of moments, and sums of squared rates need only K × K matrices.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.sparse import csr_array

from vigamma.counts.sparse import rows_of
from vigamma.families.gamma import Gamma

_ENTRIES_AT_ONCE = 2**18  # bounds the memory of gathered factors


class Moments(NamedTuple):
    """Means and variances, in float64.

    Attributes:
      mean: of factors, shape (N, K), or of sums, shape (N,).
      variance: likewise.
    """

    mean: Float64[np.ndarray, " N *K"]
    variance: Float64[np.ndarray, " N *K"]


class Residuals(NamedTuple):
    """How rows, or columns, differ from their rates r_nm = e_n Σ_k E[θ_nk] E[β_mk].

    Attributes:
      sums: Σ_m x_nm, over the observed cells.
      expected: the moments of these sums under q.
      of_sums: (sum - mean) / standard deviation.
      of_dispersion: Σ_m ((x_nm - r_nm)² - x_nm) / √(2 Σ_m r_nm²): mean 0 and variance 1 if the
        counts are Poisson with these rates, large if they are overdispersed. This is the score test
        of overdispersion (Dean & Lawless 1989, JASA).
    """

    sums: Float[np.ndarray, " N"]
    expected: Moments
    of_sums: Float[np.ndarray, " N"]
    of_dispersion: Float[np.ndarray, " N"]

    def largest_scatter(self, number: int = 10) -> np.ndarray:
        """The rows with the largest dispersion residuals, in descending order."""
        return np.argsort(-self.of_dispersion, kind="stable")[:number]


def factor_moments(factors: Gamma, exposures: np.ndarray | None = None) -> Moments:
    """E and Var of the factors, multiplied by the exposures e_n if given; shape (N, K)."""
    scale = 1.0 if exposures is None else np.asarray(exposures, float)[:, None]
    shape, rate = (np.asarray(part, float) for part in (factors.concentration, factors.rate))
    return Moments(scale * shape / rate, scale**2 * shape / rate**2)


def sum_moments(own: Moments, others: Moments, missing: csr_array | None = None) -> Moments:
    """E and Var of Σ_m x_nm for every n, for x_nm ~ Poisson(Σ_k θ_nk β_mk).

    With T_nk = Σ_m β_mk over the observed cells of row n:

        E = Σ_k E[θ_nk] E[T_nk],   Var = E + Σ_k (Var[θ_nk] E[T_nk²] + E[θ_nk]² Var[T_nk])

    Args:
      own: the moments of θ; for the sums of columns those of β.
      others: the moments of β; for the sums of columns those of θ.
      missing: ones at the unobserved cells; its rows are those of `own`.
    """
    mean, variance = (part.sum(axis=0, keepdims=True) for part in others)
    if missing is not None:
        mean, variance = mean - missing @ others.mean, variance - missing @ others.variance
    expected = (own.mean * mean).sum(axis=1)
    of_rates = own.variance * (variance + mean**2) + own.mean**2 * variance
    return Moments(expected, expected + of_rates.sum(axis=1))


def residuals(
    rows: Moments, columns: Moments, counts: csr_array, missing: csr_array | None = None
) -> tuple[Residuals, Residuals]:
    """The residuals of the rows, and of the columns.

    Args:
      rows: the moments of e_n θ_nk; shape (N, K).
      columns: the moments of β_mk; shape (M, K).
      counts: canonical counts of shape (N, M), zero at unobserved cells.
      missing: ones at the unobserved cells; or None.
    """
    squares = _sums_of_squares(rows.mean, columns.mean, missing)
    return (
        _residuals(counts, 1, sum_moments(rows, columns, missing), rows, columns, squares[0]),
        _residuals(
            counts,
            0,
            sum_moments(columns, rows, None if missing is None else csr_array(missing.T)),
            rows,
            columns,
            squares[1],
        ),
    )


def rates_at(
    rows: np.ndarray, columns: np.ndarray, row_of: np.ndarray, column_of: np.ndarray
) -> np.ndarray:
    """r_nm = Σ_k θ_nk β_mk at some cells, in blocks; shape (E,)."""
    rates = np.empty(row_of.size)
    for start in range(0, row_of.size, _ENTRIES_AT_ONCE):
        at = slice(start, start + _ENTRIES_AT_ONCE)
        rates[at] = np.einsum("ek,ek->e", rows[row_of[at]], columns[column_of[at]])
    return rates


def _residuals(
    counts: csr_array,
    axis: int,
    expected: Moments,
    rows: Moments,
    columns: Moments,
    squared_rates: np.ndarray,
) -> Residuals:
    """The residuals of the rows (axis 1) or of the columns (axis 0)."""
    sums = np.asarray(counts.sum(axis=axis, dtype=float))
    at_nonzeros = _sums_at_nonzeros(counts, axis, rows.mean, columns.mean)
    return Residuals(
        sums,
        expected,
        (sums - expected.mean) / np.sqrt(expected.variance),
        (at_nonzeros + squared_rates) / np.sqrt(2 * squared_rates),
    )


def _sums_at_nonzeros(
    counts: csr_array, axis: int, theta: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """Σ (x² - 2 x r - x), over the nonzeros of every row or column."""
    total = np.zeros(counts.shape[1 - axis])
    row_of = rows_of(counts)
    for start in range(0, counts.nnz, _ENTRIES_AT_ONCE):
        at = slice(start, start + _ENTRIES_AT_ONCE)
        x = counts.data[at].astype(float)
        rates = rates_at(theta, beta, row_of[at], counts.indices[at])
        index = row_of[at] if axis == 1 else counts.indices[at]
        total += np.bincount(index, x * (x - 1 - 2 * rates), total.size)
    return total


def _sums_of_squares(
    theta: np.ndarray, beta: np.ndarray, missing: csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Σ r_nm² over the observed cells of every row, θ_nᵀ (Σ_m β_m β_mᵀ) θ_n, and every column."""
    of_rows = np.einsum("nk,nk->n", theta @ (beta.T @ beta), theta)
    of_columns = np.einsum("mk,mk->m", beta @ (theta.T @ theta), beta)
    if missing is None:
        return of_rows, of_columns
    row_of = rows_of(missing)
    squares = rates_at(theta, beta, row_of, missing.indices) ** 2
    return (
        of_rows - np.bincount(row_of, squares, of_rows.size),
        of_columns - np.bincount(missing.indices, squares, of_columns.size),
    )


def strangest_entry(
    counts: csr_array, index: int, own: np.ndarray, others: np.ndarray
) -> tuple[int, float, float] | None:
    """The nonzero that contributes most to the dispersion of a row: (column, count, r), or None.

    Args:
      counts: the counts; transposed, the result is for a column.
      index: the row.
      own: the mean factors of the rows of `counts`; shape (N, K).
      others: the mean factors of its columns; shape (M, K).
    """
    entries = slice(*counts.indptr[index : index + 2])
    columns, x = counts.indices[entries], counts.data[entries].astype(float)
    if not x.size:
        return None
    rates = others[columns] @ own[index]
    chosen = int(np.argmax((x - rates) ** 2 - x))
    return int(columns[chosen]), float(x[chosen]), float(rates[chosen])
