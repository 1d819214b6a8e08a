"""What a type checker finds in the package, and in the files of those who use it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GOOD = """
import jax
import numpy as np
import vigamma as vg

a, b = jax.numpy.ones(3), np.ones(3)
gamma = vg.Gamma(a, b).replace(rate=b)
reveal_type(gamma)
reveal_type(gamma.rate)
reveal_type(gamma.sample(jax.random.key(0)))
reveal_type(vg.Gamma(concentration=2.0, rate=[1.0, 3.0]).kl_divergence(gamma))
inference = vg.CoordinateAscent(tolerance=1e-5)
reveal_type(inference)
experiment = vg.Experiment(
    data=vg.SparseCounts(path="counts.npz"),
    heldout=vg.HeldOut(protocol="thinning", test_fraction=0.2),
    model=vg.PoissonFactorization(num_factors=20),
    inference=inference,
    num_steps=500,
    log_every=10,
    save_every=100,
    seed=0,
)
reveal_type(experiment.model)
reveal_type(vg.topics)
"""

REVEALED = [
    "vigamma.families.gamma.Gamma",
    "jax._src.basearray.Array",
    "jax._src.basearray.Array",
    "jax._src.basearray.Array",
    "vigamma.inference.coordinate_ascent.CoordinateAscent",
    "vigamma.models.poisson_factorization.PoissonFactorization",
    "vigamma.answers.topics.Topics",
]

BAD = """
import jax
import vigamma as vg

ones = jax.numpy.ones(3)
vg.Gamma(shape=ones, rate=ones)
vg.Gamma(ones)
vg.Gamma(ones, ones).rate = ones
vg.CoordinateAscent(tolerence=1e-5)
vg.CoordinateAscent(True)
vg.PathwiseElbo(num_samples="many")
vg.Gama(ones, ones)
"""

FOUND = [
    "call-arg",  # shape
    "call-arg",  # no rate
    "misc",  # rate is read-only
    "call-arg",  # tolerence
    "call-arg",  # positional
    "arg-type",
    "attr-defined",
]


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[str]:
    """What mypy says of all files, a line each: one run takes 15 s, most of it for JAX."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in (("good", GOOD), ("bad", BAD)):
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache"), "vigamma"]
    command += [str(folder / "good.py"), str(folder / "bad.py")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert not found.stderr
    return found.stdout.splitlines()


def test_the_package_has_no_errors(lines):
    assert not [line for line in lines if line.startswith("vigamma")]


def test_what_a_user_writes_has_the_types_that_it_should(lines):
    found = [line.split("good.py:")[1] for line in lines if "good.py:" in line]
    assert len(found) == len(REVEALED)
    for line, wanted in zip(found, REVEALED, strict=True):
        assert "note: Revealed type is" in line
        assert wanted in line


def test_what_a_user_writes_wrongly_is_found(lines):
    found = [line for line in lines if "bad.py:" in line and "error:" in line]
    places = [int(line.split("bad.py:")[1].split(":")[0]) for line in found]
    assert places == list(range(6, 6 + len(FOUND)))
    assert [line.rpartition("[")[2].rstrip("]") for line in found] == FOUND
