"""Runs the scripts as a user would: as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(script: str, *arguments: str, cwd: Path = ROOT, num_devices: int = 1) -> subprocess.Popen:
    """Starts `python scripts/<script>`, its two outputs piped as text."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(num_devices), "JAX_PLATFORMS": "cpu"},
    )


def run(script: str, *arguments: str, **options) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a script."""
    process = start(script, *arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
