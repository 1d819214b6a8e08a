import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from tests.command import ROOT
from vigamma.data import files
from vigamma.data.files import SparseCounts
from vigamma.errors import ConfigError
from vigamma.runs.experiment import check_config

TRAIN = np.array([[200, 0, 0], [0, 5, 0]])
VALID = np.array([[0, 300, 0], [0, 0, 0]])
TEST = np.array([[0, 0, 0], [7, 0, 9]])


def save(folder, **parts):
    for name, part in parts.items():
        sp.save_npz(folder / f"{name}.npz", sp.csr_array(part))
    return str(folder)


def test_one_file_has_no_parts(tmp_path):
    save(tmp_path, counts=TRAIN)
    loaded = SparseCounts(path=str(tmp_path / "counts.npz")).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), TRAIN)
    assert loaded[1:8] == (None, None, None, (), None, None, None)


def test_a_folder_is_read_in_parts_and_summed(tmp_path):
    path = save(tmp_path, train=TRAIN, valid=VALID, test=TEST)
    counts, parts, *_ = SparseCounts(path=path).load()
    np.testing.assert_array_equal(counts.toarray(), TRAIN + VALID + TEST)
    assert counts.has_canonical_format
    for part, expected in zip(parts, (TRAIN, VALID, TEST), strict=True):
        np.testing.assert_array_equal(part.toarray(), expected)


def test_the_part_for_validation_may_be_missing(tmp_path):
    path = save(tmp_path, train=TRAIN, test=TEST)
    counts, parts, *_ = SparseCounts(path=path).load()
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


def test_shared_nonzeros_are_found_though_their_product_wraps_to_a_zero(tmp_path):
    path = save(tmp_path, train=np.array([[16, 1]]), test=np.array([[16, 0]]))
    with pytest.raises(ValueError, match=r"test.npz shares 1 nonzeros.*row 0, column 0;"):
        SparseCounts(path=path).load()


@pytest.mark.parametrize("name", ["test", "valid"])
def test_parts_of_another_shape_are_refused(tmp_path, name):
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    parts[name] = parts[name][:1] + 1
    with pytest.raises(ValueError, match=rf"{name}.npz has shape \(1, 3\).*\(2, 3\)"):
        SparseCounts(path=save(tmp_path, **parts)).load()


def test_parts_are_rounded_by_random_numbers_of_their_own(tmp_path):
    halves, nothing = np.full((1, 64), 0.5), np.zeros((1, 64))
    path = save(tmp_path, train=np.hstack([halves, nothing]), test=np.hstack([nothing, halves]))
    _, parts, *_ = SparseCounts(path=path, rounding="stochastic").load()
    assert not np.array_equal(parts.train.toarray()[:, :64], parts.test.toarray()[:, 64:])


def test_an_empty_path_says_how_to_set_it():
    with pytest.raises(ValueError, match=r"--config\.data\.path="):
        SparseCounts().load()
    with pytest.raises(ConfigError, match=r"config\.data\.path is not set"):
        check_config(SparseCounts(), "config.data")


@pytest.mark.parametrize("at_least", [-1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused(at_least):
    with pytest.raises(ValueError, match="at_least must be at least 0 and finite"):
        SparseCounts(path="a", at_least=at_least).validate()


@pytest.mark.parametrize("name", ["counts", "counts.txt"])
def test_a_file_of_another_name_is_known_by_its_beginning(tmp_path, name):
    path = tmp_path / name
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(TRAIN))
    path.write_bytes((tmp_path / "a.npz").read_bytes())
    np.testing.assert_array_equal(SparseCounts(path=str(path)).load().counts.toarray(), TRAIN)
    path.write_text("%%MatrixMarket matrix array integer general\n1 2\n3\n4\n")
    np.testing.assert_array_equal(SparseCounts(path=str(path)).load().counts.toarray(), [[3, 4]])


def test_a_folder_of_nothing_known_is_refused(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*train.npz .*nor a matrix.mtx"):
        SparseCounts(path=str(tmp_path)).load()


def test_only_a_large_file_is_announced(tmp_path, monkeypatch):
    path = save(tmp_path, train=TRAIN, test=TEST)
    assert SparseCounts(path=path).announcement() is None
    assert SparseCounts(path=str(tmp_path / "none")).announcement() is None
    with open(large := tmp_path / "large.npz", "wb") as file:
        file.truncate(20_000_000)
    assert SparseCounts(path=str(large)).announcement() == f"reading {large} (20 MB)"
    large.unlink()
    (tmp_path / "more").mkdir()
    with open(large, "wb") as file:
        file.truncate(2**24 - 1 - sum(part.stat().st_size for part in tmp_path.glob("t*.npz")))
    assert SparseCounts(path=path).announcement() is None
    large.unlink()
    monkeypatch.setattr(files, "_ANNOUNCED_BYTES", 1)
    assert SparseCounts(path=path).announcement() == f"reading {path} (0 MB)"


def test_pandas_is_imported_only_for_delimited_text(tmp_path):
    path = save(tmp_path, counts=TRAIN)
    code = (
        "import sys; from vigamma import SparseCounts; "
        f"SparseCounts(path={path + '/counts.npz'!r}).load(); "
        "assert not {'pandas', 'anndata', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
