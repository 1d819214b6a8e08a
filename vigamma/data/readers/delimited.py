"""Delimited text with one entry per line: row, column, count, and fields that are ignored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array

from vigamma.counts.names import as_names, in_order
from vigamma.counts.words import Words
from vigamma.data.readers.delimited_fields import (
    ALL,
    also_ignored,
    arrangement,
    has_no_name,
    is_count_title,
    words_of,
)
from vigamma.data.readers.delimited_layout import Layout, find_layout
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_columns import read_columns
from vigamma.data.readers.text_files import (
    FormatError,
    at_line,
    is_finite,
    is_number,
    reading,
    shown,
)
from vigamma.data.readers.text_matrix import read_text_matrix


def read(path: Path, columns: str = "", encoding: str = "") -> RawCounts:
    """Reads a row, a column and a count from each line, or a matrix; a note says how it was read.

    Ids are arbitrary strings, ordered by `name_order`. If there are only two fields, every line
    counts 1. `find_layout` detects the delimiter and a header, and `arrangement` detects a matrix.
    Quotation marks are parsed if the delimiter is a comma or semicolon; for tabs and blanks, only
    if the first line begins with one.

    Args:
      path: the file.
      columns: the fields of row, column and count, as for `SparseCounts`; "" for the first three.
      encoding: the encoding of the text; "" for UTF-8, or that of a byte order mark.

    Raises:
      FormatError: for a file that is broken (the message names the line), and for one that may be
        entries or a matrix.
    """
    with reading(path, "delimited text"):
        layout = find_layout(path, columns, encoding)
        if columns == ALL or (not columns and _is_matrix(path, layout)):
            return read_text_matrix(path, layout, encoding)
        places = layout.places(path, columns)
        try:
            rows, row_columns, counts = _read_ids(path, layout, places, encoding)
        except ValueError:
            _explain(path, layout, places, encoding)
            raise
    (row_names, row_of), (column_names, column_of) = rows.sorted(), row_columns.sorted()
    matrix = coo_array((counts, (row_of, column_of)), shape=(len(row_names), len(column_names)))
    note = _note(path, layout, places, is_guessed=not columns)
    words = words_of(*(layout.header[i] for i in places[:2])) if layout.header else Words()
    return RawCounts(matrix, row_names, column_names, (note,), words=words)


def _is_matrix(path: Path, layout: Layout) -> bool:
    """Whether a file is a matrix; raises FormatError if that is unclear or neither form fits."""
    kind = arrangement(layout.header, layout.sample)
    if kind == "unclear":
        raise FormatError(
            f"{path} may be a matrix, or have an entry a line, which begins with "
            f"{_first(layout)}: say --config.data.columns=all or --config.data.columns=1,2,3"
        )
    if kind == "entries" and layout.header:
        if has_no_name(layout.header[0]):
            problem = "the first column has no name; write the file without an index (index=False)"
            raise at_line(
                path, layout.header_line, f"{problem}, or say --config.data.columns=2,3,4"
            )
        if layout.num_fields == 2 and is_count_title(layout.header[1]):
            problem = f"expected a row, a column and a count, got {_first(layout)}"
            raise at_line(path, layout.header_line, f"{problem}; a list of counts is no matrix")
    return kind == "matrix"


def _first(layout: Layout) -> str:
    """The first line, quoted for a message."""
    fields = layout.header or layout.sample[0]
    return shown((layout.delimiter or " ").join(fields))


def _note(path: Path, layout: Layout, places: Sequence[int], is_guessed: bool) -> str:
    """The note on how the fields were interpreted."""
    titles = layout.header or layout.sample[0]
    row, column, count = (*(shown(titles[place]) for place in places), "one a line")[:3]
    if layout.header:
        text = f"{path}: by its header, rows are {row}, columns {column}, counts {count}"
    else:
        text = f"{path}: no header; of the first line, {_first(layout)}, the row is {row}, "
        text += f"the column {column}, the count {count if len(places) > 2 else 1}"
    others = [place for place in range(layout.num_fields) if place not in places]
    names = [shown(titles[i]) if layout.header else f"field {i + 1}" for i in others]
    text += also_ignored(names)
    return text + ("; --config.data.columns names others" if is_guessed else "")


class _Ids:
    """The ids of one field, numbered in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._pieces: list[np.ndarray] = []

    def append(self, ids: np.ndarray) -> None:
        """Appends an array of ids, which are strings; raises ValueError for invalid ones."""
        import pandas as pd

        numbers = self._numbers
        places, names = pd.factorize(ids)
        names = [name.strip() for name in names]
        if any(not name or "\n" in name for name in names):
            raise ValueError("an id is empty or goes over several lines")
        of_name = [numbers.setdefault(name, len(numbers)) for name in names]
        self._pieces.append(np.array(of_name, np.int32)[places])

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """The names in `name_order`, and the index of each id in them; int32 of shape (E,)."""
        ids, self._pieces = np.concatenate(self._pieces), []
        return in_order(as_names(self._numbers), ids)


def _read_ids(
    path: Path, layout: Layout, places: Sequence[int], encoding: str
) -> tuple[_Ids, _Ids, np.ndarray]:
    """The rows, the columns and the counts of all lines."""
    if len(places) > 2 and not is_number(layout.sample[0][places[2]]):
        raise ValueError("a count is no number")  # pandas reads "True" as 1
    rows, columns, counts, is_strict = _Ids(), _Ids(), [], False
    types: list[str | None] = [None] * layout.num_fields
    for place, kind in zip(places, ("object", "object", "float64"), strict=False):
        types[place] = kind
    for piece in read_columns(
        path,
        types,
        delimiter=layout.delimiter,
        has_quotes=layout.has_quotes,
        skipped_lines=layout.header_line,
        encoding=encoding,
    ):
        rows.append(piece[places[0]].to_numpy())
        columns.append(piece[places[1]].to_numpy())
        has_counts = len(places) > 2
        counts.append(piece[places[2]].to_numpy() if has_counts else np.ones(len(piece), np.uint8))
        if not np.isfinite(counts[-1]).all():
            raise ValueError("a count is not finite")
        if not is_strict and piece[layout.num_fields - 1].eq("").any():
            # pandas reads a missing field as an empty one
            _explain(path, layout, places, encoding)
            is_strict = True
    return rows, columns, np.concatenate(counts)


def _explain(path: Path, layout: Layout, places: Sequence[int], encoding: str) -> None:
    """Raises FormatError for the first broken line, if one is found."""
    for number, fields in layout.body(path, encoding):
        for place, side in zip(places, ("row", "column"), strict=False):
            field = fields[place]
            if not field or "\n" in field:
                what = "goes over several lines" if field else "is empty"
                raise at_line(path, number, f"the id of the {side} {what}")
        if len(places) > 2 and not is_finite(fields[places[2]]):
            raise at_line(path, number, f"expected a number, got {shown(fields[places[2]])}")
