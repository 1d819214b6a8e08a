"""Two processes are one run: it goes on in one process and back, and one that dies costs little."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.command import ROOT, coordinator, run, run_together, start_together
from tests.faults.device_trials import MORE_STEPS, relative
from tests.test_train import hashes
from vigamma.runs.metrics import read_metrics
from vigamma.storage.atomic_files import UNFINISHED

HEARTBEAT = 10
SMALL_COUNTS = tuple(
    f"--config.{field}"
    for field in (
        "data.num_rows=300", "data.num_columns=200", "data.num_nonzeros=6000",
        "data.num_factors=4", "model.num_factors=4",
    )
)  # fmt: skip
ZERO = ("--config", ROOT / "configs" / "zero.py", "--config.num_steps=1500")
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
    return max((int(p.name) for p in workdir.glob("*") if p.name.isdecimal()), default=0)


class Moment(NamedTuple):
    """When a process dies: `seconds` after `has_come` says yes of the workdir."""

    has_come: Callable[[Path], bool]
    seconds: float = 0.0


STARTING = Moment(lambda workdir: (workdir / ".lock").exists(), 0.7)
AMID_STEPS = Moment(lambda workdir: newest_step(workdir) > 0, 0.1)
SAVING = Moment(lambda workdir: newest_step(workdir) and any(workdir.glob(f"{UNFINISHED}[0-9]*")))
DRAWING = Moment(lambda workdir: (workdir / "figures").exists())


@pytest.fixture(
    scope="module",
    params=[
        (*ZERO, "--config.save_every=300"),
        (*FACTORS, "--config.num_steps=100", "--config.save_every=20"),
    ],
    ids=["zero", "factors"],
)
def whole(request, tmp_path_factory) -> tuple[Path, Sequence, int]:
    """(workdir, flags, steps between checkpoints) of a run of two processes that nothing hit."""
    workdir = tmp_path_factory.mktemp("whole")
    run_together(*request.param, "--workdir", workdir)
    return workdir, request.param, int(request.param[-1].split("=")[1])


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
    workdir: Path, flags: Sequence, save_every: int, victim: int, moment: Moment, signum: int
) -> str:
    """One of two processes dies, and both are started again. Returns what the other one said."""
    seconds, err = one_dies(workdir, flags, victim, moment, signum)
    kept = newest_step(workdir)
    logged = [line["step"] for line in read_metrics(workdir / "metrics.jsonl")]
    assert max(logged, default=0) - kept <= save_every
    run_together(*flags, "--workdir", workdir)
    assert summary(workdir)["resumed_from"] == (kept or None)
    assert not list(workdir.rglob(f"{UNFINISHED}*"))
    print(f"process {victim}: the other left after {seconds:.1f} s, both resumed from {kept}")
    return err


@pytest.mark.nightly
def test_a_process_that_dies_ends_the_other_and_costs_one_interval(tmp_path):
    flags = (*NATURAL, "--config.save_every=20")
    err = dies_and_goes_on(tmp_path / "run", flags, 20, 1, AMID_STEPS, signal.SIGKILL)
    if "error: the processes cannot go on together" in err:
        (line,) = err.splitlines()
        assert line.endswith(f"go on from the newest checkpoint in {tmp_path / 'run'}")
    else:  # it was in a barrier of JAX, and left when the heartbeat was missed
        assert "another task died" in err
    assert summary(tmp_path / "run")["within_tolerance"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        (STARTING, signal.SIGKILL),
        (AMID_STEPS, signal.SIGKILL),
        (SAVING, signal.SIGKILL),
        (DRAWING, signal.SIGKILL),
        (AMID_STEPS, signal.SIGSTOP),  # it answers no more, as when its machine is gone
    ],
    ids=["starting", "amid steps", "saving", "drawing", "stopped"],
)
@pytest.mark.parametrize("victim", [0, 1])
def test_either_process_may_die_at_any_moment(whole, tmp_path, victim, moment, signum):
    expected, flags, save_every = whole
    dies_and_goes_on(tmp_path / "run", flags, save_every, victim, moment, signum)
    assert hashes(tmp_path / "run") == hashes(expected)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("largest_file", "message"),
    [
        (800, "error: cannot write {}/metrics.jsonl: "),
        (1200, "error: could not save step 1000 in {}"),
    ],
)
def test_a_process_that_fails_alone_ends_the_other(tmp_path, largest_file, message):
    workdir = tmp_path / "run"
    processes = start_together(*ZERO, "--workdir", workdir, f"--heartbeat_seconds={HEARTBEAT}")
    resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
    outputs = [process.communicate(timeout=300) for process in processes]
    seconds = time.time() - (workdir / "metrics.jsonl").stat().st_mtime
    assert all(process.returncode != 0 for process in processes)
    assert sum(line.startswith(message.format(workdir)) for line in outputs[0][1].splitlines()) == 1
    assert seconds < HEARTBEAT + 5
    print(f"both left after {seconds:.1f} s")


def trial(action: str, num_processes: int, name: str, step: int, tmp_path: Path) -> dict:
    """What `process_trials` says, of one process with one device, or two with two each."""
    output = tmp_path / f"{action}.npz"
    where = coordinator()
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.process_trials", action, name, str(step)),
                *(str(tmp_path / "checkpoints"), str(output)),
                *((where, str(i)) if num_processes > 1 else ()),
            ],
            cwd=ROOT,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": str(num_processes), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
        )
        for i in range(num_processes)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * num_processes
    with np.load(output) as found:
        return dict(found)


@pytest.mark.faults
@pytest.mark.parametrize(("name", "first_step"), [("zero_natural", 50), ("synthetic_factors", 300)])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_processes_serve_each_other(tmp_path, name, first_step, before, after):
    (tmp_path / "checkpoints").mkdir()
    saved = trial("save", before, name, first_step, tmp_path)
    restored = trial("restore", after, name, first_step, tmp_path)
    assert len(saved["digests"]) > 3
    np.testing.assert_array_equal(restored["digests"], saved["digests"])
    assert len(saved["elbos"]) == MORE_STEPS
    elbo_error = np.abs(restored["elbos"] / saved["elbos"] - 1).max()
    errors = [relative(restored[n], saved[n]) for n in saved if n.isdecimal()]
    print(f"{before} to {after} processes: ELBO {elbo_error:.1e}, outcome {max(errors):.1e}")
    assert max(elbo_error, *errors) < 1e-5


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
