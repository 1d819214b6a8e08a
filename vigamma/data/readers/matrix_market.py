"""Matrices in the exchange format of MatrixMarket: `.mtx`, `.mtx.gz`."""

from pathlib import Path

from scipy.io import mmread

from vigamma.data.raw_counts import RawCounts
from vigamma.data.text_files import open_bytes, reading


def read(path: Path) -> RawCounts:
    """Reads a matrix without names; raises FormatError for anything else."""
    with reading(path, "a MatrixMarket file"), open_bytes(path) as file:
        return RawCounts(mmread(file))
