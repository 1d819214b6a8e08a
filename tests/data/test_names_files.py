"""Files of names, by ids or in the order of the matrix, as people have them."""

import gzip

import numpy as np
import pytest
import scipy.sparse as sp

from vigamma import SparseCounts
from vigamma.data.names_files import named_by
from vigamma.data.readers.text_files import FormatError

IDS = np.array(["1", "3", "10", "12"], np.dtypes.StringDType())
MOVIES = 'movieId,title,genres\n10,"Heat, The (1995)",Action|Crime\n1,Toy Story (1995),\n'
NAMES = ["Toy Story (1995)", "3", "Heat, The (1995)", "12"]


def read(tmp_path, text: str, ids=IDS, encoding: str = "", to: str = "utf-8"):
    path = tmp_path / "movies.csv"
    path.write_bytes(text.encode(to))
    names, notes = named_by(path, ids, "columns", encoding)
    assert (names.dtype, names.shape) == (ids.dtype, ids.shape)
    return names.tolist(), [note.partition("movies.csv ")[2] for note in notes]


@pytest.mark.parametrize(
    "text",
    [
        MOVIES,
        MOVIES.partition("\n")[2],
        MOVIES.replace("\n", "\r\n"),
        "\ufeff" + MOVIES,
        "id\tname\n10\tHeat, The (1995)\n1\tToy Story (1995)\n99\tDune\n",
        '"id"\t"name"\n"10"\t"Heat, The (1995)"\n"1"\t"Toy Story (1995)"\n',
        "1::Toy Story (1995)::Animation|Children's\n10::Heat, The (1995)::Action|Crime\n",
        "1|Toy Story (1995)|01-Jan-1995||http://x\n10|Heat, The (1995)|01-Jan-1995||\n",
        "1;Toy Story (1995)\n10;Heat, The (1995)\n",
        "99,Dune\n\n" * 1000 + MOVIES + "3,\n",
        MOVIES + "1,Another\n",
    ],
)
def test_names_are_found_by_id(tmp_path, text):
    said = "has no name for 2 columns, which keep their ids: '3', '12'"
    assert read(tmp_path, text) == (NAMES, [said])


@pytest.mark.parametrize(
    "text",
    [
        "Alien\n12 Angry Men\nThe 3, or more\n3\n",
        "title\nAlien\n12 Angry Men\nThe 3, or more\n3\n",
        'Alien\n"12 Angry Men"\n"The 3, or more"\n3\n',
        "Alien\n12 Angry Men\nThe 3, or more\n3",
    ],
)
def test_names_alone_are_in_the_order_of_the_matrix(tmp_path, text):
    assert read(tmp_path, text) == (["Alien", "12 Angry Men", "The 3, or more", "3"], [])


def test_all_names_are_told_apart(tmp_path):
    text = "1,Hamlet (1996)\n3,Alien\n10,Hamlet (1996)\n12,3\n"
    assert read(tmp_path, text)[0] == ["Hamlet (1996) (1)", "Alien", "Hamlet (1996) (10)", "3"]
    text = "1,Hamlet\n12,3\n10,Dune\n"
    assert read(tmp_path, text)[0] == ["Hamlet", "3 (3)", "Dune", "3 (12)"]
    assert read(tmp_path, "a\na\nb\nc\n")[0] == ["a (1)", "a (3)", "b", "c"]


def test_quotation_marks_of_titles_stay_where_none_delimit(tmp_path):
    found = read(tmp_path, '1::"Great" Cats::x\n3::Say "A::y\n10::C::z\n12::D::z\n')[0]
    assert found == ['"Great" Cats', 'Say "A', "C", "D"]
    found = read(tmp_path, '1,"Say ""A"", twice"\n3,"over\ntwo lines"\n10,C\n12,D\n')[0]
    assert found == ['Say "A", twice', "over\ntwo lines", "C", "D"]


def test_texts_are_read_packed_and_in_their_encoding(tmp_path):
    text = "1,Amélie\n3,b\n10,c\n12,d\n"
    assert read(tmp_path, text, encoding="latin-1", to="latin-1")[0][0] == "Amélie"
    with pytest.raises(FormatError, match=r"movies.csv, line 1: .*--config.data.encoding=latin-1"):
        read(tmp_path, text, to="latin-1")
    (tmp_path / "movies.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert named_by(tmp_path / "movies.csv.gz", IDS, "columns")[0][0] == "Amélie"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "99,Dune\n98,Alien\n",
            r"columns, which are '1', '3', '10', \.\.\.: .* got 2 lines",
        ),
        ("", r"names none of the 4 columns.* or 4 lines of names in their order, got 0 lines$"),
        ("a\nb\n" * 3, "got 6 lines that begin with 'a'$"),
    ],
)
def test_a_file_that_names_none_is_refused(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("form", ["csv", "npz", "parts"])
def test_counts_have_the_names_of_their_files(tmp_path, form, transpose):
    """Rows a, b and columns 1, 3, 10, 12; or their numbers, where the counts have no ids."""
    users, movies = ["Ann", "Bob"], ["Toy Story", "3", "Heat, The", "12"]
    dense = np.array([[1, 2, 3, 0], [0, 0, 4, 5]])
    ids = ["a", "b"], IDS.tolist()
    if form == "npz":
        ids = ["0", "1"], ["0", "1", "2", "3"]
        movies[1], movies[3] = "1", "3"
        sp.save_npz(tmp_path / "counts.npz", sp.csr_array(dense))
        path = tmp_path / "counts.npz"
    else:
        lines = [f"{ids[0][i]},{ids[1][j]},{dense[i, j]}" for i, j in np.argwhere(dense)]
        path = tmp_path / "counts.csv"
        if form == "parts":
            path = tmp_path / "parts"
            path.mkdir()
            (path / "test.csv").write_text("\n".join(lines[3:]) + "\n")
            lines = lines[:3]
        (path / "train.csv" if form == "parts" else path).write_text("\n".join(lines) + "\n")
    files = {"row_names": tmp_path / "users.csv", "column_names": tmp_path / "movies.csv"}
    files["row_names"].write_text("Ann\nBob\n")
    files["column_names"].write_text(f'{ids[1][0]},Toy Story\n{ids[1][2]},"Heat, The"\n')
    if transpose:
        files = dict(zip(files, reversed(files.values()), strict=True))
    given = {name: str(file) for name, file in files.items()}
    loaded = SparseCounts(path=str(path), transpose=transpose, **given).load()
    found = [(loaded.row_names, loaded.row_ids), (loaded.column_names, loaded.column_ids)]
    wanted = [(users, ids[0]), (movies, ids[1])]
    for (names, own), (expected, own_expected) in zip(
        found, reversed(wanted) if transpose else wanted, strict=True
    ):
        assert (names.tolist(), own.tolist()) == (expected, own_expected)
    np.testing.assert_array_equal(loaded.counts.toarray(), dense.T if transpose else dense)
    assert sum("has no name for 2" in note for note in loaded.notes) == 1


def test_an_encoding_may_be_that_of_names_only(tmp_path):
    np.save(tmp_path / "counts.npy", np.eye(2, dtype=int))
    (tmp_path / "names.csv").write_bytes("0,Amélie\n1,b\n".encode("latin-1"))
    options = {"path": str(tmp_path / "counts.npy"), "encoding": "latin-1"}
    loaded = SparseCounts(column_names=str(tmp_path / "names.csv"), **options).load()
    assert loaded.column_names.tolist() == ["Amélie", "b"]
    assert (loaded.row_names, loaded.row_ids) == (None, None)
    with pytest.raises(ValueError, match="encoding is 'latin-1', but"):
        SparseCounts(**options).load()
    with pytest.raises(FileNotFoundError, match=r"there is no file nothing\.csv"):
        SparseCounts(column_names="nothing.csv", **options).load()
