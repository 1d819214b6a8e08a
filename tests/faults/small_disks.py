"""File systems of their own for a process, where the machine lets a test make them."""

import shutil
import subprocess
import sys

from tests.command import ROOT, environment

OWN_FILE_SYSTEMS = ["unshare", "--user", "--map-root-user", "--mount"]


def run_with_own_disks(module: str, *arguments) -> str:
    """What the module prints, run where it may mount file systems of its own."""
    ended = subprocess.run(
        [*OWN_FILE_SYSTEMS, sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def can_mount() -> bool:
    """Whether a small file system can be made here."""
    if shutil.which("unshare") is None:
        return False
    mount = [*OWN_FILE_SYSTEMS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0
