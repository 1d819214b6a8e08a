"""What fits of factorizations know of their counts and of the way there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_train_factors import SYNTHETIC, experiment
from vigamma import ConfigError, CoordinateAscent, Gamma, HeldOut, PoissonFactorization
from vigamma.contracts import StepInfo
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.devices.mesh import make_mesh, replicated
from vigamma.models.factor_model import FactorModel
from vigamma.runs import factors
from vigamma.runs.factors import FactorFit
from vigamma.runs.train import load_fit
from vigamma.typing import Record, spec

CELLS = experiment(
    heldout=HeldOut(protocol="cells", test_fraction=0.3),
    model=PoissonFactorization(num_factors=3, row_sum_exposures=True),
)
COUNTS = np.random.default_rng(0).poisson(np.geomspace(0.3, 3, 40)[:, None], (40, 30))


def fit_of_cells() -> FactorFit:
    """Of rows with different exposures, in which some cells are missing."""
    return FactorFit(CELLS, LoadedCounts(check_sparse_counts(COUNTS)))


def test_independent_columns_have_their_counts_over_the_exposures_that_saw_them():
    fit = fit_of_cells()
    train, seen = fit.data.split.train.toarray(), 1.0 - fit.data.split.missing.toarray()
    exposures = train.sum(axis=1) / train.sum(axis=1).mean()
    theta, beta = fit.data.independent_columns()
    np.testing.assert_allclose(theta[:, 0], exposures, rtol=1e-6)
    expected = (train.sum(axis=0) + 0.5) / (exposures @ seen + 1)
    np.testing.assert_allclose(beta[:, 0], expected, rtol=1e-6)


def test_exposures_of_new_rows_are_in_units_of_those_trained_on():
    fit = fit_of_cells()
    np.testing.assert_allclose(fit.data.exposures_of(fit.data.split.train), fit.data.exposures)
    np.testing.assert_allclose(
        fit.data.exposures_of(fit.data.split.train[5:8]), fit.data.exposures[5:8]
    )


def test_no_cell_on_the_devices_has_a_count_and_is_missing():
    fit = fit_of_cells()
    batch = jax.device_get(fit.batches(make_mesh(jax.devices()[:1])))

    def cells(blocks):
        rows, columns = jnp.broadcast_arrays(blocks.rows[..., None], blocks.columns)
        there = blocks.counts > 0
        return set(zip(rows[there].tolist(), columns[there].tolist(), strict=True))

    counted, missing = cells(batch.by_row), cells(batch.missing_by_row)
    assert len(counted) == fit.data.split.train.nnz
    assert len(missing) == fit.data.split.missing.nnz
    assert not counted & missing


def test_another_model_leaves_the_fit_as_it_was():
    fit = fit_of_cells()
    before = fit.model
    other = fit.with_model(dataclasses.replace(CELLS.model, num_factors=5, column_shape=0.7))
    assert fit.model is before
    assert other.model.column_prior.concentration == np.float32(0.7)
    assert other.data is fit.data
    assert other.start(make_mesh()).arrays.q["rows"].rate.shape[1] == 5
    assert fit.start(make_mesh()).arrays.q["rows"].rate.shape[1] == 3


def test_true_rates_are_those_of_the_counts_that_were_trained_on(monkeypatch):
    truth, asked = SYNTHETIC.load(), []
    fit = FactorFit(experiment(), truth)
    monkeypatch.setattr(
        factors, "interval_coverage", lambda key, *cells: asked.append(cells) or 0.9
    )
    q = {
        name: Gamma(table.astype(np.float32), np.ones_like(table, np.float32))
        for name, table in (("rows", truth.theta), ("columns", truth.beta))
    }
    summary = fit._recovery(q)
    assert summary == {
        "smallest_cosine": pytest.approx(1, abs=1e-6), "coverage_of_90_percent": 0.9,
    }  # fmt: skip
    ((rows, columns, rates),) = asked
    share = fit.data.split.train.sum() / truth.counts.sum()
    assert 0.6 < share < 0.8
    of_truth = (np.asarray(rows.mean) * np.asarray(columns.mean)).sum(axis=1)
    np.testing.assert_allclose(rates, share * of_truth, rtol=1e-5)


def test_the_best_step_is_told_where_it_is_not_the_last():
    fit = load_fit(experiment())
    state = fit.start(make_mesh())
    for step, best_step, told in ((6, 4, 4), (4, 4, None), (6, 0, None)):
        best = state.arrays.best.replace(step=jnp.uint32(best_step))
        state.arrays = state.arrays.replace(step=jnp.uint32(step), best=best)
        assert fit._best_step(state) == told


def test_starts_share_no_restart(monkeypatch):
    fit, asked = load_fit(experiment(inference=CoordinateAscent(num_restarts=3))), []
    mesh, perturbations = make_mesh(), fit.perturbations
    monkeypatch.setattr(
        fit, "perturbations", lambda index, mesh: asked.append(index) or perturbations(0, mesh)
    )
    monkeypatch.setattr(factors, "take_steps", lambda *_, **__: ())
    for index in range(2):
        fit.before_the_first_step(fit.start(mesh, index), lambda line: None, index)
    assert asked == [0, 0, 1, 2, 3, 3, 4, 5]


def test_a_run_of_a_fixed_length_need_not_see_its_convergence(monkeypatch):
    monkeypatch.setattr(CoordinateAscent, "sees", lambda *_: False)
    for tolerance in (0.0, 1e-5):
        fit = load_fit(experiment(inference=CoordinateAscent(tolerance=tolerance)))
        _, outcome = fit.outcome(fit.start(make_mesh()))
        assert outcome["sees_convergence"] == (tolerance == 0)


def test_a_split_that_holds_out_nothing_names_its_field():
    config = experiment(heldout=HeldOut(protocol="cells", test_fraction=1e-9))
    with pytest.raises(ConfigError, match=r"config\.heldout: test_fraction = 1e-09 holds out noth"):
        load_fit(config)


class AtStep(Record):
    """All that an algorithm must keep, and nothing more."""

    step: jax.Array
    model: FactorModel
    q: dict[str, Gamma]
    best: None = None


@spec
class PlainSweeps:
    """Coordinate ascent as a reader of the contract would write it, on one device."""

    def num_batches(self, num_rows):
        return None

    def init(self, model, q, *, key=None, num_batches=1, validates=False):
        return AtStep(jnp.uint32(0), model, q)

    def step(self, state, batch, devices):
        model, q = state.model, state.q
        table = model.table(q, batch.is_column)
        q = model.with_local_conditionals(q, table, batch)
        statistics = model.statistics(q, table, batch)
        elbo = statistics.elbo + model.global_elbo(q, table, statistics, batch.is_column)
        q = model.with_global_conditionals(q, statistics)
        return state.replace(step=state.step + 1, q=q), StepInfo(elbo, {})

    def is_done(self, state):
        return False

    def after_validation(self, state, log_likelihood):
        return state

    def shardings(self, state, mesh):
        return replicated(mesh)

    def outcome(self, state, kept):
        return kept.q, {"elbo": float(kept.model.elbo(kept.q, state.data))}


@pytest.mark.nightly
def test_an_algorithm_of_ones_own_fits_a_factorization():
    def report(inference, num_steps):
        fit = FactorFit(
            dataclasses.replace(CELLS, inference=inference),
            LoadedCounts(check_sparse_counts(COUNTS)),
        )
        state = fit.start(make_mesh(jax.devices()[:1]))
        state.step(num_steps)
        fit.end(state)
        return fit.report(state)

    theirs = report(PlainSweeps(), 400).summary
    ours = report(CoordinateAscent(extrapolate=False, tolerance=0.0), 400).summary
    assert theirs["elbo"] == pytest.approx(ours["elbo"], rel=1e-5)
    assert theirs["heldout_log_likelihood"] == pytest.approx(
        ours["heldout_log_likelihood"], abs=1e-4
    )
    assert report(PlainSweeps(), 1).summary["elbo"] < ours["elbo"] * 1.01  # where it started
    assert f"{theirs['elbo']:,.1f}" in report(PlainSweeps(), 400).table
