"""The rules by which the numbers of a file become counts; a run applies them to new counts, too."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, sparray, spmatrix

WHOLE_WITHIN = 1e-6
"""Numbers within this distance of a whole number are rounded to it."""

DUPLICATES = {
    "sum": "now summed",
    "last": "all but the last of a cell left out",
    "max": "all but the largest of a cell left out",
}
"""How duplicate entries of a cell can be merged, and the wording of a note about it."""

_MOST_STARS, _FEWEST_FREQUENT_STARS = 5, 3

ROUNDINGS = ("none", "nearest", "stochastic")


class CountRules(NamedTuple):
    """The conversions of the numbers of a file, applied in this order.

    Attributes:
      duplicates: how several entries of one cell are merged: "sum", "last" or "max".
      at_least: the threshold below which entries are dropped; 0 drops none.
      rounding: "nearest" (halves to even); "stochastic", which rounds up with a probability equal
        to the fraction, so that means are preserved; or "none", which rejects fractional numbers.
      rounding_seed: the seed of stochastic rounding.
      binary: whether the remaining nonzeros are replaced by 1.
    """

    duplicates: str = "sum"
    at_least: float = 0.0
    rounding: str = "none"
    rounding_seed: int = 0
    binary: bool = False

    def validate(self) -> None:
        """Raises ValueError for an invalid rule."""
        if self.duplicates not in DUPLICATES:
            raise ValueError(f"duplicates must be {', '.join(DUPLICATES)}, got {self.duplicates!r}")
        if not 0 <= self.at_least < np.inf:
            raise ValueError(f"at_least must be at least 0 and finite, got {self.at_least}")
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be {', '.join(ROUNDINGS)}, got {self.rounding!r}")
        if self.rounding_seed < 0:
            raise ValueError(f"rounding_seed must be at least 0, got {self.rounding_seed}")

    def __str__(self) -> str:
        """The rules as shown in messages."""
        return ", ".join(f"{name}={value}" for name, value in self._asdict().items())


class NotCountsError(ValueError):
    """Numbers that are not counts.

    Attributes:
      problem: what is wrong, and where.
      advice: how other rules would help.
    """

    def __init__(self, problem: str, advice: str = ""):
        """Joins problem and advice to the message."""
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.problem, self.advice = problem, advice


def one_entry_a_cell(matrix: spmatrix | sparray, which: str) -> csr_array:
    """Keeps the "last" entry of every cell, in the order of storage, or the "max".

    The time is that of sorting: 2 to 3 s for 10^7 entries.

    Args:
      matrix: a matrix with at least one entry, whose indices are within its shape.
      which: "last" or "max".
    """
    coo = matrix.tocoo(copy=False)
    num_rows, num_columns = coo.shape
    cells = coo.coords[0].astype(np.int64) * num_columns + coo.coords[1]
    order = np.argsort(cells, kind="stable")
    cells, values = cells[order], coo.data[order]
    starts = np.flatnonzero(np.append(True, cells[1:] != cells[:-1]))
    if which == "last":
        values = values[np.append(starts[1:], cells.size) - 1]
    else:
        values = np.maximum.reduceat(values, starts)
    cells = cells[starts]
    row_starts = np.searchsorted(cells, np.arange(num_rows + 1) * num_columns)
    return csr_array((values, cells % num_columns, row_starts), shape=coo.shape)


def are_stars(counts: csr_array) -> bool:
    """Whether counts look like ratings of 1 to 5 stars, rather than like numbers of times.

    Numbers of times are the rarer the larger they are, whatever they count. Of stars the largest is
    5, the most frequent 3 or more, and in most rows at least half are above 1; fewer than two
    fifths of the cells have any, as pixels with few levels of intensity do not.

    Args:
      counts: canonical; shape (N, M).
    """
    num_rows, num_columns = counts.shape
    if counts.data.max() != _MOST_STARS or counts.nnz >= 0.4 * num_rows * num_columns:
        return False
    if np.bincount(counts.data).argmax() < _FEWEST_FREQUENT_STARS:
        return False
    lengths = np.diff(counts.indptr)
    starts = counts.indptr[:-1][lengths > 0]
    num_ones = np.add.reduceat(counts.data == 1, starts, dtype=np.int64)
    return bool((2 * num_ones <= lengths[lengths > 0]).mean() > 0.5)


def whole_if_near(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Rounds finite numbers within 1e-6 of a whole one, and counts those changed."""
    if values.dtype.kind != "f":
        return values, 0
    whole = np.rint(values)
    distances = np.abs(values - whole)
    is_near = (distances > 0) & (distances <= WHOLE_WITHIN)
    num_near = int(np.count_nonzero(is_near))
    return (np.where(is_near, whole, values) if num_near else values), num_near


def rounded(values: np.ndarray, rounding: str, rng: np.random.Generator) -> np.ndarray:
    """Rounds numbers to the "nearest" whole ones, or at random ("stochastic") by `rng`.

    nearest     rint(x), halves to even
    stochastic  ⌊x⌋ + Bernoulli(x - ⌊x⌋), whose mean is x
    """
    if rounding == "nearest":
        return np.rint(values)
    floor = np.floor(values)
    return floor + (rng.random(values.size) < values - floor)
