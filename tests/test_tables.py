"""Tables for people and files, and lines of progress."""

import numpy as np
import pandas as pd
import pytest

from vigamma.answers.tables import aligned, beside, write_csv
from vigamma.terminal.pace import Pace


def test_words_stand_left_and_numbers_right():
    table = {"name": ["a", "日本", "é x"], "n": [1, 20_000, 3], "rate": [12.345, 0.5, np.nan]}
    assert aligned(table) == [
        "name       n   rate",
        "a          1  12.35",
        "日本  20,000   0.50",
        "é x        3    nan",
    ]
    assert aligned({"small": np.float32([0.000123456, 0.00001])}) == [
        "   small", "0.000123", "0.000010",
    ]  # fmt: skip
    assert aligned({"n": np.array([5], np.int64), "x": [0.0]}) == ["n      x", "5  0.000"]


def test_blocks_stand_beside_each_other():
    assert beside(["a", "bb"], ["c"], gap=1) == ["a  c", "bb  "]
    assert beside(["日本"], ["c"]) == ["日本  c"]
    assert beside(["a", "日本"], ["c"], gap=1) == ["a    c", "日本  "]


def test_names_with_line_ends_stay_in_their_line():
    assert aligned({"name": ["a\nb", "c"]}) == ["name", "a\\nb", "c"]


def test_tables_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.csv"
    blocks = [pd.DataFrame({"name": ["a,b"], "x": np.float32([0.1])}) for _ in range(2)]
    assert write_csv(blocks, path) == 2
    assert path.read_text() == 'name,x\n"a,b",0.100000001\n"a,b",0.100000001\n'
    before = path.read_text()

    def broken():
        yield blocks[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_csv(broken(), path)
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def test_progress_is_told_every_two_seconds():
    seconds, lines = iter([0.0, 1.9, 2.0, 3.0, 4.1]), []
    pace = Pace(1000, "rows", lines.append, clock=lambda: next(seconds))
    for done in (100, 200, 300, 400):
        pace.update(done)
    assert lines == ["200/1,000 rows  8 s left", "400/1,000 rows  6 s left"]


def test_no_time_is_told_before_anything_is_done():
    seconds, lines = iter([0.0, 5.0, 5.5]), []
    pace = Pace(10, "rows", lines.append, clock=lambda: next(seconds))
    for done in (0, 5):
        pace.update(done)
    assert lines == ["5/10 rows  6 s left"]
