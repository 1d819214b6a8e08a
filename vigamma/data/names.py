"""What rows and columns are called."""

from collections import Counter
from collections.abc import Iterable

import numpy as np


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
