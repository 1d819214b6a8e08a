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
reveal_type(experiment.inference)
reveal_type(vg.topics)
"""

REVEALED = [
    "vigamma.families.gamma.Gamma",
    '.Array"',
    '.Array"',
    '.Array"',
    "vigamma.inference.coordinate_ascent.CoordinateAscent",
    "vigamma.contracts.Algorithm",
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


@pytest.mark.slow
def test_mypy_finds_what_is_wrong_and_nothing_else(tmp_path):
    """One run for the package and both files, as it takes 15 s, most of them for JAX."""
    for name, text in (("good", GOOD), ("bad", BAD)):
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "vigamma"]
    command += [str(tmp_path / "good.py"), str(tmp_path / "bad.py")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert not found.stderr
    lines = found.stdout.splitlines()
    assert not [line for line in lines if line.startswith("vigamma")]

    said = [line.partition("good.py:")[2] for line in lines if "good.py:" in line]
    for line, revealed in zip(said, REVEALED, strict=True):
        assert "note: Revealed type is" in line
        assert revealed in line

    errors = [line.partition("bad.py:")[2] for line in lines if "bad.py:" in line]
    errors = [line for line in errors if "error:" in line]
    first = BAD.splitlines().index("vg.Gamma(shape=ones, rate=ones)") + 1
    for number, (line, kind) in enumerate(zip(errors, FOUND, strict=True), first):
        assert line.startswith(f"{number}: ")
        assert line.endswith(f"[{kind}]")
