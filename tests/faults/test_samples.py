"""Kills, signals and full disks while posterior samples are drawn: no draw is lost or changed."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.command import run
from tests.faults.runs import FACTORS, acknowledged, check_every_step, outcome, start_acknowledged
from tests.faults.small_disks import can_mount, run_with_own_disks
from vigamma.storage.draws import read_draw, saved_draws
from vigamma.storage.workdir import locked

CHAINS = ("--num_chains=2", "--burn_in=4", "--thin=2", "--save_every=4")
LONG, SHORT = (*CHAINS, "--num_sweeps=400"), (*CHAINS, "--num_sweeps=24")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("fitted") / "run"
    status, _, err = run("train.py", *FACTORS, "--config.num_steps=10", "--workdir", workdir)
    assert (status, err) == (0, "")
    return workdir


def start(workdir: Path, flags) -> subprocess.Popen:
    return start_acknowledged(workdir, *flags, script="sample.py")


def all_draws(workdir: Path) -> dict[int, dict[str, bytes]]:
    """Every draw, as it was written; raises CheckpointError if one is damaged."""
    folder = workdir / "samples" / "draws"
    return {
        step: {name: np.asarray(a).tobytes() for name, a in read_draw(folder, step)[0].items()}
        for step in saved_draws(folder)
    }


def check_end(workdir: Path, whole: Path) -> None:
    assert outcome(workdir / "samples") == outcome(whole / "samples")
    assert all_draws(workdir) == all_draws(whole)
    for path in workdir.rglob("*"):
        assert "tmp" not in path.name
        assert not path.name.startswith(".partial")


def sample_whole(fitted: Path, tmp_path: Path, flags) -> Path:
    whole = shutil.copytree(fitted, tmp_path / "whole")
    _, err = start(whole, flags).communicate(timeout=120)
    assert err == ""
    summary = json.loads((whole / "samples" / "summary.json").read_text())
    assert summary["num_draws"] == 2 * len(all_draws(whole)) > 0
    return whole


def interrupt(draw: random.Random, workdir: Path, signum: signal.Signals) -> None:
    """Starts sampling, sends a signal early or soon after a save, and looks at what is left."""
    before = acknowledged(workdir)
    process = start(workdir, LONG)
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 8))
    else:
        while acknowledged(workdir) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    if signum != signal.SIGKILL and process.returncode:
        assert process.returncode in (128 + signum, -signum)
        assert len(err.splitlines()) <= 1, err
    saved, samples = acknowledged(workdir), workdir / "samples"
    if samples.exists():
        with locked(samples):
            assert not list(samples.glob(".partial*"))
    steps = check_every_step(samples, workdir.parent)
    assert max(steps, default=0) >= saved
    assert set(range(6, saved + 1, 2)) <= set(all_draws(workdir))


def check_interrupts(
    fitted: Path, tmp_path: Path, num: int, seed: int, signum: signal.Signals
) -> None:
    whole = sample_whole(fitted, tmp_path, LONG)
    draw, workdir = random.Random(seed), shutil.copytree(fitted, tmp_path / "interrupted")
    for _ in range(num):
        interrupt(draw, workdir, signum)
    out, err = start(workdir, LONG).communicate(timeout=120)
    assert err == "", out
    check_end(workdir, whole)


@pytest.mark.nightly
def test_samples_killed_twice_are_those_that_were_never_cut(fitted, tmp_path):
    check_interrupts(fitted, tmp_path, 2, 0, signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_samples_cut_eight_times_are_those_that_were_never_cut(fitted, tmp_path, signum, seed):
    check_interrupts(fitted, tmp_path, 8, seed + 1, signum)


def check_budget(workdir: Path, scratch: Path) -> bool:
    """Samples where there is not much room; whether there was enough."""
    process = start(workdir, SHORT)
    _, err = process.communicate(timeout=120)
    samples = workdir / "samples"
    steps = check_every_step(samples, scratch)
    assert max(steps, default=0) == acknowledged(workdir)
    assert set(range(6, acknowledged(workdir) + 1, 2)) <= set(all_draws(workdir))
    assert not list(workdir.rglob(".partial*"))
    if process.returncode == 0:
        return True
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert str(workdir) in line
    assert " bytes needed, " in line
    return False


def main() -> None:
    """In a namespace of its own: `python -m tests.faults.test_samples FOLDER FITTED BYTES`."""
    folder, fitted, num_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    shutil.copytree(fitted, disk / "run")
    (disk / "run.saved").symlink_to(folder / "run.saved")  # where there is room to take note
    used = shutil.disk_usage(disk).used
    size = f"remount,size={4096 * ((used + num_bytes) // 4096)}"
    subprocess.run(["mount", "-o", size, str(disk)], check=True)
    fits = check_budget(disk / "run", folder)
    print("whole" if fits else "full")
    if not fits:  # with more room the same command goes on from where it was
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert check_budget(disk / "run", folder)
    print(shutil.disk_usage(disk).used - used)
    shutil.copytree(disk / "run", folder / "ended")


def on_small_disk(folder: Path, fitted: Path, num_bytes: int) -> tuple[str, int]:
    """Whether there was enough room, and the bytes that are used in the end."""
    folder.mkdir()
    printed = run_with_own_disks("tests.faults.test_samples", folder, fitted, num_bytes)
    found, used = printed.split()
    return found, int(used)


@pytest.mark.faults
@pytest.mark.skipif(not can_mount(), reason="a small file system cannot be mounted here")
def test_a_disk_that_is_full_at_any_of_twenty_bytes_loses_no_draw(fitted, tmp_path):
    found, most = on_small_disk(tmp_path / "enough", fitted, 2**25)
    assert found == "whole"
    results = []
    for number in range(20):
        folder = tmp_path / str(number)
        results.append(on_small_disk(folder, fitted, most * number // 20)[0])
        check_end(folder / "ended", tmp_path / "enough" / "ended")
    assert results.count("full") > 14


if __name__ == "__main__":
    main()
