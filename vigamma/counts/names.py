"""What rows and columns are called, and which are meant by a name."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vigamma.errors import AmbiguousNameError, ConfigError, UnknownNameError

_NUM_NEAREST = 3
_MOST_COMPARED = 100_000


def as_names(strings: Iterable[str]) -> np.ndarray:
    """An array of `StringDType`, shape (N,)."""
    return np.array(list(strings), np.dtypes.StringDType())


def repeated(names: np.ndarray) -> dict[str, int]:
    """How often each name comes that comes more than once, in the order in which they come."""
    listed = names.tolist()
    if len(set(listed)) == len(listed):
        return {}
    return {name: times for name, times in Counter(listed).items() if times > 1}


def name_order(names: np.ndarray) -> np.ndarray:
    """The order that sorts names: by value if all are integers, else by their characters.

    Integers are those of 64 bits without a leading zero or sign of plus: "007" is a string.
    """
    try:
        numbers = names.astype(np.int64)
    except (ValueError, OverflowError):
        return np.argsort(names, kind="stable")
    are_integers = np.array_equal(numbers.astype(names.dtype), names)
    return np.argsort(numbers if are_integers else names, kind="stable")


def in_order(names: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names sorted by `name_order`, and where among them is what stood at each of `places`.

    Args:
      names: that are unique; shape (N,).
      places: integers from 0 to N - 1; shape (E,).

    Returns:
      The sorted names, and places in int32 of shape (E,).
    """
    order = name_order(names)
    sorted_place = np.empty(len(order), np.int32)
    sorted_place[order] = np.arange(len(order))
    return names[order], sorted_place[places]


def indices_of(names: np.ndarray, wanted: Sequence[str], kind: str = "row") -> np.ndarray:
    """Where in `names` each of `wanted` is.

    Args:
      names: strings; shape (N,).
      wanted: what to look for.
      kind: what messages call a thing that has a name.

    Raises:
      UnknownNameError: for a name that does not exist; tells those that are spelled most like it.
      AmbiguousNameError: for a name that comes more than once; tells how often and where.
    """
    places, times = places_of(names), repeated(names)
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


def places_of(names: np.ndarray) -> dict[str, int]:
    """The index of every name; of a name that comes twice, the first."""
    listed = names.tolist()
    return dict(zip(reversed(listed), range(len(listed) - 1, -1, -1), strict=True))


def split_names(names: np.ndarray, words: Sequence[str]) -> list[str]:
    """Those of `words` that are names, and the others split at their commas."""
    places = places_of(names)
    return [
        name for word in words for name in ([word] if word in places else word.split(",")) if name
    ]


def read_names(path: Path) -> list[str]:
    """The lines of a text file in UTF-8 that are not blank.

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: if it has no names, or is not such a file.
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
    """Names that are spelled alike, capitals apart; of very many, those that begin alike."""
    folded = name.casefold()
    if len(names) > _MOST_COMPARED:
        names = [other for other in names if other[:1].casefold() == folded[:1]][:_MOST_COMPARED]
    by_folded = {other.casefold(): other for other in reversed(names)}
    near = difflib.get_close_matches(folded, by_folded, _NUM_NEAREST, cutoff=0.5)
    return [by_folded[other] for other in near]
