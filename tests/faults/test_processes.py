"""Two processes are one run: it goes on in one process and back, and one that dies costs little."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.command import ROOT, run, run_together, start_together
from tests.device_trials import MORE_STEPS, relative
from tests.test_train import hashes
from vigamma.checkpointing import read_latest
from vigamma.metrics import read_metrics
from vigamma.whole_files import UNFINISHED

HEARTBEAT = 10
SMALL_COUNTS = tuple(
    f"--config.{field}"
    for field in (
        "data.num_rows=300", "data.num_columns=200", "data.num_nonzeros=6000",
        "data.num_factors=4", "model.num_factors=4",
    )
)  # fmt: skip
ZERO = ("--config", ROOT / "configs" / "zero.py", "--config.num_steps=3000")
NATURAL = ("--config", ROOT / "configs" / "zero_natural.py", "--config.log_every=10")
FACTORS = (
    "--config", ROOT / "configs" / "synthetic_factors.py", *SMALL_COUNTS,
    "--config.inference.tolerance=0", "--config.inference.num_restarts=1",
)  # fmt: skip
STOCHASTIC = (
    "--config", ROOT / "configs" / "stochastic_factors.py", *SMALL_COUNTS,
    "--config.inference.batch_rows=128", "--config.num_steps=30", "--config.log_every=10",
)  # fmt: skip


def summary(workdir: Path) -> dict:
    return json.loads((workdir / "summary.json").read_text())


def newest_step(workdir: Path) -> int:
    return max((int(p.name) for p in workdir.iterdir() if p.name.isdecimal()), default=0)


class Moment(NamedTuple):
    """When a process dies: `seconds` after `has_come` says yes of the workdir."""

    has_come: Callable[[Path], bool]
    seconds: float = 0.0


STARTING = Moment(lambda workdir: (workdir / ".lock").exists(), 0.7)
AMID_STEPS = Moment(lambda workdir: newest_step(workdir) > 0, 0.1)
SAVING = Moment(lambda workdir: newest_step(workdir) and any(workdir.glob(f"{UNFINISHED}[0-9]*")))
DRAWING = Moment(lambda workdir: (workdir / "figures").exists())


def one_dies(
    workdir: Path, flags: Sequence, victim: int, moment: Moment, signum: signal.Signals
) -> tuple[float, str]:
    """Sends a signal to one of two processes; how the other left, and after how many seconds."""
    processes = start_together(
        *flags, "--workdir", workdir, f"--heartbeat_seconds={HEARTBEAT}", num_devices=2
    )
    survivor = processes[1 - victim]
    try:
        deadline = time.monotonic() + 120
        while not (workdir.exists() and moment.has_come(workdir)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(moment.seconds)
        assert [process.poll() for process in processes] == [None, None]
        processes[victim].send_signal(signum)
        sent = time.monotonic()
        _, err = survivor.communicate(timeout=120)
        seconds = time.monotonic() - sent
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert survivor.returncode != 0
    assert seconds < HEARTBEAT + 5
    return seconds, err


def dies_and_goes_on(
    whole: Path, workdir: Path, flags: Sequence, save_every: int, victim: int, moment: Moment,
    signum: signal.Signals = signal.SIGKILL,
) -> str:  # fmt: skip
    """One of two processes dies; restarted, both end as `whole` did. What the other one said."""
    seconds, err = one_dies(workdir, flags, victim, moment, signum)
    kept = newest_step(workdir)
    logged = [line["step"] for line in read_metrics(workdir / "metrics.jsonl")]
    assert max(logged, default=0) - kept <= save_every
    run_together(*flags, "--workdir", workdir)
    assert summary(workdir)["resumed_from"] == (kept or None)
    assert hashes(workdir) == hashes(whole)
    assert not list(workdir.rglob(f"{UNFINISHED}*"))
    print(f"process {victim}, {signum.name}: left after {seconds:.1f} s, resumed from {kept}")
    return err


def test_a_process_that_dies_ends_the_other_and_costs_one_interval(tmp_path):
    flags = (*NATURAL, "--config.save_every=20")
    run_together(*flags, "--workdir", tmp_path / "whole")
    err = dies_and_goes_on(tmp_path / "whole", tmp_path / "run", flags, 20, 1, AMID_STEPS)
    (line,) = err.splitlines()
    assert line.startswith("error: the processes cannot go on together")
    assert line.endswith(f"go on from the newest checkpoint in {tmp_path / 'run'}")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("flags", "save_every"),
    [
        ((*ZERO, "--config.save_every=500"), 500),
        ((*FACTORS, "--config.num_steps=200", "--config.save_every=50"), 50),
    ],
    ids=["zero", "factors"],
)
def test_either_process_may_die_at_any_moment(tmp_path, flags, save_every):
    run_together(*flags, "--workdir", tmp_path / "whole")
    for name, moment in {
        "starting": STARTING, "amid steps": AMID_STEPS, "saving": SAVING, "drawing": DRAWING
    }.items():  # fmt: skip
        for victim in (0, 1):
            workdir = tmp_path / f"{name} {victim}"
            dies_and_goes_on(tmp_path / "whole", workdir, flags, save_every, victim, moment)
    for victim in (0, 1):  # it answers no more, as when its machine is gone
        workdir = tmp_path / f"stopped {victim}"
        dies_and_goes_on(
            tmp_path / "whole", workdir, flags, save_every, victim, AMID_STEPS, signal.SIGSTOP
        )


@pytest.mark.faults
@pytest.mark.parametrize(
    ("flags", "first_step"),
    [(NATURAL, 50), (FACTORS, 300)],
    ids=["zero_natural", "factors"],
)
def test_two_processes_go_on_in_one_and_back(tmp_path, flags, first_step):
    def alone(*flags):
        status, out, err = run("train.py", *flags, num_devices=1)
        assert (status, err) == (0, "")
        return out

    def together(*flags):
        return run_together(*flags)[0]

    for first, then in ((together, alone), (alone, together)):
        begun = tmp_path / first.__name__
        first(*flags, "--workdir", begun, f"--config.num_steps={first_step}")
        ends = []
        for go_on in (first, then):
            workdir = tmp_path / f"{first.__name__} then {go_on.__name__}"
            shutil.copytree(begun, workdir)
            more = (*flags, "--workdir", workdir)
            out = go_on(*more, f"--config.num_steps={first_step}")  # restores, takes no step
            assert f"resuming from step {first_step}" in out
            assert hashes(workdir) == hashes(begun)
            go_on(*more, f"--config.num_steps={first_step + MORE_STEPS}")
            assert summary(workdir)["resumed_from"] == first_step
            lines = read_metrics(workdir / "metrics.jsonl")
            assert lines[-1]["step"] == first_step + MORE_STEPS
            ends.append((np.array([line["elbo"] for line in lines]), outcome(workdir)))
        (elbos, outcomes), (other_elbos, other_outcomes) = ends
        errors = [relative(other_elbos, elbos), *map(relative, other_outcomes, outcomes)]
        print(first.__name__, "then", then.__name__, *errors)
        assert np.abs(other_elbos / elbos - 1).max() < 1e-5
        assert max(errors) < 1e-5


def outcome(workdir: Path) -> list[np.ndarray]:
    """What `device_trials.outcome` says, of a workdir."""
    _, leaves, _ = read_latest(workdir, pytest.fail)
    if "q.log_shape" in leaves:
        return [np.exp(leaves["q.log_shape"]), np.exp(leaves["q.log_rate"])]
    theta, beta = (
        leaves[f"q.{side}.concentration"] / leaves[f"q.{side}.rate"] for side in ("rows", "columns")
    )
    return [theta @ beta.T]


@pytest.mark.faults
@pytest.mark.parametrize("flags", [(*FACTORS, "--config.num_steps=30"), STOCHASTIC])
def test_factors_over_two_processes_are_those_of_one(tmp_path, flags):
    run_together(*flags, "--workdir", tmp_path / "two")
    status, _, err = run("train.py", *flags, "--workdir", tmp_path / "one", num_devices=4)
    assert (status, err) == (0, "")
    two, one = (summary(tmp_path / name) for name in ("two", "one"))
    assert two["num_devices"] == one["num_devices"] == 4
    for name in ("elbo", "heldout_log_likelihood"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5)
    figures = [{p.name for p in (tmp_path / n / "figures").iterdir()} for n in ("two", "one")]
    assert figures[0] == figures[1] != set()
