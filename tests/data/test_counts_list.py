"""Files of the counts of one row, as people write them."""

import gzip

import numpy as np
import pytest

from vigamma import ConfigError
from vigamma.counts.rules import CountRules
from vigamma.data.counts_list import is_list, name_of, read_listed_counts, shown
from vigamma.data.readers.text_files import FormatError

NAMES = np.array(["Alien", "Heat, The", "The Fly", 'Say "A"', "7"], np.dtypes.StringDType())


def read(tmp_path, text: str, **rules):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    return read_listed_counts(path, NAMES, CountRules(**rules))


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
    counts, unknown, *_ = read(tmp_path, text)
    assert counts.toarray().tolist() == [[3, 2, 1, 0, 0]]
    assert unknown == []


def test_unknown_items_are_told_once(tmp_path):
    counts, unknown, *_ = read(tmp_path, 'Dune,1\n7,2\nSolaris,1\nDune,4\n"Say ""A""",5\n')
    assert counts.toarray().tolist() == [[0, 0, 0, 5, 2]]
    assert unknown == ["Dune", "Solaris"]
    assert shown(unknown) == "2 unknown: 'Dune', 'Solaris'"
    assert shown(list("abcde")) == "5 unknown: 'a', 'b', 'c', 'd', 'e'"
    assert shown(list("abcdefg")) == "7 unknown: 'a', 'b', 'c', 'd', 'e' and 2 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Alien,3\nThe Fly\n", "mine.txt, line 2: expected an item and a count, got 'The Fly'"),
        ("Alien,0\n", "has no nonzero"),
        ("Alien,-3\n", "must be ≥ 0, but it is -3.0 at row 'mine', column 'Alien'"),
        ("Alien,2.5\n", "must be whole numbers, but it is 2.5 at row 'mine', column 'Alien'"),
        ("Alien,nan\n", "line 1: expected"),
        ("Alien,1e999\n", "line 1: expected"),
        ("Alien,20000000\n", "must be at most 16777216, but it is 20000000.0"),
        ("7\n", "line 1: expected"),
        ("item,count\n", "no item that is a column of the run; 0 unknown"),
        ("Dune,1\n", "no item that is a column of the run; 1 unknown: 'Dune'"),
        ("", "no item"),
    ],
)
def test_what_is_not_a_list_of_counts_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_a_name_of_several_columns_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("7,1\nAlien,2\n")
    twice = np.append(NAMES, ["Alien", "Alien"])
    with pytest.raises(ConfigError, match=r"1 items are names of several columns.* 'Alien' of 3"):
        read_listed_counts(tmp_path / "mine.txt", twice, CountRules())


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_listed_counts(tmp_path / "nothing", NAMES, CountRules())
    (tmp_path / "binary").write_bytes(b"\xff\xfd\x00")
    with pytest.raises(FormatError, match="line 1: expected UTF-8 text"):
        read_listed_counts(tmp_path / "binary", NAMES, CountRules())


def test_a_zipped_list_is_read(tmp_path):
    path = tmp_path / "ann.csv.gz"
    path.write_bytes(gzip.compress(b"Alien,3\nThe Fly,1\n"))
    assert is_list(path, NAMES)
    listed = read_listed_counts(path, NAMES, CountRules())
    assert listed.counts.toarray().tolist() == [[3, 0, 1, 0, 0]]
    assert name_of(path) == "ann"


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
        ("Dune, Part Two,5\n" * 30 + "Heat, The,2\n", True),
        ("ann,Dune,3\n" * 30 + "ann,Alien,3\n", False),
        ("ann,Alien\nbob,7\n", False),
        ("user,item\nann,Alien\n", False),
        ("Heat, The,2\nann,Alien,3\n", False),
        ("Alien,7\n", True),
        ("1,7\n2,7\n", True),
        ("ann,Dune\n" * 30 + "bob,Alien\n", False),
    ],
)
def test_lists_are_told_from_tables(tmp_path, text, expected):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    assert is_list(path, NAMES) == expected


@pytest.mark.parametrize("text", ["a,x,1\nb,y\n", "", "Dune\n", "x\n\0", "ann,Dune,3\n" * 30])
def test_what_is_neither_a_list_nor_a_table_is_refused(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no list of items .* no table|neither as a list .* nor"):
        is_list(path, NAMES)


def test_the_rules_of_the_run_hold(tmp_path):
    text = "Alien,1.5\nAlien,2\nThe Fly,-1\n7,4\n"
    counts, _, notes, dropped = read(tmp_path, text, at_least=3.5, binary=True)
    assert counts.toarray().tolist() == [[1, 0, 0, 0, 1]]
    assert dropped.toarray().tolist() == [[False, False, True, False, False]]
    assert [note.partition(": ")[2] for note in notes] == [
        "entries that repeat a cell, now summed: 1",
        "entries below 3.5, dropped: 1",
        "entries that count 1 whatever they are (binary): 2",
    ]
    counts, _, notes, _ = read(tmp_path, text, at_least=2, duplicates="last", rounding="nearest")
    assert counts.toarray().tolist() == [[2, 0, 0, 0, 4]]
    counts, _, notes, _ = read(tmp_path, text, at_least=1, duplicates="sum", rounding="nearest")
    assert counts.toarray().tolist() == [[4, 0, 0, 0, 4]]
    assert notes[-1].endswith("now rounded (nearest): 1; the sum of all was 7.5 and is 8")
    with pytest.raises(ValueError, match=r"no entry of .* is at least 5"):
        read(tmp_path, text, at_least=5.0)
    with pytest.raises(ValueError, match=r"whole numbers.* 3.5 at row 'mine', column 'Alien'"):
        read(tmp_path, text, at_least=3.0)
