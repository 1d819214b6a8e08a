"""Counts at the border: checked in NumPy, before JAX can wrap, round or cast them silently."""

import numpy as np
from numpy.typing import ArrayLike

LARGEST_COUNT = 2**24
"""Integers up to here are exact in float32."""


def check_counts(counts: ArrayLike, name: str = "counts") -> np.ndarray:
    """Returns `counts`, a matrix of rows × columns, as float64, or says what is wrong with it.

    Args:
      counts: integers, or floats that are whole numbers, of shape (N, M).
      name: how error messages call them.

    Raises:
      TypeError: for an array that is not of numbers (objects, strings, booleans).
      ValueError: for an array that is not a matrix or is empty, and for values that are NaN,
        infinite, negative, fractional, or larger than 2^24 (not exact in float32).
    """
    array = np.asarray(counts)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number):
        raise TypeError(f"{name} must be numbers, got an array of {array.dtype}")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(f"{name} must be real numbers, got an array of {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be a matrix with entries, got shape {array.shape}")
    rules = (
        ("finite", ~np.isfinite(array)),
        ("≥ 0", array < 0),
        ("whole numbers", array != np.floor(array)),
        (f"at most {LARGEST_COUNT}", array > LARGEST_COUNT),
    )
    for rule, bad in rules:
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name} must be {rule}, but it is {array[row, column]} at row {row}, column "
                f"{column} ({bad.sum()} of {array.size} such values)"
            )
    return array.astype(np.float64)
