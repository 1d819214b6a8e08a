"""Delimited text, one entry a line: row, column, count, and what else there is."""

from pathlib import Path

import numpy as np
from scipy.sparse import coo_array

from vigamma.data.delimited_layout import Layout, find_layout
from vigamma.data.names import as_names, name_order
from vigamma.data.raw_counts import RawCounts
from vigamma.data.text_columns import read_columns
from vigamma.data.text_files import at_line, is_finite, numbered_lines, reading, shown


def read(path: Path) -> RawCounts:
    """Reads the first three fields of each line: a row, a column, a count; the others are ignored.

    Ids are strings of any kind; rows and columns are in the order of `name_order`. With two fields
    every line counts 1. The delimiter and a header are found by `find_layout`. Quotation marks mean
    something between commas or semicolons, and between tabs if the first line begins with one.

    Raises:
      FormatError: for a file that is broken; names the line.
    """
    with reading(path, "delimited text"):
        layout = find_layout(path)
        try:
            rows, columns, counts = _read_ids(path, layout)
        except ValueError:
            _explain(path, layout)
            raise
    (row_names, row_of), (column_names, column_of) = rows.sorted(), columns.sorted()
    shape = len(row_names), len(column_names)
    notes = ()
    if layout.header:
        row, column, count = (*map(shown, layout.header), "one a line")[:3]
        notes = (f"{path}: by its header, rows are {row}, columns {column}, counts {count}",)
    return RawCounts(
        coo_array((counts, (row_of, column_of)), shape=shape), row_names, column_names, notes
    )


class _Ids:
    """The ids of one field, numbered as they appear."""

    def __init__(self):
        self._numbers: dict[str, int] = {}
        self._pieces: list[np.ndarray] = []

    def append(self, ids: np.ndarray) -> None:
        """Takes the next ids, an array of strings; raises ValueError for broken ones."""
        import pandas as pd

        numbers = self._numbers
        places, names = pd.factorize(ids)
        names = [name.strip() for name in names]
        if any(not name or "\n" in name for name in names):
            raise ValueError("an id is empty or goes over several lines")
        of_name = [numbers.setdefault(name, len(numbers)) for name in names]
        self._pieces.append(np.array(of_name, np.int32)[places])

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """The names in their order, and for each id its place among them; int32 of shape (E,)."""
        names = as_names(self._numbers)
        order = name_order(names)
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order))
        ids, self._pieces = np.concatenate(self._pieces), []
        return names[order], places[ids]


def _read_ids(path: Path, layout: Layout) -> tuple[_Ids, _Ids, np.ndarray]:
    """The rows, the columns and the counts of all lines."""
    rows, columns, counts, is_strict = _Ids(), _Ids(), [], False
    types = ["object", "object", "float64", *[None] * layout.num_fields][: layout.num_fields]
    for piece in read_columns(
        path,
        types,
        delimiter=layout.delimiter,
        has_quotes=layout.has_quotes,
        skipped_lines=layout.header_line,
    ):
        rows.append(piece[0].to_numpy())
        columns.append(piece[1].to_numpy())
        has_counts = layout.num_fields > 2
        counts.append(piece[2].to_numpy() if has_counts else np.ones(len(piece), np.uint8))
        if not np.isfinite(counts[-1]).all():
            raise ValueError("a count is not finite")
        if not is_strict and piece[layout.num_fields - 1].eq("").any():
            _explain(path, layout)  # pandas takes a field that is missing for an empty one
            is_strict = True
    return rows, columns, np.concatenate(counts)


def _explain(path: Path, layout: Layout) -> None:
    """Raises FormatError for the first line that is broken, if one is found."""
    for number, fields in layout.records(numbered_lines(path)):
        if number <= layout.header_line:
            continue
        if len(fields) != layout.num_fields:
            raise at_line(path, number, layout.expected(fields))
        for field, side in zip(fields, ("row", "column"), strict=False):
            if not field or "\n" in field:
                what = "goes over several lines" if field else "is empty"
                raise at_line(path, number, f"the id of the {side} {what}")
        if len(fields) > 2 and not is_finite(fields[2]):
            raise at_line(path, number, f"expected a number, got {shown(fields[2])}")
