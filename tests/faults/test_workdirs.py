"""Workdirs that cannot be used, or belong to another run, are found before the first step."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import ROOT, environment, run
from tests.faults.runs import (
    KINDS,
    ZERO,
    acknowledged,
    check_every_step,
    outcome,
    start_acknowledged,
)
from tests.faults.small_disks import OWN_FILE_SYSTEMS, can_mount
from vigamma.storage.workdir import locked

NOBODY = 65534


def refused(workdir: Path | str, **options) -> str:
    """The one line with which a run in `workdir` is refused."""
    status, out, err = run("train.py", *ZERO, "--workdir", workdir, **options)
    assert status == 1
    assert "step " not in out
    (line,) = err.splitlines()
    return line


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        assert refused(workdir).startswith(f"error: cannot write in the workdir {workdir}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_that_cannot_be(tmp_path):
    assert "File name too long" in refused(tmp_path / ("x" * 300))


@pytest.mark.skipif(not can_mount(), reason="a small file system cannot be mounted here")
def test_a_file_system_that_cannot_be_written(tmp_path):
    command = f"""
        mount -t tmpfs -o ro tmpfs {tmp_path}
        exec {sys.executable} scripts/train.py --config configs/zero.py --workdir {tmp_path}/run
    """
    ended = subprocess.run(
        [*OWN_FILE_SYSTEMS, "sh", "-c", command],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    expected = f"error: cannot write in the workdir {tmp_path}/run: Read-only file system\n"
    assert ended.stderr == expected


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_permission(tmp_path, mode):
    """As a user other than root, whom nothing is forbidden."""
    folder = tmp_path / "folder"
    program = f"""
import os
from pathlib import Path
from vigamma import CheckpointError
from vigamma.storage.workdir import locked

if os.getuid() == 0:
    os.setgroups([])
    os.setuid({NOBODY})
for workdir in (Path({str(folder)!r}), Path({str(folder / "run")!r})):
    try:
        with locked(workdir):
            print("entered")
    except CheckpointError as error:
        print(error)
"""
    folder.mkdir()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    folder.chmod(mode)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
        )
    finally:
        folder.chmod(0o755)
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines == [
        f"cannot write in the workdir {workdir}: Permission denied"
        for workdir in (folder, folder / "run")
    ]
    assert os.listdir(folder) == []


@pytest.mark.slow
def test_a_relative_path_is_of_the_folder_of_the_command(tmp_path):
    flags = (*ZERO, "--config.num_steps=40")
    status, out, err = run("train.py", *flags, "--workdir", "here/run", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert (tmp_path / "here" / "run" / "40" / "manifest.json").is_file()
    status, out, err = run("train.py", *flags, "--workdir", "here/run", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "finished at step 40 before" in out
    assert "unchanged: here/run: summary.json" in out


def check_busy(tmp_path, kind: str, num_trials: int, seconds: float) -> None:
    """The first run is stopped for as long as others want its workdir; then it goes on."""
    flags, workdir = KINDS[kind], tmp_path / "busy"
    whole = start_acknowledged(tmp_path / "whole", *flags)
    whole.communicate(timeout=120)
    first = start_acknowledged(workdir, *flags)
    while not acknowledged(workdir):
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    try:
        for _ in range(num_trials):
            started = time.monotonic()
            line = refused(workdir)
            assert time.monotonic() - started < seconds
            assert line == f"error: another run (process {first.pid}) is at work in {workdir}"
    finally:
        first.send_signal(signal.SIGCONT)
        _, err = first.communicate(timeout=120)
    assert (first.returncode, err) == (0, "")
    assert outcome(workdir) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path):
    check_busy(tmp_path, "factors", num_trials=1, seconds=20)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_second_runs_are_refused_in_two_seconds(tmp_path, kind):
    check_busy(tmp_path, kind, num_trials=20, seconds=2)


@pytest.mark.slow
def test_a_dead_holder_blocks_nobody(tmp_path):
    workdir = tmp_path / "run"
    first = start_acknowledged(workdir, *ZERO)
    while not acknowledged(workdir):
        time.sleep(0.01)
    first.kill()
    first.communicate()
    assert (workdir / ".lock").read_text() == str(first.pid)
    with locked(workdir):
        assert (workdir / ".lock").read_text() == str(os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_workdir_that_is_taken_away_ends_the_run(tmp_path, kind):
    workdir = tmp_path / "run"
    process = start_acknowledged(workdir, *KINDS[kind])
    while not acknowledged(workdir):
        time.sleep(0.01)
    workdir.rename(tmp_path / "elsewhere")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: could not save step ")
    assert str(workdir) in line
    assert len(line) < 1000
    assert check_every_step(tmp_path / "elsewhere", tmp_path)[-1] >= acknowledged(workdir)
