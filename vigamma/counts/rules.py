"""How the numbers of a file become counts: the rules of a run, which hold for new counts too."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, sparray, spmatrix

WHOLE_WITHIN = 1e-6
"""Numbers so near to whole ones are taken for them."""

DUPLICATES = {
    "sum": "now summed",
    "last": "all but the last of a cell left out",
    "max": "all but the largest of a cell left out",
}
"""What can become of several entries of one cell, and how a note says it."""

ROUNDINGS = ("none", "nearest", "stochastic")


class CountRules(NamedTuple):
    """What becomes of the numbers of a file, in this order.

    Attributes:
      duplicates: of several entries of one cell, their "sum", the "last" or the "max" counts.
      at_least: entries below it are dropped; 0 drops none.
      rounding: "nearest", halves to even; "stochastic", up with the probability of the fraction, so
        that means stay what they are; or "none", which refuses numbers that are not whole.
      rounding_seed: of stochastic rounding.
      binary: whether all that is left, and is not 0, counts 1.
    """

    duplicates: str = "sum"
    at_least: float = 0.0
    rounding: str = "none"
    rounding_seed: int = 0
    binary: bool = False

    def validate(self) -> None:
        """Raises ValueError for a rule that is none."""
        if self.duplicates not in DUPLICATES:
            raise ValueError(f"duplicates must be {', '.join(DUPLICATES)}, got {self.duplicates!r}")
        if not 0 <= self.at_least < np.inf:
            raise ValueError(f"at_least must be at least 0 and finite, got {self.at_least}")
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be {', '.join(ROUNDINGS)}, got {self.rounding!r}")
        if self.rounding_seed < 0:
            raise ValueError(f"rounding_seed must be at least 0, got {self.rounding_seed}")

    def __str__(self) -> str:
        """As a message names them."""
        return ", ".join(f"{name}={value}" for name, value in self._asdict().items())


class NotCountsError(ValueError):
    """Numbers that are no counts.

    Attributes:
      problem: what is wrong, and where.
      advice: what whoever chooses the rules can do.
    """

    def __init__(self, problem: str, advice: str = ""):
        """Says both."""
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.problem, self.advice = problem, advice


def one_entry_a_cell(matrix: spmatrix | sparray, which: str) -> csr_array:
    """The "last" entry of every cell, in the order in which they are stored, or the "max".

    Takes time as sorting does: 2 to 3 s for 10^7 entries.

    Args:
      matrix: with an entry; its indices fit its shape.
      which: of the two.
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


def whole_if_near(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Finite numbers with those within 1e-6 of whole ones made whole, and how many these are."""
    if values.dtype.kind != "f":
        return values, 0
    whole = np.rint(values)
    distances = np.abs(values - whole)
    is_near = (distances > 0) & (distances <= WHOLE_WITHIN)
    num_near = int(np.count_nonzero(is_near))
    return (np.where(is_near, whole, values) if num_near else values), num_near


def rounded(values: np.ndarray, rounding: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers rounded to the "nearest" whole ones, or at random ("stochastic") by `rng`.

    nearest     rint(x), halves to even
    stochastic  ⌊x⌋ + Bernoulli(x - ⌊x⌋), whose mean is x
    """
    if rounding == "nearest":
        return np.rint(values)
    floor = np.floor(values)
    return floor + (rng.random(values.size) < values - floor)
