import importlib

import numpy as np
import pytest
import scipy.sparse as sp

from vigamma.counts.names import as_names
from vigamma.data.files import SparseCounts
from vigamma.data.parts import find_parts, with_common_names
from vigamma.data.readers.raw_counts import RawCounts


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text)
    return str(folder)


def test_rows_and_columns_are_those_of_all_parts(tmp_path):
    path = write(
        tmp_path,
        train="10\t7\t3\n9\t8\t1\n",
        validation="9\t7\t2\n",
        test="11\t6\t4\n10\t8\t5\n",
        test_users="10\n",
    )
    loaded = SparseCounts(path=path).load()
    assert (loaded.row_names.tolist(), loaded.column_names.tolist()) == (
        ["9", "10", "11"],
        ["6", "7", "8"],
    )
    train, valid, test = (part.toarray().tolist() for part in loaded.parts)
    assert train == [[0, 0, 1], [0, 3, 0], [0, 0, 0]]
    assert valid == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert test == [[0, 0, 0], [0, 0, 5], [4, 0, 0]]
    np.testing.assert_array_equal(loaded.counts.toarray(), np.sum([train, valid, test], axis=0))


@pytest.mark.parametrize("end", ["npy", "npz", "parquet", "feather"])
def test_parts_may_be_of_any_format(tmp_path, end):
    parts = {"train": np.diag([1, 2, 0]), "test": np.diag([0, 0, 3])}
    for name, counts in parts.items():
        path = tmp_path / f"{name}.{end}"
        if end == "npy":
            np.save(path, counts)
        elif end == "npz":
            sp.save_npz(path, sp.csr_array(counts))
        else:
            pa = pytest.importorskip("pyarrow")
            rows, columns = counts.nonzero()
            table = pa.table({"row": rows, "column": columns, "count": counts[rows, columns]})
            save = importlib.import_module(f"pyarrow.{end}")
            (save.write_table if end == "parquet" else save.write_feather)(table, path)
    loaded = SparseCounts(path=str(tmp_path)).load()
    np.testing.assert_array_equal(loaded.parts.test.toarray(), parts["test"])
    np.testing.assert_array_equal(loaded.counts.toarray(), np.diag([1, 2, 3]))


def test_each_part_is_thresholded_and_has_its_notes(tmp_path):
    path = write(tmp_path, train="a\tb\t5\na\tc\t1\na\tc\t1\n", test="a\td\t4\na\te\t3\n")
    loaded = SparseCounts(path=path, at_least=3, binary=True).load()
    assert loaded.column_names.tolist() == ["b", "c", "d", "e"]
    assert loaded.counts.toarray().tolist() == [[1, 0, 1, 1]]
    notes = [note.rpartition("/")[2] for note in loaded.notes]
    assert notes == [
        notes[0],
        "test.tsv: entries that count 1 whatever they are (binary): 2",
        notes[2],
        "train.tsv: entries that repeat a cell, now summed: 1",
        "train.tsv: entries below 3, dropped: 1",
        "train.tsv: entries that count 1 whatever they are (binary): 1",
    ]


def test_folders_are_no_parts(tmp_path):
    write(tmp_path, train="a\tb\n", test="a\tc\n")
    (tmp_path / "train.csv").mkdir()
    assert find_parts(tmp_path) == {n: tmp_path / f"{n}.tsv" for n in ("test", "train")}


def test_two_files_of_one_part_are_refused(tmp_path):
    write(tmp_path, train="a\tb\n", test="a\tc\n", valid="a\td\n", validation="a\te\n")
    with pytest.raises(ValueError, match=r"valid.tsv and .*validation.tsv are both there"):
        find_parts(tmp_path)


def test_parts_with_and_without_names_are_refused(tmp_path):
    write(tmp_path, test="a\tc\n")
    sp.save_npz(tmp_path / "train.npz", sp.csr_array([[1]]))
    with pytest.raises(ValueError, match="all parts must have row names, or none of them"):
        SparseCounts(path=str(tmp_path)).load()


def test_names_that_come_twice_cannot_be_brought_together(tmp_path):
    raws = {
        tmp_path / name: RawCounts(sp.csr_array([[1, 1]]), as_names("r"), as_names(columns))
        for name, columns in (("train", "aa"), ("test", "ab"))
    }
    with pytest.raises(ValueError, match="train has column names that come twice"):
        with_common_names(raws)


def test_names_that_agree_keep_their_order(tmp_path):
    raws = {
        tmp_path / name: RawCounts(sp.csr_array([[1, 2]]), as_names("r"), as_names("ba"))
        for name in ("train", "test")
    }
    assert with_common_names(raws) == raws
