"""Residuals of sums and single counts under a factorization, without N × M work.

Under q all factors are independent Gammas, and given them the counts are independent, of variances
v_m times their rates: v_m is 1 for Poisson counts, and 1 / (1 - p_m) for negative binomials. So the
moments of sums are sums of products of moments, and sums of squared rates need only K × K matrices.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.sparse import csr_array

from vigamma.counts.sparse import rows_of
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma

_ENTRIES_AT_ONCE = 2**18  # bounds the memory of gathered factors


class Moments(NamedTuple):
    """Means and variances of sums, in float64.

    Attributes:
      mean: shape (N,).
      variance: likewise.
    """

    mean: Float64[np.ndarray, " N"]
    variance: Float64[np.ndarray, " N"]


class FactorMoments(NamedTuple):
    """Means and variances of factors, and of the counts given them, in float64.

    Attributes:
      mean: shape (N, K).
      variance: likewise.
      noise: the factor of a row, or column, in the variance of a count over its rate: v_m of
        columns, 1 of rows; shape (N,).
    """

    mean: Float64[np.ndarray, "N K"]
    variance: Float64[np.ndarray, "N K"]
    noise: Float64[np.ndarray, " N"]


class Residuals(NamedTuple):
    """How rows, or columns, differ from their rates r_nm = e_n Σ_k E[θ_nk] E[β_mk].

    Attributes:
      sums: Σ_m x_nm, over the observed cells.
      expected: the moments of these sums under q.
      of_sums: (sum - mean) / standard deviation.
      of_dispersion: Σ_m ((x_nm - r_nm)² / v_m - x_nm) / √(Σ_m 2 r_nm² + (3 v_m - 1) (1 - 1 / v_m)
        r_nm): mean 0 and variance 1 if the counts are Poisson or negative binomial with these rates
        and v_m, large if they are overdispersed. For Poisson counts it is the score test of
        overdispersion (Dean & Lawless 1989, JASA).
    """

    sums: Float[np.ndarray, " N"]
    expected: Moments
    of_sums: Float[np.ndarray, " N"]
    of_dispersion: Float[np.ndarray, " N"]

    def largest_scatter(self, number: int = 10) -> np.ndarray:
        """The rows with the largest dispersion residuals, in descending order."""
        return np.argsort(-self.of_dispersion, kind="stable")[:number]


def factor_moments(
    factors: Gamma, exposures: np.ndarray | None = None, probabilities: Beta | None = None
) -> FactorMoments:
    """The moments of factors.

    Args:
      factors: q of the factors; shape (N, K).
      exposures: e_n, by which the factors are multiplied if given.
      probabilities: q of the p_m, if the factors are those of columns of negative binomials; the
        noise is 1 / (1 - E[p_m]).
    """
    scale = 1.0 if exposures is None else np.asarray(exposures, float)[:, None]
    shape, rate = (np.asarray(part, float) for part in (factors.concentration, factors.rate))
    noise = np.ones(len(shape))
    if (q := probabilities) is not None:
        noise += np.asarray(q.concentration1, float) / np.asarray(q.concentration0, float)
    return FactorMoments(scale * shape / rate, scale**2 * shape / rate**2, noise)


def sum_moments(
    own: FactorMoments, others: FactorMoments, missing: csr_array | None = None
) -> Moments:
    """E and Var of Σ_m x_nm for every n, for x_nm of means Σ_k θ_nk β_mk and variances v_m times.

    With T_nk = Σ_m β_mk and V_nk = Σ_m v_m E[β_mk] over the observed cells of row n:

        E = Σ_k E[θ_nk] E[T_nk]
        Var = Σ_k (E[θ_nk] V_nk + Var[θ_nk] E[T_nk²] + E[θ_nk]² Var[T_nk])

    Args:
      own: the moments of θ; for the sums of columns those of β.
      others: the moments of β; for the sums of columns those of θ.
      missing: ones at the unobserved cells; its rows are those of `own`.
    """
    tables = others.mean, others.variance, others.noise[:, None] * others.mean
    totals = [table.sum(axis=0, keepdims=True) for table in tables]
    if missing is not None:
        totals = [total - missing @ table for total, table in zip(totals, tables, strict=True)]
    mean, variance, noisy = totals
    of_counts = own.noise * (own.mean * noisy).sum(axis=1)
    of_rates = own.variance * (variance + mean**2) + own.mean**2 * variance
    return Moments((own.mean * mean).sum(axis=1), of_counts + of_rates.sum(axis=1))


def sums_of_both(
    rows: FactorMoments, columns: FactorMoments, missing: csr_array | None
) -> tuple[Moments, Moments]:
    """The moments of the sums of rows, and of the sums of columns, over the observed cells."""
    by_column = None if missing is None else csr_array(missing.T)
    return sum_moments(rows, columns, missing), sum_moments(columns, rows, by_column)


def residuals(
    rows: FactorMoments, columns: FactorMoments, counts: csr_array, missing: csr_array | None = None
) -> tuple[Residuals, Residuals]:
    """The residuals of the rows, and of the columns.

    Args:
      rows: the moments of e_n θ_nk; shape (N, K).
      columns: the moments of β_mk; shape (M, K).
      counts: canonical counts of shape (N, M), zero at unobserved cells.
      missing: ones at the unobserved cells; or None.
    """
    v = columns.noise
    scaled = columns.mean / np.sqrt(v)[:, None]
    excess_of_v = columns._replace(mean=columns.mean * ((3 * v - 1) * (1 - 1 / v))[:, None])
    found = []
    for axis, expected, of_v, squares, scaled_squares in zip(
        (1, 0),
        sums_of_both(rows, columns, missing),
        sums_of_both(rows, excess_of_v, missing),
        _sums_of_squares(rows.mean, columns.mean, missing),
        _sums_of_squares(rows.mean, scaled, missing),
        strict=True,
    ):
        sums = np.asarray(counts.sum(axis=axis, dtype=float))
        excess = scaled_squares + _sums_at_nonzeros(counts, axis, rows.mean, columns)
        found.append(
            Residuals(
                sums,
                expected,
                (sums - expected.mean) / np.sqrt(expected.variance),
                excess / np.sqrt(2 * squares + of_v.mean),
            )
        )
    return found[0], found[1]


def rates_at(
    rows: np.ndarray, columns: np.ndarray, row_of: np.ndarray, column_of: np.ndarray
) -> np.ndarray:
    """r_nm = Σ_k θ_nk β_mk at some cells, in blocks; shape (E,)."""
    rates = np.empty(row_of.size)
    for start in range(0, row_of.size, _ENTRIES_AT_ONCE):
        at = slice(start, start + _ENTRIES_AT_ONCE)
        rates[at] = np.einsum("ek,ek->e", rows[row_of[at]], columns[column_of[at]])
    return rates


def _sums_at_nonzeros(
    counts: csr_array, axis: int, theta: np.ndarray, columns: FactorMoments
) -> np.ndarray:
    """Σ (x² - 2 x r) / v - x, over the nonzeros of every row (axis 1) or column (axis 0)."""
    total = np.zeros(counts.shape[1 - axis])
    row_of = rows_of(counts)
    for start in range(0, counts.nnz, _ENTRIES_AT_ONCE):
        at = slice(start, start + _ENTRIES_AT_ONCE)
        x, column_of = counts.data[at].astype(float), counts.indices[at]
        rates = rates_at(theta, columns.mean, row_of[at], column_of)
        terms = x * ((x - 2 * rates) / columns.noise[column_of] - 1)
        index = row_of[at] if axis == 1 else column_of
        total += np.bincount(index, terms, total.size)
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
    counts: csr_array, index: int, own: FactorMoments, others: FactorMoments
) -> tuple[int, float, float] | None:
    """The nonzero that contributes most to the dispersion of a row: (column, count, r), or None.

    Args:
      counts: the counts; transposed, the result is for a column.
      index: the row.
      own: the moments of the rows of `counts`; shape (N, K).
      others: those of its columns; shape (M, K).
    """
    entries = slice(*counts.indptr[index : index + 2])
    columns, x = counts.indices[entries], counts.data[entries].astype(float)
    if not x.size:
        return None
    rates = others.mean[columns] @ own.mean[index]
    noise = own.noise[index] * others.noise[columns]
    chosen = int(np.argmax((x - rates) ** 2 / noise - x))
    return int(columns[chosen]), float(x[chosen]), float(rates[chosen])
