import numpy as np
import pytest

from vigamma import check_counts


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64])
def test_whole_numbers_of_any_type_become_float64(dtype):
    counts = check_counts(np.array([[0, 255], [3, 4]], dtype))
    assert counts.dtype == np.float64
    assert counts.sum() == 262  # a sum in uint8 would have wrapped


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "must be finite, but it is nan at row 1, column 0"),
        (np.inf, "must be finite"),
        (-1, "must be ≥ 0, but it is -1"),
        (0.5, "must be whole numbers, but it is 0.5"),
        (2**24 + 1, "must be at most 16777216"),
    ],
)
def test_values_that_are_not_counts_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        check_counts([[1, 2], [bad, 3]])


def test_the_largest_count_is_one():
    assert check_counts([[2**24]]).tolist() == [[16_777_216.0]]


def test_large_int64_is_not_wrapped():
    with pytest.raises(ValueError, match="at most 16777216, but it is 2147483653"):
        check_counts(np.array([[2147483653]], np.int64))


@pytest.mark.parametrize("array", [[], [[]], [1, 2], 3, np.ones((2, 2, 2))])
def test_arrays_that_are_no_matrix_are_refused(array):
    with pytest.raises(ValueError, match="must be a matrix with entries"):
        check_counts(array)


@pytest.mark.parametrize("array", [[["a"]], [[None]], [[True]], [[1j]]])
def test_entries_that_are_no_numbers_are_refused(array):
    with pytest.raises(TypeError, match="numbers"):
        check_counts(array)
