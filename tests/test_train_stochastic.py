"""Whole runs of stochastic variational inference: exact resumption, devices, and where they end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_train import hashes
from vigamma import (
    CoordinateAscent,
    Experiment,
    HeldOut,
    HierarchicalPoissonFactorization,
    StochasticVariationalInference,
    SyntheticFactors,
    run_experiment,
)
from vigamma.answers.generation import generate
from vigamma.contracts import StepInfo
from vigamma.data.layout.minibatches import Minibatches
from vigamma.devices.mesh import make_mesh
from vigamma.models.factor_model import without_padding
from vigamma.runs import train
from vigamma.runs.metrics import read_metrics
from vigamma.runs.train import load_fit
from vigamma.storage.checkpointing import read_checkpoint


def experiment(**changes) -> Experiment:
    config = Experiment(
        data=SyntheticFactors(num_rows=500, num_columns=100, num_factors=3, num_nonzeros=6000),
        heldout=HeldOut(protocol="thinning", test_fraction=0.2, valid_fraction=0.1),
        model=HierarchicalPoissonFactorization(num_factors=4),
        inference=StochasticVariationalInference(batch_rows=100),
        num_steps=12,
        log_every=5,
        save_every=4,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture
def on_devices(monkeypatch):
    """Makes runs take so many devices."""

    def use(number):
        monkeypatch.setattr(train, "make_mesh", lambda: make_mesh(jax.devices()[:number]))

    use(1)
    return use


@pytest.mark.nightly
def test_a_run_stopped_and_resumed_is_bit_identical(tmp_path, no_figures, on_devices):
    on_devices(2)
    whole = run_experiment(experiment(), tmp_path / "whole")
    for num_steps in (3, 7, 12):
        cut = run_experiment(experiment(num_steps=num_steps), tmp_path / "cut")
    assert cut.summary["resumed_from"] == 7
    for name in ("elbo", "heldout_log_likelihood"):
        assert cut.summary[name] == whole.summary[name]
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")


@pytest.mark.nightly
@pytest.mark.parametrize("protocol", ["thinning", "cells"])
def test_devices_agree_and_restore_each_others_checkpoints(
    tmp_path, no_figures, on_devices, protocol
):
    config = experiment(heldout=HeldOut(protocol=protocol, test_fraction=0.2))
    one = run_experiment(config, tmp_path / "one")
    assert one.summary["num_devices"] == 1
    for number, num_steps in ((4, 5), (2, 12)):
        on_devices(number)
        outcome = run_experiment(
            dataclasses.replace(config, num_steps=num_steps), tmp_path / "many"
        )
    assert outcome.summary["resumed_from"] == 5
    for name in ("elbo", "heldout_log_likelihood"):
        np.testing.assert_allclose(outcome.summary[name], one.summary[name], rtol=1e-5)
    (_, a, _), (_, b, _) = (read_checkpoint(tmp_path / d, pytest.fail) for d in ("one", "many"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=name)


@pytest.mark.nightly
def test_the_report_is_exact_and_near_that_of_coordinate_ascent(tmp_path, on_devices):
    config = experiment(num_steps=100, log_every=10, save_every=100)
    outcome = run_experiment(config, tmp_path / "stochastic")
    summary = outcome.summary
    assert summary["sweeps"] == 20
    assert summary["seconds_per_sweep"] == 5 * summary["seconds_per_step"] > 0
    assert "20 sweeps" in outcome.table
    names = {path.stem for path in (tmp_path / "stochastic" / "figures").glob("*.png")}
    assert names == {"convergence", "factor_weights"}
    lines = read_metrics(tmp_path / "stochastic" / "metrics.jsonl")
    assert lines[-1]["valid_log_likelihood"] > lines[0]["valid_log_likelihood"]
    ascent = run_experiment(
        dataclasses.replace(config, inference=CoordinateAscent(), num_steps=300),
        tmp_path / "ascent",
    ).summary
    assert abs(summary["elbo"] / ascent["elbo"] - 1) < 0.01
    assert summary["heldout_log_likelihood"] > summary["heldout_log_likelihood_independent"]
    fit = load_fit(config)
    at_start = fit.report(fit.start(make_mesh(jax.devices()[:1]))).summary
    assert at_start["elbo"] < 1.03 * ascent["elbo"]


@pytest.mark.nightly
def test_rows_are_generated_from_what_is_stored_in_batches(tmp_path, no_figures, on_devices):
    run_experiment(experiment(num_steps=10), tmp_path)
    generated = generate(tmp_path, 400, seed=0)
    assert generated.counts.shape == (400, 100)
    train_mean = load_fit(experiment()).data.split.train.toarray().mean(axis=0)
    assert np.corrcoef(generated.theta.mean(axis=0), train_mean)[0, 1] > 0.9


@pytest.mark.slow
def test_nan_is_seen_at_its_step(tmp_path, no_figures, on_devices, monkeypatch, fresh_programs):
    original = StochasticVariationalInference.step_size
    monkeypatch.setattr(
        StochasticVariationalInference,
        "step_size",
        lambda self, step: jnp.where(step == 6, jnp.nan, original(self, step)),
    )
    with pytest.raises(train.NonFiniteError, match=r"not finite at step 7: parameter column_rates"):
        run_experiment(experiment(), tmp_path)


@pytest.mark.slow
def test_steps_are_of_the_schedule_and_the_last_pass_moves_rows_only(monkeypatch):
    config = experiment()
    fit, mesh, asked = load_fit(config), make_mesh(jax.devices()[:1]), []

    def batch_of(self, step):
        asked.append((step, self.num_batches))
        return (2 * step) % self.num_batches

    monkeypatch.setattr(Minibatches, "batch_of", batch_of)
    state = fit.start(mesh)
    before = np.array(state.arrays.q["rows"].rate)  # (B, J, K)
    state.step(2)
    assert asked == [(0, 5), (1, 5)]
    stepped = jax.tree.map(np.asarray, state.arrays.q)
    has_moved = (stepped["rows"].rate != before).any(axis=(0, 2))
    assert has_moved.tolist() == [True, False, True, False, False]
    q, summary = fit.outcome(state)
    read = without_padding(stepped, (500, 100), is_balanced=False)
    np.testing.assert_array_equal(np.sort(q["columns"].rate), np.sort(read["columns"].rate))
    assert (np.sort(q["rows"].rate) != np.sort(read["rows"].rate)).any()
    np.testing.assert_array_equal(state.arrays.q["rows"].rate, stepped["rows"].rate)
    assert summary["sweeps"] == 2 / 5
    estimates = StepInfo(np.array([1.0, 2.0, 6.0]), {})
    monkeypatch.setattr(state, "pass_over", lambda arrays: (arrays, estimates))
    assert fit.outcome(state)[1]["elbo"] == 3
