"""Bags of words in the form of the UCI repository: `docword*.txt`, and `vocab*.txt` beside it."""

from pathlib import Path

import numpy as np
from scipy.sparse import coo_array

from vigamma.data.raw_counts import RawCounts
from vigamma.data.text_columns import read_columns
from vigamma.data.text_files import (
    FormatError,
    at_line,
    beside,
    is_finite,
    numbered_lines,
    read_names,
    reading,
    shown,
)

_HEADER = ("the number of documents", "the number of words", "the number of entries")


def read(path: Path) -> RawCounts:
    """Reads lines of "document word count", numbered from 1, below three lines of sizes.

    Rows are documents, columns words. The vocabulary, a word a line, is the file beside it whose
    name has "vocab" for "docword"; without it words have no names, and a note says so.

    Raises:
      FormatError: for a file that is broken; names the line.
    """
    with reading(path, "a bag of words"):
        *shape, num_entries = _sizes(path)
        try:
            rows, columns, counts = _read_entries(path, shape)
        except (ValueError, OverflowError):
            _explain(path, shape)
            raise
    if len(counts) != num_entries:
        raise FormatError(
            f"{path}, line 3: expected {num_entries} entries below, got {len(counts)}; "
            "is the file cut short?"
        )
    matrix = coo_array((counts, (rows, columns)), shape=shape)
    vocabulary = beside(path.parent, path.name.removesuffix(".gz").replace("docword", "vocab"))
    if vocabulary is None or vocabulary == path:
        return RawCounts(matrix, notes=(f"{path}: words have no names without a vocab file",))
    words = read_names(vocabulary)
    if len(words) != shape[1]:
        raise FormatError(f"{vocabulary} has {len(words)} lines, but {path} {shape[1]} words")
    return RawCounts(matrix, column_names=words)


def _sizes(path: Path) -> list[int]:
    sizes = []
    for (number, line), meaning in zip(numbered_lines(path), _HEADER, strict=False):
        if not (line.strip().isdecimal() and int(line) < 2**31):
            raise at_line(path, number, f"expected {meaning}, below 2^31, got {shown(line)}")
        sizes.append(int(line))
    if len(sizes) < len(_HEADER):
        raise at_line(path, len(sizes) + 1, f"expected {_HEADER[len(sizes)]}, but the file ends")
    return sizes


def _read_entries(path: Path, shape: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns, from 0, and counts."""
    rows, columns, counts = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [np.empty(0)]
    types = ["int64", "int64", "float64"]
    for piece in read_columns(path, types, skipped_lines=len(_HEADER)):
        for field, size in enumerate(shape):
            if not piece[field].between(1, size).all():
                raise ValueError("a number is not between 1 and the largest")
        rows.append((piece[0] - 1).to_numpy(np.int32))
        columns.append((piece[1] - 1).to_numpy(np.int32))
        counts.append(piece[2].to_numpy())
        if not np.isfinite(counts[-1]).all():
            raise ValueError("a count is not finite")
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(counts)


def _explain(path: Path, shape: list[int]) -> None:
    """Raises FormatError for the first line that is broken, if one is found."""
    for number, line in numbered_lines(path):
        fields = line.split()
        if number <= len(_HEADER) or not fields:
            continue
        if len(fields) != 3:
            raise at_line(path, number, f"expected 'document word count', got {shown(line)}")
        for field, size, what in zip(fields, shape, ("document", "word"), strict=False):
            if not (field.isdecimal() and 1 <= int(field[:20]) <= size):
                problem = f"expected a {what} from 1 to {size}, got {shown(field)}"
                raise at_line(path, number, problem)
        if not is_finite(fields[2]):
            raise at_line(path, number, f"expected a number, got {shown(fields[2])}")
