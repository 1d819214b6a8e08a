"""Lines of numbers below the sizes of a matrix, such as "row column value" with 1-based indices."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vigamma.data.readers.text_columns import read_columns
from vigamma.data.readers.text_files import at_line, is_finite, numbered_lines, shown

_MOST_DIGITS = 20  # enough for 2^63; `int` of very long digit strings is slow or fails


class Field(NamedTuple):
    """One field of a line.

    Attributes:
      name: its name in messages.
      size: the largest row or column number; None for a value.
      is_whole: whether a value must be a whole number.
    """

    name: str
    size: int | None = None
    is_whole: bool = False

    def problem(self, text: str) -> str | None:
        """The problem with the text of a field; None if it is valid."""
        if self.size is not None:
            is_good = text.isdecimal() and 1 <= int(text[:_MOST_DIGITS]) <= self.size
            expected = f"a {self.name} from 1 to {self.size}"
        else:
            is_good = is_finite(text)
            expected = "a number"
            if self.is_whole:
                is_good = is_good and float(text).is_integer() and abs(float(text)) < 2**63
                expected = "a whole number below 2^63"
        return None if is_good else f"expected {expected}, got {shown(text)}"

    def checked(self, numbers: np.ndarray) -> np.ndarray:
        """0-based rows or columns in int32, or values; raises ValueError for invalid numbers."""
        if self.size is not None:
            if ((numbers < 1) | (numbers > self.size)).any():
                raise ValueError(f"a {self.name} is not between 1 and {self.size}")
            return (numbers - 1).astype(np.int32)
        if not np.isfinite(numbers).all() or (self.is_whole and (numbers % 1).any()):
            raise ValueError(f"a {self.name} is no number")
        return numbers


class Body(NamedTuple):
    """The lines below the sizes.

    Attributes:
      num_entries: the expected number of entries.
      lines_before: the number of lines above them, the last of which states `num_entries`.
    """

    num_entries: int
    lines_before: int


def checked_size(path: Path, number: int, text: str, meaning: str, bits: int = 31) -> int:
    """Parses a size in line `number`; raises FormatError unless it is a number below 2^bits."""
    if text.isdecimal() and int(text[:_MOST_DIGITS]) < 2**bits:
        return int(text)
    raise at_line(path, number, f"expected {meaning}, below 2^{bits}, got {shown(text)}")


def read_entries(
    path: Path, body: Body, fields: Sequence[Field], encoding: str = ""
) -> list[np.ndarray]:
    """Reads all entries and validates every number.

    Args:
      path: a text, whose fields are separated by blanks.
      body: the position and number of the entries.
      fields: the fields of a line.
      encoding: the encoding of the text.

    Returns:
      An array of shape (E,) for each field, as `Field.checked` returns it.

    Raises:
      FormatError: for a line that is broken, and for a wrong number of entries.
    """
    first = itertools.islice(_lines(path, body, encoding), 1)
    _explain(first, path, fields)  # pandas reads "True" as 1
    try:
        columns = _read(path, body, fields, encoding)
    except (ValueError, OverflowError):
        _explain(_lines(path, body, encoding), path, fields)
        raise
    found = len(columns[0])
    if found != body.num_entries:
        hint = "; is the file cut short?" if found < body.num_entries else ""
        problem = f"expected {body.num_entries} entries below, got {found}{hint}"
        raise at_line(path, body.lines_before, problem)
    return columns


def _read(path: Path, body: Body, fields: Sequence[Field], encoding: str) -> list[np.ndarray]:
    types = [
        "float64" if field.size is None and not field.is_whole else "int64" for field in fields
    ]
    pieces = [[field.checked(np.empty(0, kind))] for field, kind in zip(fields, types, strict=True)]
    with np.errstate(invalid="ignore"):  # NaN as an integer is an error below
        for piece in read_columns(path, types, skipped_lines=body.lines_before, encoding=encoding):
            for number, field in enumerate(fields):
                pieces[number].append(field.checked(piece[number].to_numpy()))
    return [np.concatenate(column) for column in pieces]


def line_of_entry(path: Path, body: Body, position: int) -> int:
    """The number of the line of an entry with a 0-based position."""
    return next(itertools.islice(_lines(path, body), position, None))[0]


def _lines(path: Path, body: Body, encoding: str = "") -> Iterator[tuple[int, str]]:
    below = itertools.islice(numbered_lines(path, encoding), body.lines_before, None)
    return ((number, line) for number, line in below if line.strip())


def _explain(lines: Iterable[tuple[int, str]], path: Path, fields: Sequence[Field]) -> None:
    """Raises FormatError for the first broken line, if there is one."""
    for number, line in lines:
        texts = line.split()
        if len(texts) != len(fields):
            expected = " ".join(field.name for field in fields)
            raise at_line(path, number, f"expected '{expected}', got {shown(line)}")
        for field, text in zip(fields, texts, strict=True):
            if problem := field.problem(text):
                raise at_line(path, number, problem)
