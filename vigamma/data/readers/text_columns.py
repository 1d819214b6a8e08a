"""Columns of large delimited texts, read by pandas a piece at a time."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vigamma.data.readers.text_files import open_text

if TYPE_CHECKING:
    import pandas

_LINES_AT_ONCE = 2**18


def read_columns(
    path: Path,
    types: Sequence[str | None],
    *,
    delimiter: str = "",
    has_quotes: bool = False,
    skipped_lines: int = 0,
    encoding: str = "",
    lines_at_once: int = _LINES_AT_ONCE,
) -> Iterator["pandas.DataFrame"]:
    """Yields the fields of some lines at a time, as the columns 0, 1, 2, ...

    Args:
      path: a text, perhaps compressed.
      types: a type of NumPy for every field of a line; "object" for strings, None for fields that
        nobody looks at. (As "category", pandas 3.1 would take "007" for 7.)
      delimiter: one character, or "::", or "" for blanks.
      has_quotes: whether quotation marks around a field are no part of it.
      skipped_lines: the lines of a header.
      encoding: of the text; "" for UTF-8, or what a byte order mark says.
      lines_at_once: how many lines a piece has.

    Raises:
      ValueError: for a line with too many fields, or too few to have the types.
    """
    import pandas as pd  # half a second, which other data need not wait for

    is_long = len(delimiter) > 1
    surplus = len(types)  # a column for what is too much
    with open_text(path, delimiter if is_long else "", encoding) as text:
        pieces = pd.read_csv(
            text,
            sep="\t" if is_long else delimiter or r"\s+",
            header=None,
            skiprows=skipped_lines,
            names=range(surplus + 1),
            dtype={field: kind for field, kind in enumerate([*types, "object"]) if kind},
            na_filter=False,
            skipinitialspace=True,
            quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
            chunksize=lines_at_once,
            low_memory=False,
            float_precision="round_trip",  # others are off by 1e-16, and 2.9999999999999996 is 3
        )
        for piece in pieces:
            if piece[surplus].any():
                raise ValueError("a line has too many fields")
            yield piece
