"""Matrices in the exchange format of MatrixMarket: `.mtx`, `.mtx.gz`."""

from pathlib import Path

import numpy as np

from vigamma.data.readers.matrix_market_text import read_matrix
from vigamma.data.readers.raw_counts import RawCounts, named_beside


def read(path: Path, encoding: str = "") -> RawCounts:
    """Reads a matrix by `read_matrix`, and the files of names, which are in `encoding`.

    Raises:
      FormatError: for files that are broken.
    """
    raw = named_beside(read_matrix(path), path, encoding)
    shape = " × ".join(f"{size:,}" for size in np.shape(raw.matrix))
    swap = "--config.data.transpose=True swaps them"
    return raw._replace(notes=(f"{path}: rows and columns are as in the file, {shape}; {swap}",))
