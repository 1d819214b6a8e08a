"""The results of file readers, and their conversion to counts."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, sparray, spmatrix

from vigamma.counts.dense import RULES, check_values
from vigamma.counts.rules import (
    DUPLICATES,
    WHOLE_WITHIN,
    CountRules,
    NotCountsError,
    one_entry_a_cell,
    rounded,
    whole_if_near,
)
from vigamma.counts.sparse import canonical_counts, either, rows_of, summed
from vigamma.counts.words import DOCUMENTS, Labels, Words
from vigamma.data.readers.text_files import FormatError, beside, read_names, shown

_DEFAULT_RULES = CountRules()
_Changed = tuple[csr_array, tuple[str, ...]]
"""Numbers, and notes on the kinds of changes made to them."""

_LARGEST_EMPTY = 2**24  # a larger matrix with few entries has a wrong size, and would fill memory
_FILES_OF_NAMES = (("rows.txt",), ("columns.txt", "vocab.txt"))


class RawCounts(NamedTuple):
    """The contents of a file, before validation.

    Attributes:
      matrix: numbers of shape (N, M), possibly with duplicate entries.
      row_names: strings of `StringDType`, shape (N,), or None.
      column_names: the names of the columns, likewise; shape (M,).
      notes: how an ambiguous file was interpreted, one line each.
      other_layers: the names of other matrices in the file.
      words: what rows and columns are called.
      labels: the labels of the rows, or None.
    """

    matrix: spmatrix | sparray | np.ndarray
    row_names: np.ndarray | None = None
    column_names: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    other_layers: tuple[str, ...] = ()
    words: Words = Words()
    labels: Labels | None = None

    def transposed(self, path: Path) -> "RawCounts":
        """Swaps rows and columns, and adds a note about it; labels of the rows are left out."""
        note = f"{path}: rows and columns are swapped, by --config.data.transpose=True"
        return self._replace(
            matrix=self.matrix.T,
            row_names=self.column_names,
            column_names=self.row_names,
            notes=(*self.notes, note),
            words=self.words.swapped,
            labels=None,
        )


class FileCounts(NamedTuple):
    """The counts of a file.

    Attributes:
      counts: canonical; shape (N, M).
      notes: what was changed, one line each.
      dropped: true at the cells that the file lists, but whose numbers are no counts: those below
        the threshold, and zeros, unless the file lists the zeros of a whole matrix; shape (N, M),
        or None if there are none.
    """

    counts: csr_array
    notes: tuple[str, ...]
    dropped: csr_array | None


def named_beside(matrix: spmatrix | sparray, path: Path, encoding: str = "") -> RawCounts:
    """Adds to a matrix the names from text files in the same folder, one name per line.

    The row names are in `rows.txt`, the column names in `columns.txt` or `vocab.txt`, which says
    that they are words of documents. A `labels.txt` with a line for each row labels the rows.

    Raises:
      FormatError: for a file of names that is broken or has the wrong number of lines.
    """
    names: list[np.ndarray | None] = [None, None]
    words = Words() if beside(path.parent, "vocab.txt") is None else DOCUMENTS
    for side, files in enumerate(_FILES_OF_NAMES):
        if (file := beside(path.parent, *files)) is not None:
            names[side] = found = read_names(file, encoding)
            if (wanted := matrix.shape[side]) != len(found):
                raise FormatError(f"{file} has {len(found)} lines, but {path} needs {wanted} names")
    labels, notes = _labels_beside(path, matrix.shape[0], encoding)
    return RawCounts(matrix, names[0], names[1], notes, words=words, labels=labels)


def _labels_beside(
    path: Path, num_rows: int, encoding: str
) -> tuple[Labels | None, tuple[str, ...]]:
    """The labels of `labels.txt`; a note if they are of something else than the rows."""
    if (file := beside(path.parent, "labels.txt")) is None:
        return None, ()
    labels = read_names(file, encoding)
    if len(labels) != num_rows:
        return None, (f"{file} has {len(labels):,} lines, not one for each row: no labels",)
    names, codes = np.unique(labels, return_inverse=True)
    return Labels("labels.txt", codes, names.tolist()), ()


def make_counts(
    raw: RawCounts, path: str, rules: CountRules = _DEFAULT_RULES, part: int = 0
) -> FileCounts:
    """Applies the rules to the result of a reader.

    Args:
      raw: the result of a reader.
      path: the file, for messages.
      rules: the conversions of the numbers.
      part: the index of the file if a matrix has several; each has its own random numbers.

    Raises:
      ValueError: for numbers that are not counts; the message gives the file and the first bad
        cell.
    """
    _check_size(raw, path)
    name = f"counts in {path}"
    matrix, notes = _one_a_cell(raw, name, path, rules)

    def check(*wanted: str) -> None:
        for rule in wanted:
            try:
                check_values(matrix.data, lambda i: _cell(raw, matrix, i), name, [rule])
            except ValueError as error:
                raise NotCountsError(str(error), _advice(rule, raw)) from error

    finite, positive, *others = RULES
    is_whole_matrix = matrix.nnz == math.prod(matrix.shape)
    check(finite)
    matrix, said = _near_whole(matrix, path)
    notes += said
    matrix, below, said = _large_enough(matrix, path, rules, is_whole_matrix)
    check(positive)
    notes += said
    if rules.rounding != "none":
        matrix, said = _rounded(matrix, path, rules, part)
        notes += said
    if not rules.binary:
        check(*others)
    if zeros := matrix.nnz - np.count_nonzero(matrix.data):
        notes += (f"{path}: entries of 0, which count nothing: {zeros:,}",)
    empty = None if is_whole_matrix or not zeros else _pattern(matrix, matrix.data == 0)
    if rules.binary:
        matrix, said = _ones(matrix, path)
        notes += said
    return FileCounts(canonical_counts(matrix, name), notes, either(below, empty))


def _near_whole(matrix: csr_array, path: str) -> _Changed:
    """Rounds numbers that are nearly whole."""
    values, num_near = whole_if_near(matrix.data)
    if not num_near:
        return matrix, ()
    note = f"{path}: numbers within {WHOLE_WITHIN:g} of whole ones, now whole: {num_near:,}"
    return _with_data(matrix, values), (note,)


def _large_enough(
    matrix: csr_array, path: str, rules: CountRules, is_whole_matrix: bool
) -> tuple[csr_array, csr_array | None, tuple[str, ...]]:
    """Drops numbers below the threshold, and tells where they were."""
    if rules.at_least == 0:
        return matrix, None, ()
    is_large = matrix.data >= rules.at_least
    if not is_large.any():
        raise ValueError(f"no entry of {path} is at least {rules.at_least:g}")
    if is_large.all():
        return matrix, None, ()
    is_listed = ~is_large & (matrix.data != 0) if is_whole_matrix else ~is_large
    num_dropped = is_large.size - np.count_nonzero(is_large)
    note = f"{path}: entries below {rules.at_least:g}, dropped: {num_dropped:,}"
    return _where(matrix, is_large), _pattern(matrix, is_listed), (note,)


def _rounded(matrix: csr_array, path: str, rules: CountRules, part: int) -> _Changed:
    rng = np.random.default_rng([rules.rounding_seed, part])
    values = rounded(matrix.data, rules.rounding, rng)
    if not (changed := np.count_nonzero(values != matrix.data)):
        return matrix, ()
    before, after = (x.sum(dtype=np.float64) for x in (matrix.data, values))
    note = (
        f"{path}: numbers now rounded ({rules.rounding}): {changed:,}; the sum of all was "
        f"{before:,.6g} and is {after:,.6g}"
    )
    return _with_data(matrix, values), (note,)


def _ones(matrix: csr_array, path: str) -> _Changed:
    matrix = _where(matrix, matrix.data > 0)
    others = np.count_nonzero(matrix.data != 1)
    notes = (f"{path}: entries that count 1 whatever they are (binary): {others:,}",)
    return _with_data(matrix, np.ones(matrix.nnz, np.uint8)), notes if others else ()


def _check_size(raw: RawCounts, path: str) -> None:
    """Raises ValueError for an implausible size, which would fill the memory."""
    num_entries = getattr(raw.matrix, "nnz", np.inf)
    if max(np.shape(raw.matrix)) > max(_LARGEST_EMPTY, 1000 * num_entries):
        rows, columns = raw.matrix.shape
        raise ValueError(
            f"{path} is said to have {rows:,} rows and {columns:,} columns, but has "
            f"{num_entries:,} entries; correct the number of rows or columns that is too large"
        )


def _one_a_cell(raw: RawCounts, name: str, path: str, rules: CountRules) -> _Changed:
    try:
        matrix = summed(raw.matrix, name)
    except TypeError as error:
        raise ValueError(str(error)) from error
    repeated = getattr(raw.matrix, "nnz", matrix.nnz) - matrix.nnz
    if not repeated:
        return matrix, raw.notes
    if rules.duplicates != "sum":
        matrix = one_entry_a_cell(raw.matrix, rules.duplicates)
    what = DUPLICATES[rules.duplicates]
    return matrix, (*raw.notes, f"{path}: entries that repeat a cell, {what}: {repeated:,}")


def _with_data(matrix: csr_array, data: np.ndarray) -> csr_array:
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _where(matrix: csr_array, is_kept: np.ndarray) -> csr_array:
    if is_kept.all():
        return matrix
    ends = np.zeros(is_kept.size + 1, matrix.indptr.dtype)
    np.cumsum(is_kept, out=ends[1:])
    arrays = (matrix.data[is_kept], matrix.indices[is_kept], ends[matrix.indptr])
    return csr_array(arrays, shape=matrix.shape)


def _pattern(matrix: csr_array, where: np.ndarray) -> csr_array:
    """True at some of the stored entries."""
    return _where(_with_data(matrix, np.ones(matrix.nnz, bool)), where)


def _cell(raw: RawCounts, matrix: csr_array, position: int) -> tuple[int | str, int | str]:
    row, column = rows_of(matrix)[position], matrix.indices[position]
    return (
        row if raw.row_names is None else shown(raw.row_names[row]),
        column if raw.column_names is None else shown(raw.column_names[column]),
    )


def _advice(rule: str, raw: RawCounts) -> str:
    """Options that fix numbers that violate a rule of counts, without changing the others."""
    ways = []
    if rule == "whole numbers":
        ways.append(
            "--config.data.rounding=nearest rounds them, and stochastic does so at random, which "
            "keeps their means"
        )
    if raw.other_layers:
        ways.append(f"--config.data.layer names another matrix ({', '.join(raw.other_layers)})")
    if rule in ("whole numbers", "≥ 0"):
        ways.append(
            "of ratings, --config.data.at_least=X with --config.data.binary=True lets those from X "
            "on count 1"
        )
    if rule == RULES[-1]:  # then it may be no count, but an id or a time
        ways += raw.notes
    return "; ".join(ways)
