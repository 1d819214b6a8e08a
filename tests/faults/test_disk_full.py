"""A disk that is full at any byte of a run: on a small file system, or under a limit on files."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.faults.acknowledged import MOST_BYTES
from tests.faults.runs import (
    FACTORS,
    ZERO,
    acknowledged,
    check_every_step,
    outcome,
    start_acknowledged,
)
from tests.faults.small_disks import can_mount, run_with_own_disks

SHORT = {
    "zero": (*ZERO, "--config.num_steps=100"),
    "factors": (*FACTORS, "--config.num_steps=10"),
}


def check_budget(workdir: Path, flags, scratch: Path) -> bool:
    """Runs where there is not much room; whether there was enough."""
    process = start_acknowledged(workdir, *flags)
    _, err = process.communicate(timeout=120)
    steps = check_every_step(workdir, scratch)
    assert max(steps, default=0) == acknowledged(workdir)
    assert not list(workdir.rglob(".partial*"))
    if process.returncode == 0:
        return True
    assert process.returncode == 1
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert str(workdir) in err
    assert " bytes needed, " in err
    assert " bytes free)" in err
    return False


def main() -> None:
    """Inside a namespace of its own: `python -m tests.faults.test_disk_full FOLDER BYTES KIND`."""
    folder, num_bytes, flags = Path(sys.argv[1]), int(sys.argv[2]), SHORT[sys.argv[3]]
    disk = folder / "disk"
    disk.mkdir()
    size = ["-o", f"size={num_bytes}"]
    subprocess.run(["mount", "-t", "tmpfs", *size, "tmpfs", str(disk)], check=True)
    (disk / "run.saved").symlink_to(folder / "run.saved")  # where there is room to take note
    fits = check_budget(disk / "run", flags, folder)
    print("whole" if fits else "full")
    if not fits:  # with more room the same command goes on from where it was
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert check_budget(disk / "run", flags, folder)
    shutil.copytree(disk / "run", folder / "ended")


def on_small_disk(folder: Path, num_bytes: int, kind: str) -> str:
    folder.mkdir()
    return run_with_own_disks("tests.faults.test_disk_full", folder, num_bytes, kind)


def check_budgets(tmp_path, kind: str, shares: Sequence[float]) -> None:
    assert on_small_disk(tmp_path / "enough", 2**26, kind) == "whole"
    files = (tmp_path / "enough" / "ended").rglob("*")
    most = sum(4096 * -(-path.stat().st_size // 4096) for path in files if path.is_file())
    found = []
    for number, share in enumerate(shares):
        budget = 4096 + int(most * share)
        found.append(on_small_disk(tmp_path / str(number), budget, kind))
        assert outcome(tmp_path / str(number) / "ended") == outcome(tmp_path / "enough" / "ended")
    assert found.count("full") > 0.7 * len(shares)


@pytest.mark.nightly
@pytest.mark.skipif(not can_mount(), reason="a small file system cannot be mounted here")
def test_a_full_disk_loses_nothing(tmp_path):
    check_budgets(tmp_path, "zero", [0.4])


@pytest.mark.faults
@pytest.mark.skipif(not can_mount(), reason="a small file system cannot be mounted here")
@pytest.mark.parametrize("kind", SHORT)
def test_a_disk_that_is_full_at_any_of_forty_bytes_loses_nothing(tmp_path, kind):
    check_budgets(tmp_path, kind, np.arange(40) / 40)


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [200, 2000])
def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path, most_bytes):
    workdir = tmp_path / "run"
    process = start_acknowledged(workdir, *SHORT["zero"], **{MOST_BYTES: str(most_bytes)})
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert str(workdir) in line
    assert not list(workdir.rglob(".partial*"))


if __name__ == "__main__":
    main()
