"""The wheel, in an environment and a folder of its own, where there is no checkout."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.command import ROOT


def call(*words, cwd) -> str:
    """The output of a process that must end well, and that cannot see the checkout."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory):
    """The `bin` of a new environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns(".*", "checkpoints", "tests", "build", "*.egg-info")
    source = shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=leave_out)
    call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    call(folder / "venv" / "bin" / "pip", "install", "-q", wheel, cwd=folder)
    return folder / "venv" / "bin"


@pytest.mark.nightly
def test_the_installed_command_goes_from_ratings_to_a_report(bin_folder, tmp_path):
    assert "No broken requirements found" in call(bin_folder / "pip", "check", cwd=tmp_path)
    vigamma = bin_folder / "vigamma"
    listed = call(vigamma, "configs", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == sorted(
        path.stem for path in (ROOT / "configs").glob("*.py")
    )
    out = call(vigamma, "train", "--config", "zero", "--config.num_steps=200", cwd=tmp_path)
    assert "written: checkpoints/zero: summary.json, metrics.jsonl, checkpoints, 5 figures" in out
    rng = np.random.default_rng(0)
    cells = np.argwhere(rng.random((60, 24)) < 0.3)
    lines = [f"user{i},film{j},{rng.integers(1, 6)}" for i, j in cells]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    of_ratings = ("--workdir", "checkpoints/ratings")
    path, few = "--config.data.path=ratings.csv", "--config.num_steps=20"
    call(vigamma, "train", "--config", "counts_factors", path, few, *of_ratings, cwd=tmp_path)
    out = call(vigamma, "recommend", *of_ratings, "--user", "user7", "--top=3", cwd=tmp_path)
    assert out.count("film") == 3
    assert "`vigamma sample` mends that" in out
    call(vigamma, "report", *of_ratings, cwd=tmp_path)
    page = (tmp_path / "checkpoints" / "ratings" / "report.html").read_text(encoding="utf-8")
    assert "vigamma train --config again.py" in page
    assert "scripts/" not in page
