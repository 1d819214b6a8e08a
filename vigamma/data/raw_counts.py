"""What readers of files return, and how it becomes counts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse, sparray, spmatrix

from vigamma.data.counts import RULES, check_values
from vigamma.data.sparse_counts import check_sparse_counts, rows_of, summed
from vigamma.data.text_files import FormatError, beside, read_names, shown

_FILES_OF_NAMES = (("rows.txt",), ("columns.txt", "vocab.txt"))


class RawCounts(NamedTuple):
    """What a file holds, before it is checked.

    Attributes:
      matrix: numbers of shape (N, M); duplicates are to be summed.
      row_names: strings of `StringDType`, shape (N,), or None.
      column_names: the same of the columns, shape (M,).
      notes: how the file was understood where that is not plain, a line each.
      other_layers: the names of other matrices in the file.
    """

    matrix: spmatrix | sparray | ArrayLike
    row_names: np.ndarray | None = None
    column_names: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    other_layers: tuple[str, ...] = ()


def named_beside(matrix: spmatrix | sparray, path: Path) -> RawCounts:
    """A matrix whose file has no names; they may be in text files beside it, one a line.

    Those of the rows in `rows.txt`, those of the columns in `columns.txt` or `vocab.txt`.

    Raises:
      FormatError: for a file of names that is broken, or has more or fewer than there are.
    """
    names = []
    for size, files in zip(matrix.shape, _FILES_OF_NAMES, strict=False):
        file = beside(path.parent, *files)
        names.append(None if file is None else read_names(file))
        if file is not None and len(names[-1]) != size:
            raise FormatError(f"{file} has {len(names[-1])} lines, but {path} needs {size} names")
    return RawCounts(matrix, *names)


def make_counts(
    raw: RawCounts, path: str, at_least: float, binary: bool
) -> tuple[csr_array, tuple[str, ...]]:
    """Sums duplicates, then drops small entries, and returns canonical counts and notes on them.

    Args:
      raw: what a reader has found.
      path: the file, for messages.
      at_least: entries below it are dropped; 0 drops none.
      binary: whether all entries that are left, and are not 0, count 1.

    Raises:
      ValueError: for numbers that are not counts; names the file, and the first bad cell.
    """
    name = f"counts in {path}"
    matrix, notes = _summed(raw, name, path)

    def check(*rules: str) -> None:
        check_values(matrix.data, lambda position: _cell(raw, matrix, position), name, rules)

    check("finite")
    if at_least > 0:
        num_entries, matrix = matrix.nnz, _where(matrix, matrix.data >= at_least)
        if not matrix.nnz:
            raise ValueError(f"no entry of {path} is at least {at_least:g}")
        if dropped := num_entries - matrix.nnz:
            notes += (f"{path}: entries below {at_least:g}, dropped: {dropped:,}",)
    try:
        check(*(RULES if not binary else ["≥ 0"]))
    except ValueError as error:
        raise ValueError(f"{error}; {_way_out(raw)}") from error
    if zeros := matrix.nnz - np.count_nonzero(matrix.data):
        notes += (f"{path}: entries of 0, which count nothing: {zeros:,}",)
    if binary:
        matrix = _where(matrix, matrix.data > 0)
        matrix.data = np.ones(matrix.nnz, np.uint8)
    return check_sparse_counts(matrix, name), notes


def _summed(raw: RawCounts, name: str, path: str) -> tuple[csr_array, tuple[str, ...]]:
    try:
        matrix = summed(raw.matrix, name)
    except TypeError as error:
        raise ValueError(str(error)) from error
    repeated = raw.matrix.nnz - matrix.nnz if issparse(raw.matrix) else 0
    if not repeated:
        return matrix, raw.notes
    return matrix, (*raw.notes, f"{path}: entries that repeat a cell, now summed: {repeated:,}")


def _where(matrix: csr_array, is_kept: np.ndarray) -> csr_array:
    if is_kept.all():
        return matrix
    ends = np.zeros(is_kept.size + 1, matrix.indptr.dtype)
    np.cumsum(is_kept, out=ends[1:])
    arrays = (matrix.data[is_kept], matrix.indices[is_kept], ends[matrix.indptr])
    return csr_array(arrays, shape=matrix.shape)


def _cell(raw: RawCounts, matrix: csr_array, position: int) -> tuple[int | str, int | str]:
    row, column = rows_of(matrix)[position], matrix.indices[position]
    return (
        row if raw.row_names is None else shown(raw.row_names[row]),
        column if raw.column_names is None else shown(raw.column_names[column]),
    )


def _way_out(raw: RawCounts) -> str:
    text = (
        "--config.data.at_least=X drops entries below X, --config.data.binary=True lets all that "
        "are left count 1"
    )
    if raw.other_layers:
        text += f", --config.data.layer names another matrix ({', '.join(raw.other_layers)})"
    return text
