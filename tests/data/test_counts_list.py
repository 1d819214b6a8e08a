"""Files of the counts of one row, as people write them."""

import numpy as np
import pytest

from vigamma import ConfigError
from vigamma.data.counts_list import is_list, read_listed_counts, shown

NAMES = np.array(["Alien", "Heat, The", "The Fly", 'Say "A"', "7"], np.dtypes.StringDType())


def read(tmp_path, text: str):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    return read_listed_counts(path, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        'item,count\nAlien,3\nThe Fly,1\n"Heat, The",2\n',
        "Alien\t3\nThe Fly\t1\nHeat, The\t2\n",
        "Alien 3\nThe Fly   1\n\nHeat, The 2",
        "\ufefftitle;n\r\nAlien;3\r\nThe Fly;1.0\r\nHeat, The;2\r\n",
        "Alien,1\nThe Fly,1\nHeat, The,2\nAlien,2\n",
    ],
)
def test_lines_are_items_and_counts(tmp_path, text):
    counts, unknown, _ = read(tmp_path, text)
    assert counts.toarray().tolist() == [[3, 2, 1, 0, 0]]
    assert unknown == []


def test_unknown_items_are_told_once(tmp_path):
    counts, unknown, _ = read(tmp_path, 'Dune,1\n7,2\nSolaris,1\nDune,4\n"Say ""A""",5\n')
    assert counts.toarray().tolist() == [[0, 0, 0, 5, 2]]
    assert unknown == ["Dune", "Solaris"]
    assert shown(unknown) == "2 unknown: 'Dune', 'Solaris'"
    assert shown(list("abcdefg")) == "7 unknown: 'a', 'b', 'c', 'd', 'e' and 2 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Alien,3\nThe Fly\n", "line 2 must be an item and a count from 1 to 16777216, got 'The F"),
        ("Alien,0\n", "line 1 must be"),
        ("Alien,-3\n", "line 1 must be"),
        ("Alien,2.5\n", "line 1 must be"),
        ("Alien,nan\n", "line 1 must be"),
        ("Alien,20000000\n", "line 1 must be"),
        ("7\n", "line 1 must be"),
        ("item,count\n", "no item that is a column of the run; 0 unknown"),
        ("Dune,1\n", "no item that is a column of the run; 1 unknown: 'Dune'"),
        ("", "no item"),
    ],
)
def test_what_is_not_a_list_of_counts_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_listed_counts(tmp_path / "nothing", NAMES)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read_listed_counts(tmp_path / "binary", NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alien,3\nDune,1\n", True),
        ("item,count\nAlien,3\n", True),
        ("Heat, The,2\nAlien,3\n", True),
        ("Heat, The,2\n", True),
        ("The Fly 1\nThe Fly 2\n", True),
        ("Dune,1\n" * 30 + "Heat, The,2\n", True),
        ("ann,Alien,3\nbob,7,1\n", False),
        ("user,item,count\nann,Alien,3\n", False),
        ("1 7 3\n2 7 1\n", False),
        ("1::7::5::978300760\n", False),
        ("ann,Dune,3\n", False),
    ],
)
def test_lists_are_told_from_tables(tmp_path, text, expected):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    assert is_list(path, NAMES) == expected


@pytest.mark.parametrize("text", ["a,x,1\nb,y\n", "", "Dune\n", "x\n\0"])
def test_what_is_neither_a_list_nor_a_table_is_refused(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="no list of items of the run, and no table"):
        is_list(path, NAMES)


def test_thresholds_are_for_sums_and_take_any_numbers(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Alien,1.5\nAlien,2\nThe Fly,-1\n7,4\n", encoding="utf-8")
    counts, _, notes = read_listed_counts(path, NAMES, at_least=3.5, binary=True)
    assert counts.toarray().tolist() == [[1, 0, 0, 0, 1]]
    assert notes[0].endswith("entries below 3.5, dropped: 1")
    with pytest.raises(ConfigError, match=r"no entry of .* is at least 5"):
        read_listed_counts(path, NAMES, at_least=5.0)
    with pytest.raises(ConfigError, match=r"whole numbers.* 3.5 at row 0, column 'Alien'"):
        read_listed_counts(path, NAMES, at_least=3.0)
