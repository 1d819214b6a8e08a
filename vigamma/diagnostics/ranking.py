"""The columns of every row in descending order of their rates, in blocks of rows.

Rates are summed in float64 and rounded to float32, so that columns with equal factors tie, whatever
the order of summation. Ties are broken by the column index. Excluded columns have the rate -inf.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Integer
from scipy.sparse import csr_array

Indices = Integer[np.ndarray, " E"]
_CELLS_AT_ONCE = 2**23  # a block of float64 rates takes 64 MiB


def rate_blocks(
    theta: Float[np.ndarray, "N K"],
    beta: Float[np.ndarray, "M K"],
    left_out: csr_array | None = None,
) -> Iterator[tuple[slice, Float32[np.ndarray, "B M"]]]:
    """Yields blocks of rows and their rates Σ_k θ_nk β_mk; entries of `left_out` are excluded."""
    num_rows, num_columns = len(theta), len(beta)
    beta = beta.astype(np.float64)
    size = max(_CELLS_AT_ONCE // num_columns, 1)
    for start in range(0, num_rows, size):
        block = slice(start, min(start + size, num_rows))
        rates = (theta[block].astype(np.float64) @ beta.T).astype(np.float32)
        if left_out is not None:
            exclude(rates, left_out[block])
        yield block, rates


def exclude(rates: Float32[np.ndarray, "B M"], left_out: csr_array) -> None:
    """Sets the rates at the entries that `left_out`, (B, M), stores to -inf."""
    rows = np.repeat(np.arange(len(rates)), np.diff(left_out.indptr))
    rates[rows, left_out.indices] = -np.inf


def highest(rates: Float32[np.ndarray, "B M"], top: int) -> tuple[Indices, Indices, Indices]:
    """The `top` ≥ 1 highest columns of each row of a block, or fewer if others are excluded.

    Returns:
      the row, the rank (from 0) and the column of each, sorted by row and then by rank.
    """
    num_columns = rates.shape[1]
    place = max(num_columns - top, 0)
    least = np.partition(rates, place, axis=1)[:, place, None]
    cells = np.flatnonzero((rates >= least) & (rates > -np.inf))
    rows, columns = np.divmod(cells, num_columns)
    order = np.lexsort((columns, -rates[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    ranks = np.arange(rows.size) - np.searchsorted(rows, rows)
    kept = ranks < top  # there are more if columns tie with the last
    return rows[kept], ranks[kept], columns[kept]


def ranks_of(rates: Float32[np.ndarray, "B M"], rows: Indices, columns: Indices) -> Indices:
    """The ranks (from 1) of some cells among the columns of their rows; cells sorted by row."""
    ranks = np.empty(rows.size, np.int64)
    ends = np.searchsorted(rows, np.arange(len(rates) + 1))
    for row in np.unique(rows):
        own = slice(ends[row], ends[row + 1])
        ascending, wanted = np.sort(rates[row]), rates[row, columns[own]]
        not_above = np.searchsorted(ascending, wanted, side="right")
        ties = not_above - np.searchsorted(ascending, wanted, side="left")
        before = np.zeros(wanted.size, np.int64)
        for i in np.flatnonzero(ties > 1):
            before[i] = np.count_nonzero(rates[row, : columns[own][i]] == wanted[i])
        ranks[own] = ascending.size - not_above + before + 1
    return ranks
