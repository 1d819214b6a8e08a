"""The counts of a run, a part of them held out, and what is known of their rows and columns."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from vigamma.data.checksums import NAMES_CHECKSUM, checksum_of, checksum_of_names
from vigamma.data.heldout import HeldOut, Split
from vigamma.errors import ConfigError


class SplitData:
    """What factorizations are fitted to, and scored by.

    Attributes:
      counts: all counts, those held out among them; shape (N, M).
      split: the parts.
      exposures: e_n; shape (N,).
      names: what rows and columns are called, as "rows" and "columns", if they have names.
      identity: a checksum of the training counts and of those held out, their shape, and a checksum
        of their names: what a run that resumes must share.
    """

    def __init__(self, data: Any, heldout: HeldOut | None, row_sum_exposures: bool):
        """Splits the counts of `data`, which are `contracts.SparseData`.

        Raises:
          ConfigError: where they cannot be split as is asked for.
          ValueError: where a row without counts would have no exposure.
        """
        self.counts, self.split = data.counts, _split(heldout, data)
        train = self.split.train
        self._row_sum_exposures = row_sum_exposures
        self.exposures = _exposures(train, row_sum_exposures)
        arrays = [train.data, train.indices, train.indptr]
        for part in (self.split.valid, self.split.test):
            arrays += [] if part is None else part[:3]
        num_rows, num_columns = train.shape
        named = {"rows": data.row_names, "columns": data.column_names}
        self.names = {side: names.tolist() for side, names in named.items() if names is not None}
        self.identity = checksum_of(arrays) | {"num_rows": num_rows, "num_columns": num_columns}
        if self.names:
            self.identity[NAMES_CHECKSUM] = checksum_of_names(self.names)

    def exposures_of(self, counts: csr_array) -> np.ndarray:
        """The exposures of other rows: 1, or their sums over the mean sum of a training row."""
        if not self._row_sum_exposures:
            return np.ones(counts.shape[0])
        return counts.sum(axis=1) / self.split.train.sum(axis=1).astype(float).mean()

    def independent_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The best rates without factors: of each column one, times the exposure of the row.

        Σ_n x_nm + 1/2 over the exposures of the rows in which the column was observed.
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
