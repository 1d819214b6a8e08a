"""Which fields of a text are rows, columns and counts: guessed, or said by a config."""

import numpy as np
import pytest

from vigamma.data.files import SparseCounts
from vigamma.data.readers import delimited, text_matrix
from vigamma.data.readers.delimited_fields import is_count_title, is_id_title
from vigamma.data.readers.text_files import FormatError

GENES = "TP53,0,1,3\nBRCA,2,0,1\nMYC,4,5,6\n"
INDEXED = (["0", "1", "2"], ["a", "b", "c"])
COUNTS = [[0, 1, 3], [2, 0, 1], [4, 5, 6]]


def load(path, text, **fields):
    path.write_text(text)
    return SparseCounts(path=str(path), **fields).load()


def names_of(loaded):
    both = loaded.row_names, loaded.column_names
    return tuple(None if names is None else names.tolist() for names in both)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"gene,c1,c2,c3\n{GENES}", (["TP53", "BRCA", "MYC"], ["c1", "c2", "c3"])),
        (f",c1,c2,c3\n{GENES}", (["TP53", "BRCA", "MYC"], ["c1", "c2", "c3"])),
        (f"gene,n1,n2,n3\n{GENES}", (["TP53", "BRCA", "MYC"], ["n1", "n2", "n3"])),
        (f"gene,a_n,b_n,c_n\n{GENES}", (["TP53", "BRCA", "MYC"], ["a_n", "b_n", "c_n"])),
        (f"c1,c2,c3\n{GENES}", (["TP53", "BRCA", "MYC"], ["c1", "c2", "c3"])),
        (
            f'"c1" "c 2" "c3"\n{GENES}'.replace(",", " ").replace("BRCA", '"BR CA"'),
            (["TP53", "BR CA", "MYC"], ["c1", "c 2", "c3"]),
        ),
        (",0,1,2\n0,0,1,3\n1,2,0,1\n2,4,5,6\n", (["0", "1", "2"], ["0", "1", "2"])),
        ("doc;7;8;9\n7;0;1;3\n8;2;0;1\n9;4;5;6\n", (["7", "8", "9"], ["7", "8", "9"])),
        ("Unnamed: 0;a;b;c\n0;0;1;3\n1;2;0;1\n2;4;5;6\n", INDEXED),
    ],
)  # fmt: skip
def test_a_rectangle_of_numbers_is_a_matrix(tmp_path, text, names):
    loaded = load(tmp_path / "a.csv", text)
    assert loaded.counts.toarray().tolist() == COUNTS
    assert names_of(loaded) == names
    assert "is taken for a matrix of 3 × 3: rows are named by the first field" in loaded.notes[0]
    swapped = load(tmp_path / "a.csv", text, transpose=True)
    assert swapped.counts.toarray().tolist() == np.transpose(COUNTS).tolist()
    assert names_of(swapped) == names[::-1]
    assert "rows and columns are swapped" in swapped.notes[1]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("the,of,and,to\n5,0,1,1\n0,2,7,0\n", ["the", "of", "and", "to"]),
        ("0,1,2,3\n5,0,1,1\n0,2,7,0\n", ["0", "1", "2", "3"]),
    ],
)
def test_a_matrix_may_have_names_of_columns_only(tmp_path, text, columns):
    loaded = load(tmp_path / "a.csv", text)
    assert loaded.counts.toarray().tolist() == [[5, 0, 1, 1], [0, 2, 7, 0]]
    assert names_of(loaded) == (None, columns)


def test_a_header_lacks_a_field_only_above_a_matrix(tmp_path):
    with pytest.raises(FormatError, match=r"line 2: expected 2 fields .* got 3"):
        load(tmp_path / "a.txt", "user item\nann x 1\nbob y 2\n")


def test_more_than_eight_numbers_a_line_are_a_matrix(tmp_path):
    loaded = load(tmp_path / "a.txt", "0 1 2 0 1 2 0 1 2\n" * 3)
    assert loaded.counts.toarray().tolist() == [[0, 1, 2] * 3] * 3
    assert names_of(loaded) == (None, None)


@pytest.mark.parametrize(
    ("text", "names", "counts"),
    [
        (GENES, (["TP53", "BRCA", "MYC"], None), COUNTS),
        ("0 1 3\n2 0 1\n", (None, None), [[0, 1, 3], [2, 0, 1]]),
        ("gene,s1\nA,3\nB,4\n", (["A", "B"], ["s1"]), [[3], [4]]),
        ("user,item,count\n1,2,3\n", (["1"], ["item", "count"]), [[2, 3]]),
    ],
)
def test_the_config_can_say_that_it_is_a_matrix(tmp_path, text, names, counts):
    loaded = load(tmp_path / "a.csv", text, columns="all")
    assert loaded.counts.toarray().tolist() == counts
    assert names_of(loaded) == names


@pytest.mark.parametrize(
    "text",
    [
        GENES,
        "0 1 3 1\n2 0 1 0\n4 5 6 0\n",
        "0 1 2 0 1 2 0 1\n" * 3,
        "gene,s1,s2\nA,0,1\nB,2,0\n",
        "gene,what,c1,c2,c3\nA,tumor,0,1,3\nB,breast,2,0,1\n",
        "gene,c1,c2,c3\nA,0,1,3\nA,2,0,1\n",
        "Geneid\tChr\tStart\tEnd\tStrand\ts1\nG1\tchr1\t100\t200\t+\t5\nG2\tchr2\t500\t900\t-\t7\n",
    ],
)
def test_what_may_be_either_is_refused_with_the_way_out(tmp_path, text):
    with pytest.raises(FormatError, match=r"may be a matrix.*columns=all or .*columns=1,2,3$"):
        load(tmp_path / "a.csv", text)
    note = delimited.read(tmp_path / "a.csv", "1,2,3").notes[0]
    assert ("ignored" in note) == (not text.startswith("gene,s1"))


@pytest.mark.parametrize(
    ("text", "cell", "note"),
    [
        ("1\t2\t3\t881250949\n4\t5\t6\t891717742\n", ("1", "2"), "ignored: field 4"),
        ("userId,movieId,rating,day\n1,2,3,4\n4,5,6,7\n", ("1", "2"), "ignored: 'day'"),
        ("a,b,Stars,y\n1,2,3,4\n", ("1", "2"), "counts 'Stars'; ignored: 'y'"),
        ("user_id,business_id,z,w\n1,2,3,0\n", ("1", "2"), "counts 'z'; ignored: 'w'"),
        ("u:t\ti:t\trating:float\n1\t2\t3\n", ("1", "2"), "counts 'rating:float'"),
        ("ann,jazz,3,x\nbob,folk,2,y\n", ("ann", "jazz"), "first line, 'ann,jazz,3,x', the row"),
        ("a 1 3\na 2 9\n", ("a", "1"), "no header; of the first line, 'a 1 3', the row is 'a'"),
        ("0,1,2\nann,jazz,3\n", ("ann", "jazz"), "by its header, rows are '0', columns '1'"),
        ("a,b,3,u,v,w,x,y,z\n", ("a", "b"), "field 4, field 5, field 6, field 7, field 8 and 1 "),
    ],
)  # fmt: skip
def test_entries_stay_entries_and_the_note_names_what_is_ignored(tmp_path, text, cell, note):
    loaded = load(tmp_path / "a.csv", text)
    row, column = (names.tolist().index(n) for names, n in zip(loaded[2:4], cell, strict=True))
    assert loaded.counts[row, column] == 3
    assert note in loaded.notes[0]
    assert loaded.notes[0].endswith("--config.data.columns names others")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("reviewerID,asin\nA2SU,0001\nA14V,B004\nA39H,B001\n", ["A14V", "A2SU", "A39H"]),
        ("reviewerID,asin\nann,jazz\n", ["ann"]),
        ("kunde,artikel\nk17,a3\nk9,a4\n", ["k17", "k9"]),
        ("who42,jazz\nbob1,folk\n", ["bob1", "who42"]),
        ("kunde,artikel\nk17,a3\n", ["k17", "kunde"]),
        ("book,read\ncar,drive\n", ["book", "car"]),
        ("artist name;song title\nabba;sos\n", ["abba"]),
    ],
)
def test_a_header_of_two_fields_is_told_by_words_or_by_what_stands_below(tmp_path, text, rows):
    loaded = load(tmp_path / "a.csv", text)
    assert loaded.row_names.tolist() == rows
    first, *others = text.splitlines()
    said = "by its header, rows are" if len(rows) == len(others) else f"first line, {first!r}"
    assert said in loaded.notes[0]


RATINGS = "item,user,when,rating\n296,1,mon,5\n306,1,tue,3\n"


@pytest.mark.parametrize("columns", ["user,item,rating", "2,1,4"])
def test_columns_are_chosen_by_name_or_number(tmp_path, columns):
    loaded = load(tmp_path / "a.csv", RATINGS, columns=columns)
    assert names_of(loaded) == (["1"], ["296", "306"])
    assert loaded.counts.toarray().tolist() == [[5, 3]]
    said = "by its header, rows are 'user', columns 'item', counts 'rating'; ignored: 'when'"
    assert loaded.notes[0].endswith(said)


def test_without_a_count_all_lines_count_one_and_without_a_header_numbers_serve(tmp_path):
    loaded = load(tmp_path / "a.csv", RATINGS, columns="user,item")
    assert loaded.counts.toarray().tolist() == [[1, 1]]
    loaded = load(tmp_path / "a.csv", "x,7,y,2\nz,8,y,1\n", columns="1,3,4")
    assert names_of(loaded) == (["x", "z"], ["y"])
    assert loaded.counts.toarray().tolist() == [[2], [1]]
    assert "ignored: field 2" in loaded.notes[0]
    names = load(tmp_path / "a.csv", "ann,jazz\nbob,folk\n", columns="jazz,ann")
    assert names_of(names) == (["folk"], ["bob"])


def test_an_index_of_pandas_can_be_passed_over(tmp_path):
    text = ",user,item,rating\n0,1,296,5\n1,1,306,3\n"
    with pytest.raises(FormatError, match=r"line 1: the first column has no name.*columns=2,3,4"):
        load(tmp_path / "a.csv", text)
    loaded = load(tmp_path / "a.csv", text, columns="2,3,4")
    assert names_of(loaded) == (["1"], ["296", "306"])


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ("user,film,rating", "asks for film, which must be there once; there are item, user, when"),
        ("2,1,5", "asks for 5, which must be there once; there are"),
        ("2,1,when", "asks for 2, which must be there once"),
        ("2,1,3", "line 2: expected a number, got 'mon'"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_named(tmp_path, columns, problem):
    with pytest.raises(FormatError, match=problem):
        load(tmp_path / "a.csv", RATINGS, columns=columns)


def test_a_title_that_comes_twice_names_no_column(tmp_path):
    with pytest.raises(FormatError, match="asks for n, which must be there once; there are user,"):
        load(tmp_path / "a.csv", "user,item,n,n\nann,jazz,3,4\n", columns="user,item,n")


@pytest.mark.parametrize("columns", ["user", "a,b,c,d", "1,1", "a,,b", "0,1,2", ",", "a,b,"])
def test_what_names_no_columns_is_refused(columns):
    with pytest.raises(ValueError, match="columns must be the fields of row, column and count"):
        SparseCounts(path="a", columns=columns).validate()


def test_columns_of_a_file_without_fields_are_refused(tmp_path):
    text = "%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 1\n"
    with pytest.raises(ValueError, match=r"columns is '1,2', but .* is a matrix of MatrixMarket"):
        load(tmp_path / "a.mtx", text, columns="1,2")


def test_a_list_of_items_and_counts_is_no_matrix(tmp_path):
    with pytest.raises(
        FormatError, match=r"line 1: .* 'item,plays'; a list of counts is no matrix"
    ):
        load(tmp_path / "a.csv", "item,plays\njazz,3\n")


def test_a_column_of_truths_is_not_taken_for_ones(tmp_path):
    with pytest.raises(FormatError, match="line 2: expected a number, got 'True'"):
        load(tmp_path / "a.csv", "user,item,count\nann,jazz,True\nbob,folk,True\n")


def test_numbers_are_read_exactly(tmp_path):
    values = np.random.default_rng(0).uniform(0, 50, 200).tolist()
    lines = [f"{number}\t1\t{value!r}\n" for number, value in enumerate(values)]
    (tmp_path / "a.tsv").write_text("".join(lines))
    assert delimited.read(tmp_path / "a.tsv").matrix.data.tolist() == values


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x,1,,2\n", "expected a number in field 3, got ''"),
        ("x,1,NA,2\n", "expected a number in field 3, got 'NA'"),
        ("x,1,inf,2\n", "expected a number in field 3, got 'inf'"),
        ("x,1,2\n", "expected 4 fields between commas, as in the first line, got 3"),
        ("x,1,2,3,4\n", "expected 4 fields between commas, as in the first line, got 5"),
        (",1,2,3\n", "the name of the row is empty"),
    ],
)
def test_a_broken_line_of_a_matrix_is_named(tmp_path, monkeypatch, line, problem):
    monkeypatch.setattr(text_matrix, "_FIELDS_AT_ONCE", 40)
    text = "gene,c1,c2,c3\n" + "".join(f"g{i},0,1,3\n" for i in range(30))
    loaded = load(tmp_path / "a.csv", text)
    assert loaded.counts.toarray().tolist() == [[0, 1, 3]] * 30
    with pytest.raises(FormatError, match=f"a.csv, line 32: {problem}"):
        load(tmp_path / "a.csv", f"{text}{line}g,1,2,3\n")


def test_columns_may_be_called_like_counts_if_there_are_counts(tmp_path):
    loaded = load(tmp_path / "a.csv", "cell,umi,reads\nA,ACGT,3\nB,ACGT,4\n")
    assert loaded.counts.toarray().tolist() == [[3], [4]]
    assert names_of(loaded) == (["A", "B"], ["ACGT"])


def test_there_may_be_more_rows_than_16_bits_count(tmp_path):
    loaded = load(tmp_path / "a.tsv", "".join(f"{i}\tx\t1\n" for i in range(70_000)))
    assert loaded.counts.shape == (70_000, 1)
    assert loaded.counts.sum() == 70_000


def test_a_matrix_is_put_together_from_its_pieces(tmp_path, monkeypatch):
    for at_once in (1, 8):  # less than a line, and two lines
        monkeypatch.setattr(text_matrix, "_FIELDS_AT_ONCE", at_once)
        loaded = load(tmp_path / "a.csv", f"gene,c1,c2,c3\n{GENES}")
        assert loaded.counts.toarray().tolist() == COUNTS
        assert names_of(loaded) == (["TP53", "BRCA", "MYC"], ["c1", "c2", "c3"])


def test_titles():
    ids = [
        "user",
        "movieId",
        "reviewerID",
        "Book-Title",
        "user_id:token",
        "uid",
        "ISBN",
        "gene_name",
    ]
    assert all(map(is_id_title, ids))
    assert not any(map(is_id_title, ["c1", "gene1", "jazz", "", "7", "rating", "David"]))
    assert all(map(is_count_title, ["n", "Book-Rating", "play_counts_total", "rating:float"]))
    assert not any(map(is_count_title, ["c1", "n2", "score_1", "user", "country", ""]))
