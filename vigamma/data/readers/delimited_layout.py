"""Splitting the lines of a delimited text into fields."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vigamma.data.readers.delimited_fields import (
    ALL,
    are_numbers,
    arrangement,
    fields_named,
    is_header,
)
from vigamma.data.readers.text_files import FormatError, at_line, is_number, numbered_lines, shown

_DELIMITERS = {"\t": "tabs", "::": "'::'", ";": "semicolons", ",": "commas", "": "blanks"}
_BLANKS = " \t"
_SAMPLE = 20


class Record(NamedTuple):
    """A line, or several joined by quotation marks; `number` is that of the last line."""

    number: int
    fields: list[str]


class Layout(NamedTuple):
    """The layout of a file, inferred from its first lines.

    Attributes:
      delimiter: the separator of fields; "" for blanks.
      has_quotes: whether quotation marks delimit fields, and are not part of them.
      num_fields: the number of fields in a line, at least two.
      header_line: the number of the line that names the fields; 0 if there is none.
      header: the names of the fields; () if there are none.
      sample: the fields of some lines below the header.
    """

    delimiter: str
    has_quotes: bool
    num_fields: int = 0
    header_line: int = 0
    header: tuple[str, ...] = ()
    sample: tuple[tuple[str, ...], ...] = ()

    def records(self, lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
        """Yields the records of all numbered lines that are not blank."""
        lines = iter(lines)
        for number, line in lines:
            if self.has_quotes and '"' in line:  # possibly over several lines
                texts = itertools.chain([line], (text for _, text in lines))
                several = (f"{t if self.delimiter else t.strip(_BLANKS)}\n" for t in texts)
                delimiter = self.delimiter or " "
                reader = csv.reader(several, delimiter=delimiter, skipinitialspace=True)
                fields = next(reader)
                number += reader.line_num - 1
            elif line.strip(" " if self.delimiter else _BLANKS):
                fields = line.split(self.delimiter) if self.delimiter else _between_blanks(line)
            else:
                continue
            yield Record(number, [field.strip() for field in fields])

    def body(self, path: Path, encoding: str) -> Iterator[Record]:
        """Yields the records below the header; raises FormatError for a wrong number of fields."""
        for record in self.records(numbered_lines(path, encoding)):
            if record.number <= self.header_line:
                continue
            if len(record.fields) != self.num_fields:
                raise at_line(path, record.number, self.expected(record.fields))
            yield record

    def places(self, path: Path, columns: str) -> tuple[int, ...]:
        """The indices of row, column and, if there is one, count; () if `columns` is "all".

        Raises:
          FormatError: if the file does not have the fields `columns`, as for `SparseCounts`.
        """
        if columns in ("", ALL):
            return tuple(range(min(3, self.num_fields))) if not columns else ()
        try:
            return fields_named(columns, self.header, self.num_fields)
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from error

    def misfits(self, records: Iterable[Record]) -> list[Record]:
        """The records with a wrong number of fields."""
        return [r for r in records if len(r.fields) != self.num_fields]

    def expected(self, fields: list[str]) -> str:
        """The message about a line with a wrong number of fields."""
        return (
            f"expected {self.num_fields} fields between {_DELIMITERS[self.delimiter]}, as in "
            f"the first line, got {len(fields)}"
        )


def find_layout(path: Path, columns: str = "", encoding: str = "") -> Layout:
    """Finds the delimiter that splits all of the first lines into equally many fields.

    If there are several, one that gives a number in the third field is preferred, and then the
    first of tabs, "::", semicolons, commas and blanks. Above a matrix, the first line may have one
    field less, as R writes it. It is a header if `columns` are names, or else by `is_header`.

    Args:
      path: the file.
      columns: as for `SparseCounts`.
      encoding: the encoding of the text.

    Raises:
      FormatError: if the first lines cannot be split so.
    """
    lines = numbered_lines(path, encoding)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise FormatError(f"{path} is empty; expected lines of 'row column count'")
    layouts = [
        Layout(d, d in (";", ",") or (d in ("\t", "") and first[1][0] == '"')) for d in _DELIMITERS
    ]
    samples = [(layout, _sample(path, layout, encoding)) for layout in layouts]
    samples = [
        (layout._replace(num_fields=len(records[0].fields)), records)
        for layout, records in samples
        if records and len(records[0].fields) > 1
    ]
    if not samples:
        problem = f"expected a row and a column between delimiters, got {shown(first[1])}"
        raise at_line(path, first[0], problem)
    fitting = [(layout, records) for layout, records in samples if not layout.misfits(records)]
    fitting = fitting or [found for found in map(_of_short_header, samples) if found]
    if not fitting:
        layout, records = samples[0]
        number, fields = layout.misfits(records)[0]
        raise at_line(path, number, layout.expected(fields))
    fitting.sort(key=lambda found: not any(map(is_number, found[1][-1].fields[2:3])))
    return _with_header(path, *fitting[0], columns)


def _sample(path: Path, layout: Layout, encoding: str) -> list[Record]:
    try:
        records = layout.records(numbered_lines(path, encoding))
        return list(itertools.islice(records, _SAMPLE))
    except csv.Error:  # the quotation marks do not delimit fields
        return []


def _of_short_header(found: tuple[Layout, list[Record]]) -> tuple[Layout, list[Record]] | None:
    """The layout with an unnamed first field, if the file is a matrix written by R; else None."""
    layout, (head, *body) = found
    whole = layout._replace(num_fields=layout.num_fields + 1)
    titles = ["", *head.fields]
    if not body or whole.misfits(body):
        return None
    if arrangement(titles, [record.fields for record in body]) != "matrix":
        return None
    return whole, [head._replace(fields=titles), *body]


def _with_header(path: Path, layout: Layout, records: list[Record], columns: str) -> Layout:
    (number, titles), *rest = records
    lines = tuple(tuple(fields) for _, fields in rest)
    if columns in ("", ALL) or are_numbers(columns):
        places = layout.places(path, columns) or range(layout.num_fields)
        if not is_header(titles, lines, places[:3]):
            return layout._replace(sample=(tuple(titles), *lines))
    if not rest:
        raise FormatError(f"{path} has a header, but no lines of 'row column count' below it")
    return layout._replace(header_line=number, header=tuple(titles), sample=lines)


def _between_blanks(line: str) -> list[str]:
    """The fields as pandas splits them; `str.split` would also split at non-breaking spaces."""
    return re.split(f"[{_BLANKS}]+", line.strip(_BLANKS))
