"""The names of rows and columns, and the look-up of rows and columns by name."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vigamma.errors import AmbiguousNameError, ConfigError, UnknownNameError

_NUM_NEAREST = 3
_MOST_COMPARED = 100_000  # beyond this, only names with the same first character are compared


def as_names(strings: Iterable[str]) -> np.ndarray:
    """Converts strings to an array of `StringDType`; shape (N,)."""
    return np.array(list(strings), np.dtypes.StringDType())


def numbered(size: int) -> np.ndarray:
    """The names "0", "1", ... of what has none."""
    return as_names(map(str, range(size)))


def repeated(names: np.ndarray) -> dict[str, int]:
    """The number of occurrences of each repeated name, in order of first occurrence."""
    listed = names.tolist()
    if len(set(listed)) == len(listed):
        return {}
    return {name: times for name, times in Counter(listed).items() if times > 1}


def name_order(names: np.ndarray) -> np.ndarray:
    """The order that sorts names: by value if all are integers, else as strings.

    An integer fits into 64 bits and has no leading zero or plus sign: "007" is a string.
    """
    try:
        numbers = names.astype(np.int64)
    except (ValueError, OverflowError):
        return np.argsort(names, kind="stable")
    are_integers = np.array_equal(numbers.astype(names.dtype), names)
    return np.argsort(numbers if are_integers else names, kind="stable")


def in_order(names: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts names by `name_order`, and maps indices into `names` to the sorted names.

    Args:
      names: unique names; shape (N,).
      places: indices into `names`, from 0 to N - 1; shape (E,).

    Returns:
      The sorted names, and the indices into them, int32 of shape (E,).
    """
    order = name_order(names)
    sorted_place = np.empty(len(order), np.int32)
    sorted_place[order] = np.arange(len(order))
    return names[order], sorted_place[places]


def indices_of(
    names: np.ndarray, wanted: Sequence[str], kind: str = "row", ids: np.ndarray | None = None
) -> np.ndarray:
    """The index in `names` of each wanted name.

    Args:
      names: strings; shape (N,).
      wanted: the names to look up.
      kind: what messages call a named thing, for example "row".
      ids: other names, which hold where `names` has none; shape (N,).

    Raises:
      UnknownNameError: for a name that does not exist; lists those with the most similar spelling.
      AmbiguousNameError: for a name that occurs more than once; gives the number and positions.
    """
    places, times = places_of(names, ids), repeated(names)
    for name in wanted:
        if name in times:
            numbers = np.flatnonzero(names == name)[:_NUM_NEAREST]
            raise AmbiguousNameError(
                f"{times[name]:,} {kind}s are called {name!r} (numbers "
                f"{', '.join(map(str, numbers))}{', ...' if times[name] > len(numbers) else ''}, "
                f"from 0); names that are asked for must be unique in the data of the run"
            )
        if name not in places:
            near = _nearest(name, list(places))
            hint = f"; the nearest are {', '.join(map(repr, near))}" if near else ""
            raise UnknownNameError(f"there is no {kind} {name!r} among {len(names):,}{hint}")
    return np.array([places[name] for name in wanted], np.intp)


def places_of(names: np.ndarray, others: np.ndarray | None = None) -> dict[str, int]:
    """The index of every name, and of other names that are none; of a repeated name, the first."""
    listed = names.tolist()
    places = dict(zip(reversed(listed), range(len(listed) - 1, -1, -1), strict=True))
    return places if others is None else places_of(others) | places


def places_in_file(names: np.ndarray, ids: np.ndarray | None) -> dict[str, int]:
    """As `places_of`, by what files call columns: by ids, if there are any, and then by names."""
    return places_of(names) if ids is None else places_of(ids, names)


def split_names(
    names: np.ndarray, words: Sequence[str], ids: np.ndarray | None = None
) -> list[str]:
    """Splits at commas the words that are not names, or ids, themselves."""
    places = places_of(names, ids)
    return [
        name for word in words for name in ([word] if word in places else word.split(",")) if name
    ]


def read_names(path: Path) -> list[str]:
    """The non-blank lines of a text file in UTF-8.

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: if the file has no names, or is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ConfigError(f"{path} has no names")
    return names


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """Names with similar spelling, ignoring case; of very many, those with the same initial."""
    folded = name.casefold()
    if len(names) > _MOST_COMPARED:
        names = [other for other in names if other[:1].casefold() == folded[:1]][:_MOST_COMPARED]
    by_folded = {other.casefold(): other for other in reversed(names)}
    near = difflib.get_close_matches(folded, by_folded, _NUM_NEAREST, cutoff=0.5)
    return [by_folded[other] for other in near]
