"""Small files that list the counts of one row, such as the items that a new user has bought."""

import contextlib
import csv
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from vigamma.counts.names import as_names, places_in_file, repeated
from vigamma.counts.rules import CountRules
from vigamma.data.readers.delimited_fields import ALL, arrangement, fields_named
from vigamma.data.readers.delimited_layout import Layout, find_layout
from vigamma.data.readers.packed_files import plain_name
from vigamma.data.readers.raw_counts import RawCounts, make_counts
from vigamma.data.readers.text_files import FormatError, at_line, is_number, numbered_lines
from vigamma.errors import ConfigError

_DELIMITERS = "\t,;"
_FEW, _MANY = 20, 100_000  # lines that decide what a file is; the second if the first do not


class ListedCounts(NamedTuple):
    """The counts of one row.

    Attributes:
      counts: canonical, of shape (1, M).
      unknown: the items that are not names of columns, in the order of the file.
      notes: remarks for the user, one line each.
      dropped: true at the items whose numbers are no counts; shape (1, M), or None.
    """

    counts: csr_array
    unknown: list[str]
    notes: tuple[str, ...] = ()
    dropped: csr_array | None = None


def is_list(
    path: Path,
    column_names: np.ndarray,
    encoding: str = "",
    columns: str = "",
    transpose: bool = False,
    column_ids: np.ndarray | None = None,
) -> bool:
    """Whether a text lists the counts of one row, rather than a row, a column and a count per line.

    A text with two fields per line is a list, unless some line has a column name in the column
    field of a table and a second field that is not a number. With more fields, the text is a list
    if more of its lines begin with a column name (items may contain blanks and commas) than have
    one in the column field of a table. The first lines decide or, if none has such a name, very
    many lines. If the number of fields varies, the text is a list if any line begins with a column
    name.

    Args:
      path: a text, possibly compressed.
      column_names: the names of the columns; shape (M,).
      encoding: the encoding of the text.
      columns: the fields of row, column and count in a table, as for `SparseCounts`.
      transpose: whether the rows and columns of a table are swapped.
      column_ids: other names of the columns; shape (M,).

    Raises:
      ConfigError: for a text that can be neither.
    """
    places = places_in_file(column_names, column_ids)
    try:
        layout = find_layout(path, encoding=encoding)
    except FormatError as error:
        if _num_known(path, encoding, places, None):
            return True
        raise ConfigError(
            f"{path} is no list of items of the run, and no table: {error}"
        ) from error
    place, kind = _where_columns_are(layout, columns, transpose)
    if layout.num_fields == 2 and kind == "entries":
        records = itertools.islice(layout.records(numbered_lines(path, encoding)), _MANY)
        return not any(r.fields[place] in places and not is_number(r.fields[1]) for r in records)
    for most in (_FEW, _MANY):
        as_list = _num_known(path, encoding, places, most)
        records = itertools.islice(layout.records(numbered_lines(path, encoding)), most)
        as_table = sum(len(r.fields) > place and r.fields[place] in places for r in records)
        if as_list or as_table:
            return as_list > as_table
    if kind != "entries":
        return False
    raise ConfigError(
        f"{path} has no column that is a column of the run, neither as a list of an item and a "
        "count a line nor as a table of a row, a column and a count"
    )


def _where_columns_are(layout: Layout, columns: str, transpose: bool) -> tuple[int, str]:
    """The field with the column names if lines are entries, and "entries" or "matrix"."""
    kind = arrangement(layout.header, layout.sample)
    place, titles = int(not transpose), layout.header or layout.sample[0]
    if columns == ALL or (kind != "entries" and not columns):
        return place, "matrix"
    if columns:
        with contextlib.suppress(ValueError):  # may fit other files; the reader reports it
            place = fields_named(columns, titles, layout.num_fields)[place]
    return place, "entries"


def _num_known(path: Path, encoding: str, places: Mapping[str, int], most: int | None) -> int:
    """The number of lines, among the first `most`, that are a known column name and a count."""
    lines = (line for _, line in numbered_lines(path, encoding) if line.strip())
    try:
        found = map(_item_and_count, itertools.islice(lines, most))
        return sum(item in places and count is not None for item, count in found)
    except (FormatError, csv.Error):
        return 0


def read_listed_counts(
    path: Path,
    column_names: np.ndarray,
    rules: CountRules,
    encoding: str = "",
    column_ids: np.ndarray | None = None,
) -> ListedCounts:
    """Reads lines of an item and its count, separated by a tab, comma, semicolon or spaces.

    The count is the last field. Items may contain spaces and, quoted or not, commas. Blank lines
    are skipped, and a first line without a count is taken as a header.

    Args:
      path: a text, possibly compressed.
      column_names: the names of the columns; shape (M,).
      rules: the conversions of the numbers, also for repeated items.
      encoding: the encoding of the text.
      column_ids: other names of the columns, which hold first; shape (M,).

    Raises:
      FileNotFoundError: if there is no such file.
      FormatError: for a line that is not an item and a count; the message names the line.
      NotCountsError: for numbers that are not counts.
      ConfigError: if no item is known, or an item is the name of several columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    places, several = places_in_file(column_names, column_ids), repeated(column_names)
    columns, counts = [], []
    unknown: dict[str, None] = {}
    ambiguous: dict[str, int] = {}
    for item, count in _items(path, encoding):
        if item in places:
            columns.append(places[item])
            counts.append(count)
            if item in several:
                ambiguous[item] = several[item]
        else:
            unknown[item] = None
    if ambiguous:
        item, times = next(iter(ambiguous.items()))
        raise ConfigError(
            f"{path}: {len(ambiguous):,} items are names of several columns of the run, {item!r} "
            f"of {times:,}"
        )
    if not columns:
        raise ConfigError(f"{path} has no item that is a column of the run; {shown([*unknown])}")
    cells = np.zeros(len(columns), np.intp), np.array(columns)
    matrix = coo_array((np.array(counts), cells), shape=(1, len(column_names)))
    raw = RawCounts(matrix, as_names([name_of(path)]), column_names)
    canonical, notes, dropped = make_counts(raw, str(path), rules)
    return ListedCounts(canonical, [*unknown], notes, dropped)


def name_of(path: Path) -> str:
    """The name of the row: that of its file, without suffixes."""
    return Path(plain_name(path)).stem


def shown(unknown: list[str]) -> str:
    """A short message about unknown items, which lists at most five."""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{len(unknown)} unknown: {', '.join(map(repr, unknown[:5]))}{more}"


def _items(path: Path, encoding: str) -> Iterator[tuple[str, float]]:
    for number, line in numbered_lines(path, encoding):
        if not line.strip():
            continue
        item, count = _item_and_count(line)
        if item and count is not None and math.isfinite(count):
            yield item, count
        elif number > 1 or count is not None:
            raise at_line(path, number, f"expected an item and a count, got {line.strip()!r}")


def _item_and_count(line: str) -> tuple[str, float | None]:
    """Splits off the number at the end of a line, by the first delimiter that fits; else None."""
    for delimiter in _DELIMITERS:
        *words, last = next(csv.reader([line], delimiter=delimiter))
        count = _number(last)
        if words and count is not None:
            return delimiter.join(words).strip(), count
    *words, last = line.rsplit(maxsplit=1)
    return " ".join(words).strip(), _number(last)


def _number(text: str) -> float | None:
    return float(text) if is_number(text) else None
