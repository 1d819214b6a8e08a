"""Models of one's own, by their log joint alone: exact where that is known, on any devices."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.command import ROOT, run
from tests.test_train import hashes
from vigamma import (
    Adam,
    AnalyticElbo,
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    Digits,
    Experiment,
    Gamma,
    GradientAscent,
    HeldOut,
    NaturalGradient,
    PathwiseElbo,
    Poisson,
    PoissonFactorization,
    ScoreFunctionElbo,
    fit,
    log_prob,
    run_experiment,
    spec,
)
from vigamma.data.layout.minibatches import Minibatches
from vigamma.devices.mesh import make_mesh
from vigamma.runs.loading import load_fit

PRIOR = {"shared": (2.0, 1.0), "own": (3.0, 3.0)}


@spec
class Counts:
    num_rows: int = 90
    seed: int = 0

    def load(self):
        rng = np.random.default_rng(self.seed)
        return {"x": rng.poisson(4.0, self.num_rows), "y": rng.poisson(1.0, self.num_rows)}


@spec
class TwoKinds:
    """x_n ~ Poisson(shared), y_n ~ Poisson(own_n): both posteriors are exact Gammas."""

    row_latents = ("own",)

    def initial(self, data):
        sizes = {"shared": (), "own": (len(data["x"]),)}
        return {
            name: Gamma(*(jnp.full(size, value) for value in PRIOR[name]))
            for name, size in sizes.items()
        }

    def log_joint(self, log_latents, batch):
        shared, own = (jnp.exp(log_latents[name]) for name in ("shared", "own"))
        of_x = Poisson(jnp.broadcast_to(shared, own.shape)).log_prob(batch["x"])
        likelihood = of_x + Poisson(own).log_prob(batch["y"])
        return log_prob(self.initial(batch), log_latents) + likelihood.sum()


def exact(data):
    return {
        "shared": Gamma(PRIOR["shared"][0] + data["x"].sum(), PRIOR["shared"][1] + len(data["x"])),
        "own": Gamma(PRIOR["own"][0] + data["y"], np.full(len(data["y"]), PRIOR["own"][1] + 1)),
    }


def experiment(**changes) -> Experiment:
    inference = GradientAscent(estimator=PathwiseElbo(num_samples=8), optimizer=NaturalGradient())
    config = Experiment(
        data=Counts(), model=TwoKinds(), inference=inference, num_steps=40, log_every=10
    )
    return dataclasses.replace(config, **changes)


def fitted(config, num_devices=4):
    own = load_fit(config)
    state = own.start(make_mesh(jax.devices()[:num_devices]))
    state.step(config.num_steps)
    return own.posterior(state)


def divergence(q, p) -> float:
    return max(
        float(jnp.max(q[name].kl_divergence(jax.tree.map(jnp.asarray, p[name])))) for name in p
    )


def test_the_posterior_is_the_exact_one_with_rows_in_their_order():
    config, truth = experiment(), exact(Counts().load())
    start = fitted(dataclasses.replace(config, num_steps=1))
    assert divergence(start, truth) > 0.1
    assert divergence(fitted(config), truth) < 1e-5


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("estimator", "batch_rows"),
    [
        (PathwiseElbo(num_samples=8), 13),
        pytest.param(PathwiseElbo(num_samples=8), None, marks=pytest.mark.nightly),
        pytest.param(ScoreFunctionElbo(num_samples=8), 13, marks=pytest.mark.nightly),
        pytest.param(ScoreFunctionElbo(num_samples=8), None, marks=pytest.mark.nightly),
    ],
)
def test_one_two_and_four_devices_agree(estimator, batch_rows):
    inference = GradientAscent(
        estimator=estimator, optimizer=Adam(learning_rate=0.05), batch_rows=batch_rows
    )
    config = experiment(inference=inference)
    one, *others = (fitted(config, count) for count in (1, 2, 4))
    start = TwoKinds().initial(Counts().load())
    assert divergence(one, start) > 0.1
    for other in others:
        for name in one:
            np.testing.assert_allclose(other[name].mean, one[name].mean, rtol=1e-5)
            np.testing.assert_allclose(other[name].rate, one[name].rate, rtol=1e-5)


@pytest.mark.slow
def test_minibatches_lead_to_the_exact_posterior():
    optimizer = NaturalGradient(learning_rate=0.02)  # times four batches
    inference = GradientAscent(
        estimator=PathwiseElbo(num_samples=8), optimizer=optimizer, batch_rows=24
    )
    config, truth = experiment(inference=inference, num_steps=800), exact(Counts().load())
    q = fitted(config, num_devices=1)
    assert divergence(q, truth) < 0.05
    assert divergence(TwoKinds().initial(Counts().load()), truth) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("batch_rows", [pytest.param(None, marks=pytest.mark.nightly), 25])
def test_a_run_cut_and_resumed_is_bit_identical_and_refuses_other_data(
    tmp_path, no_figures, batch_rows
):
    inference = dataclasses.replace(experiment().inference, batch_rows=batch_rows)
    config = experiment(inference=inference, num_steps=24)
    whole = run_experiment(config, tmp_path / "whole")
    for num_steps in (7, 13, 24):
        cut = run_experiment(dataclasses.replace(config, num_steps=num_steps), tmp_path / "cut")
    assert cut.summary["resumed_from"] == 13
    assert cut.summary["elbo"] == whole.summary["elbo"]
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")
    assert whole.summary.items() >= {"model": "TwoKinds", "num_rows": 90, "steps": 24}.items()
    found = whole.summary["latents"]["shared"]
    assert abs(found["mean"] - 4) < 5 * found["sd"] < 2
    assert "shared" in whole.table
    with pytest.raises(CheckpointError, match=r"another run .*checksum"):
        run_experiment(dataclasses.replace(config, data=Counts(seed=1)), tmp_path / "cut")


@pytest.mark.slow
def test_the_elbo_of_the_report_is_that_of_the_posterior():
    config = experiment()
    own = load_fit(config)
    state = own.start(make_mesh(jax.devices()[:2]))
    state.step(40)
    summary, data = own.report(state).summary, Counts().load()
    # At the exact posterior the ELBO is the log evidence: p(x, θ) / p(θ | x) at any θ.
    truth = exact(data)
    at = {name: np.log(np.asarray(q.mean)) for name, q in truth.items()}
    evidence = TwoKinds().log_joint(at, data) - log_prob(truth, at)
    assert abs(summary["elbo"] - float(evidence)) < 1e-3
    assert 0 <= summary["elbo_standard_error"] < 1e-3


@spec
class WithoutInitial:
    def log_joint(self, log_latents, batch):
        return jnp.zeros(())


@spec
class BadStart(TwoKinds):
    kind: str = "array"

    def initial(self, data):
        gamma = Gamma(jnp.ones(4), jnp.ones(4))
        return {
            "array": jnp.ones(3),
            "missing": {"shared": gamma},
            "length": {"own": gamma},
            "negative": {"own": Gamma(-jnp.ones(90), jnp.ones(90))},
        }[self.kind]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": WithoutInitial()}, "config.model: WithoutInitial has no initial"),
        ({"model": BadStart()}, "config.model: BadStart.initial must return Gammas by name"),
        ({"model": BadStart(kind="missing")}, "config.model: row_latents names own, but initial"),
        ({"model": BadStart(kind="length")}, "config.model: own is of rows: it needs 90, got 4"),
        ({"model": BadStart(kind="negative")}, "config.model: initial own.concentration must be"),
        ({"inference": CoordinateAscent()}, "config.model: TwoKinds has no table, statistics"),
        (
            {"inference": GradientAscent(estimator=AnalyticElbo(), optimizer=Adam())},
            "config.model: TwoKinds has no elbo, which GradientAscent",
        ),
        ({"num_starts": 2}, "config.model: num_starts must be 1 where all starts"),
        ({"heldout": HeldOut()}, "config.model: held-out counts need a factorization"),
    ],
)
def test_what_does_not_fit_together_is_named(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        load_fit(experiment(**changes))


@spec
class Pixels:
    """x_nm ~ Poisson(θ_m)."""

    def initial(self, data):
        size = data["counts"].shape[1]
        return {"rates": Gamma(jnp.full(size, 1.0), jnp.full(size, 0.5))}

    def log_joint(self, log_latents, batch):
        rates = jnp.exp(log_latents["rates"])[None]
        rates = jnp.broadcast_to(rates, batch["counts"].shape)
        likelihood = Poisson(rates).log_prob(batch["counts"]).sum()
        return log_prob(self.initial(batch), log_latents) + likelihood


@pytest.mark.slow
def test_sparse_counts_come_dense():
    counts = DigitCounts().load().counts
    q = fitted(experiment(data=DigitCounts(), model=Pixels()))["rates"]
    np.testing.assert_allclose(q.concentration, 1 + counts.sum(axis=0), rtol=1e-3)
    np.testing.assert_allclose(q.rate, 0.5 + counts.shape[0], rtol=1e-3)


@pytest.mark.slow
def test_a_config_of_ones_own_trains_resumes_and_is_refused_on_other_data(tmp_path):
    text = (ROOT / "configs" / "regression.py").read_text()
    path, workdir = tmp_path / "mine.py", tmp_path / "run"
    path.write_text(text)
    command = ("train.py", "--config", path, "--workdir", workdir)
    command = (*command, "--config.log_every=10")
    status, out, err = run(*command, "--config.num_steps=20")
    assert (status, "Regression, 18 rows" in out) == (0, True), out + err
    status, out, err = run(*command, "--config.num_steps=40")
    assert (status, "resuming from step 20" in out) == (0, True), out + err
    assert json.loads((workdir / "summary.json").read_text())["resumed_from"] == 20
    assert {file.stem for file in (workdir / "figures").glob("*.png")} == {"elbo", "latents"}
    path.write_text(text.replace("x = [15,", "x = [16,"))
    status, _, err = run(*command, "--config.num_steps=40")
    assert status == 1
    (line,) = err.splitlines()
    assert "holds step 40 of another run (data and prior (checksum)" in line


def test_a_fit_in_memory_names_what_does_not_fit_together():
    with pytest.raises(ConfigError, match=r"^config\.model: TwoKinds has no table, statistics"):
        fit(TwoKinds(), Counts(), CoordinateAscent())
    with pytest.raises(ConfigError, match=r"^config\.model: PoissonFactorization takes sparse"):
        fit(PoissonFactorization(), Digits())


@pytest.mark.nightly
def test_rows_are_laid_out_once(monkeypatch):
    calls, original = [], Minibatches.of_arrays
    monkeypatch.setattr(
        Minibatches, "of_arrays", lambda *args, **how: calls.append(how) or original(*args, **how)
    )
    own = load_fit(experiment(num_steps=4))
    state = own.start(make_mesh(jax.devices()[:1]))
    state.step(4)
    own.report(state)
    own.posterior(state)
    assert len(calls) == 1
