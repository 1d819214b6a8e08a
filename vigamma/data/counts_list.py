"""A small file of counts of one row: what somebody new has read, bought or rated."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vigamma.data.counts import LARGEST_COUNT
from vigamma.data.sparse_counts import check_sparse_counts
from vigamma.errors import ConfigError
from vigamma.names import places_of

_DELIMITERS = "\t,;"


class ListedCounts(NamedTuple):
    """The counts of one row.

    Attributes:
      counts: canonical, of shape (1, M).
      unknown: the items that no column is called, in the order of the file.
    """

    counts: csr_array
    unknown: list[str]


def read_listed_counts(path: Path, column_names: np.ndarray) -> ListedCounts:
    """Reads lines of an item and its count, with a tab, comma, semicolon or spaces between.

    Items may have spaces, and commas if they are quoted or not; the count is what comes last. The
    counts of an item that comes twice are added. Blank lines are passed over, and a first line
    without a count is taken for a header.

    Args:
      path: of a text file in UTF-8.
      column_names: what the columns are called; shape (M,).

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: for a line without a count, and if no item is known; in one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    places, unknown = places_of(column_names), []
    totals: dict[int, int] = {}
    for item, count in _items(path):
        if item in places:
            totals[places[item]] = totals.get(places[item], 0) + count
        elif item not in unknown:
            unknown.append(item)
    if not totals:
        raise ConfigError(f"{path} has no item that is a column of the run; {shown(unknown)}")
    row = np.zeros(len(totals), np.intp)
    counts = csr_array((list(totals.values()), (row, list(totals))), shape=(1, len(column_names)))
    return ListedCounts(check_sparse_counts(counts, f"counts in {path}"), unknown)


def shown(unknown: list[str]) -> str:
    """Which items are unknown, in a few words; the first five of many."""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{len(unknown)} unknown: {', '.join(map(repr, unknown[:5]))}{more}"


def _items(path: Path) -> Iterator[tuple[str, int]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        item, count = _item_and_count(line)
        if item and count in range(1, LARGEST_COUNT + 1):
            yield item, int(count)
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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
