"""The README's commands exist and do what it says."""

import re

import numpy as np
from scipy.sparse import csr_array, save_npz

from tests.command import ROOT, run

README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    return re.findall(r"^    (python3? .*)$", README, re.MULTILINE)


def test_the_first_command_trains_and_the_second_tests():
    setups = [c for c in commands() if "venv" in c]
    make, install = "python3 -m venv .venv", ".venv/bin/pip install -e"
    assert setups == [
        f"{make} && {install} . && .venv/bin/python scripts/train.py --config configs/zero.py",
        f"{make} && {install} '.[test]' && .venv/bin/pytest",
    ]
    assert f"    {setups[1]}\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in ci


def test_the_other_commands_run(tmp_path):
    others = [c.split("#")[0].split() for c in commands() if "venv" not in c]
    assert {words[1] for words in others} == {"scripts/train.py", "scripts/generate.py"}
    workdir = tmp_path / "run"
    counts = tmp_path / "counts.npz"
    save_npz(counts, csr_array(np.random.default_rng(0).poisson(1.0, (30, 20))))
    for number, words in enumerate(others):
        script, flags = words[1].removeprefix("scripts/"), words[2:]
        flags = [flag.replace("=counts.npz", f"={counts}") for flag in flags]
        if "--workdir" in flags:
            flags[flags.index("--workdir") + 1] = str(workdir)
        else:
            flags += ["--workdir", str(tmp_path / f"other {number}")]
        if script == "train.py":
            flags += ["--config.num_steps=50", "--config.log_every=10"]
        status, out, err = run(script, *flags)
        assert (status, err) == (0, ""), words
        assert "written: " in out


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["images"].shape == (10, 64)
    assert (names["low"] < names["high"]).all()


def test_every_path_in_the_map_exists():
    for path in re.findall(r"(?:vigamma|scripts|configs|tests)/[\w/]*(?:\.\w+)?", README):
        assert (ROOT / path).exists(), path
