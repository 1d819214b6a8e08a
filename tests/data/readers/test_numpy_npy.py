"""Dense arrays of NumPy."""

import numpy as np
import pytest

from vigamma.data.files import SparseCounts
from vigamma.data.readers.text_files import FormatError


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64])
def test_a_matrix_is_read_with_names_beside_it(tmp_path, dtype):
    counts = np.array([[1, 0, 4, 0], [0, 30, 0, 0]], dtype)
    np.save(tmp_path / "a.npy", counts)
    (tmp_path / "columns.txt").write_text("a\nb\nc\nd\n")
    loaded = SparseCounts(path=str(tmp_path / "a.npy")).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), counts)
    assert (loaded.column_names.tolist(), loaded.notes) == (list("abcd"), ())


def test_three_columns_are_a_matrix_and_that_is_said(tmp_path):
    np.save(tmp_path / "a.npy", [[0, 1, 5], [1, 0, 2]])
    loaded = SparseCounts(path=str(tmp_path / "a.npy")).load()
    assert loaded.counts.toarray().tolist() == [[0, 1, 5], [1, 0, 2]]
    assert "taken for a matrix of 2 rows and 3 columns; if each line" in loaded.notes[0]


@pytest.mark.parametrize(
    "array", [np.ones(3), np.ones((2, 2, 2)), np.array([["a"]]), np.ones(2, "i4,i4")]
)
def test_other_arrays_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FormatError, match=r"a.npy must hold a matrix of numbers, .* of shape"):
        SparseCounts(path=str(tmp_path / "a.npy")).load()


def test_objects_and_broken_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[None]]), allow_pickle=True)
    with pytest.raises(FormatError, match="is not an array saved by NumPy: Object arrays"):
        SparseCounts(path=str(tmp_path / "a.npy")).load()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(FormatError, match="is not an array saved by NumPy"):
        SparseCounts(path=str(tmp_path / "a.npy")).load()


def test_a_zipped_array_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "a.npy.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(FormatError, match=r"is compressed, and .npy is not unpacked: do so first"):
        SparseCounts(path=str(tmp_path / "a.npy.gz")).load()
