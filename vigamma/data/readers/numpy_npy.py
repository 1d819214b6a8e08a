"""Dense arrays written by `numpy.save`: `.npy`."""

from pathlib import Path

import numpy as np

from vigamma.data.readers.raw_counts import RawCounts, named_beside
from vigamma.data.readers.text_files import FormatError, reading


def read(path: Path) -> RawCounts:
    """Reads a matrix of numbers, rows × columns, and the files of names in its folder.

    An array of shape (E, 3) is read as a matrix with three columns. A note says so, because it may
    be meant as a row, a column and a count per line.

    Raises:
      FormatError: for anything else.
    """
    with reading(path, "an array saved by NumPy"):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iuf":
        kind = f"{array.dtype} of shape {array.shape}" if hasattr(array, "dtype") else "several"
        raise FormatError(f"{path} must hold a matrix of numbers, rows × columns, got {kind}")
    raw = named_beside(array, path)
    if array.shape[1] != 3:
        return raw
    note = (
        f"{path}: taken for a matrix of {array.shape[0]:,} rows and 3 columns; if each line is a "
        "row, a column and a count, save it as text"
    )
    return raw._replace(notes=(*raw.notes, note))
