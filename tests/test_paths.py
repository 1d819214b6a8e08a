"""Paths are given as strings, as `Path`s, or as anything that has `__fspath__`."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest

import vigamma
from vigamma import (
    CoordinateAscent,
    Experiment,
    Gibbs,
    HeldOut,
    PoissonFactorization,
    SparseCounts,
    pl,
    tl,
)
from vigamma.answers.generation import generate
from vigamma.storage.checkpointing import Checkpointer, read_checkpoint, saved_steps

ANY_PATH = "str | os.PathLike[str]"
WORDS = ("path", "workdir", "folder", "output", "file", "directory")


class Place:
    """A path of another library, which is neither text nor a `Path`."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return str(self._path)


def public_callables():
    values = {name: getattr(vigamma, name) for name in vigamma.__all__}
    yield from ((name, value) for name, value in values.items() if callable(value))
    for module in (tl, pl):
        for name, value in vars(module).items():
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_"):
                yield name, value


def is_error(value) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def path_parameters(function) -> list[inspect.Parameter]:
    """The parameters that are paths, by their types or their names."""
    found = inspect.signature(function).parameters.values()
    return [
        p
        for p in found
        if "Path" in str(p.annotation) or any(word in p.name.split("_") for word in WORDS)
    ]


def takers() -> dict[str, list[inspect.Parameter]]:
    """The public functions and classes that take paths, by name."""
    found = {name: path_parameters(c) for name, c in public_callables() if not is_error(c)}
    return {name: parameters for name, parameters in found.items() if parameters}


CALLS = {
    "SparseCounts": lambda at: vigamma.SparseCounts(path=at("counts.txt")).load(),
    "run_experiment": lambda at: vigamma.run_experiment(
        Experiment(
            data=SparseCounts(path=at("counts.txt")),
            model=PoissonFactorization(num_factors=2),
            inference=CoordinateAscent(),
            heldout=HeldOut(),
            num_steps=3,
        ),
        at("run"),
    ),
    "load_run": lambda at: vigamma.load_run(at("run"), pytest.fail),
    "load_run_data": lambda at: vigamma.load_run_data(
        vigamma.load_run(at("run")), at("counts.txt")
    ),
    "read_new_rows": lambda at: vigamma.read_new_rows(
        vigamma.load_run(at("run")), at("counts.txt")
    ),
    "export": lambda at: vigamma.export(vigamma.load_run(at("run")), at("factors.npz")),
    "write_report": lambda at: vigamma.write_report(at("run"), at("page.html")),
    "sample": lambda at: vigamma.sample(
        at("run"),
        Gibbs(num_chains=2, burn_in=2, thin=1),
        num_sweeps=4,
        data_path=at("counts.txt"),
    ),
    "load_samples": lambda at: vigamma.load_samples(at("run")).num_draws,
}


def test_every_public_function_that_takes_a_path_is_called_below():
    assert set(takers()) == set(CALLS)


def test_a_path_of_any_kind_is_promised():
    for name, parameters in takers().items():
        for parameter in parameters:
            promised = str(parameter.annotation).replace("typing.", "")
            if name != "SparseCounts":  # whose field is text, as flags and JSON files need
                assert promised.startswith(ANY_PATH), (name, parameter)


@pytest.mark.slow
def test_a_path_of_any_kind_is_taken(tmp_path):
    counts = np.random.default_rng(0).poisson(1.0, (12, 8))
    lines = [f"{row} {column} {n}" for (row, column), n in np.ndenumerate(counts) if n]
    (tmp_path / "counts.txt").write_text("\n".join(lines))
    for kind in (str, Path, Place):
        for call in CALLS.values():
            call(lambda name, kind=kind: kind(tmp_path / name))
    workdir = Place(tmp_path / "run")
    assert saved_steps(workdir) == [3]
    assert read_checkpoint(workdir, pytest.fail)[0] == 3
    assert Checkpointer(workdir, {})._workdir == tmp_path / "run"
    assert generate(workdir, 2, 0).counts.shape == (2, 8)
    assert {"factors.npz", "page.html"} < set(os.listdir(tmp_path))
    assert os.listdir(tmp_path / "run" / "samples" / "draws")


def test_the_path_of_a_source_is_kept_as_text():
    source = SparseCounts(path=Path("a") / "b.npz")
    assert source == SparseCounts(path="a/b.npz")
    assert vigamma.runs.experiment.flatten(source)["path"] == "a/b.npz"
