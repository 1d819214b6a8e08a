"""Counts from files: one sparse matrix, or one in parts that somebody else has split."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vigamma.data.sparse_counts import read_sparse_counts, rows_of
from vigamma.typing import spec


class Parts(NamedTuple):
    """A published split of a matrix: every nonzero is in one part, and zero in the others.

    Attributes:
      train: canonical counts of shape (N, M).
      valid: the same, or None.
      test: the same.
    """

    train: csr_array
    valid: csr_array | None
    test: csr_array


class LoadedCounts(NamedTuple):
    """What a source of counts loads.

    Attributes:
      counts: all counts, canonical, of shape (N, M).
      parts: their split, if they came in one.
      row_names: what the rows are called, strings of `StringDType`, shape (N,); None if nothing is
        known but their numbers.
      column_names: the same of the columns, shape (M,).
    """

    counts: csr_array
    parts: Parts | None = None
    row_names: np.ndarray | None = None
    column_names: np.ndarray | None = None


@spec
class SparseCounts:
    """Counts that `scipy.sparse.save_npz` has written.

    Attributes:
      path: an `.npz` with all counts; or a folder with `train.npz`, `test.npz` and, if there is
        one, `valid.npz`, all of one shape.
    """

    path: str = ""

    def validate(self) -> None:
        """Raises ValueError for an empty path."""
        if not self.path:
            raise ValueError(
                "path is not set: name an .npz file, or a folder with train.npz and test.npz, "
                "for example --config.data.path=counts.npz"
            )

    def load(self) -> LoadedCounts:
        """Reads the file or the folder.

        Raises:
          FileNotFoundError: for a file that does not exist; `valid.npz` need not.
          ValueError: for an empty path, for a file that holds no counts, and for parts that differ
            in shape or share a nonzero.
        """
        self.validate()
        path = Path(self.path)
        return _load_parts(path) if path.is_dir() else LoadedCounts(read_sparse_counts(path))


def _load_parts(folder: Path) -> LoadedCounts:
    train, test = (read_sparse_counts(folder / name) for name in ("train.npz", "test.npz"))
    total = _add_part(train, test, folder / "test.npz")
    valid = None
    if (folder / "valid.npz").exists():
        valid = read_sparse_counts(folder / "valid.npz")
        total = _add_part(total, valid, folder / "valid.npz")
    return LoadedCounts(total, Parts(train, valid, test))


def _add_part(total: csr_array, part: csr_array, path: Path) -> csr_array:
    if part.shape != total.shape:
        raise ValueError(f"{path} has shape {part.shape}, but the other parts {total.shape}")
    shared = total.astype(bool).multiply(part.astype(bool))
    if shared.nnz:
        row, column = rows_of(shared)[0], shared.indices[0]
        raise ValueError(
            f"{path} shares {shared.nnz} nonzeros with the other parts, the first at row {row}, "
            f"column {column}; parts must be disjoint"
        )
    return total + part
