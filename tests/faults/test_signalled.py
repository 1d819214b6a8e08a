"""SIGTERM and Ctrl-C in every phase of a run: all is saved, and the process leaves."""

import signal
import subprocess
import sys
import time

import pytest

from tests.command import ROOT, environment, run
from tests.faults.runs import KINDS, outcome
from tests.faults.signalled import PHASES

SECONDS_TO_LEAVE = 5.0
AFTER_THE_STEPS = ("evaluation", "figures")


def signalled(workdir, kind: str, phase: str, signum: int, times: int = 1):
    """The exit status, the two outputs, and the seconds from the signal to the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.signalled", phase, str(int(signum)), str(times),
         *map(str, KINDS[kind]), "--workdir", str(workdir)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    sent = float(out.split("signalled at ")[1].split()[0])
    return process.returncode, out, err, time.time() - sent


def check_phases(tmp_path, kind: str, trials: list[tuple[str, signal.Signals]]) -> None:
    status, _, err = run("train.py", *KINDS[kind], "--workdir", tmp_path / "whole")
    assert (status, err) == (0, "")
    for number, (phase, signum) in enumerate(trials):
        workdir = tmp_path / str(number)
        status, _, err, seconds = signalled(workdir, kind, phase, signum)
        assert status == 128 + signum, err
        assert seconds < SECONDS_TO_LEAVE
        (line,) = err.splitlines()
        assert line.startswith(f"stopped by {signum.name}: ")
        if phase in ("data", "compilation"):
            assert line.endswith("before the first step")
        elif phase in AFTER_THE_STEPS:
            assert " steps are saved in " in line
        else:
            step = int(line.split("step ")[1].split()[0])
            assert (workdir / str(step) / "manifest.json").is_file()
        status, out, err = run("train.py", *KINDS[kind], "--workdir", workdir)
        assert (status, err) == (0, "")
        assert ("resuming from step" in out) == (phase not in ("data", "compilation"))
        assert outcome(workdir) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_leaves_in_the_midst_of_training_and_goes_on(tmp_path):
    check_phases(tmp_path, "factors", [("training", signal.SIGTERM)])


@pytest.mark.faults
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_in_every_phase_and_goes_on(tmp_path, kind, signum):
    check_phases(tmp_path, kind, [(phase, signum) for phase in PHASES])


@pytest.mark.parametrize(
    ("phase", "signum"),
    [
        ("compilation", signal.SIGINT),
        *(pytest.param(p, s, marks=pytest.mark.faults)
          for p in PHASES for s in (signal.SIGTERM, signal.SIGINT)),
    ],
)  # fmt: skip
def test_a_second_signal_leaves_at_once(tmp_path, phase, signum):
    status, _, _, seconds = signalled(tmp_path / "run", "zero", phase, signum, times=2)
    assert status == 128 + signum
    assert seconds < 1.0
