"""Validation of sparse matrices of counts, and their canonical form in SciPy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array, csr_array, issparse, sparray, spmatrix

from vigamma.counts.dense import LARGEST_COUNT, as_array, check_kind, check_values

_LARGEST_NUMBER = 1e30  # products of larger numbers may overflow float32


def check_sparse_counts(counts: spmatrix | sparray | ArrayLike, name: str = "counts") -> csr_array:
    """Validates counts and returns them as canonical CSR.

    Canonical form: columns sorted within rows, duplicates summed, no stored zeros, counts in the
    smallest sufficient type of uint8, uint16 and int32, and int32 indices (if there are fewer than
    2^31 nonzeros). The input is not modified, but the result shares arrays that are already
    canonical.

    Args:
      counts: integers, or floats that are whole numbers; shape (N, M).
      name: what error messages call the counts.

    Raises:
      TypeError: for a matrix that is not of real numbers, and for a masked array.
      ValueError: for an array that is not a matrix or is empty, for a matrix without any nonzero,
        for indices outside the shape, and for values that, after duplicates are summed, are NaN,
        infinite, negative, fractional, or larger than 2^24 (not exact in float32).
    """
    matrix = summed(counts, name)
    check_values(matrix.data, lambda position: _cell_of(matrix, position), name)
    return canonical_counts(matrix, name)


def canonical_counts(matrix: csr_array, name: str = "counts") -> csr_array:
    """Brings validated counts into the canonical CSR form of `check_sparse_counts`.

    Args:
      matrix: whole numbers from 0 to 2^24, with sorted columns and no duplicates; shape (N, M).
      name: what the error message calls the counts.

    Raises:
      ValueError: if there is no nonzero.
    """
    if not matrix.data.any():
        raise ValueError(f"the matrix of {name} has no nonzero")
    small = _small_csr(matrix.data, matrix.indices, matrix.indptr, matrix.shape)
    return _without_zeros(small)


def canonical_numbers(numbers: spmatrix | sparray | ArrayLike) -> csr_array:
    """Brings numbers that need not be whole into the canonical CSR form of `check_sparse_counts`.

    If some are fractional or above 2^24, all are rounded to float32, with a relative error of up to
    6e-8. The matrix may have no nonzeros.

    Args:
      numbers: finite and non-negative, which is not checked; shape (N, M).

    Raises:
      ValueError: for a number above 1e30, whose products may overflow float32.
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
    """Converts numbers of any kind to CSR with sorted columns and no duplicates.

    Duplicates are summed in float64, so that sums do not wrap. The input is not modified.

    Raises:
      TypeError: for a matrix that is not of real numbers, and for a masked array.
      ValueError: for an array that is not a matrix or is empty, for a shape not below 2^31, and for
        indices outside the shape.
    """
    given: sparray = counts if issparse(counts) else as_array(counts, name)
    check_kind(given.dtype, given.shape, name)
    if max(given.shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{name} must have rows and columns below 2^31, got shape {given.shape}")
    given = _checked_indices(given, name)
    if issparse(given) and given.format not in ("csr", "csc"):  # conversion would wrap sums
        coo = given.tocoo(copy=False)
        given = coo_array((coo.data.astype(np.float64), coo.coords), shape=coo.shape)
    matrix = csr_array(given)
    if not matrix.has_canonical_format:
        matrix = matrix.astype(np.float64, copy=True)
        matrix.sum_duplicates()
    return matrix


def from_cells(cells: np.ndarray, counts: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Builds canonical CSR with `counts` at `cells` = row · M + column.

    Args:
      cells: int64 of shape (E,), strictly increasing.
      counts: positive integers of shape (E,).
      shape: (N, M).
    """
    num_rows, num_columns = shape
    row_starts = np.searchsorted(cells, np.arange(num_rows + 1) * num_columns)
    return _small_csr(counts, cells % num_columns, row_starts, shape)


def with_dropped(counts: csr_array, dropped: csr_array | None) -> csr_array:
    """True at every count and, if there is such a pattern, where `dropped` is; shape (N, M)."""
    arrays = (np.ones(counts.nnz, bool), counts.indices, counts.indptr)
    pattern = csr_array(arrays, shape=counts.shape)
    return pattern if dropped is None else pattern + dropped


def either(pattern: csr_array | None, other: csr_array | None) -> csr_array | None:
    """True where one of two boolean patterns of the same shape is; None is empty."""
    if pattern is None or other is None:
        return other if pattern is None else pattern
    return pattern + other


def rows_of(counts: csr_array) -> np.ndarray:
    """The row of every stored entry, int32 of shape (E,); `counts.indices` are the columns."""
    return np.repeat(np.arange(counts.shape[0], dtype=np.int32), np.diff(counts.indptr))


def _checked_indices(counts: spmatrix | sparray, name: str) -> spmatrix | sparray:
    """Checks that all indices are inside the shape, which SciPy does not do for CSR and CSC."""
    if not issparse(counts) or counts.format not in ("csr", "csc"):
        return counts
    try:
        arrays = (counts.data, counts.indices, counts.indptr)
        fresh = type(counts)(arrays, shape=counts.shape)  # the check may modify the matrix
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
    """CSR in the smallest types; arrays that already have them are not copied."""
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


def values_at(counts: csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The counts at some cells of a canonical matrix, in float64; 0 where it has none.

    SciPy searches the row of each cell, and allocates nothing of the size of the counts.
    """
    return np.asarray(counts[rows, columns], float)
