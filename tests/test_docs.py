"""The notebooks and the reference of the site; `.ci/run` builds it, and executes the notebooks."""

import json
import re

import pytest

import vigamma
import vigamma.random
from tests.command import ROOT
from vigamma import pl, tl

DOCS = ROOT / "docs"
NOTEBOOKS = {path.stem: path for path in DOCS.glob("*.ipynb")}
MOST_BYTES = 400_000


def cells(path):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def texts(outputs):
    for output in outputs:
        yield from output.get("text", [])
        for kind, data in output.get("data", {}).items():
            yield from data if kind.startswith("text/") else []


def test_there_is_a_notebook_for_each_kind_of_user():
    assert set(NOTEBOOKS) == {"tutorial", "ratings", "documents", "cells"}
    index = (DOCS / "index.md").read_text()
    assert all(re.search(rf"^{name}$", index, re.M) for name in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_a_notebook_is_kept_with_the_outputs_of_one_clean_run(path):
    assert path.stat().st_size < MOST_BYTES
    counts = [cell["execution_count"] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    for text in texts(outputs):
        assert not re.search(r"warning|(?<![\w.<])/\w+/\w+/", text, re.IGNORECASE), text


def test_the_reference_has_every_public_name_once():
    page = (DOCS / "api.rst").read_text()
    sections = re.split(r"^\.\. currentmodule:: (\S+)$", page, flags=re.M)
    found: dict[str, list[str]] = {}
    for module, section in zip(sections[1::2], sections[2::2], strict=True):
        names = re.findall(r"^   (\w+)$|^\.\. py:data:: (\w+)$", section, re.M)
        found.setdefault(module, []).extend(name or data for name, data in names)
    assert sorted(found["vigamma"]) == sorted(vigamma.__all__)
    assert sorted(found["vigamma.random"]) == sorted(vigamma.random.__all__)
    for module in (tl, pl):
        own = [
            n for n, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__
        ]
        assert sorted(found[module.__name__]) == sorted(n for n in own if not n.startswith("_"))


def test_the_parts_that_pages_include_are_there():
    for page in DOCS.glob("*.md"):
        blocks = re.findall(r"\{(?:literal)?include\} (\S+)\n(.*?)```", page.read_text(), re.S)
        for name, options in blocks:
            text = (DOCS / name).read_text()
            marks = re.findall(r"^:(?:start-(?:after|at)|end-before): (.*)$", options, re.M)
            place = 0
            for mark in marks:
                place = text.find(mark.strip("\"'"), place + 1)
                assert place > 0, (page.name, name, mark)
