"""Runs the scripts as a user would: as processes of their own, or nearly so."""

import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

from absl import flags

from vigamma.command_line.flags import parse_flags

ROOT = Path(__file__).parents[1]


def start(script: str, *arguments: str, cwd: Path = ROOT, num_devices: int = 1) -> subprocess.Popen:
    """Starts `python scripts/<script>`, its two outputs piped as text."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(num_devices),
    )


def environment(num_devices: int = 1) -> dict[str, str]:
    """Of a process with so many CPU devices."""
    return os.environ | {"JAX_NUM_CPU_DEVICES": str(num_devices), "JAX_PLATFORMS": "cpu"}


def coordinator() -> str:
    """An address of this machine, with a port that is free."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def start_together(*arguments: str, num_devices: int = 2) -> list[subprocess.Popen]:
    """Starts the two processes of one run of `train.py`, with `num_devices` each."""
    together = (f"--coordinator={coordinator()}", "--num_processes=2")
    return [
        start("train.py", *arguments, *together, f"--process_id={i}", num_devices=num_devices)
        for i in range(2)
    ]


def run_together(*arguments: str, num_devices: int = 2) -> tuple[str, str]:
    """The standard outputs of the two processes of one run, which both must end well."""
    processes = start_together(*arguments, num_devices=num_devices)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs[0][0], outputs[1][0]


def run(script: str, *arguments: str, **options) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a script."""
    process = start(script, *arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def call(capsys, script: str, *arguments: str) -> tuple[int, str, str]:
    """What `run` returns, of a script that answers, called in this process: ten times as fast."""
    known = set(flags.FLAGS)
    pipe, interrupt = map(signal.getsignal, (signal.SIGPIPE, signal.SIGINT))
    capsys.readouterr()
    try:
        module = runpy.run_path(str(ROOT / "vigamma" / "commands" / script))
        status = module["main"](parse_flags([script, *map(str, arguments)]))
    except SystemExit as ended:
        status = ended.code
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
        signal.signal(signal.SIGINT, interrupt)
        assert signal.getsignal(signal.SIGPIPE) is pipe  # Orbax has pipes of its own
    return status, *capsys.readouterr()
