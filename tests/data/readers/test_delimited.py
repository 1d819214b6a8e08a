import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.slow import slow_after
from vigamma.data.files import SparseCounts
from vigamma.data.readers import delimited
from vigamma.data.readers.text_files import FormatError, open_text

MORE_THAN_A_PIECE = 2**18


def load(path, text, **fields):
    path.write_text(text)
    return SparseCounts(path=str(path), **fields).load()


def cells(loaded) -> dict[tuple[str, str], int]:
    coo = loaded.counts.tocoo()
    rows, columns = loaded.row_names[coo.row], loaded.column_names[coo.col]
    return dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), coo.data, strict=True))


def test_movielens_100k(tmp_path):
    loaded = load(tmp_path / "u.data", "196\t242\t3\t881250949\n22\t377\t1\t878887116\n")
    assert cells(loaded) == {("196", "242"): 3, ("22", "377"): 1}
    assert loaded.row_names.tolist() == ["22", "196"]
    (note,) = loaded.notes
    assert r"first line, '196\t242\t3\t881250949', the row is '196', the column '242'" in note
    assert note.endswith("the count '3'; ignored: field 4; --config.data.columns names others")


def test_movielens_of_half_stars_is_thresholded_or_explained(tmp_path):
    text = "userId,movieId,rating,timestamp\n1,296,5.0,11\n1,306,3.5,12\n2,306,4.0,13\n2,7,0.5,1\n"
    loaded = load(tmp_path / "ratings.csv", text, at_least=4, binary=True)
    assert cells(loaded) == {("1", "296"): 1, ("2", "306"): 1}
    assert loaded.column_names.tolist() == ["7", "296", "306"]
    assert (
        "rows are 'userId', columns 'movieId', counts 'rating'; ignored: 'timestamp'"
        in (loaded.notes[0])
    )
    with pytest.raises(ValueError, match=r"whole numbers.* 3.5 at row '1', column '306'.*at_least"):
        load(tmp_path / "ratings.csv", text)


def test_movielens_with_long_delimiters(tmp_path):
    line = "1::1193::5::978300760\n"
    first_of_a_block = 2**18 // len(line)
    text = line * 2 * first_of_a_block + "2::661::3::978302109\n"
    loaded = load(tmp_path / "ratings.dat", text)
    assert cells(loaded) == {("1", "1193"): 10 * first_of_a_block, ("2", "661"): 3}
    with pytest.raises(FormatError, match="tabs and '::' are mixed"):
        load(tmp_path / "ratings.dat", "1::2\t3::4\n")


def test_a_long_delimiter_may_lie_across_two_blocks(tmp_path):
    line = "1::1193::5\n"
    for shift in range(len(line)):
        text = "x" * shift + line * (2**18 // len(line) + 1)
        (tmp_path / "a").write_text(text)
        with open_text(tmp_path / "a", "::") as file:
            assert file.read() == text.replace("::", "\t")


def test_fields_in_quotation_marks(tmp_path):
    text = '"User";"ISBN";"Rating"\r\n"8";"034;X";"0"\r\n"8";"0345";"5"\r\n'
    loaded = load(tmp_path / "ratings.csv", text)
    assert cells(loaded) == {("8", "0345"): 5}
    assert loaded.column_names.tolist() == ["0345", "034;X"]
    assert loaded.notes[1].endswith("entries of 0, which count nothing: 1")


def test_blanks_around_ids_are_no_part_of_them(tmp_path):
    loaded = load(tmp_path / "a.csv", "ann , jazz,3\nann,jazz , 2\n")
    assert cells(loaded) == {("ann", "jazz"): 5}


def test_fields_in_quotation_marks_after_blanks(tmp_path):
    text = 'user, "item", n\nann, "jazz, soul", 3\n'
    loaded = load(tmp_path / "a.csv", text, columns="user,item,n")
    assert cells(loaded) == {("ann", "jazz, soul"): 3}


def test_repeated_lines_are_summed_and_said(tmp_path):
    loaded = load(tmp_path / "plays.txt", "ann jazz\nbob folk\n\n ann  jazz \n")
    assert cells(loaded) == {("ann", "jazz"): 2, ("bob", "folk"): 1}
    assert loaded.notes[1].endswith("entries that repeat a cell, now summed: 1")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("user\titem\nann\tjazz\n", ["ann"]),
        ("who\twhat\n3\tjazz\n", ["3"]),
        ("ann\tjazz\nbob\tfolk\n", ["ann", "bob"]),
        ("\ufeffcell,gene,umis\nAA,ND1,2\n", ["AA"]),
        ("AA,ND1,2\n", ["AA"]),
    ],
)
def test_a_header_is_told_from_an_entry(tmp_path, text, rows):
    assert load(tmp_path / "counts.txt", text).row_names.tolist() == rows


def test_a_mark_of_utf8_is_no_part_of_the_first_field(tmp_path):
    loaded = load(tmp_path / "a.csv", "\ufeffuser,item,n\nann,jazz,3\n", columns="user,item,n")
    assert cells(loaded) == {("ann", "jazz"): 3}
    assert "rows are 'user'" in loaded.notes[0]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a,b;c,d;3\ne,f;g,h;2\n", ("a,b", "c,d")),
        ("a;b,c;d,3\ne;f,g;h,2\n", ("a;b", "c;d")),
        ("a b\tc, d\t3\n", ("a b", "c, d")),
        ("a\u00a0b c 3\n", ("a\u00a0b", "c")),
    ],
)
def test_the_delimiter_is_the_one_that_fits(tmp_path, text, cell):
    assert cells(load(tmp_path / "counts.txt", text))[cell] == 3


def test_ids_are_never_taken_for_numbers(tmp_path):
    huge, long = str(10**18), "x" * 10**6
    text = f"007,NA,1\n7,nan,1\n{huge},1.0,1\n{long},1,1\n"
    assert set(cells(load(tmp_path / "a.csv", text))) == {
        ("007", "NA"), ("7", "nan"), (huge, "1.0"), (long, "1"),
    }  # fmt: skip


def test_fields_that_nobody_needs_may_be_empty(tmp_path):
    loaded = load(tmp_path / "a.csv", "a,b,1,\nc,d,2,x\n" * 20)
    assert cells(loaded) == {("a", "b"): 20, ("c", "d"): 40}


def test_integer_ids_are_in_the_order_of_their_values(tmp_path):
    text = f"10,b,1\n9,a,1\n{10**18},B,1\n-3,b,1\n"
    loaded = load(tmp_path / "a.csv", text)
    assert loaded.row_names.tolist() == ["-3", "9", "10", str(10**18)]
    assert loaded.column_names.tolist() == ["B", "a", "b"]


def test_a_file_of_many_pieces(tmp_path):
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(1000, size=(2, 2 * MORE_THAN_A_PIECE))
    lines = [f"user{r},{c},2,x\n" for r, c in zip(rows, columns, strict=True)]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("".join(lines).encode(), 1))
    loaded = SparseCounts(path=str(tmp_path / "a.csv.gz")).load()
    expected = np.zeros((1000, 1000), int)
    np.add.at(expected, (rows, columns), 2)
    order = np.argsort([f"user{r}" for r in range(1000)])
    np.testing.assert_array_equal(loaded.counts.toarray(), expected[order])


names = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters='"'), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(
    entries=st.dictionaries(st.tuples(names, names), st.integers(1, 999), min_size=1),
    delimiter=st.sampled_from(["\t", ",", ";", "::", " "]),
    has_header=st.booleans(),
    is_zipped=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, entries, delimiter, has_header, is_zipped):
    others = {"\t": "", ",": ";:", ";": ",:", "::": ":,;", " ": ",;:"}[delimiter] + delimiter
    clean = {ord(character): "_" for character in others}
    entries = {(r.translate(clean), c.translate(clean)): n for (r, c), n in entries.items()}
    assume(has_header or next(iter(entries.items())) != (("0", "1"), 2))  # a header of pandas
    lines = [("who", "what", "n")] * has_header + [(r, c, str(n)) for (r, c), n in entries.items()]
    text = "".join(delimiter.join(fields) + "\n" for fields in lines)
    path = tmp_path_factory.mktemp("entries") / "counts.txt"
    path.write_bytes(gzip.compress(text.encode()) if is_zipped else text.encode())
    assert cells(SparseCounts(path=str(path)).load()) == entries


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.tuples(*[st.text('ab",; é', min_size=1).filter(lambda t: t == t.strip())] * 2),
        st.integers(1, 999),
        min_size=1,
    )
)
def test_what_the_csv_module_writes_is_read(tmp_path_factory, entries):
    text = io.StringIO()
    csv.writer(text).writerows((*cell, count) for cell, count in entries.items())
    path = tmp_path_factory.mktemp("entries") / "counts.csv"
    path.write_text(text.getvalue())
    assert cells(SparseCounts(path=str(path)).load()) == entries


GOOD = "a,b,1,0\n"


@pytest.mark.parametrize("lines_before", slow_after(2, [3, 50, MORE_THAN_A_PIECE]))
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("c,d,1\n", "expected 4 fields between commas, as in the first line, got 3"),
        ("c,d,1,0,7\n", "expected 4 fields between commas, as in the first line, got 5"),
        ("c,d,1,0,7,8\n", "expected 4 fields between commas, as in the first line, got 6"),
        ("c,d,many,0\n", "expected a number, got 'many'"),
        ("c,d,,0\n", "expected a number, got ''"),
        ("c,d,1_0,0\n", "expected a number, got '1_0'"),
        ("c,d,nan,0\n", "expected a number, got 'nan'"),
        ("c,d,-inf,0\n", "expected a number, got '-inf'"),
        (",d,1,0\n", "the id of the row is empty"),
        ("c, ,1,0\n", "the id of the column is empty"),
        ("c,\udce9,1,0\n", "expected UTF-8 text"),
        ("c,d\0,1,0\n", "expected UTF-8 text, but there is a null byte"),
    ],
)
def test_a_broken_line_is_named(tmp_path, lines_before, line, problem):
    path = tmp_path / "ratings.csv"
    path.write_text(GOOD * lines_before + line + GOOD, errors="surrogateescape")
    with pytest.raises(FormatError) as error:
        delimited.read(path)
    assert str(error.value).startswith(f"{path}, line {lines_before + 1}: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n \n", "is empty; expected lines of 'row column count'"),
        ("user,item,rating\n", "has a header, but no lines"),
        ("user,item\n", "has a header, but no lines"),
        (",user,item\n0,a,b\n", "line 1: the first column has no name; write the file without an"),
        ("one\ntwo\n", "line 1: expected a row and a column between delimiters, got 'one'"),
        ("1,2,x\n1,2,3\n", "line 1: expected a number, got 'x'"),
        (GOOD * 30 + "a,b,1", "line 31: expected 4 fields between commas, .* got 3"),
        (GOOD * 30 + '"a,b,1,2\n', "line 31: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, problem):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=f"a.csv,? {problem}"):
        delimited.read(tmp_path / "a.csv")
