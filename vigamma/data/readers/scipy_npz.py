"""Sparse matrices written by `scipy.sparse.save_npz`."""

import zipfile
from pathlib import Path

from scipy.sparse import load_npz

from vigamma.data.readers.raw_counts import RawCounts, named_beside
from vigamma.data.readers.text_files import FormatError, reading


def read(path: Path, encoding: str = "") -> RawCounts:
    """Reads a matrix, and files of names in `encoding`; raises FormatError for anything else."""
    with reading(path, "a sparse matrix saved by SciPy"), path.open("rb") as file:
        names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
        if names and "format.npy" not in names:
            raise FormatError(
                f"{path} is not a sparse matrix saved by SciPy, but has {', '.join(names[:5])}: "
                "save a dense matrix by numpy.save, a sparse one by scipy.sparse.save_npz"
            )
        file.seek(0)
        matrix = load_npz(file)  # given a path, SciPy leaves broken files open
    return named_beside(matrix, path, encoding)
