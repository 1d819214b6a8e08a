import numpy as np
import pytest
import scipy.sparse as sp

from vigamma.config import check_config
from vigamma.data.files import SparseCounts
from vigamma.errors import ConfigError

TRAIN = np.array([[200, 0, 0], [0, 5, 0]])
VALID = np.array([[0, 300, 0], [0, 0, 0]])
TEST = np.array([[0, 0, 0], [7, 0, 9]])


def save(folder, **parts):
    for name, part in parts.items():
        sp.save_npz(folder / f"{name}.npz", sp.csr_array(part))
    return str(folder)


def test_one_file_has_no_parts(tmp_path):
    save(tmp_path, counts=TRAIN)
    counts, parts = SparseCounts(path=str(tmp_path / "counts.npz")).load()
    np.testing.assert_array_equal(counts.toarray(), TRAIN)
    assert parts is None


def test_a_folder_is_read_in_parts_and_summed(tmp_path):
    path = save(tmp_path, train=TRAIN, valid=VALID, test=TEST)
    counts, parts = SparseCounts(path=path).load()
    np.testing.assert_array_equal(counts.toarray(), TRAIN + VALID + TEST)
    assert counts.has_canonical_format
    for part, expected in zip(parts, (TRAIN, VALID, TEST), strict=True):
        np.testing.assert_array_equal(part.toarray(), expected)


def test_the_part_for_validation_may_be_missing(tmp_path):
    counts, parts = SparseCounts(path=save(tmp_path, train=TRAIN, test=TEST)).load()
    np.testing.assert_array_equal(counts.toarray(), TRAIN + TEST)
    assert parts.valid is None


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_other_parts_may_not(tmp_path, name):
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    del parts[name]
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}.npz"):
        SparseCounts(path=save(tmp_path, **parts)).load()


@pytest.mark.parametrize("name", ["test", "valid"])
def test_parts_that_share_a_nonzero_are_refused(tmp_path, name):
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    parts[name] = parts[name] + np.array([[56, 0, 0], [0, 1, 0]])  # 200 + 56 wraps to a zero
    with pytest.raises(ValueError, match=f"{name}.npz shares 2 nonzeros.*row 0, column 0;"):
        SparseCounts(path=save(tmp_path, **parts)).load()


@pytest.mark.parametrize("name", ["test", "valid"])
def test_parts_of_another_shape_are_refused(tmp_path, name):
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    parts[name] = parts[name][:1] + 1
    with pytest.raises(ValueError, match=rf"{name}.npz has shape \(1, 3\).*\(2, 3\)"):
        SparseCounts(path=save(tmp_path, **parts)).load()


def test_an_empty_path_says_how_to_set_it():
    with pytest.raises(ValueError, match=r"--config\.data\.path="):
        SparseCounts().load()
    with pytest.raises(ConfigError, match=r"config\.data\.path is not set"):
        check_config(SparseCounts(), "config.data")
