"""Counts at the border: checked in NumPy, before JAX can wrap, round or cast them silently.

Whole numbers from 0 to 2^24 of any type of integers or floats are counts. Anything else is an error
that names the first bad value, or the type: nothing is rounded, clipped, wrapped or left out. Sums
are taken in float64, whatever small type the counts have. Rows and columns without counts are data
like others.
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
"""What holds of counts, in the order in which it is checked."""


def check_counts(counts: ArrayLike, name: str = "counts") -> np.ndarray:
    """Returns `counts`, a matrix of rows × columns, as float64, or says what is wrong with it.

    Args:
      counts: integers, or floats that are whole numbers, of shape (N, M).
      name: how error messages call them.

    Raises:
      TypeError: for an array that is not of numbers (objects, strings, booleans, times), or that
        is masked.
      ValueError: for an array that is not a matrix or is empty, and for values that are NaN,
        infinite, negative, fractional, or larger than 2^24 (not exact in float32).
    """
    array = as_array(counts, name)
    check_kind(array.dtype, array.shape, name)
    check_values(array.ravel(), lambda position: divmod(position, array.shape[1]), name)
    return array.astype(np.float64)


def as_array(counts: ArrayLike, name: str) -> np.ndarray:
    """An array in NumPy, float16 as float32; raises TypeError for one whose mask would be lost."""
    if isinstance(counts, np.ma.MaskedArray):
        raise TypeError(f"{name} must be numbers, got a masked array; say what is behind the mask")
    array = np.asarray(counts)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_kind(dtype: np.dtype, shape: tuple[int, ...], name: str) -> None:
    """Raises TypeError unless `dtype` is of real numbers, ValueError unless `shape` is (N, M)."""
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
    """Raises ValueError, with the first bad value and its cell, unless all `values` are counts.

    Args:
      values: the numbers to check, of shape (E,).
      cell_of: the row and the column of a position in `values`; called for the message only.
      name: how the message calls them.
      rules: those of `RULES` that are checked.
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
