"""A small file of counts of one row: what somebody new has read, bought or rated."""

import csv
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vigamma.data.counts import LARGEST_COUNT
from vigamma.data.delimited_layout import find_layout
from vigamma.data.raw_counts import RawCounts, make_counts
from vigamma.data.text_files import FormatError, numbered_lines
from vigamma.errors import ConfigError
from vigamma.names import places_of

_DELIMITERS = "\t,;"
_SAMPLE = 20
_COUNTS = range(1, LARGEST_COUNT + 1)


class ListedCounts(NamedTuple):
    """The counts of one row.

    Attributes:
      counts: canonical, of shape (1, M).
      unknown: the items that no column is called, in the order of the file.
      notes: what whoever reads them should know, a line each.
    """

    counts: csr_array
    unknown: list[str]
    notes: tuple[str, ...] = ()


def is_list(path: Path, column_names: np.ndarray) -> bool:
    """Whether a text lists the counts of one row, rather than a row, a column and a count a line.

    That has two fields a line. Where there are more it is a list if more of its first lines begin
    with the name of a column, as items may have blanks and commas, than have one in the second
    field; and where lines differ in their fields, if any begins with one.

    Args:
      path: of a text in UTF-8, perhaps gzipped.
      column_names: what the columns are called; shape (M,).

    Raises:
      ConfigError: for a text that can be neither.
    """
    places = places_of(column_names)
    try:
        layout = find_layout(path)
    except FormatError as error:
        if _num_known(path, places):
            return True
        raise ConfigError(
            f"{path} is no list of items of the run, and no table: {error}"
        ) from error
    if layout.num_fields == 2:
        return True
    records = itertools.islice(layout.records(numbered_lines(path)), _SAMPLE)
    return _num_known(path, places, _SAMPLE) > sum(r.fields[1] in places for r in records)


def _num_known(path: Path, places: Mapping[str, int], most: int | None = None) -> int:
    """How many of the first lines are an item of a name and a count."""
    lines = (line for _, line in numbered_lines(path) if line.strip())
    try:
        found = map(_item_and_count, itertools.islice(lines, most))
        return sum(item in places and count is not None for item, count in found)
    except (FormatError, csv.Error):
        return 0


def read_listed_counts(
    path: Path, column_names: np.ndarray, at_least: float = 0.0, binary: bool = False
) -> ListedCounts:
    """Reads lines of an item and its count, with a tab, comma, semicolon or spaces between.

    Items may have spaces, and commas if they are quoted or not; the count is what comes last. The
    counts of an item that comes twice are added. Blank lines are passed over, and a first line
    without a count is taken for a header.

    Args:
      path: of a text file in UTF-8.
      column_names: what the columns are called; shape (M,).
      at_least: counts below it, which then may be any numbers, are dropped; 0 drops none.
      binary: whether all counts that are left, and are not 0, are 1.

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: for a line without a count, if no item is known, and for counts that are none; in
        one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    places, unknown = places_of(column_names), []
    totals: dict[int, float] = {}
    for item, count in _items(path, takes_all=at_least > 0 or binary):
        if item in places:
            totals[places[item]] = totals.get(places[item], 0) + count
        elif item not in unknown:
            unknown.append(item)
    if not totals:
        raise ConfigError(f"{path} has no item that is a column of the run; {shown(unknown)}")
    row = np.zeros(len(totals), np.intp)
    matrix = csr_array((list(totals.values()), (row, list(totals))), shape=(1, len(column_names)))
    try:
        counts, notes = make_counts(
            RawCounts(matrix, column_names=column_names), str(path), at_least, binary
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return ListedCounts(counts, unknown, notes)


def shown(unknown: list[str]) -> str:
    """Which items are unknown, in a few words; the first five of many."""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{len(unknown)} unknown: {', '.join(map(repr, unknown[:5]))}{more}"


def _items(path: Path, takes_all: bool) -> Iterator[tuple[str, float]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        item, count = _item_and_count(line)
        if item and (count in _COUNTS or (takes_all and _is_finite(count))):
            yield item, count
        elif number > 1 or count is not None:
            raise ConfigError(
                f"{path}, line {number} must be an item and a count from 1 to {LARGEST_COUNT}, got "
                f"{line.strip()!r}"
            )


def _item_and_count(line: str) -> tuple[str, float | None]:
    """By the first delimiter after which the line ends with a number; no count if there is none."""
    for delimiter in _DELIMITERS:
        *words, last = next(csv.reader([line], delimiter=delimiter))
        count = _number(last)
        if words and count is not None:
            return delimiter.join(words).strip(), count
    *words, last = line.rsplit(maxsplit=1)
    return " ".join(words).strip(), _number(last)


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
