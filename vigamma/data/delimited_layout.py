"""How the lines of a delimited text are cut into fields."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vigamma.data.text_files import FormatError, at_line, is_number, numbered_lines, shown

_DELIMITERS = {"\t": "tabs", "::": "'::'", ";": "semicolons", ",": "commas", "": "blanks"}
_BLANKS = " \t"
_SAMPLE = 20
_TITLE = re.compile(
    "(row|col|column|user|item|doc|document|word|term|token|cell|barcode|gene|feature|movie|artist|"
    "track|song|book|customer|product|source|target)s?[ _-]?(id|name|index|number|key)?s?",
    re.IGNORECASE,
)


class Record(NamedTuple):
    """A line, or what quotation marks hold together; `number` is that of its last line."""

    number: int
    fields: list[str]


class Layout(NamedTuple):
    """What the first lines of a file tell of the others.

    Attributes:
      delimiter: what stands between fields; "" for blanks.
      has_quotes: whether quotation marks around a field are no part of it.
      num_fields: the fields of a line, at least two.
      header_line: the number of the line that names the fields; 0 if there is none.
      header: the names of the fields; [] if there are none.
    """

    delimiter: str
    has_quotes: bool
    num_fields: int = 0
    header_line: int = 0
    header: tuple[str, ...] = ()

    def records(self, lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
        """The records of all numbered lines that are not blank."""
        lines = iter(lines)
        for number, line in lines:
            if self.has_quotes and '"' in line:  # perhaps over several lines
                several = itertools.chain([line], (text for _, text in lines))
                reader = csv.reader((f"{text}\n" for text in several), delimiter=self.delimiter)
                fields = next(reader)
                number += reader.line_num - 1
            elif line.strip(" " if self.delimiter else _BLANKS):
                fields = line.split(self.delimiter) if self.delimiter else _between_blanks(line)
            else:
                continue
            yield Record(number, [field.strip() for field in fields])

    def misfit(self, records: Iterable[Record]) -> Record | None:
        """The first record with another number of fields."""
        return next((r for r in records if len(r.fields) != self.num_fields), None)

    def expected(self, fields: list[str]) -> str:
        """What a line of these fields should have been."""
        return (
            f"expected {self.num_fields} fields between {_DELIMITERS[self.delimiter]}, as in "
            f"the first line, got {len(fields)}"
        )


def find_layout(path: Path) -> Layout:
    """Finds the delimiter that cuts all of the first lines into equally many fields.

    Where several do, one with a number in the third field is preferred, and then tabs to "::", to
    semicolons, to commas, to blanks.

    A first line is a header if its third field is no number, nor any field before it; of two
    columns, if they are called like "user id" and "item", or if an integer stands below one that is
    none in all of the lines that are looked at.

    Raises:
      FormatError: for a file without such lines.
    """
    first = next(((number, line) for number, line in numbered_lines(path) if line.strip()), None)
    if first is None:
        raise FormatError(f"{path} is empty; expected lines of 'row column count'")
    layouts = [
        Layout(d, d in (";", ",") or (d == "\t" and first[1][0] == '"')) for d in _DELIMITERS
    ]
    samples = [(layout, _sample(path, layout)) for layout in layouts]
    samples = [
        (layout._replace(num_fields=len(records[0].fields)), records)
        for layout, records in samples
        if records and len(records[0].fields) > 1
    ]
    if not samples:
        problem = f"expected a row and a column between delimiters, got {shown(first[1])}"
        raise at_line(path, first[0], problem)
    fitting = [(layout, records) for layout, records in samples if not layout.misfit(records)]
    if not fitting:
        layout, records = samples[0]
        number, fields = layout.misfit(records)
        raise at_line(path, number, layout.expected(fields))
    fitting.sort(key=lambda found: not any(map(is_number, found[1][-1].fields[2:3])))
    return _with_header(path, *fitting[0])


def _sample(path: Path, layout: Layout) -> list[Record]:
    try:
        return list(itertools.islice(layout.records(numbered_lines(path)), _SAMPLE))
    except csv.Error:  # quotation marks that are none
        return []


def _with_header(path: Path, layout: Layout, records: list[Record]) -> Layout:
    (number, titles), *rest = records
    if layout.num_fields > 2:
        is_header = not any(map(is_number, titles[:3]))
    else:
        columns = list(zip(*(fields for _, fields in rest), strict=True))
        is_header = all(map(_TITLE.fullmatch, titles)) or any(
            all(map(_is_integer, column)) and not _is_integer(title)
            for title, column in zip(titles, columns, strict=False)
        )
    if not is_header:
        return layout
    if not titles[0]:
        problem = "the first column has no name; write the file without an index (index=False)"
        raise at_line(path, number, problem)
    if not rest:
        raise FormatError(f"{path} has a header, but no lines of 'row column count' below it")
    return layout._replace(header_line=number, header=tuple(titles))


def _between_blanks(line: str) -> list[str]:
    """The fields as pandas finds them; `str.split` also splits at blanks that do not break."""
    return re.split(f"[{_BLANKS}]+", line.strip(_BLANKS))


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
