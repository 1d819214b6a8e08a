"""What rows and columns are called."""

from collections.abc import Iterable

import numpy as np


def as_names(strings: Iterable[str]) -> np.ndarray:
    """An array of `StringDType`, shape (N,)."""
    return np.array(list(strings), np.dtypes.StringDType())


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
