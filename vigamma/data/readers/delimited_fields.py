"""Which fields of a line are row, column and count: as configured, or inferred from the text."""

import re
from collections.abc import Iterator, Sequence

from vigamma.counts.dense import LARGEST_COUNT
from vigamma.counts.words import Words
from vigamma.data.readers.text_files import is_number

ALL = "all"
"""The value of `columns` for a matrix."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NOUNS = (
    "user item doc document word term token cell barcode gene feature movie film artist track song "
    "album book customer product reviewer author reader member person client patient sample "
    "visitor session business place venue page article paper tag category"
)
_THINGS = (
    f"{_NOUNS} row col column source target title isbn asin sku url uri uuid ensembl symbol index "
    "name key"
)
_ENDS = ("", "s", "id", "ids", "name", "names")
_SHORT = {"doc": "document", "barcode": "cell"}
_IDS = {f"{thing}{end}" for thing in _THINGS.split() for end in _ENDS}
_IDS |= {"id", "ids", "code", "no", "nr", "number", *(f"{letter}id" for letter in "abcdgimpstuw")}
_COUNT_WORDS = (
    "count counts cnt n num value values val rating ratings stars score scores freq frequency tf "
    "weight weights plays listens clicks views visits times quantity qty amount total umi umis "
    "reads"
)
_COUNTS = set(_COUNT_WORDS.split())
_FEW = 8  # more numeric fields than this make a matrix
_MOST_SHOWN = 12
_MOST_IGNORED = 5
_NO_NAME = re.compile(r"(Unnamed: \d+)?")  # the default titles of an index in pandas


def check_columns(columns: str) -> None:
    """Raises ValueError if `columns` of `SparseCounts` has an invalid form."""
    fields = columns.split(",")
    is_good = len(fields) in (2, 3) and len(set(fields)) == len(fields) and all(fields)
    if columns not in ("", ALL) and not (is_good and "0" not in fields):
        raise ValueError(
            "columns must be the fields of row, column and count, as 'user,item,count' or '1,2,4', "
            f"or of row and column, or {ALL!r} for a matrix; got {columns!r}"
        )


def are_numbers(columns: str) -> bool:
    """Whether `columns` names fields by their numbers."""
    return all(map(str.isdecimal, columns.split(",")))


def fields_named(columns: str, titles: Sequence[str], num_fields: int) -> tuple[int, ...]:
    """The indices of the fields in `columns`; raises ValueError unless each occurs exactly once."""
    names = columns.split(",")
    found = [*map(str, range(1, num_fields + 1))] if are_numbers(columns) else list(titles)
    for name in names:
        if found.count(name) != 1:
            few = ", ".join(titles[:_MOST_SHOWN]) or f"{num_fields} fields without names"
            more = f" and {len(titles) - _MOST_SHOWN} more" if len(titles) > _MOST_SHOWN else ""
            raise ValueError(
                f"--config.data.columns={columns} asks for {name}, which must be there once; there "
                f"are {few}{more}"
            )
    return tuple(map(found.index, names))


def also_ignored(names: Sequence[str]) -> str:
    """The end of a note, with the names of fields that are not read, if any."""
    more = f" and {len(names) - _MOST_IGNORED} more" if len(names) > _MOST_IGNORED else ""
    return f"; ignored: {', '.join(names[:_MOST_IGNORED])}{more}" if names else ""


def is_id_title(title: str) -> bool:
    """Whether a title denotes ids, by words like "user", "movieId" or "item_name"."""
    words = _WORD.findall(title)
    return bool(words) and all(word.lower() in _IDS for word in words)


def words_of(row_title: str, column_title: str) -> Words:
    """What titles of ids call rows and columns: users and movies, of "userId" and "movie_ids"."""
    return Words.of(_thing_of(row_title), _thing_of(column_title))


def _thing_of(title: str) -> str:
    """The noun in a title of ids; "" if it has none, or a general one such as "row" or "id"."""
    if not is_id_title(title):
        return ""
    first = _WORD.findall(title)[0].lower()
    nouns = (noun for noun in _NOUNS.split() if first in {f"{noun}{end}" for end in _ENDS})
    found = next(nouns, "")
    return _SHORT.get(found, found)


def is_count_title(title: str) -> bool:
    """Whether a title denotes counts, by words like "rating" or "n", but not "n2"."""
    words = [word.lower() for word in _WORD.findall(title)]
    return not any(map(str.isdecimal, words)) and not _COUNTS.isdisjoint(words)


def has_no_name(title: str) -> bool:
    """Whether a title is empty or that of an unnamed index in pandas."""
    return _NO_NAME.fullmatch(title) is not None


def is_header(titles: Sequence[str], lines: Sequence[Sequence[str]], places: Sequence[int]) -> bool:
    """Whether the first line is a header, rather than data.

    It is a header if its first field is an unnamed index of pandas; if its fields are 0, 1, 2, ...,
    the default columns of pandas; or if neither the count nor an id is a number. With only two
    fields, it is a header if both are titles of ids, or if one differs in kind from the fields
    below it.

    Args:
      titles: the fields of the first line.
      lines: the fields of the next lines.
      places: the indices of the row, the column and, if there is one, the count.
    """
    columns = list(zip(*lines, strict=True))
    if has_no_name(titles[0]) or _are_numbered(titles, columns):
        return True
    if len(places) > 2:
        return not any(is_number(titles[place]) for place in places)
    return all(map(is_id_title, titles)) or any(map(_stands_out, titles, columns))


def _are_numbered(titles: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether titles are consecutive numbers: after a title of ids, or from 0 on and not ids."""
    first, *others = titles
    if not all(map(_is_integer, others)):
        return False
    start, size = int(others[0]), len(titles)
    if others != [str(number) for number in range(start, start + size - 1)]:
        return False
    if first == "0" and start == 1:
        are_ids = any(any(map(_is_integer, column)) for column in columns[:2])
        return size > 3 or (bool(columns) and not are_ids)
    return is_id_title(first) and size > 3 and bool(columns)


def _stands_out(title: str, column: Sequence[str]) -> bool:
    """Whether a title differs from its column: not an integer above integers, or no digits."""
    if all(map(_is_integer, column)):
        return not _is_integer(title)
    have_digits = [any(map(str.isdigit, text)) for text in column]
    return len(column) > 1 and all(have_digits) and not any(map(str.isdigit, title))


def arrangement(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Whether lines are the "entries" of a matrix, the rows of a "matrix", or "unclear".

    All fields of a matrix are numbers, except possibly the first. Lines are entries if the header
    has titles of ids or counts, if there are numbers too large for counts, such as times, or if
    only the third of several fields is a number. Three fields without a header are entries, too,
    unless there is a zero among the counts, which a list of entries would omit.

    Args:
      titles: the names of the fields; empty if there are none.
      lines: the fields of some lines.
    """
    columns = list(zip(*lines, strict=True))
    is_numeric = [all(map(is_number, column)) for column in columns]
    if len(columns) < 3 or not is_numeric[2] or _are_titles_of_entries(titles):
        return "entries"
    if any(float(text) > LARGEST_COUNT for text in _numbers(columns[1:])):
        return "entries"
    is_distinct = len(set(columns[0])) == len(lines)
    if not all(is_numeric[1:]):
        return "unclear" if is_distinct and sum(is_numeric[2:]) > 1 else "entries"
    if len(columns) > _FEW:
        return "matrix"
    if len(columns) == 3:
        if not titles:
            return "unclear" if any(float(text) == 0 for text in columns[2]) else "entries"
        if has_no_name(titles[0]):
            return "matrix"
        return "unclear" if is_distinct else "entries"
    if titles:
        return "matrix" if is_distinct or not has_row_names(titles, lines) else "unclear"
    return "unclear" if is_distinct or is_numeric[0] else "entries"


def has_row_names(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> bool:
    """Whether the first field of a matrix holds the names of its rows."""
    is_called_so = bool(titles) and (has_no_name(titles[0]) or is_id_title(titles[0]))
    return is_called_so or not all(is_number(fields[0]) for fields in lines)


def _are_titles_of_entries(titles: Sequence[str]) -> bool:
    if not 2 < len(titles) <= _FEW:
        return False
    pairs = titles[:2], titles[1:3]
    is_count = is_count_title(titles[2]) and not is_count_title(titles[1])
    return is_count or any(all(map(is_id_title, pair)) for pair in pairs)


def _numbers(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    return (text for column in columns for text in column if is_number(text))


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
