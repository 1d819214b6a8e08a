"""The examples of README.md and CONTRIBUTING.md run, and come to what they should."""

import re

import numpy as np
import pytest

from tests.command import ROOT
from vigamma import Digits, DomainKnowledge


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)


@pytest.mark.slow
def test_a_fit_takes_no_more_than_six_lines(capsys):
    zero, factors = (block for block in blocks("README.md") if "vg.fit(" in block)
    for block in (zero, factors):
        assert len([line for line in block.splitlines() if line]) <= 6
    space = {}
    exec(zero, space)
    assert capsys.readouterr().out.startswith("Certificate")
    model, batch = DomainKnowledge(weight=2.0, floor=0.1).build(Digits(digit=0).load())
    exact = model.exact_posterior(batch)
    assert np.abs(exact.mean / model.prior.mean - 1).max() > 0.5
    np.testing.assert_allclose(space["zero"].posterior.mean, exact.mean, rtol=1e-3)
    np.testing.assert_allclose(space["low"], exact.quantile(0.05), rtol=1e-2)
    space = {}
    exec(factors, space)
    assert space["theta"].mean.shape == (300, 5)
    assert space["beta"].mean.shape == (80, 5)
    assert space["found"].summary["num_heldout"] > 1000
    assert space["found"].stopped == "converged"


@pytest.mark.slow
def test_an_example_of_each_extension(monkeypatch):
    monkeypatch.chdir(ROOT)  # where README.md is
    space, found = {}, blocks("CONTRIBUTING.md")
    assert len(found) == 5
    for block in found:
        exec(block, space)
    goals = space["Goals"]().load()["goals"]
    mean = (2 + goals.sum()) / (1 + goals.size)
    np.testing.assert_allclose(space["goals"].posterior["rate"].mean, mean, rtol=1e-4)
    np.testing.assert_allclose(space["shared"].posterior["rate"].mean, mean, rtol=1e-2)
    model, batch = DomainKnowledge().build(Digits().load())
    exact = model.exact_posterior(batch).mean
    assert np.abs(exact - model.prior.mean).max() > 1
    np.testing.assert_allclose(space["zero"].posterior.mean, exact, rtol=0.05, atol=0.01)
    np.testing.assert_allclose(space["exact"].posterior.mean, exact, rtol=1e-5)
    assert space["exact"].stopped == "converged"
    topics = space["topics"].posterior
    assert topics["rows"].mean.shape == (len((ROOT / "README.md").read_text().splitlines()), 2)
