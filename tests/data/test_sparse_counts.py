import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.counts.sparse import (
    canonical_numbers,
    check_sparse_counts,
    from_cells,
    rows_of,
)

DENSE = np.array([[0, 3, 0], [7, 0, 0], [0, 0, 0], [1, 0, 200]])


def assert_canonical(counts):
    assert isinstance(counts, sp.csr_array)
    fresh = sp.csr_array((counts.data, counts.indices, counts.indptr), shape=counts.shape)
    fresh.check_format(full_check=True)
    assert fresh.has_canonical_format
    assert (counts.data > 0).all()
    assert counts.indices.dtype == np.int32


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", ["coo", "csr", "csc", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_every_format_becomes_canonical_csr(kind, form, dtype):
    given_counts = getattr(sp, f"{form}_{kind}")(DENSE.astype(dtype))
    counts = check_sparse_counts(given_counts)
    assert_canonical(counts)
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts.toarray(), DENSE)


def test_dense_arrays_are_taken():
    counts = check_sparse_counts(DENSE.tolist())
    assert_canonical(counts)
    np.testing.assert_array_equal(counts.toarray(), DENSE)


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [
        (255, np.uint8),
        (256, np.uint16),
        (2**16 - 1, np.uint16),
        (2**16, np.int32),
        (2**24, np.int32),
    ],
)
def test_the_type_is_the_smallest_that_holds_all(largest, dtype):
    counts = check_sparse_counts([[1.0, largest]])
    assert counts.dtype == dtype
    assert counts[0, 1] == largest


@settings(max_examples=100, deadline=None)
@given(
    entries=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 255)), min_size=1
    ),
    form=st.sampled_from(["coo", "csr", "csc"]),
)
def test_duplicates_are_summed_without_wrapping_and_the_input_is_left_alone(entries, form):
    rows, columns, values = np.array(entries).T
    expected = np.zeros((4, 5), np.int64)
    np.add.at(expected, (rows, columns), values)
    expected[3, 4] += 255 + 255  # more than a uint8 holds
    stored = with_duplicates(
        form, np.append(rows, [3, 3]), np.append(columns, [4, 4]), np.append(values, [255, 255])
    )
    before = stored.copy()
    counts = check_sparse_counts(stored)
    assert_canonical(counts)
    np.testing.assert_array_equal(counts.toarray(), expected)
    np.testing.assert_array_equal(stored.data, before.data)
    for name in ("coords",) if form == "coo" else ("indices", "indptr"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(before, name))


def test_floats_are_summed_in_a_copy():
    stored = sp.csr_array((np.array([1.0, 2.0, 3.0]), [1, 1, 0], [0, 3]), shape=(1, 2))
    np.testing.assert_array_equal(check_sparse_counts(stored).toarray(), [[3, 3]])
    np.testing.assert_array_equal(stored.data, [1, 2, 3])


def with_duplicates(form, rows, columns, values):
    """A uint8 matrix of 4 × 5 with all entries as they are: SciPy would sum them, and wrap."""
    values = values.astype(np.uint8)
    if form == "coo":
        return sp.coo_array((values, (rows, columns)), shape=(4, 5))
    major, minor, size = (rows, columns, 4) if form == "csr" else (columns, rows, 5)
    order = np.argsort(major, kind="stable")
    pointers = np.searchsorted(major[order], np.arange(size + 1))
    make = sp.csr_array if form == "csr" else sp.csc_array
    return make((values[order], minor[order], pointers), shape=(4, 5))


def test_stored_zeros_are_removed_from_the_result_only():
    columns, row_starts = np.array([0, 1], np.int32), np.array([0, 2], np.int32)
    stored = sp.csr_array((np.array([0, 5], np.uint8), columns, row_starts), shape=(1, 2))
    assert check_sparse_counts(stored).nnz == 1
    for array, expected in ((stored.data, [0, 5]), (columns, [0, 1]), (row_starts, [0, 2])):
        np.testing.assert_array_equal(array, expected)


def test_canonical_counts_are_not_copied():
    counts = check_sparse_counts(DENSE)
    again = check_sparse_counts(counts)
    assert np.shares_memory(counts.data, again.data)
    assert np.shares_memory(counts.indices, again.indices)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, r"must be finite, but it is nan at row 1, column 2 \(1 of 3 such values\)"),
        (np.inf, "must be finite"),
        (-1.0, r"must be ≥ 0, but it is -1\.0 at row 1, column 2"),
        (0.5, r"must be whole numbers, but it is 0\.5"),
        (2**24 + 1, "must be at most 16777216, but it is 16777217"),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, sp.coo_array, sp.csr_array, sp.csc_array])
def test_values_that_are_not_counts_are_named(bad, message, make):
    with pytest.raises(ValueError, match=f"ratings {message}"):
        check_sparse_counts(make([[1, 0, 0], [0, 4, bad], [0, 0, 0]]), "ratings")


def test_the_first_entry_after_an_empty_row_is_named_by_its_own():
    with pytest.raises(ValueError, match="≥ 0, but it is -1 at row 2, column 0"):
        check_sparse_counts(sp.csr_array([[1, 2], [0, 0], [-1, 5]]))


def test_the_largest_count_is_one_of_sums():
    half = 2**23 + 1
    stored = sp.coo_array(([half, half], ([0, 0], [1, 1])), shape=(2, 2))
    with pytest.raises(ValueError, match="at most 16777216, but it is 16777218"):
        check_sparse_counts(stored)


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((0, 3)), 3, sp.coo_array([1, 2])])
def test_what_is_no_matrix_is_refused(bad):
    with pytest.raises(ValueError, match="must be a matrix with entries"):
        check_sparse_counts(bad)


@pytest.mark.parametrize("bad", [[["a"]], sp.eye_array(2, dtype=bool), 1j * sp.eye_array(2)])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(TypeError, match="numbers"):
        check_sparse_counts(bad)


def test_a_matrix_without_nonzeros_is_refused():
    stored_zero = sp.csr_array(([0], [0], [0, 1]), shape=(1, 2))
    for bad in (np.zeros((2, 2)), sp.csr_array((2, 2)), stored_zero):
        with pytest.raises(ValueError, match="has no nonzero"):
            check_sparse_counts(bad)


def test_more_columns_than_an_int32_counts_are_refused():
    with pytest.raises(ValueError, match="below 2\\^31"):
        check_sparse_counts(sp.coo_array(([1], ([0], [2**31])), shape=(1, 2**31 + 1)))


@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("index", [-1, 9])
def test_indices_outside_of_the_shape_are_refused(make, index):
    stored = make(np.ones((2, 2)))
    stored.indices[1] = index
    with pytest.raises(ValueError, match="counts must be a valid sparse matrix"):
        check_sparse_counts(stored)


@given(dense=hnp.arrays(np.int64, (3, 4), elements=st.sampled_from([0, 0, 1, 300])))
def test_cells_and_rows_are_inverse(dense):
    cells = np.flatnonzero(dense)
    counts = from_cells(cells, dense.ravel()[cells], dense.shape)
    np.testing.assert_array_equal(counts.toarray(), dense)
    np.testing.assert_array_equal(rows_of(counts), np.nonzero(dense)[0])
    assert_canonical(counts)


@pytest.mark.parametrize(
    ("factor", "dtype"), [(1.0, np.uint8), (300.0, np.uint16), (0.5, np.float32), (2e7, np.float32)]
)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_array])
def test_numbers_that_are_not_whole_are_floats(factor, dtype, form):
    numbers = canonical_numbers(form(factor * DENSE))
    assert_canonical(numbers)
    assert numbers.dtype == dtype
    np.testing.assert_array_equal(numbers.toarray(), factor * DENSE)


def test_numbers_may_all_be_zero_or_too_small_for_a_float32_but_not_too_large():
    assert canonical_numbers(np.zeros((2, 3))).nnz == 0
    assert canonical_numbers(np.array([[1e-60, 0.5]])).nnz == 1
    with pytest.raises(ValueError, match="at most"):
        canonical_numbers(np.array([[2e30]]))
