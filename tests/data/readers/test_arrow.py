"""Tables of Parquet and Arrow."""

import re
import sys

import pandas as pd
import pytest

from vigamma.data.files import SparseCounts
from vigamma.data.readers.text_files import FormatError
from vigamma.terminal.invocation import pip_install

TABLE = pd.DataFrame(
    {"user": [10, 9, 10], "film": ["b", "a", "a"], "stars": [2, 1, 5], "time": [0.5, 0.25, 0.1]}
)
ENDS = [".parquet", ".pq", ".feather", ".arrow"]


def write(path, table):
    table.to_parquet(path) if path.suffix in ENDS[:2] else table.to_feather(path)
    return str(path)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["int64", "string", "category"])
def test_the_first_three_columns_are_read_and_said(tmp_path, end, kind):
    path = write(tmp_path / f"a{end}", TABLE.astype({"user": kind}))
    loaded = SparseCounts(path=path).load()
    assert loaded.counts.toarray().tolist() == [[1, 0], [5, 2]]
    assert (loaded.row_names.tolist(), loaded.column_names.tolist()) == (["9", "10"], ["a", "b"])
    said = "rows are 'user', columns 'film', counts 'stars'; ignored: time"
    assert loaded.notes == (f"{path}: {said}",)


@pytest.mark.parametrize("end", [".parquet", ".feather"])
def test_endings_may_be_in_capitals(tmp_path, end):
    path = tmp_path / f"a{end}"
    write(path, TABLE)
    path = path.rename(tmp_path / f"A{end.upper()}")
    assert SparseCounts(path=str(path)).load().counts.toarray().tolist() == [[1, 0], [5, 2]]


@pytest.mark.parametrize("titles", ["userId movieId rating timestamp", "row column count batch"])
def test_ids_may_be_numbers(tmp_path, titles):
    table = pd.DataFrame([[1, 7, 5, 964982703], [2, 8, 1, 964982931]], columns=titles.split())
    loaded = SparseCounts(path=write(tmp_path / "a.parquet", table)).load()
    assert loaded.counts.toarray().tolist() == [[5, 0], [0, 1]]


def test_lines_of_two_columns_count_one(tmp_path):
    loaded = SparseCounts(path=write(tmp_path / "a.parquet", TABLE[["user", "film"]])).load()
    assert loaded.counts.toarray().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[["user"]], "must have lines of a row, a column and a count, got 3 lines of user"),
        (TABLE[:0], "got 0 lines"),
        (TABLE.replace({"film": {"a": ""}}), "an id is empty"),
        (pd.DataFrame(1, range(2), [f"gene{i}" for i in range(9)]), "gene0, .*may be a matrix: "),
        (pd.DataFrame({"gene": ["a", "b"], "s1": 1, "s2": 2, "s3": 0}), "may be a matrix"),
        (pd.DataFrame({"cell": ["a", "b"], "CD4": 1, "CD8": 2}), "may be a matrix: save .*=1,2,3"),
        (pd.DataFrame(1, ["x", "y"], ["g1", "g2"]), "may be a matrix"),
        (TABLE.astype({"stars": "string"}), "counts must be numbers, but stars is of"),
        (TABLE.astype({"stars": bool}), "counts must be numbers, but stars is of bool"),
        (TABLE.replace({"film": {"a": None}}), "2 values of film are missing"),
    ],
)
def test_other_tables_are_refused(tmp_path, table, message):
    with pytest.raises(FormatError, match=message):
        SparseCounts(path=write(tmp_path / "a.parquet", table)).load()


@pytest.mark.parametrize("end", ENDS)
def test_broken_files_and_a_missing_package_are_one_line(tmp_path, end, monkeypatch):
    (tmp_path / f"a{end}").write_bytes(b"PAR1 and no more")
    with pytest.raises(FormatError, match="is not a table of"):
        SparseCounts(path=str(tmp_path / f"a{end}")).load()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=f"needs pyarrow: {re.escape(pip_install('parquet'))}$"):
        SparseCounts(path=str(tmp_path / f"a{end}")).load()


def test_columns_are_chosen_by_name_or_number(tmp_path):
    path = write(tmp_path / "a.parquet", TABLE)
    for columns in ("film,user,stars", "2,1,3"):
        loaded = SparseCounts(path=path, columns=columns).load()
        assert loaded.counts.toarray().tolist() == [[1, 5], [0, 2]]
        assert (loaded.row_names.tolist(), loaded.column_names.tolist()) == (
            ["a", "b"],
            ["9", "10"],
        )
        assert loaded.notes[0].endswith("ignored: time")
    with pytest.raises(FormatError, match=r"asks for movie, .* there are user, film, stars, time"):
        SparseCounts(path=path, columns="user,movie").load()
    with pytest.raises(FormatError, match=r"may be a matrix: save a matrix as \.npz or \.h5ad"):
        SparseCounts(path=path, columns="all").load()
