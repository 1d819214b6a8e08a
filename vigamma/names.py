"""Rows and columns by what they are called."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vigamma.data.names import repeated
from vigamma.errors import AmbiguousNameError, ConfigError, UnknownNameError

_NUM_NEAREST = 3
_MOST_COMPARED = 100_000


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
