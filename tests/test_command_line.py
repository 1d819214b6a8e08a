"""What ends a script that answers, and how."""

import os
import signal
from pathlib import Path

import pytest

from vigamma.command_line.statuses import _written, exit_status
from vigamma.errors import RunError
from vigamma.runs.train import Outcome


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_line_and_the_status_that_shells_give_it(capsys, signum):
    assert exit_status(lambda _: os.kill(os.getpid(), signum)) == 128 + signum
    said = f"stopped by {signum.name}: nothing is written\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [RunError("no such row"), OSError(28, "no space", "a.csv")])
def test_an_error_is_a_line_and_status_1(capsys, error):
    def answer(console):
        print("half")
        raise error

    assert exit_status(answer) == 1
    assert capsys.readouterr() == ("half\n", f"error: {error}\n")


def test_an_answer_is_printable_and_status_0(capsys):
    assert exit_status(lambda _: print("a\x1b[2Jb")) == 0
    assert capsys.readouterr() == ("a\\x1b[2Jb\n", "")


def test_what_a_run_has_written_is_named_and_how_to_see_it():
    files = "w x: summary.json, metrics.jsonl, checkpoints"
    zero = Outcome({"figures": ["a.png", "b.png"]}, "")
    assert list(_written(zero, Path("w x"))) == [f"written: {files}, 2 figures in figures/"]
    one = Outcome({"figures": ["a.png"]}, "", is_new=False)
    assert list(_written(one, Path("w x"))) == [f"unchanged: {files}, 1 figure in figures/"]
    factors = Outcome({"figures": [], "num_factors": 3}, "")
    page = "to see it on a page: vigamma report --workdir 'w x'"
    assert list(_written(factors, Path("w x"))) == [f"written: {files}", page]
