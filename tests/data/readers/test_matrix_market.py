import gzip
import io

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import matrix_market, numbered_entries, text_matrix
from vigamma.data.readers.text_files import FormatError

BANNER = "%%MatrixMarket matrix"
HEADER = f"{BANNER} coordinate integer general\n"
SYMMETRIC = [[1, 2, 3], [2, 4, 5], [3, 5, 6]]


@settings(max_examples=15, deadline=None)
@given(
    counts=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)
    ),
    form=st.sampled_from([sp.coo_array, np.asarray]),
    is_zipped=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, counts, form, is_zipped):
    path = tmp_path_factory.mktemp("matrix") / f"counts.mtx{'.gz' * is_zipped}"
    written = io.BytesIO()
    scipy.io.mmwrite(written, form(counts))
    path.write_bytes(gzip.compress(written.getvalue()) if is_zipped else written.getvalue())
    matrix = matrix_market.read(path).matrix
    np.testing.assert_array_equal(matrix.toarray() if sp.issparse(matrix) else matrix, counts)


def test_patterns_count_one_and_symmetric_matrices_are_filled(tmp_path):
    path = tmp_path / "counts.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n1 1\n2 1\n")
    np.testing.assert_array_equal(matrix_market.read(path).matrix.toarray(), [[1, 1], [1, 0]])


def load(path, text, **fields):
    path.write_bytes(text.encode())
    return SparseCounts(path=str(path), **fields).load()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEADER}% a\n\n%b\r\n 2  2\t2\r\n\n1 1 2\r\n\n2\t2   1e3\r\n", [[2, 0], [0, 1000]]),
        (f"{BANNER} coordinate real general\n2 2 1\n2 1 3.0\n", [[0, 0], [3, 0]]),
        (f"{BANNER} coordinate pattern general\n2 2 2\n1 1\n1 1\n", [[2, 0], [0, 0]]),
        (f"{BANNER} coordinate integer symmetric\n2 2 2\n1 1 2\n2 1 3\n", [[2, 3], [3, 0]]),
        (f"{BANNER} array integer symmetric\n3 3\n1\n2\n3\n4\n5\n6\n", SYMMETRIC),
        (f"{BANNER.upper()} Array Real General\n2 3\n1\n2\n3\n4\n5\n6", [[1, 3, 5], [2, 4, 6]]),
    ],
)
def test_the_right_values(tmp_path, text, expected):
    loaded = load(tmp_path / "counts.mtx", text)
    np.testing.assert_array_equal(loaded.counts.toarray(), expected)
    assert "--config.data.transpose=True swaps them" in loaded.notes[0]


def test_a_matrix_that_is_called_like_that_of_10x_is_read_alone(tmp_path):
    counts = load(tmp_path / "matrix.mtx", f"{HEADER}1 2 1\n1 2 3\n").counts
    np.testing.assert_array_equal(counts.toarray(), [[0, 3]])


@pytest.mark.parametrize("form", ["coordinate integer skew-symmetric\n2 2 1\n2 1", "array"])
def test_of_skew_symmetric_matrices_the_other_half_is_negative(tmp_path, form):
    form = "array real skew-symmetric\n2 2\n" if form == "array" else f"{form} "
    text = f"{BANNER} {form}3\n"
    counts = load(tmp_path / "counts.mtx", text, at_least=1.0).counts
    np.testing.assert_array_equal(counts.toarray(), [[0, 0], [3, 0]])
    with pytest.raises(ValueError, match=r"≥ 0, but it is -3.0 at row 0, column 1"):
        load(tmp_path / "counts.mtx", text)


def test_rows_and_columns_can_be_swapped_with_their_names(tmp_path):
    (tmp_path / "rows.txt").write_bytes("gène\nb\n".encode("latin-1"))
    loaded = load(
        tmp_path / "counts.mtx", f"{HEADER}2 3 1\n2 3 7\n", transpose=True, encoding="latin-1"
    )
    np.testing.assert_array_equal(loaded.counts.toarray(), [[0, 0], [0, 0], [0, 7]])
    assert loaded.row_names is None
    assert loaded.column_names.tolist() == ["gène", "b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected a banner like '%%MatrixMarket matrix coordinate integer general'"),
        ("2 2 2\n1 1 2\n2 2 2\n", "line 1: expected a banner like .*, got '2 2 2'"),
        (f"\n{HEADER}1 1 1\n1 1 1\n", "line 1: expected a banner like .*, got ''"),
        (f"{BANNER} coordinate complex general\n1 1 0\n", "line 1: cannot read .*, integer, .*pat"),
        (f"{BANNER} array pattern general\n1 1\n1\n", "line 1: cannot read 'array pattern general"),
        (f"{BANNER} coordinate real hermitian\n1 1 0\n", "line 1: cannot read .*'hermitian'"),
        (HEADER, "line 1: expected the number of rows, .* below, but the file ends"),
        (f"{HEADER}2 2\n1 1 1\n", "line 2: expected the number of rows, .* entries, got '2 2'"),
        (
            f"{HEADER}99999999999 2 1\n1 1 2\n",
            "line 2: expected the number of rows, below 2\\^31, g",
        ),
        (
            f"{HEADER}2 -2 1\n1 1 2\n",
            "line 2: expected the number of columns, below 2\\^31, got '-2",
        ),
        (
            f"{HEADER}2 2 99999999999\n1 1 2\n",
            "line 2: expected 99999999999 entries below, got 1; ",
        ),
        (f"{BANNER} array real general\n2000000000 2000000000\n1\n", "line 2: expected 4000000000"),
        (f"{HEADER}2 2 1\n1 1 2\n1 2 2\n", "line 2: expected 1 entries below, got 2"),
        (f"{HEADER}2 2 1\n3 1 1\n", "line 3: expected a row from 1 to 2, got '3'"),
        (f"{HEADER}2 2 2\n1 1 1\n1.5 1 1\n", "line 4: expected a row from 1 to 2, got '1.5'"),
        (f"{HEADER}2 2 2\n1 1 1\n1 0 1\n", "line 4: expected a column from 1 to 2, got '0'"),
        (f"{HEADER}2 2 2\n1 1 1\n% a\n1 2 1\n", "line 4: expected 'row column value', got '% a'"),
        (
            f"{BANNER} coordinate pattern general\n1 1 1\n1 1 5\n",
            "line 3: expected 'row column', got",
        ),
        (f"{BANNER} array real general\n1 2\n1 2\n", "line 3: expected 'value', got '1 2'"),
        (
            f"{BANNER} coordinate real general\n1 1 1\n1 1 3,0\n",
            "line 3: expected a number, got '3,0",
        ),
        (
            f"{BANNER} coordinate real general\n1 1 1\n1 1 1d2\n",
            "line 3: expected a number, got '1d2",
        ),
        (
            f"{BANNER} coordinate real general\n1 1 1\n1 1 True\n",
            "line 3: expected a number, got 'T",
        ),
        (
            f"{BANNER} coordinate real symmetric\n2 3 0\n",
            "line 2: expected as many rows as columns",
        ),
        (
            f"{BANNER} coordinate real skew-symmetric\n3 2 1\n2 1 5\n",
            "line 2: expected as many rows as columns, as it is skew-symmetric",
        ),
        (f"{BANNER} coordinate real symmetric\n2 2 2\n1 1 1\n1 2 3\n", "line 4: .* below the diag"),
        (f"{BANNER} coordinate real symmetric\n2 2 2\n1 1 1\n\n1 2 3\n", "line 5: .* below the di"),
        (f"{BANNER} coordinate real skew-symmetric\n2 2 1\n1 1 1\n", "line 3: .* below the diag"),
        (
            f"{BANNER} coordinate real general\n2 2 2\n1 1 1\n2 2 inf\n",
            "line 4: expected a number, got 'inf'",
        ),
        (
            f"{BANNER} coordinate real general\n2 2 1\n1 1 1\n2 2 5\n",
            "line 2: expected 1 entries below, got 2$",
        ),
        (f"{HEADER}1 1 1\r1 1 1\r", "line 2: a carriage return stands inside the line"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, problem):
    with pytest.raises(FormatError, match=f"counts.mtx, {problem}"):
        load(tmp_path / "counts.mtx", text)


@pytest.mark.parametrize(
    "value", ["2.9", "1,234", "5abc", "0x1F", "", "1 7 8", "nan", "1e400", str(10**20), "2.5e0"]
)
@pytest.mark.parametrize("num_good", [0, 3])
def test_no_value_of_integers_is_changed_without_a_word(tmp_path, value, num_good):
    num_good = 2**18 if (value, num_good) == ("2.9", 3) else num_good  # more than a piece
    text = f"{HEADER}2 2 {num_good + 1}\n" + "1 1 2\n" * num_good + f"2 2 {value}\n"
    with pytest.raises(FormatError, match=f"line {num_good + 3}: expected .*, got '"):
        load(tmp_path / "counts.mtx", text)


@pytest.mark.parametrize("size", ["2000000000 2", "2 2000000000"])
def test_a_size_that_is_a_slip_is_refused_before_it_fills_the_memory(tmp_path, size):
    with pytest.raises(ValueError, match=r"2,000,000,000 .*, but has 1 entries; correct"):
        load(tmp_path / "counts.mtx", f"{HEADER}{size} 1\n1 1 3\n")


@pytest.mark.parametrize("reader", [numbered_entries, text_matrix])
def test_an_error_that_no_line_explains_is_not_lost(tmp_path, monkeypatch, reader):
    def fail(*_):
        raise ValueError("pandas does not like it")

    monkeypatch.setattr(reader, "_read", fail)
    entries, table = tmp_path / "counts.mtx", tmp_path / "counts.csv"
    entries.write_text(f"{HEADER}1 1 1\n1 1 3\n")
    table.write_text("cell,a,b\nc,1,2\n")
    columns = {numbered_entries: "", text_matrix: "all"}[reader]
    data = SparseCounts(path=str(table if columns else entries), columns=columns)
    with pytest.raises(FormatError, match=r"counts.* is not .*: pandas does not like it"):
        data.load()
