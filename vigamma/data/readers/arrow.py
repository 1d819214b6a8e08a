"""Tables of Parquet and Arrow with one entry per line: row, column, count."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array

from vigamma.counts.names import as_names, in_order
from vigamma.data.readers.delimited_fields import (
    ALL,
    also_ignored,
    arrangement,
    fields_named,
    words_of,
)
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import FormatError, reading
from vigamma.terminal.invocation import pip_install

_SAMPLE = 20


def read(path: Path, columns: str = "") -> RawCounts:
    """Reads three columns: rows, columns, counts; if there are only two, each line counts 1.

    The ids of rows and columns become their names, as strings ordered by `name_order`. A note names
    the columns that are read and those that are ignored.

    Args:
      path: the file.
      columns: the columns to read, as for `SparseCounts`; "" for the first ones.

    Raises:
      ValueError: if pyarrow is not installed.
      FormatError: for a file that is broken or may be a matrix (see `arrangement`), for missing ids
        or counts, and for counts that are not numbers.
    """
    try:
        import pyarrow as pa
        import pyarrow.feather
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow: {pip_install('parquet')}") from error
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    with reading(path, "a table of Parquet" if is_parquet else "a table of Arrow"):
        load = pa.parquet.read_table if is_parquet else pa.feather.read_table
        table = load(path)
        table, ignored = _chosen(table, path, columns)
        titles = table.column_names
        if table.num_columns < 2 or not table.num_rows:
            raise FormatError(
                f"{path} must have lines of a row, a column and a count, got {table.num_rows:,} "
                f"lines of {', '.join(titles) or 'nothing'}"
            )
        for title, column in zip(titles, table.columns, strict=True):
            if column.null_count:
                raise FormatError(f"{path}: {column.null_count:,} values of {title} are missing")
        (row_names, row_of), (column_names, column_of) = map(_ids, table.columns[:2])
        counts = np.ones(table.num_rows, np.uint8)
        if len(titles) > 2:
            kind = table.schema.types[2]
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise FormatError(f"{path}: counts must be numbers, but {titles[2]} is of {kind}")
            counts = table.column(2).to_numpy()
    matrix = coo_array((counts, (row_of, column_of)), shape=(len(row_names), len(column_names)))
    names = (*titles, "one a line")[:3]
    note = f"{path}: rows are {names[0]!r}, columns {names[1]!r}, counts {names[2]!r}"
    notes = (note + also_ignored(ignored),)
    return RawCounts(matrix, row_names, column_names, notes, words=words_of(*titles[:2]))


def _chosen(table: Any, path: Path, columns: str) -> tuple[Any, list[str]]:
    """The table with only these columns, in this order, and the titles of the others.

    Raises FormatError if no columns are named and the table may be a matrix.
    """
    titles = table.column_names
    if columns and columns != ALL:
        places = fields_named(columns, titles, len(titles))
    else:
        first = [map(str, column.to_pylist()) for column in table.slice(0, _SAMPLE).columns]
        sample = list(zip(*first, strict=True))
        is_list = "__index_level_0__" not in titles and arrangement(titles, sample) == "entries"
        if columns == ALL or not is_list:
            raise FormatError(
                f"{path} has the columns {', '.join(titles[:5])}, and may be a matrix: "
                "save a matrix as .npz or .h5ad, or name those of row, column and count by "
                "--config.data.columns=1,2,3"
            )
        places = tuple(range(min(3, len(titles))))
    return table.select(places), [title for i, title in enumerate(titles) if i not in places]


def _ids(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The names in `name_order`, and the index of each line in them; int32 of shape (E,)."""
    encoded = column.combine_chunks().cast("string").dictionary_encode()
    names = as_names(encoded.dictionary.to_pylist())
    if (names == "").any():
        raise ValueError("an id is empty")
    return in_order(names, encoded.indices.to_numpy())
