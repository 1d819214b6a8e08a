"""Factorizations read back from the directories of their runs."""

import json

import jax
import numpy as np
import pytest

from tests import test_train_stochastic
from tests.test_checkpointing import IDENTITY, make_arrays, opened
from tests.test_train_factors import experiment
from vigamma import (
    CheckpointError,
    CoordinateAscent,
    PoissonFactorization,
    run_experiment,
)
from vigamma.data.files import LoadedCounts
from vigamma.data.synthetic import SyntheticFactors
from vigamma.runs import fitted
from vigamma.runs.experiment import flatten, identity
from vigamma.runs.fitted import FittedFactors, FittedRun, _config_of, _score, load_run
from vigamma.runs.train import load_fit

EXPERIMENTS = {
    "ascent": experiment(num_steps=10),
    "flat": experiment(num_steps=10, model=PoissonFactorization(num_factors=3, row_shape=0.3)),
    "learned": experiment(num_steps=10, inference=CoordinateAscent(learn_priors=True)),
    "stochastic": test_train_stochastic.experiment(num_steps=10),
}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    "name",
    [
        "flat",
        pytest.param("learned", marks=pytest.mark.nightly),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascent", "stochastic")),
    ],
)
def test_a_run_is_read_back_as_it_was_fitted(tmp_path, name):
    config = EXPERIMENTS[name]
    summary = run_experiment(config, tmp_path).summary
    run = load_run(tmp_path, pytest.fail)
    assert run.config == config
    best_step = summary.get("best_step", 10)
    assert (run.step, run.last_step) == (best_step, 10)
    q, shape = run.factors.q, (summary["num_rows"], summary["num_columns"])
    assert (len(q["rows"].rate), len(q["columns"].rate)) == shape
    assert ("row_rates" in q) == (name != "flat")
    split = load_fit(config).data.split
    rates = q["rows"].mean @ q["columns"].mean.T
    means = rates.sum(axis=1), split.train.sum(axis=1)
    assert np.corrcoef(*means)[0, 1] > 0.9  # rows are in their order
    assert np.corrcoef(rates.sum(axis=0), split.train.sum(axis=0))[0, 1] > 0.9
    assert run.factors.row_names.tolist() == [str(n) for n in range(shape[0])]
    assert np.isfinite(jax.tree.leaves(run.factors.model)).all()


@pytest.mark.usefixtures("no_figures")
def test_names_are_kept(tmp_path, monkeypatch):
    load = SyntheticFactors.load
    rows, columns = ([f"{side} {i} é" for i in range(n)] for side, n in (("r", 90), ("c", 70)))

    def with_names(self):
        types = np.dtypes.StringDType()
        return LoadedCounts(
            load(self).counts, None, np.array(rows, types), np.array(columns, types)
        )

    monkeypatch.setattr(SyntheticFactors, "load", with_names)
    run_experiment(experiment(num_steps=1), tmp_path)
    factors = load_run(tmp_path).factors
    assert (factors.row_names.tolist(), factors.column_names.tolist()) == (rows, columns)
    path = tmp_path / "names.json"
    stored = path.read_text()
    for damage, message in {
        "{": r"names\.json cannot be read",
        stored.replace("c 7 ", "c 6 "): r"names\.json is not what the run wrote",
        "{}": r"names\.json is not what the run wrote",
    }.items():
        path.write_text(damage)
        with pytest.raises(CheckpointError, match=message):
            load_run(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"names\.json is not what the run wrote"):
        load_run(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_other_runs_and_broken_configs_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        load_run(tmp_path)
    config = experiment(num_steps=1)
    run_experiment(config, tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["num_steps"]
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: .*num_steps"):
        load_run(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_run(tmp_path)


def test_a_run_of_images_is_not_a_factorization(tmp_path):
    with opened(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(1, make_arrays())
    with pytest.raises(CheckpointError, match=r"step 1 in .* is not of a factorization"):
        load_run(tmp_path)


def test_starts_compare_by_validation_counts_or_else_by_their_elbo():
    looked = {"best.step": 3, "best.log_likelihood": -1.5, "best.elbo": -70.0, "elbo": -60.0}
    assert _score(looked) == -1.5
    assert _score(looked | {"best.step": 0}) == -60
    assert _score({"elbo": -60.0}) == -60
    assert _score({}) == -np.inf


def test_what_a_run_started_with_goes_before_what_ran_last(tmp_path):
    last, first = experiment(num_steps=50, seed=1), experiment(num_steps=10, seed=2)
    (tmp_path / "config.json").write_text(json.dumps(flatten(last)))
    config = _config_of(tmp_path, identity(first))
    assert (config.num_steps, config.seed) == (50, 2)


def test_a_start_without_a_checkpoint_is_left_out(tmp_path, monkeypatch):
    factors = FittedFactors(None, {}, None, None)
    run = FittedRun(experiment(num_starts=3), 1, 1, factors, {})

    def read_checkpoint(folder, warn, wanted=None):
        return 1, {"elbo": -1.0}, {"start": 2} if folder.name == "2" else {}

    monkeypatch.setattr(fitted, "read_checkpoint", read_checkpoint)
    monkeypatch.setattr(fitted, "run_of", lambda *_, best: run)
    monkeypatch.setattr(fitted, "saved_steps", lambda folder: [1] if folder.name == "2" else [])
    said = []
    assert len(load_run(tmp_path, said.append).starts) == 2
    assert said == ["start 2 has no checkpoint yet, and is left out"]
