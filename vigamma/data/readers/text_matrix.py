"""Matrices in delimited text: one row per line, names in the header and in the first field."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack

from vigamma.counts.names import as_names
from vigamma.data.readers.delimited_fields import has_row_names
from vigamma.data.readers.delimited_layout import Layout
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_columns import read_columns
from vigamma.data.readers.text_files import at_line, is_finite, shown

_FIELDS_AT_ONCE = 2**24  # bounds the memory for dense rows


def read_text_matrix(path: Path, layout: Layout, encoding: str) -> RawCounts:
    """Reads a matrix from a text; a note says how it was interpreted.

    Raises:
      FormatError: for a line with a wrong number of fields, or with a field that is not a number;
        the message names the line.
    """
    num_names = int(has_row_names(layout.header, layout.sample))
    try:
        matrix, row_names = _read(path, layout, encoding, num_names)
    except ValueError:
        _explain(path, layout, encoding, num_names)
        raise
    column_names = as_names(layout.header[num_names:]) if layout.header else None
    rows = "by the first field" if num_names else "by their numbers"
    columns = "by the header" if layout.header else "by their numbers"
    shape = " × ".join(f"{size:,}" for size in matrix.shape)
    note = (
        f"{path} is taken for a matrix of {shape}: rows are named {rows}, columns {columns}, and "
        "--config.data.transpose=True swaps them; --config.data.columns=ROW,COLUMN,COUNT reads "
        "entries, one a line"
    )
    return RawCounts(matrix, as_names(row_names) if num_names else None, column_names, (note,))


def _read(path: Path, layout: Layout, encoding: str, num_names: int) -> tuple[csr_array, list[str]]:
    size = layout.num_fields
    pieces, row_names = [], []
    for piece in read_columns(
        path,
        ["object"] * num_names + ["float64"] * (size - num_names),
        delimiter=layout.delimiter,
        has_quotes=layout.has_quotes,
        skipped_lines=layout.header_line,
        encoding=encoding,
        lines_at_once=max(1, _FIELDS_AT_ONCE // size),
    ):
        numbers = piece[range(num_names, size)].to_numpy()
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
        pieces.append(csr_array(numbers))
        if num_names:
            row_names += [name.strip() for name in piece[0]]
    if not all(row_names):
        raise ValueError("the name of a row is empty")
    return vstack(pieces, format="csr"), row_names


def _explain(path: Path, layout: Layout, encoding: str, num_names: int) -> None:
    """Raises FormatError for the first broken line, if one is found."""
    for number, fields in layout.body(path, encoding):
        if num_names and not fields[0]:
            raise at_line(path, number, "the name of the row is empty")
        for place, field in enumerate(fields[num_names:], num_names + 1):
            if not is_finite(field):
                problem = f"expected a number in field {place}, got {shown(field)}"
                raise at_line(path, number, problem)
