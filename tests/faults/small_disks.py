"""File systems of their own for a process, where the machine lets a test make them."""

import shutil
import subprocess

OWN_FILE_SYSTEMS = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    """Whether a small file system can be made here."""
    if shutil.which("unshare") is None:
        return False
    mount = [*OWN_FILE_SYSTEMS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0
