"""Files that give names to the rows or columns of counts, by their ids or in their order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vigamma.data.readers.delimited_layout import Layout
from vigamma.data.readers.ten_x_features import feature_names
from vigamma.data.readers.text_files import FormatError, numbered_lines, reading, shown

_DELIMITERS = ("\t", "::", "|", ";", ",")
_QUOTED = (";", ",")
_FEW = 3


def named_by(
    path: Path, ids: np.ndarray, side: str, encoding: str = ""
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Names the rows or columns of a matrix by a file.

    Each line has an id and a name, and possibly more, which is ignored; the delimiter is a tab,
    "::", "|", a semicolon or a comma, by which lines begin with ids of the matrix. Lines of other
    ids, a header among them, are passed over, and an id without a name keeps its id. A file of as
    many lines as there are ids, or one more for a header, of which fewer than half begin with one,
    has a name in each line, in the order of the matrix. Names that several ids share are followed
    by the id, as in "Hamlet (1207)".

    Args:
      path: a text, possibly compressed.
      ids: strings of `StringDType`; shape (N,).
      side: what messages call them: "rows" or "columns".
      encoding: the encoding of the text; "" for UTF-8, or that of a byte order mark.

    Returns:
      the names, like the ids, and a note if some of them have none.

    Raises:
      FileNotFoundError: if there is no such file.
      FormatError: for a file that is no text in the encoding, and for one that names none of them.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with reading(path, "a list of names"):
        lines = [line for _, line in numbered_lines(path, encoding) if line.strip()]
        known = ids.tolist()
        names = _names_by_id(path, encoding, set(known))
        surplus = len(lines) - len(known)
        if surplus in (0, 1) and 2 * len(names) < len(known):
            return feature_names(known, _plain(lines)[surplus:]), ()
    if not names:
        raise FormatError(
            f"{path} names none of the {len(known):,} {side}, which are {_listed(known)}: it must "
            f"have lines of an id and a name, as 'id,name', or {len(known):,} lines of names in "
            f"their order, got {len(lines):,} lines{_beginning(lines)}"
        )
    nameless = [own for own in known if own not in names]
    note = f"{path} has no name for {len(nameless):,} {side}, which keep their ids: "
    notes = (note + _listed(nameless),) if nameless else ()
    return feature_names(known, [names.get(own, own) for own in known]), notes


def _names_by_id(path: Path, encoding: str, known: set[str]) -> Mapping[str, str]:
    """The names of the known ids, by the first delimiter that finds any."""
    for delimiter in _DELIMITERS:
        has_quotes = delimiter in _QUOTED or _is_quoted(path, encoding, delimiter)
        records = Layout(delimiter, has_quotes).records(numbered_lines(path, encoding))
        pairs = [fields[:2] for _, fields in records if len(fields) > 1]
        # reversed, so that the first of several lines of an id holds
        names = {own: name for own, name in reversed(pairs) if own in known and name}
        if names:
            return names
    return {}


def _is_quoted(path: Path, encoding: str, delimiter: str) -> bool:
    """Whether fields between tabs are in quotation marks, as those of the first line are."""
    first = next((line for _, line in numbered_lines(path, encoding)), "")
    return delimiter == "\t" and first.startswith('"')


def _plain(lines: list[str]) -> list[str]:
    """The names of lines; quotation marks are left out where all of a line is quoted."""
    found = [next(Layout(",", True).records([(1, line)])).fields for line in lines]
    return [
        fields[0] if len(fields) == 1 else line.strip()
        for fields, line in zip(found, lines, strict=True)
    ]


def _listed(ids: list[str]) -> str:
    more = ", ..." if len(ids) > _FEW else ""
    return ", ".join(map(shown, ids[:_FEW])) + more


def _beginning(lines: list[str]) -> str:
    return f" that begin with {shown(lines[0])}" if lines else ""
