"""The counts of a run with their held-out split, exposures and names."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from vigamma.counts.sparse import with_dropped
from vigamma.counts.words import Labels, Words
from vigamma.data.checksums import NAMES_CHECKSUM, checksum_of, checksum_of_names
from vigamma.data.heldout import HeldOut, Split
from vigamma.errors import ConfigError


class SplitData:
    """The data to which factorizations are fitted and on which they are scored.

    Attributes:
      counts: all counts, including the held-out ones; shape (N, M).
      split: the training, validation and test parts.
      dropped: true at the cells that the data list, but whose numbers are no counts, as those below
        a threshold; shape (N, M), or None.
      exposures: e_n; shape (N,).
      names: the names of "rows" and "columns", if they have any, and their "row_ids" and
        "column_ids" if these are others.
      words: what rows and columns are called.
      labels: the labels of the rows, or None.
      identity: checksums of the training and held-out counts and of the names, and the shape: a run
        that resumes must have the same.
    """

    def __init__(self, data: Any, heldout: HeldOut | None, row_sum_exposures: bool):
        """Splits the counts of `data`, which are `contracts.SparseData`.

        They may have `words` and `labels`, as `LoadedCounts` have.

        Raises:
          ConfigError: if the counts cannot be split as requested.
          ValueError: if exposures are row sums and a row has no counts.
        """
        self.counts, self.split = data.counts, _split(heldout, data)
        self.dropped = getattr(data, "dropped", None)
        train = self.split.train
        self._row_sum_exposures = row_sum_exposures
        self.exposures = _exposures(train, row_sum_exposures)
        arrays = [train.data, train.indices, train.indptr]
        for part in (self.split.valid, self.split.test):
            arrays += [] if part is None else part[:3]
        num_rows, num_columns = train.shape
        named = {"rows": data.row_names, "columns": data.column_names}
        named |= {name: getattr(data, name, None) for name in ("row_ids", "column_ids")}
        self.names = {side: names.tolist() for side, names in named.items() if names is not None}
        self.words: Words = getattr(data, "words", Words())
        self.labels: Labels | None = getattr(data, "labels", None)
        self.identity = checksum_of(arrays) | {"num_rows": num_rows, "num_columns": num_columns}
        if self.names:
            self.identity[NAMES_CHECKSUM] = checksum_of_names(self.names)

    @property
    def seen(self) -> csr_array:
        """True at all cells that the data list, whether their numbers are counts or not; (N, M)."""
        return with_dropped(self.counts, self.dropped)

    def exposures_of(self, counts: csr_array) -> np.ndarray:
        """The exposures of other rows: 1, or their sums divided by the mean training row sum."""
        if not self._row_sum_exposures:
            return np.ones(counts.shape[0])
        return counts.sum(axis=1) / self.split.train.sum(axis=1).astype(float).mean()

    def independent_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The baseline without factors: a rate per column, times the exposure of the row.

        The rate is (Σ_n x_nm + 1/2) / (1 + Σ_n e_n), with sums over rows where the cell is
        observed.

        Returns:
          float32 exposures of shape (N, 1) and rates of shape (M, 1).
        """
        train, missing = self.split.train, self.split.missing
        seen = np.full(train.shape[1], self.exposures.sum())
        if missing is not None:
            seen = seen - missing.T @ self.exposures
        beta = (train.sum(axis=0) + 0.5) / (seen + 1.0)
        return self.exposures[:, None].astype(np.float32), beta[:, None].astype(np.float32)


def _split(heldout: HeldOut | None, data: Any) -> Split:
    if heldout is None:
        return Split("", data.counts, None, None, None)
    try:
        return heldout.split(data)
    except ValueError as error:
        raise ConfigError(f"config.heldout: {error}") from error


def _exposures(train: csr_array, from_row_sums: bool) -> np.ndarray:
    if not from_row_sums:
        return np.ones(train.shape[0])
    sums = train.sum(axis=1).astype(float)
    if not sums.all():
        raise ValueError(
            f"row_sum_exposures needs a count in every row, but row {int(sums.argmin())} has none"
        )
    return sums / sums.mean()
