"""Sparse matrices of counts at the border: checked, and brought into one form, in SciPy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array, csr_array, issparse, sparray, spmatrix

from vigamma.counts.dense import LARGEST_COUNT, as_array, check_kind, check_values

_LARGEST_NUMBER = 1e30


def check_sparse_counts(counts: spmatrix | sparray | ArrayLike, name: str = "counts") -> csr_array:
    """Returns `counts` as canonical CSR, or says what is wrong with them.

    Canonical is: columns sorted within rows, duplicates summed, no stored zero, the counts in the
    smallest of uint8, uint16 and int32 that holds them, and indices in int32 (below 2^31 nonzeros).
    The input is not modified, but arrays that are canonical already are shared with the result.

    Args:
      counts: integers, or floats that are whole numbers, of shape (N, M).
      name: how error messages call them.

    Raises:
      TypeError: for a matrix that is not of numbers (objects, strings, booleans, times), or that
        is masked.
      ValueError: for an array that is not a matrix or is empty, for a matrix without any nonzero,
        for indices that do not fit the shape, and for values that, after duplicates are summed,
        are NaN, infinite, negative, fractional, or larger than 2^24 (not exact in float32).
    """
    matrix = summed(counts, name)
    check_values(matrix.data, lambda position: _cell_of(matrix, position), name)
    return canonical_counts(matrix, name)


def canonical_counts(matrix: csr_array, name: str = "counts") -> csr_array:
    """Canonical CSR, as of `check_sparse_counts`, of counts that have been checked.

    Args:
      matrix: whole numbers from 0 to 2^24, with sorted columns and no duplicates; shape (N, M).
      name: how the error message calls them.

    Raises:
      ValueError: if there is no nonzero.
    """
    if not matrix.data.any():
        raise ValueError(f"the matrix of {name} has no nonzero")
    small = _small_csr(matrix.data, matrix.indices, matrix.indptr, matrix.shape)
    return _without_zeros(small)


def canonical_numbers(numbers: spmatrix | sparray | ArrayLike) -> csr_array:
    """Canonical CSR, as of `check_sparse_counts`, of numbers that need not be whole.

    Where some are not, or are larger than 2^24, all are rounded to float32, by up to 6e-8 of each.
    There may be no nonzero at all.

    Args:
      numbers: finite and not negative, which is not checked; shape (N, M).

    Raises:
      ValueError: for a number above 1e30, whose products may leave float32.
    """
    matrix = summed(numbers, "numbers")
    values = matrix.data
    largest = values.max(initial=0)
    if largest > _LARGEST_NUMBER:
        raise ValueError(f"numbers must be at most {_LARGEST_NUMBER:g}, but one is {largest}")
    if largest > LARGEST_COUNT or (values.dtype.kind == "f" and (values != np.floor(values)).any()):
        return _without_zeros(matrix.astype(np.float32))
    return _without_zeros(_small_csr(values, matrix.indices, matrix.indptr, matrix.shape))


def summed(counts: spmatrix | sparray | ArrayLike, name: str = "counts") -> csr_array:
    """Returns numbers of any kind as CSR with sorted columns and no duplicates.

    Duplicates are summed in float64, and do not wrap. The input is not modified.

    Raises:
      TypeError: for a matrix that is not of numbers.
      ValueError: for an array that is not a matrix or is empty, and for indices that do not fit the
        shape or are not below 2^31.
    """
    given: sparray = counts if issparse(counts) else as_array(counts, name)
    check_kind(given.dtype, given.shape, name)
    if max(given.shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{name} must have rows and columns below 2^31, got shape {given.shape}")
    given = _checked_indices(given, name)
    if issparse(given) and given.format not in ("csr", "csc"):  # others sum as they convert
        coo = given.tocoo(copy=False)
        given = coo_array((coo.data.astype(np.float64), coo.coords), shape=coo.shape)
    matrix = csr_array(given)
    if not matrix.has_canonical_format:
        matrix = matrix.astype(np.float64, copy=True)
        matrix.sum_duplicates()
    return matrix


def from_cells(cells: np.ndarray, counts: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Canonical CSR with positive `counts` at `cells`, which are row · M + column and increase.

    Args:
      cells: int64 of shape (E,), without duplicates.
      counts: integers of shape (E,).
      shape: (N, M).
    """
    num_rows, num_columns = shape
    row_starts = np.searchsorted(cells, np.arange(num_rows + 1) * num_columns)
    return _small_csr(counts, cells % num_columns, row_starts, shape)


def rows_of(counts: csr_array) -> np.ndarray:
    """The row of every stored entry, int32 of shape (E,); `counts.indices` are the columns."""
    return np.repeat(np.arange(counts.shape[0], dtype=np.int32), np.diff(counts.indptr))


def _checked_indices(counts: spmatrix | sparray, name: str) -> spmatrix | sparray:
    """The same, all indices inside the shape: SciPy trusts those of CSR and CSC."""
    if not issparse(counts) or counts.format not in ("csr", "csc"):
        return counts
    try:
        arrays = (counts.data, counts.indices, counts.indptr)
        fresh = type(counts)(arrays, shape=counts.shape)  # the check writes to what it checks
        fresh.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"{name} must be a valid sparse matrix: {error}") from error
    return fresh


def _without_zeros(matrix: csr_array) -> csr_array:
    if matrix.data.all():
        return matrix
    copy = matrix.copy()
    copy.eliminate_zeros()
    return copy


def _small_csr(
    counts: np.ndarray, columns: np.ndarray, row_starts: np.ndarray, shape: tuple[int, int]
) -> csr_array:
    """CSR in the smallest types; arrays that have them already are not copied."""
    largest = counts.max(initial=0)
    dtype = next(t for t in (np.uint8, np.uint16, np.int32) if largest <= np.iinfo(t).max)
    index_dtype = np.int32 if counts.size <= np.iinfo(np.int32).max else np.int64
    arrays = (
        counts.astype(dtype, copy=False),
        columns.astype(index_dtype, copy=False),
        row_starts.astype(index_dtype, copy=False),
    )
    return csr_array(arrays, shape=shape)


def _cell_of(matrix: csr_array, position: int) -> tuple[int, int]:
    row = np.searchsorted(matrix.indptr, position, side="right") - 1
    return int(row), int(matrix.indices[position])
