"""Cuts, deletions, appended bytes and flipped bits in every file of the newest checkpoint."""

import random
import shutil
from pathlib import Path

import jax
import pytest

from tests.test_checkpointing import assert_bit_equal, make_arrays, opened
from vigamma import CheckpointError, CoordinateAscent, Experiment, HeldOut, SyntheticFactors
from vigamma import HierarchicalPoissonFactorization as Hierarchical
from vigamma.devices.mesh import make_mesh
from vigamma.runs.train import load_fit
from vigamma.storage.checkpointing import read_checkpoint

FACTORS = Experiment(
    data=SyntheticFactors(num_rows=60, num_columns=40, num_factors=3, num_nonzeros=500),
    heldout=HeldOut(),
    model=Hierarchical(num_factors=3),
    inference=CoordinateAscent(),
    num_steps=10,
    log_every=5,
    save_every=5,
)


def of_zero():
    return make_arrays(scale=2.0), make_arrays(scale=3.0)


def of_factors():
    fit, mesh = load_fit(FACTORS), make_mesh(jax.devices()[:1])
    older, newer = fit.start(mesh), fit.start(mesh)
    newer.step(5)
    return older.arrays, newer.arrays


KINDS = {"zero": of_zero, "factors": of_factors}


def mutate(draw: random.Random, path: Path) -> str:
    """Damages a file in one of four ways, and says which."""
    content = bytearray(path.read_bytes())
    how = draw.choice(["flip", "flip", "cut", "append", "delete"] if content else ["append"])
    if how == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del content[draw.randrange(len(content)) :]
    elif how == "append":
        content += draw.randbytes(draw.randint(1, 100))
    path.write_bytes(content)
    if how == "delete":
        path.unlink()
    return how


def check_mutations(tmp_path, kind: str, num_mutations: int) -> None:
    draw = random.Random(0)
    older, newer = KINDS[kind]()
    with opened(tmp_path / "intact") as checkpoints:
        checkpoints.save(1, older)
        checkpoints.save(2, newer)
    files = sorted(p for p in (tmp_path / "intact" / "2").rglob("*") if p.is_file())
    assert len(files) > 5
    reported = 0
    for number in range(num_mutations):
        workdir = tmp_path / str(number)
        shutil.copytree(tmp_path / "intact", workdir)
        name = files[number % len(files)].relative_to(tmp_path / "intact")
        how = mutate(draw, workdir / name)
        said: list[str] = []
        with opened(workdir) as checkpoints:
            restored = checkpoints.restore(newer, said.append)
        if said:
            (line,) = said
            assert line.startswith(
                f"checkpoint {workdir / '2'} is damaged: {Path(*name.parts[1:])}"
            )
            assert "\n" not in line
            assert_bit_equal(restored, older)
            assert [p.name for p in workdir.glob("damaged*")] == ["damaged-2-1"]
            reported += 1
        else:
            assert name.name == "manifest.json", (name, how)  # where a blank may become another
            assert_bit_equal(restored, newer)
        shutil.rmtree(workdir)
    assert reported > 0.98 * num_mutations


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_is_silently_wrong(tmp_path, kind):
    check_mutations(tmp_path, kind, 30)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_of_five_hundred_is_silently_wrong(tmp_path, kind):
    check_mutations(tmp_path, kind, 500)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_all_checkpoints_is_an_error_and_changes_nothing(tmp_path, kind):
    draw = random.Random(1)
    older, newer = KINDS[kind]()
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, older)
        checkpoints.save(2, newer)
    for step in ("1", "2"):
        files = (p for p in (tmp_path / step / "arrays").rglob("*") if p.is_file())
        mutate(draw, max(files, key=lambda p: p.stat().st_size))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    said: list[str] = []
    with opened(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="not intact are"):
        checkpoints.restore(newer, said.append)
    with pytest.raises(CheckpointError, match="not intact are"):
        read_checkpoint(tmp_path, said.append)
    assert len(said) == 4
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before
