"""The README's commands exist and do what it says."""

import gzip
import re
import shlex
import tomllib

import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import coo_array

import vigamma
from tests.command import ROOT, run

README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    return re.findall(r"^    (python3? .*)$", README, re.MULTILINE)


def test_the_first_command_trains_and_the_second_tests():
    setups = [c for c in commands() if "venv" in c]
    make, install = "python3 -m venv .venv", ".venv/bin/pip install -e"
    assert setups == [
        f"{make} && {install} . && .venv/bin/python scripts/train.py --config configs/zero.py",
        f"{make} && {install} '.[test]' && .venv/bin/pytest -n auto --dist worksteal",
    ]
    assert f"    {setups[1]}\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in ci


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the README's commands want, small, in the formats of their owners."""
    folder, rng = tmp_path_factory.mktemp("readme"), np.random.default_rng(0)
    groups = rng.random((3, 24)) ** 4
    counts = rng.poisson(4 * groups[rng.integers(3, size=60)])
    lines = [f"{i},{10 * j},{rng.integers(1, 11) / 2},9781" for i, j in np.argwhere(counts)]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]))
    cells = folder / "filtered_feature_bc_matrix"
    cells.mkdir()
    write_gz(cells / "barcodes.tsv.gz", [f"AAAC{i}-1" for i in range(60)])
    write_gz(cells / "features.tsv.gz", [f"ENSG{j}\tGENE{j}\tGene Expression" for j in range(24)])
    with gzip.open(cells / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, coo_array(counts.T))
    entries = [f"{i + 1} {j + 1} {counts[i, j]}" for i, j in np.argwhere(counts)]
    (folder / "docword.kos.txt").write_text("\n".join(["60", "24", str(len(entries)), *entries]))
    (folder / "vocab.kos.txt").write_text("\n".join(["iraq", *(f"word{j}" for j in range(1, 24))]))
    return folder


def write_gz(path, lines):
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.mark.slow
def test_the_other_commands_run(folder):
    others = [shlex.split(c, comments=True) for c in commands() if "venv" not in c]
    others.insert(0, ["python", "scripts/train.py", "--config", "configs/zero.py"])
    scripts = {words[1] for words in others}
    assert scripts >= {f"scripts/{n}.py" for n in ("train", "recommend", "report", "topics")}
    outputs = {}
    for words in others:
        flags = [str(ROOT / word) if word.startswith("configs/") else word for word in words[2:]]
        if words[1] == "scripts/train.py":
            flags += ["--config.num_steps=60", "--config.log_every=10"]
        elif words[1] == "scripts/sample.py":
            flags += ["--num_sweeps=40", "--burn_in=20"]
        status, out, err = run(words[1].removeprefix("scripts/"), *flags, cwd=folder)
        assert status == 0, words
        assert not err or words[1] == "scripts/report.py", words  # its progress
        outputs[" ".join(words[1:])] = out
    recommended, topics, similar, page = (
        next(
            out
            for command, out in outputs.items()
            if command.startswith(f"scripts/{name}.py") and "docstrings" not in command
        )
        for name in ("recommend", "topics", "similar", "report")
    )
    assert re.search(r"\n +1  +\d+0 +0\.\d+", recommended)  # the best item and its rate
    assert "word" in topics
    assert "word" in similar
    assert "report.html" in page


@pytest.mark.slow
def test_the_example_of_scikit_learn_runs():
    (example,) = re.findall(r"```python\n([^`]*PoissonFactorizer.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["theta"].shape == (1797, 20)
    assert (names["theta"] > 0).all()


@pytest.mark.slow
def test_the_example_from_a_file_to_recommendations_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (example,) = re.findall(r"```python\n([^`]*vg\.recommend.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) == 5
    exec(example, {"vg": vigamma})
    table = capsys.readouterr().out
    for name in ("user", "item", "rate", "low", "high"):
        assert name in table


def test_every_extra_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^Extras, .*?\n\n", README, re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", extras))
    assert named == set(project["optional-dependencies"])


def test_every_path_in_the_map_exists():
    for path in re.findall(r"(?:vigamma|scripts|configs|tests)/[\w/]*(?:\.\w+)?", README):
        assert (ROOT / path).exists(), path
