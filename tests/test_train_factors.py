"""Whole runs of factorizations in one process: what they write, how they resume and refuse."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array, save_npz

from tests.test_train import hashes
from vigamma import (
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    Experiment,
    HeldOut,
    HierarchicalPoissonFactorization,
    PoissonFactorization,
    SparseCounts,
    SyntheticFactors,
    fit,
    load_run,
    run_experiment,
)
from vigamma.contracts import StepInfo
from vigamma.data import files
from vigamma.data.files import LoadedCounts
from vigamma.data.parts import Parts
from vigamma.devices.mesh import make_mesh
from vigamma.inference.train_state import TrainState
from vigamma.runs.factors import FactorFit
from vigamma.runs.loop import take_steps
from vigamma.runs.metrics import read_metrics
from vigamma.runs.train import load_fit

SYNTHETIC = SyntheticFactors(num_rows=90, num_columns=70, num_factors=3, num_nonzeros=1200)


def experiment(**changes) -> Experiment:
    config = Experiment(
        data=SYNTHETIC,
        heldout=HeldOut(protocol="thinning", test_fraction=0.2, valid_fraction=0.1),
        model=HierarchicalPoissonFactorization(num_factors=3, row_shape=0.3),
        inference=CoordinateAscent(tolerance=0),
        num_steps=24,
        log_every=5,
        save_every=8,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(the workdir, its summary) of factors of the digit zero, with figures."""
    workdir = tmp_path_factory.mktemp("digits")
    config = Experiment(
        data=DigitCounts(digit=0),
        heldout=HeldOut(protocol="cells", test_fraction=0.2),
        model=PoissonFactorization(num_factors=10, row_shape=3.0, column_shape=0.3),
        inference=CoordinateAscent(tolerance=1e-4),
        num_steps=500,
        log_every=10,
        save_every=500,
    )
    return config, workdir, run_experiment(config, workdir).summary


def test_a_run_writes_all_it_promises(digits):
    config, workdir, summary = digits
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert summary.items() >= {
        "model": "PoissonFactorization", "num_rows": 178, "num_columns": 64, "num_factors": 10,
        "num_nonzeros": load_fit(config).data.split.train.nnz, "heldout_protocol": "cells",
        "num_heldout": 178 * 64 // 5, "converged": True, "num_devices": 4, "resumed_from": None,
    }.items()  # fmt: skip
    assert 5 < summary["sweeps"] == summary["steps"] < 500
    assert summary["seconds_per_sweep"] == summary["seconds_per_step"] > 0
    assert summary["peak_memory_bytes"] > 2**26
    assert summary["config"] == json.loads((workdir / "config.json").read_text())
    lines = read_metrics(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines[:-1]] == list(range(10, lines[-1]["step"], 10))
    assert lines[-1]["step"] == summary["sweeps"]
    assert lines[-1]["elbo"] == summary["elbo"]
    assert lines[-1]["heldout_log_likelihood"] == summary["heldout_log_likelihood"]
    assert {path.stem for path in (workdir / "figures").glob("*.png")} == {
        "convergence", "factor_weights", "factors", "synthetic_images",
    }  # fmt: skip


def test_factors_of_digits_beat_independent_pixels_and_did_not_at_the_start(digits):
    config, _, summary = digits
    independent = summary["heldout_log_likelihood_independent"]
    assert summary["heldout_log_likelihood"] > independent + 0.1
    fit = load_fit(config)
    start = fit.observe(fit.start(make_mesh()))
    assert start["heldout_log_likelihood"] < independent - 0.1


def test_a_converged_run_started_again_takes_no_step(digits, no_figures, monkeypatch):
    config, workdir, summary = digits
    monkeypatch.setattr(TrainState, "compile", lambda *_: pytest.fail("nothing is left to do"))
    config = dataclasses.replace(config, num_steps=600)
    again = run_experiment(config, workdir).summary
    assert again["resumed_from"] == again["steps"] == summary["steps"]
    assert again["elbo"] == summary["elbo"]
    assert again["heldout_log_likelihood"] == summary["heldout_log_likelihood"]
    assert again["seconds_per_sweep"] is None


@pytest.mark.nightly
def test_a_run_cut_at_any_sweep_and_resumed_is_bit_identical(tmp_path, no_figures):
    config = experiment(
        model=PoissonFactorization(num_factors=3, row_shape=0.3),
        inference=CoordinateAscent(tolerance=0, learn_priors=True),
    )
    whole = run_experiment(config, tmp_path / "whole")
    for num_steps in (7, 13, 24):
        cut = run_experiment(dataclasses.replace(config, num_steps=num_steps), tmp_path / "cut")
    assert cut.summary["resumed_from"] == 13
    for name in ("elbo", "heldout_log_likelihood", "sweeps"):
        assert cut.summary[name] == whole.summary[name]
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")
    lines = read_metrics(tmp_path / "cut" / "metrics.jsonl")
    looks = [*range(1, 17), 18, 20, 22, 24]
    assert [line["step"] for line in lines] == looks
    assert lines[-1]["elbo"] > lines[0]["elbo"] + 10
    logged = [line["step"] for line in lines if "heldout_log_likelihood" in line]
    assert logged == [5, 10, 15, 20]
    valid = [line["valid_log_likelihood"] for line in lines]
    assert cut.summary["best_step"] == whole.summary["best_step"] == looks[np.argmax(valid)] < 13
    assert cut.summary["valid_log_likelihood"] == pytest.approx(max(valid), rel=1e-6)

    # The same workdir refuses another run, whichever part of it differs.
    for change in (
        {"model": PoissonFactorization(num_factors=4)},
        {"data": dataclasses.replace(SYNTHETIC, seed=5)},
        {"heldout": HeldOut(protocol="thinning", test_fraction=0.25, valid_fraction=0.1)},
        {"seed": 1},
    ):
        with pytest.raises(CheckpointError, match=rf"another run .*{next(iter(change))}"):
            run_experiment(dataclasses.replace(config, **change), tmp_path / "cut")


@pytest.mark.slow
def test_a_run_stops_where_validation_no_longer_rises(tmp_path, no_figures):
    config = experiment(
        model=PoissonFactorization(num_factors=3, row_shape=0.3),
        inference=CoordinateAscent(tolerance=0, stop_on_validation=True),
        num_steps=400,
        log_every=1,
    )
    summary = run_experiment(config, tmp_path).summary
    assert summary["converged"] is True
    assert summary["sweeps"] < 400
    lines = read_metrics(tmp_path / "metrics.jsonl")
    best = lines[np.argmax([line["valid_log_likelihood"] for line in lines])]
    assert summary["best_step"] == best["step"] == summary["sweeps"] - 10 > 1
    assert summary["heldout_log_likelihood"] == best["heldout_log_likelihood"]
    assert summary["elbo"] == best["elbo"] < lines[-1]["elbo"]
    run = load_run(tmp_path)
    assert (run.step, run.last_step) == (summary["best_step"], summary["sweeps"])
    fit = load_fit(config)
    for step, line in (("best", best), ("newest", lines[-1])):
        q = load_run(tmp_path, step=step).factors.q
        score = fit._score(q["rows"].mean, q["columns"].mean, fit.data.split.test).log_likelihood
        assert score == pytest.approx(line["heldout_log_likelihood"], rel=1e-6)


@pytest.mark.parametrize(
    ("stops", "heldout", "beside"),
    [
        (True, HeldOut(valid_fraction=0.0), "heldout.valid_fraction=0.0"),
        (True, HeldOut(protocol="entries", valid_fraction=0.0), "heldout.valid_fraction=0.0"),
        (True, None, "no heldout"),
        (True, HeldOut(), None),
        (True, HeldOut(protocol="entries"), None),
        (True, HeldOut(valid_fraction=0.1), None),
        (False, HeldOut(valid_fraction=0.0), None),
    ],
)
def test_a_rule_to_stop_that_cannot_hold_is_told(stops, heldout, beside):
    """But not where the protocol decides that nothing validates, and no choice was made."""
    said, inference = [], CoordinateAscent(stop_on_validation=stops)
    load_fit(experiment(heldout=heldout, inference=inference), said.append)
    start = f"inference.stop_on_validation=True has no effect beside {beside}: "
    assert [line.startswith(start) for line in said] == ([True] if beside else [])


def test_in_memory_it_is_told_too():
    inference, said = CoordinateAscent(stop_on_validation=True), []
    model = PoissonFactorization(num_factors=2)
    fit(model, SYNTHETIC.load().counts, inference, num_steps=1, say=said.append)
    assert said[0].startswith("inference.stop_on_validation=True has no effect beside no heldout:")


def test_the_best_of_several_starts_goes_on():
    inference = CoordinateAscent(num_restarts=3, restart_sweeps=4, tolerance=0)
    fit, said = load_fit(experiment(inference=inference)), []
    mesh = make_mesh()
    state = fit.start(mesh)
    fit.before_the_first_step(state, said.append)
    assert [line.split(":")[0] for line in said] == [f"restart {i}/3" for i in (1, 2, 3)]
    elbos, scores = (
        [float(line.split()[word].replace(",", "")) for line in said] for word in (3, 6)
    )
    assert len(set(elbos)) == len(set(scores)) == 3
    assert state.num_steps == 4
    state = state.arrays
    assert abs(float(state.elbo) - elbos[np.argmax(scores)]) < 0.1
    assert float(state.best.log_likelihood) == pytest.approx(max(scores), abs=1e-4)
    assert np.isfinite(jax.tree.leaves(jax.tree.map(np.sum, state.q))).all()


def test_the_loop_looks_when_it_is_due_and_where_it_ends(monkeypatch):
    fit = load_fit(experiment())
    state, found = fit.start(make_mesh()), {"valid_log_likelihood": -1.0}
    monkeypatch.setattr(FactorFit, "look", lambda _, state: found)

    def step(num_steps):  # it has converged after 19
        last = min(state.num_steps + num_steps, 19)
        taken, calm = last - state.num_steps, jnp.int32(3 if last == 19 else 0)
        state.arrays = state.arrays.replace(step=jnp.uint32(last), calm=calm)
        return StepInfo(np.zeros(taken), {"elbo": np.ones(taken, bool)})

    monkeypatch.setattr(state, "step", step)
    pauses = list(take_steps(fit, state, 100, every=(5, 17)))
    looks = {pause.step: pause.seen for pause in pauses if pause.seen}
    assert looks == dict.fromkeys((*range(1, 17), 18, 19), found)
    assert [pause.step for pause in pauses if not pause.seen] == [17]


def test_rows_are_in_the_order_of_the_counts_though_stored_in_another():
    fit, mesh = load_fit(experiment()), make_mesh()
    state = fit.start(mesh)
    state.step(20)
    q = state.arrays.q
    theta, beta = fit._means(fit.posterior(state))
    sums = fit.data.split.train.sum(axis=1)
    assert np.corrcoef((theta @ beta.T).sum(axis=1), sums)[0, 1] > 0.99
    rows, columns = (np.asarray(q[side].mean) for side in ("rows", "columns"))
    stored = rows[: len(sums)] @ columns[: len(beta)].sum(axis=0)
    assert np.corrcoef(stored, sums)[0, 1] < 0.9


def test_counts_of_a_file_that_changed_are_another_run(tmp_path, no_figures):
    counts = SYNTHETIC.load().counts
    save_npz(tmp_path / "counts.npz", counts)
    config = experiment(data=SparseCounts(path=str(tmp_path / "counts.npz")), num_steps=2)
    run_experiment(config, tmp_path / "run")
    other = csr_array((counts.data + 1, counts.indices, counts.indptr), shape=counts.shape)
    save_npz(tmp_path / "counts.npz", other)
    with pytest.raises(CheckpointError, match=r"another run .*checksum"):
        run_experiment(config, tmp_path / "run")


def test_test_counts_that_changed_are_another_run():
    train, config = SYNTHETIC.load().counts, experiment(heldout=HeldOut(protocol="entries"))

    def identity(count: float):
        test = csr_array((np.float32([count]), ([0], [69])), shape=train.shape)
        return FactorFit(config, LoadedCounts(train, Parts(train, None, test))).identity

    assert identity(1) == identity(1) != identity(2)


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.npz", "there is no file"), ("broken.npz", "is not a sparse matrix saved by SciPy")],
)
def test_a_broken_path_is_one_line_before_the_first_step(tmp_path, name, message):
    (tmp_path / "broken.npz").write_bytes(b"not a matrix")
    config = experiment(data=SparseCounts(path=str(tmp_path / name)))
    with pytest.raises(ConfigError, match=f"^config.data: .*{message}") as error:
        run_experiment(config, tmp_path / "run")
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_notes_of_a_file_are_said_and_its_names_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ANNOUNCED_BYTES", 1)
    lines = [f"user{i % 30},item{i % 7},{i % 3 + 1}" for i in range(211)]
    (tmp_path / "plays.csv").write_text("\n".join(["user,item,plays", *lines]))
    path, said = str(tmp_path / "plays.csv"), []
    fit = load_fit(experiment(data=SparseCounts(path=path)), said.append)
    assert said == [
        f"reading {path} (0 MB)",
        f"{path}: by its header, rows are 'user', columns 'item', counts 'plays'; "
        "--config.data.columns names others",
        f"{path}: entries that repeat a cell, now summed: 1",
    ]
    assert fit.names["columns"] == [f"item{i}" for i in range(7)]


def test_a_row_without_counts_has_no_exposure(tmp_path):
    counts = SYNTHETIC.load().counts.toarray()
    counts[17] = 0
    save_npz(tmp_path / "counts.npz", csr_array(counts))
    config = experiment(
        data=SparseCounts(path=str(tmp_path / "counts.npz")),
        model=PoissonFactorization(num_factors=3, row_sum_exposures=True),
        heldout=None,
    )
    with pytest.raises(ConfigError, match=r"^config.model: row_sum_exposures .* but row \d+ has"):
        run_experiment(config, tmp_path / "run")
