"""Small runs to break: the digit zero and a factorization, each saving at every chunk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command import ROOT, environment
from vigamma.runs.metrics import read_metrics
from vigamma.storage.checkpointing import read_checkpoint

ZERO = (
    "--config", ROOT / "configs" / "zero.py",
    "--config.num_steps=400", "--config.log_every=20", "--config.save_every=20",
)  # fmt: skip
FACTORS = (
    "--config", ROOT / "configs" / "synthetic_factors.py",
    "--config.data.num_rows=300", "--config.data.num_columns=200",
    "--config.data.num_nonzeros=5000", "--config.data.num_factors=4",
    "--config.model.num_factors=4", "--config.inference.tolerance=0",
    "--config.inference.num_restarts=1", "--config.num_steps=40", "--config.log_every=2",
    "--config.save_every=2",
)  # fmt: skip
KINDS = {"zero": ZERO, "factors": FACTORS}


def start_acknowledged(
    workdir: Path, *flags, script: str = "train.py", **variables: str
) -> subprocess.Popen:
    """Starts a run that notes every step in `<workdir>.saved` as soon as it has been saved.

    Further arguments become variables of its environment.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.acknowledged", script, f"{workdir}.saved",
         *map(str, flags), "--workdir", str(workdir)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT)} | variables,
    )  # fmt: skip


def acknowledged(workdir: Path) -> int:
    """The newest step that a run has noted as saved; 0 if none."""
    path = Path(f"{workdir}.saved")
    return max(map(int, path.read_text().split()), default=0) if path.exists() else 0


def check_every_step(workdir: Path, scratch: Path) -> list[int]:
    """All listed steps, in ascending order; each of them restores."""
    steps = sorted(int(path.name) for path in workdir.glob("*") if path.name.isdecimal())
    for step in steps:
        alone = scratch / "alone"
        shutil.copytree(workdir / str(step), alone / str(step))
        assert read_checkpoint(alone, pytest.fail)[0] == step
        shutil.rmtree(alone)
    return steps


def outcome(workdir: Path) -> tuple[int, dict[str, bytes], list, dict]:
    """What a run ended with, but seconds and its folder: step, leaves, metrics and summary."""
    step, leaves, _ = read_checkpoint(workdir, pytest.fail)
    metrics = [_without_seconds(line) for line in read_metrics(workdir / "metrics.jsonl")]
    summary = _without_seconds(json.loads((workdir / "summary.json").read_text()))
    summary["table"] = [line.replace(str(workdir), "") for line in summary["table"]]
    return step, {name: np.asarray(x).tobytes() for name, x in leaves.items()}, metrics, summary


def _without_seconds(values: dict) -> dict:
    changing = ("second", "resumed_from", "memory", "crc32")
    return {name: v for name, v in values.items() if not any(word in name for word in changing)}
