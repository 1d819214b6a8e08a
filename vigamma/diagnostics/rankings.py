"""Ranking metrics: how well ranking by rate recovers the held-out columns of each row.

A column is *relevant* to a row if it has a held-out count there, and none in another part of the
split. The columns of a row are ranked by r_nm, without those that have a count in another part. All
metrics are means over the rows with a relevant column; relevance is binary. Cells that the data
list without a count, as those below a threshold, are left out like counts in another part.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from vigamma.counts.sparse import with_dropped
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.ranking import ranks_of, rate_blocks
from vigamma.terminal.pace import Pace


class AtRank(NamedTuple):
    """Metrics of the first k columns.

    Attributes:
      k: the number of columns.
      recall: the relevant ones among them / all relevant ones.
      precision: the relevant ones among them / k.
      ndcg: Σ 1 / log2(1 + rank) over the relevant ones among them / its largest possible value.
    """

    k: int
    recall: float
    precision: float
    ndcg: float


class Rankings(NamedTuple):
    """Ranking metrics of the relevant columns.

    Attributes:
      at: the metrics at each k.
      mean_average_precision: the mean over rows of the average precision of the whole ranking: the
        mean, over the relevant columns, of the precision at their ranks.
      num_rows: the number of rows with a relevant column.
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
    dropped: csr_array | None = None,
) -> Rankings | None:
    """Ranks the relevant columns of every row, by E[θ_nk] and E[β_mk]; None if no row has any.

    `heldout` is `split.test` or `split.valid`; `say` is called with lines of progress. `dropped` is
    that of `SplitData`.
    """
    known = with_dropped(_known(split, heldout), dropped)
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
    """The metrics, from the ranks of the relevant columns, sorted by row, and their numbers."""
    order = np.lexsort((ranks, rows))
    ranks = ranks[order]  # `rows` is sorted already
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
    """The boolean matrix of the cells with counts in parts other than `heldout`; shape (N, M)."""
    known = split.train.astype(bool)
    for part in (split.valid, split.test):
        if part is not None and part is not heldout:
            known = known + _pattern(part.rows, part.columns, part.counts > 0, known.shape)
    return known


def _relevant(heldout: HeldOutCounts, known: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells with a held-out count and no other count, sorted by row."""
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
