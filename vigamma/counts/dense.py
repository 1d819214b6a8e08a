"""Validation of counts in NumPy, before JAX can wrap, round or cast them silently.

Counts are whole numbers from 0 to 2^24, of any integer or float type. Anything else raises an error
that names the first bad value or the type: nothing is rounded, clipped, wrapped or dropped. Sums
are computed in float64 whatever the type of the counts. Rows and columns without counts are valid
data.
"""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import ArrayLike

LARGEST_COUNT = 2**24
"""Integers up to here are exact in float32."""

_BROKEN = {
    "finite": lambda values: ~np.isfinite(values),
    "≥ 0": lambda values: values < 0,
    "whole numbers": lambda values: values != np.floor(values),
    f"at most {LARGEST_COUNT}": lambda values: values > LARGEST_COUNT,
}

RULES = tuple(_BROKEN)
"""The rules that counts satisfy, in the order in which they are checked."""


def check_counts(counts: ArrayLike, name: str = "counts") -> np.ndarray:
    """Validates a matrix of counts, rows × columns, and returns it as float64.

    Args:
      counts: integers, or floats that are whole numbers; shape (N, M).
      name: what error messages call the counts.

    Raises:
      TypeError: for an array that is not of real numbers (objects, strings, booleans, times), and
        for a masked array.
      ValueError: for an array that is not a matrix or is empty, and for values that are NaN,
        infinite, negative, fractional, or larger than 2^24 (not exact in float32).
    """
    array = as_array(counts, name)
    check_kind(array.dtype, array.shape, name)
    check_values(array.ravel(), lambda position: divmod(position, array.shape[1]), name)
    return array.astype(np.float64)


def as_array(counts: ArrayLike, name: str) -> np.ndarray:
    """Converts to a NumPy array, float16 to float32; raises TypeError for a masked array."""
    if isinstance(counts, np.ma.MaskedArray):
        raise TypeError(f"{name} must be numbers, got a masked array; say what is behind the mask")
    array = np.asarray(counts)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_kind(dtype: np.dtype, shape: tuple[int, ...], name: str) -> None:
    """Raises TypeError if `dtype` is not of real numbers, ValueError if `shape` is not (N, M)."""
    if dtype.kind not in "iufc":
        raise TypeError(f"{name} must be numbers, got an array of {dtype}")
    if np.issubdtype(dtype, np.complexfloating):
        raise TypeError(f"{name} must be real numbers, got an array of {dtype}")
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} must be a matrix with entries, got shape {shape}")


def check_values(
    values: np.ndarray,
    cell_of: Callable[[int], tuple[int | str, int | str]],
    name: str,
    rules: Collection[str] = RULES,
) -> None:
    """Raises ValueError, with the first bad value and its cell, if any value is not a count.

    Args:
      values: the numbers to check, of shape (E,).
      cell_of: returns the row and column of a position in `values`; called only for the message.
      name: what the message calls the counts.
      rules: the rules of `RULES` to check.
    """
    for rule in rules:
        bad = _BROKEN[rule](values)
        if bad.any():
            position = int(bad.argmax())
            row, column = cell_of(position)
            raise ValueError(
                f"{name} must be {rule}, but it is {values[position]} at row {row}, column "
                f"{column} ({bad.sum()} of {values.size} such values)"
            )
