"""Columns of large delimited texts, read by pandas in pieces."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vigamma.data.readers.text_files import open_text

if TYPE_CHECKING:
    import pandas

_LINES_AT_ONCE = 2**18  # bounds the memory for a piece


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
    """Yields tables of successive lines, with the fields as columns 0, 1, 2, ...

    Args:
      path: a text, possibly compressed.
      types: the NumPy type of every field of a line; "object" for strings, None for fields that are
        not used. (As "category", pandas 3.1 would convert "007" to 7.)
      delimiter: one character, or "::", or "" for blanks.
      has_quotes: whether quotation marks delimit fields, and are not part of them.
      skipped_lines: the number of header lines.
      encoding: the encoding of the text; "" for UTF-8, or that of a byte order mark.
      lines_at_once: the number of lines in a piece.

    Raises:
      ValueError: for a line with too many fields, or too few to have the types.
    """
    import pandas as pd  # takes 0.5 s; only for these data

    is_long = len(delimiter) > 1
    surplus = len(types)  # the column of surplus fields
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
            float_precision="round_trip",  # others read 2.9999999999999996 as 3
        )
        for piece in pieces:
            if piece[surplus].any():
                raise ValueError("a line has too many fields")
            yield piece
