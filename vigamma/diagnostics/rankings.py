"""How well the order of the rates finds the columns that were held out of each row.

A column is *relevant* to a row if it has a held-out count there, and none in another part of the
split. The columns of a row are ranked by r_nm, without those that have a count in another part. All
measures are means over the rows with a relevant column; relevance is yes or no.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.ranking import ranks_of, rate_blocks
from vigamma.terminal.pace import Pace


class AtRank(NamedTuple):
    """Measures of the first k columns.

    Attributes:
      k: how many.
      recall: the relevant ones among them / all relevant ones.
      precision: the relevant ones among them / k.
      ndcg: Σ 1 / log2(1 + rank) over the relevant ones among them / the largest that can be.
    """

    k: int
    recall: float
    precision: float
    ndcg: float


class Rankings(NamedTuple):
    """How well relevant columns are ranked.

    Attributes:
      at: the measures at each k.
      mean_average_precision: the mean over rows of the mean, over the relevant columns, of the
        share of relevant ones among those that rank as high; of the whole ranking.
      num_rows: the rows with a relevant column.
    """

    at: tuple[AtRank, ...]
    mean_average_precision: float
    num_rows: int


def heldout_rankings(
    theta: Float[np.ndarray, "N K"],
    beta: Float[np.ndarray, "M K"],
    split: Split,
    heldout: HeldOutCounts,
    at: Sequence[int] = (20,),
    say: Callable[[str], None] = lambda _: None,
) -> Rankings | None:
    """Ranks the relevant columns of every row, by E[θ_nk] and E[β_mk]; None if no row has any.

    `heldout` is `split.test` or `split.valid`; `say` is told, now and then, how far it is.
    """
    known = _known(split, heldout)
    rows, columns = _relevant(heldout, known)
    if not rows.size:
        return None
    users, rows, sizes = np.unique(rows, return_inverse=True, return_counts=True)
    pace = Pace(users.size, "rows ranked", say)
    ranks = []
    for block, rates in rate_blocks(theta[users], beta, known[users]):
        begin, end = np.searchsorted(rows, [block.start, block.stop])
        ranks.append(ranks_of(rates, rows[begin:end] - block.start, columns[begin:end]))
        pace.update(block.stop)
    return _measures(rows, np.concatenate(ranks), sizes, at)


def _measures(
    rows: np.ndarray, ranks: np.ndarray, sizes: np.ndarray, at: Sequence[int]
) -> Rankings:
    """From the ranks, in the order of rows, of all relevant columns, and how many a row has."""
    order = np.lexsort((ranks, rows))
    ranks = ranks[order]  # their rows are as before
    place = np.arange(rows.size) - np.searchsorted(rows, rows) + 1  # 1, 2, ... in each row
    ideal = np.cumsum(1 / np.log2(np.arange(2, max(sizes.max(), *at) + 2)))

    def at_rank(k: int) -> AtRank:
        hit = ranks <= k
        hits = np.bincount(rows, hit)
        gains = np.bincount(rows, hit / np.log2(1 + ranks))
        ndcg = gains / ideal[np.minimum(sizes, k) - 1]
        return AtRank(k, float((hits / sizes).mean()), float(hits.mean() / k), float(ndcg.mean()))

    average_precisions = np.bincount(rows, place / ranks) / sizes
    return Rankings(
        tuple(at_rank(k) for k in at), float(average_precisions.mean()), num_rows=sizes.size
    )


def _known(split: Split, heldout: HeldOutCounts) -> csr_array:
    """Where a part other than `heldout` has counts; a pattern of shape (N, M)."""
    known = split.train.astype(bool)
    for part in (split.valid, split.test):
        if part is not None and part is not heldout:
            known = known + _pattern(part.rows, part.columns, part.counts > 0, known.shape)
    return known


def _relevant(heldout: HeldOutCounts, known: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns with a held-out count, where there is no other, by rows."""
    pattern = _pattern(heldout.rows, heldout.columns, heldout.counts > 0, known.shape)
    relevant = (pattern - pattern.multiply(known).astype(np.int8)).tocoo()
    rows, columns = (axis[relevant.data > 0] for axis in relevant.coords)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order]


def _pattern(
    rows: np.ndarray, columns: np.ndarray, where: np.ndarray, shape: tuple[int, int]
) -> csr_array:
    ones = np.ones(int(where.sum()), np.int8)
    return csr_array((ones, (rows[where], columns[where])), shape)
