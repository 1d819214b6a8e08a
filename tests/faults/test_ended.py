"""A process that ends, raises or is interrupted right after a save has saved."""

import subprocess
import sys
import time

import pytest

from tests.command import ROOT, environment
from tests.faults.runs import check_every_step

ENDS = {
    "ends": ("pass", 0),
    "raises": ("raise RuntimeError", 1),
    "exits": ("sys.exit(3)", 3),
    "leaves": ("os._exit(4)", 4),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "is terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -15),
    "is interrupted": ("os.kill(os.getpid(), signal.SIGINT)", -2),
}
PROGRAM = """
import os, signal, sys
from pathlib import Path
import jax.numpy as jnp
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked

signal.signal(signal.SIGINT, signal.default_int_handler)  # which jobs in the background ignore
workdir = Path(sys.argv[1])
with locked(workdir):
    checkpoints = Checkpointer(workdir, {"seed": 0})
    checkpoints.save(1, {"x": jnp.arange(5.0)})
    %s
"""


def run_program(end: str, workdir) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM % end, str(workdir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=300,
        check=False,
    )


def check_end(tmp_path, how: str) -> None:
    end, status = ENDS[how]
    started = time.monotonic()
    assert run_program(end, tmp_path / "run").returncode == status
    assert time.monotonic() - started < 30  # none hangs
    assert check_every_step(tmp_path / "run", tmp_path) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ends", "raises", "is interrupted"])
def test_what_was_saved_is_there_however_the_process_goes_on(tmp_path, how):
    check_end(tmp_path, how)


@pytest.mark.faults
@pytest.mark.parametrize("trial", range(3))
@pytest.mark.parametrize("how", ENDS)
def test_twenty_one_ends_after_a_save(tmp_path, how, trial):
    check_end(tmp_path, how)


def test_a_save_that_fails_is_not_exit_status_0(tmp_path):
    (tmp_path / "1").mkdir()  # in the way
    (tmp_path / "1" / "file").write_text("")
    ended = run_program("pass", tmp_path)
    assert ended.returncode == 1
    assert "could not save step 1" in ended.stderr.splitlines()[-1]
    assert not list(tmp_path.glob(".partial*"))
