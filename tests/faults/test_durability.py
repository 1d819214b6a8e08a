"""What is acknowledged is on the disk, and a thousand saves leave no trace but the last ones."""

import gc
import re
import shutil
import subprocess
import sys

import pytest

from tests.command import ROOT, environment
from tests.test_checkpointing import make_arrays, opened

PROGRAM = """
import sys
from pathlib import Path
import jax.numpy as jnp
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked

workdir = Path(sys.argv[1])
with locked(workdir):
    Checkpointer(workdir, {}).save(7, {"x": jnp.arange(5.0)})
    print("saved", flush=True)
"""


def paths_flushed(trace: str) -> list[tuple[int, str]]:
    """(line, path) of every fsync that succeeded; strace -y names the path of a descriptor."""
    found = []
    for number, line in enumerate(trace.splitlines()):
        if match := re.search(r"f(?:data)?sync\(\d+<([^>]*)>.* = 0", line):
            found.append((number, match[1]))
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_every_file_and_folder_of_a_step_is_flushed_before_it_is_acknowledged(tmp_path):
    workdir, trace = tmp_path / "run", tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,write"
    subprocess.run(
        ["strace", "-f", "-y", "-s", "200", "-e", calls, "-o", trace,
         sys.executable, "-c", PROGRAM, workdir],
        check=True, capture_output=True, cwd=ROOT, env=environment(), timeout=120,
    )  # fmt: skip
    lines = trace.read_text().splitlines()
    (renamed,) = (
        n for n, x in enumerate(lines) if re.search(rf'rename.*"{re.escape(str(workdir))}/7"', x)
    )
    (said,) = (n for n, x in enumerate(lines) if ', "saved' in x)
    flushed = paths_flushed(trace.read_text())
    before = {path for line, path in flushed if line < renamed}
    partial = workdir / ".partial-7"
    for path in (workdir / "7").rglob("*"):
        assert str(partial / path.relative_to(workdir / "7")) in before
    assert str(partial) in before
    assert str(workdir) in {path for line, path in flushed if renamed < line < said}


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return 4096 * int(file.read().split()[1])


def check_soak(workdir, num_saves: int) -> tuple[int, int]:
    """The resident memory after a tenth of the saves and after all."""
    arrays, early = make_arrays(scale=2.0), 0
    with opened(workdir) as checkpoints:
        for step in range(1, num_saves + 1):
            checkpoints.save(step, arrays)
            if step == num_saves // 10:
                gc.collect()
                early = resident_bytes()
    folders = sorted(p.name for p in workdir.iterdir() if p.is_dir())
    assert folders == sorted(map(str, [num_saves - 2, num_saves - 1, num_saves]))
    gc.collect()
    return early, resident_bytes()


@pytest.mark.slow
def test_fifty_saves_leave_the_newest_three(tmp_path):
    check_soak(tmp_path, 50)


@pytest.mark.faults
def test_a_thousand_saves_take_no_more_memory(tmp_path):
    early, late = check_soak(tmp_path, 1000)
    assert late < 1.05 * early
