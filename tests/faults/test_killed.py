"""SIGKILL at random moments: nothing that was saved is lost, and the end is the same."""

import random
import time

import pytest

from tests.faults.runs import KINDS, acknowledged, check_every_step, outcome, start_acknowledged
from vigamma.storage.workdir import locked

SECONDS_PER_RUN = 6.0


def kill_once(draw: random.Random, workdir, flags) -> None:
    """Starts the run, kills it early or soon after a save, and looks at what is left."""
    before = acknowledged(workdir)
    process = start_acknowledged(workdir, *flags)
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, SECONDS_PER_RUN))
    else:
        while acknowledged(workdir) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
    process.kill()
    process.communicate()
    saved = acknowledged(workdir)
    steps = check_every_step(workdir, workdir.parent)
    assert max(steps, default=0) >= saved
    if workdir.exists():
        with locked(workdir):
            assert not list(workdir.glob(".partial*"))


def check_kills(tmp_path, kind: str, num_kills: int, seed: int) -> None:
    num_steps = {"zero": 1000, "factors": 100}[kind]
    draw, flags = random.Random(seed), (*KINDS[kind], f"--config.num_steps={num_steps}")
    whole = start_acknowledged(tmp_path / "whole", *flags)
    _, err = whole.communicate(timeout=120)
    assert (whole.returncode, err) == (0, "")
    for _ in range(num_kills):
        kill_once(draw, tmp_path / "killed", flags)
    last = start_acknowledged(tmp_path / "killed", *flags)
    out, err = last.communicate(timeout=120)
    assert (last.returncode, err) == (0, ""), out
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    for folder in (tmp_path / "killed").rglob("*"):
        assert "tmp" not in folder.name
        assert not folder.name.startswith(".partial")


@pytest.mark.nightly
def test_a_run_killed_ends_as_if_it_had_not_been(tmp_path):
    check_kills(tmp_path, "factors", num_kills=1, seed=0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_ten_times_ends_as_if_it_had_not_been(tmp_path, kind, seed):
    check_kills(tmp_path, kind, num_kills=10, seed=seed + 1)
