import numpy as np
import pytest
import scipy.sparse as sp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import scipy_npz

DENSE = np.array([[0, 3, 0], [7, 0, 0], [0, 0, 0], [1, 0, 200]])


@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_a_saved_matrix_is_read(tmp_path, make):
    sp.save_npz(tmp_path / "counts.npz", make(DENSE))
    raw = scipy_npz.read(tmp_path / "counts.npz")
    np.testing.assert_array_equal(raw.matrix.toarray(), DENSE)
    assert raw.row_names is raw.column_names is None


def test_names_are_read_from_files_beside(tmp_path):
    sp.save_npz(tmp_path / "counts.npz", sp.csr_array(DENSE))
    (tmp_path / "vocab.txt").write_text("a\nb b\nç\n", encoding="utf-8")
    raw = scipy_npz.read(tmp_path / "counts.npz")
    assert raw.row_names is None
    assert raw.column_names.tolist() == ["a", "b b", "ç"]
    (tmp_path / "columns.txt").write_text("x\ny\nz\n")
    (tmp_path / "rows.txt").write_text("1\n2\n3\n4\n")
    raw = scipy_npz.read(tmp_path / "counts.npz")
    assert (raw.row_names.tolist(), raw.column_names.tolist()) == (list("1234"), list("xyz"))
    (tmp_path / "columns.txt").write_text("x\ny\nç\n", encoding="latin-1")
    assert scipy_npz.read(tmp_path / "counts.npz", "latin-1").column_names[2] == "ç"
    (tmp_path / "rows.txt").write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"rows\.txt has 2 lines, but .*counts\.npz needs 4 names"):
        scipy_npz.read(tmp_path / "counts.npz")
    (tmp_path / "rows.txt").write_text("1\n2\n3\n4\n5\n")
    with pytest.raises(ValueError, match=r"rows\.txt has 5 lines, but .*counts\.npz needs 4 names"):
        SparseCounts(path=str(tmp_path / "counts.npz")).load()


def test_dense_arrays_are_refused_with_the_way_out(tmp_path):
    np.savez(tmp_path / "counts.npz", ratings=np.ones(3))
    with pytest.raises(ValueError, match=r"has ratings\.npy: save a dense matrix by numpy\.save"):
        scipy_npz.read(tmp_path / "counts.npz")


def write_text(path):
    path.write_text("no zip at all")


def write_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_half(path):
    sp.save_npz(path, sp.csr_array(np.eye(100)))
    path.write_bytes(path.read_bytes()[:300])


def write_flipped_bytes(path):
    sp.save_npz(path, sp.csr_array(np.arange(10_000.0).reshape(100, 100)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)


def write_booleans(path):
    sp.save_npz(path, sp.eye_array(3, dtype=bool, format="csr"))


def write_indices_outside(path):
    counts = sp.csr_array(np.eye(3))
    counts.indices[0] = 7
    sp.save_npz(path, counts)


@pytest.mark.parametrize(
    "write",
    [
        write_text,
        write_array,
        write_half,
        write_flipped_bytes,
        write_booleans,
        write_indices_outside,
        lambda path: path.touch(),
    ],
)
def test_a_file_without_counts_is_named_in_one_line(tmp_path, write):
    path = tmp_path / "broken.npz"
    write(path)
    with pytest.raises(ValueError, match=r"broken\.npz") as error:
        SparseCounts(path=str(path)).load()
    assert "\n" not in str(error.value)
