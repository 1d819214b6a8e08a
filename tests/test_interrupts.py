"""SIGTERM and Ctrl-C at any moment of a real run, from its first import to its last figure."""

import json
import random
import signal
import time

import pytest

from tests.command import ROOT, run, start

FLAGS = ("--config", ROOT / "configs" / "zero.py", "--config.save_every=500")
SECONDS_TO_LEAVE = 5.0


def interrupt(workdir, signum, delay: float) -> None:
    """Sends `signum` after `delay` seconds; then the same command must end the run as if whole."""
    process = start("train.py", *FLAGS, "--workdir", workdir)
    time.sleep(delay)
    process.send_signal(signum)
    sent = time.monotonic()
    out, err = process.communicate(timeout=300)
    seconds = time.monotonic() - sent
    if process.returncode == 0:  # it had just finished
        assert "Certificate" in out
        return
    assert process.returncode == 128 + signum, err
    assert seconds < SECONDS_TO_LEAVE
    (line,) = err.splitlines()
    assert f"stopped by {signal.Signals(signum).name}" in line
    if "is saved" in line:
        step = int(line.split("step ")[1].split()[0])
        assert step % 100 == 0
        assert (workdir / str(step)).is_dir()
    else:
        assert "before the first step" in line or "all 5000 steps are saved" in line


def check_interrupts(tmp_path, trials: list[tuple[signal.Signals, float]]) -> None:
    _, out, _ = run("train.py", *FLAGS, "--workdir", tmp_path / "whole")
    expected = json.loads((tmp_path / "whole" / "summary.json").read_text())
    for number, (signum, delay) in enumerate(trials):
        workdir = tmp_path / str(number)
        interrupt(workdir, signum, delay)
        status, out, err = run("train.py", *FLAGS, "--workdir", workdir)
        assert (status, err) == (0, ""), out
        summary = json.loads((workdir / "summary.json").read_text())
        for name in ("elbo", "kl_to_exact", "max_kl_to_exact", "steps"):
            assert summary[name] == expected[name]
        assert not list(workdir.glob("*tmp*"))


@pytest.mark.nightly
def test_a_run_interrupted_late_ends_as_if_whole(tmp_path):
    check_interrupts(tmp_path, [(signal.SIGTERM, 4.5)])


@pytest.mark.nightly
def test_a_run_interrupted_early_ends_as_if_whole(tmp_path):
    check_interrupts(tmp_path, [(signal.SIGINT, 0.7)])


@pytest.mark.nightly
def test_twenty_interrupts_at_any_moment(tmp_path):
    started = time.monotonic()
    run("train.py", *FLAGS, "--workdir", tmp_path / "timed")
    whole = time.monotonic() - started
    draw = random.Random(0)
    trials = [
        (draw.choice([signal.SIGTERM, signal.SIGINT]), draw.uniform(0.05, whole)) for _ in range(20)
    ]
    check_interrupts(tmp_path, trials)
