"""Matrices in the exchange format of MatrixMarket: `.mtx`, `.mtx.gz`."""

from pathlib import Path

from scipy.io import mmread

from vigamma.data.raw_counts import RawCounts, named_beside
from vigamma.data.text_files import open_bytes, reading


def read(path: Path) -> RawCounts:
    """Reads a matrix, and names beside it; raises FormatError for anything else."""
    with reading(path, "a MatrixMarket file"), open_bytes(path) as file:
        matrix = mmread(file, spmatrix=False)
    return named_beside(matrix, path)
