"""Whole runs in one process: what they write, how they resume, how they refuse."""

import dataclasses
import hashlib
import json
import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vigamma
from tests.slow import slow_after
from vigamma import (
    Adam,
    CheckpointError,
    ConfigError,
    Digits,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    Interrupted,
    LostProcessError,
    MeanFieldGamma,
    NaturalGradient,
    NonFiniteError,
    PathwiseElbo,
    run_experiment,
)
from vigamma.devices.mesh import make_mesh
from vigamma.figures import posteriors as plotting
from vigamma.inference.train_state import TrainState
from vigamma.runs.metrics import ProgressLine, read_metrics
from vigamma.runs.train import load_fit
from vigamma.storage.checkpointing import read_checkpoint

FIGURES = {
    "posterior_images", "posterior_densities", "synthetic_digits", "posterior_by_number_of_images",
    "convergence",
}  # fmt: skip


def experiment(**changes) -> Experiment:
    config = Experiment(
        data=Digits(digit=0),
        model=DomainKnowledge(),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=32), optimizer=NaturalGradient()
        ),
        num_steps=40,
        log_every=5,
        save_every=20,
        tolerance=1e-6,
    )
    return dataclasses.replace(config, **changes)


ADAM = GradientAscent(estimator=PathwiseElbo(num_samples=4), optimizer=Adam(decay_steps=60))


def hashes(workdir: Path) -> dict[str, str]:
    """A hash of every leaf of the newest checkpoint, its step, and the metrics but the seconds."""
    step, leaves, _ = read_checkpoint(workdir, pytest.fail)
    found = {n: hashlib.sha256(np.asarray(x).tobytes()).hexdigest() for n, x in leaves.items()}
    lines = [
        {k: v for k, v in m.items() if k != "seconds"}
        for m in read_metrics(workdir / "metrics.jsonl")
    ]
    return found | {"step": str(step), "metrics": json.dumps(lines)}


def test_a_run_writes_all_it_promises_and_is_certified(tmp_path):
    outcome = run_experiment(experiment(), tmp_path)
    assert outcome.summary["kl_to_exact"] < 1e-6
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary.items() >= {
        "model": "GammaPoisson", "steps": 40, "num_devices": 4, "resumed_from": None,
        "within_tolerance": True,
    }.items()  # fmt: skip
    assert 0 <= summary["max_kl_to_exact"] <= summary["kl_to_exact"] < 1e-6
    assert summary["seconds"] > summary["seconds_per_step"] > 0
    assert summary["config"] == json.loads((tmp_path / "config.json").read_text())
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(5, 41, 5))
    assert lines[0]["kl_to_exact"] > 0.1
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == FIGURES
    assert {path.name for path in tmp_path.iterdir() if path.name.isdecimal()} == {"20", "40"}


def test_the_certificate_of_a_bad_fit_says_so(tmp_path, no_figures):
    outcome = run_experiment(experiment(num_steps=2), tmp_path)
    assert outcome.summary["kl_to_exact"] > 1
    assert outcome.summary["within_tolerance"] is False


def test_the_tolerance_is_for_all_latents_together():
    mesh, fit = make_mesh(), load_fit(experiment())
    summary = fit.report(fit.start(mesh)).summary
    for share, is_within in ((1.01, True), (0.99, False)):
        fit = load_fit(experiment(tolerance=share * summary["kl_to_exact"]))
        assert fit.report(fit.start(mesh)).summary["within_tolerance"] is is_within
    assert summary["max_kl_to_exact"] < 0.9 * summary["kl_to_exact"]


@pytest.mark.parametrize("stops", [(13, 20, 33), pytest.param((7,), marks=pytest.mark.slow)])
@pytest.mark.parametrize("log_every", slow_after(1, [7, 1, 100]))
def test_a_run_stopped_and_resumed_is_bit_identical(tmp_path, no_figures, log_every, stops):
    config = experiment(inference=ADAM, log_every=log_every)
    whole = run_experiment(config, tmp_path / "whole")
    for num_steps in (*stops, 40):
        outcome = run_experiment(dataclasses.replace(config, num_steps=num_steps), tmp_path / "cut")
    assert outcome.summary["resumed_from"] == stops[-1]
    for name in ("elbo", "kl_to_exact", "max_kl_to_exact", "log_evidence"):
        assert outcome.summary[name] == whole.summary[name]
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")


@pytest.mark.nightly
@pytest.mark.parametrize("log_every", [1, 7, 100])
def test_ten_random_stops_are_bit_identical(tmp_path, no_figures, log_every):
    config = experiment(inference=ADAM, log_every=log_every, num_steps=300, save_every=90)
    run_experiment(config, tmp_path / "whole")
    for stop in np.random.default_rng(log_every).integers(1, 300, 10):
        workdir = tmp_path / f"stopped at {stop}"
        run_experiment(dataclasses.replace(config, num_steps=int(stop)), workdir)
        run_experiment(config, workdir)
        assert hashes(workdir) == hashes(tmp_path / "whole")


def test_a_run_without_its_summary_started_again_takes_no_step(tmp_path, no_figures):
    run_experiment(experiment(), tmp_path)
    before = hashes(tmp_path)
    (tmp_path / "summary.json").unlink()
    again = run_experiment(experiment(), tmp_path)
    assert again.summary["resumed_from"] == 40
    assert again.summary["seconds_per_step"] is None
    assert hashes(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"seed": 3}, ["seed: 0 → 3"]),
        ({"data": Digits(digit=7)}, ["data.digit: 0 → 7", "data and prior (checksum)"]),
        ({"model": DomainKnowledge(weight=3.0)}, ["model.weight: 2.0 → 3.0"]),
        (
            {"inference": ADAM},
            [
                "inference.estimator.num_samples: 32 → 4",
                "inference.optimizer: NaturalGradient → Adam",
            ],
        ),
    ],
)
def test_another_experiment_is_refused_by_name(tmp_path, no_figures, changes, fields):
    run_experiment(experiment(num_steps=5), tmp_path)
    before = hashes(tmp_path)
    with pytest.raises(CheckpointError) as error:
        run_experiment(experiment(**changes), tmp_path)
    for field in fields:
        assert field in str(error.value)
    assert hashes(tmp_path) == before


def test_other_data_under_the_same_config_are_refused(tmp_path, no_figures, monkeypatch):
    run_experiment(experiment(num_steps=5), tmp_path)
    original = Digits.load

    def load(self):
        data = original(self)
        data.counts[0, 0] += 1
        return data

    monkeypatch.setattr(Digits, "load", load)
    with pytest.raises(CheckpointError, match="checksum"):
        run_experiment(experiment(), tmp_path)


def test_fewer_steps_than_were_taken_are_refused(tmp_path, no_figures):
    run_experiment(experiment(num_steps=6), tmp_path)
    with pytest.raises(ConfigError, match=r"config.num_steps is 5, but .* has completed 6 steps"):
        run_experiment(experiment(num_steps=5), tmp_path)


def test_samples_not_divisible_by_the_devices_are_refused_before_anything_is_written(tmp_path):
    inference = GradientAscent(estimator=PathwiseElbo(num_samples=6), optimizer=NaturalGradient())
    with pytest.raises(
        ConfigError, match=r"num_samples must be divisible by the number of devices \(4\), got 6"
    ):
        run_experiment(experiment(inference=inference), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_last_chunk_and_the_run_can_go_on(
    tmp_path, no_figures, monkeypatch, signum
):
    original = ProgressLine.update

    def update(self, step, elbo, end):
        original(self, step, elbo, end)
        if step == 15:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(ProgressLine, "update", update)
    with pytest.raises(Interrupted, match="step 15 is saved in") as error:
        run_experiment(experiment(), tmp_path / "stopped")
    assert error.value.signum == signum
    outcome = run_experiment(experiment(), tmp_path / "stopped")
    assert outcome.summary["resumed_from"] == 15
    monkeypatch.undo()
    run_experiment(experiment(), tmp_path / "whole")
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")


def test_a_signal_while_figures_are_drawn_loses_nothing(tmp_path, monkeypatch):
    original = plotting.save

    def save(figure, path):
        original(figure, path)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(plotting, "save", save)
    with pytest.raises(Interrupted, match="all 5 steps are saved"):
        run_experiment(experiment(num_steps=5), tmp_path)
    monkeypatch.undo()
    outcome = run_experiment(experiment(num_steps=5), tmp_path)
    assert outcome.summary["resumed_from"] == 5
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == FIGURES


def test_nan_in_the_data_stops_before_the_first_step(tmp_path, monkeypatch):
    original = Digits.load

    def load(self):
        data = original(self)
        data.counts[3, 5] = np.nan
        return data

    monkeypatch.setattr(Digits, "load", load)
    with pytest.raises(ConfigError, match="finite, but it is nan at row 3, column 5"):
        run_experiment(experiment(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nan_in_the_prior_stops_before_the_first_step(tmp_path, monkeypatch):
    original = Digits.load

    def load(self):
        data = original(self)
        data.knowledge[5] = np.nan
        return data

    monkeypatch.setattr(Digits, "load", load)
    with pytest.raises(
        ConfigError, match=r"config.model: prior.concentration must be positive.*\(5,\)"
    ):
        run_experiment(experiment(), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("leaf", ["log_shape", "log_rate"])
@pytest.mark.parametrize("bad_step", [1, 12, 23])
def test_nan_in_a_gradient_is_seen_within_one_chunk(
    tmp_path, no_figures, monkeypatch, fresh_programs, bad_step, leaf
):
    original = GradientAscent.estimate

    def estimate(self, model, q, batch, key, devices):
        elbo, gradient = original(self, model, q, batch, key, devices)
        # The state is not an argument, but the key of a step is a function of it.
        poisoned = jax.random.fold_in(jax.random.key(0), bad_step - 1)
        hit = (jax.random.key_data(key) == jax.random.key_data(poisoned)).all()
        gradient[leaf] = gradient[leaf].replace(jnp.where(hit, jnp.nan, gradient[leaf][...]))
        return elbo, gradient

    monkeypatch.setattr(GradientAscent, "estimate", estimate)
    with pytest.raises(NonFiniteError) as error:
        run_experiment(experiment(save_every=10), tmp_path)
    message = str(error.value)
    assert message.startswith(f"not finite at step {bad_step}: gradient of {leaf}")
    if bad_step < 10:
        assert "nothing was saved yet" in message
    else:
        kept = bad_step // 10 * 10
        assert f"step {kept} is kept" in message
        step, leaves, _ = read_checkpoint(tmp_path, pytest.fail)
        assert step == kept
        assert all(np.isfinite(x).all() for x in leaves.values())


@pytest.mark.slow
def test_nothing_is_nan_with_a_prior_that_is_almost_improper(tmp_path, no_figures):
    # At shape 0.002, 19 draws of 20 underflow in float32, so 32 samples see little of the rate.
    outcome = run_experiment(experiment(model=DomainKnowledge(floor=1e-3)), tmp_path)
    assert outcome.summary["kl_to_exact"] < 0.05
    for line in read_metrics(tmp_path / "metrics.jsonl"):
        assert np.isfinite([line["elbo"], line["kl_to_exact"]]).all()


@pytest.mark.parametrize("digit", [0, 7])
def test_any_digit_can_be_fitted(tmp_path, no_figures, digit):
    config = experiment(data=Digits(digit=digit))
    fit = load_fit(config)
    start = vigamma.certify(
        fit.model, fit.batch, MeanFieldGamma(jax.tree.map(np.float32, fit.model.prior))
    )
    outcome = run_experiment(config, tmp_path)
    assert start.kl_to_exact > 100
    assert outcome.summary["kl_to_exact"] < 1e-6


@pytest.mark.parametrize(("num_processes", "raised"), [(1, jax.errors.JaxRuntimeError), (2, None)])
def test_errors_of_jax_are_of_a_lost_process_only_where_there_are_several(
    tmp_path, monkeypatch, num_processes, raised
):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed\nat some place")

    monkeypatch.setattr(TrainState, "compile", fail)
    monkeypatch.setattr("vigamma.runs.train.is_of_processes", lambda error: num_processes > 1)
    with pytest.raises(raised or LostProcessError) as caught:
        run_experiment(experiment(), tmp_path)
    if raised is None:
        assert "(UNKNOWN: Gloo all-reduce failed); started again" in str(caught.value)
        assert "\n" not in str(caught.value)
