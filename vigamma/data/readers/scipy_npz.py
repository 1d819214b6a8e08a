"""Sparse matrices that `scipy.sparse.save_npz` has written."""

from pathlib import Path

from scipy.sparse import load_npz

from vigamma.data.raw_counts import RawCounts
from vigamma.data.text_files import reading


def read(path: Path) -> RawCounts:
    """Reads a matrix without names; raises FormatError for anything else."""
    with reading(path, "a sparse matrix saved by SciPy"), path.open("rb") as file:
        return RawCounts(load_npz(file))  # SciPy, given a path, leaves broken files open
