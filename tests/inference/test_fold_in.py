"""Fold-in of new rows: the fixed point of their updates, given the columns."""

import jax
import numpy as np
import pytest

from tests.factors import KINDS, in_default_precision, make_model, make_problem, random_posterior
from tests.slow import slow_after
from vigamma.counts.sparse import check_sparse_counts
from vigamma.devices.mesh import in_default_float
from vigamma.inference import fold_in as module
from vigamma.inference.fold_in import fold_in


def dense_update(model, q, problem, columns):
    """One update of all rows, written densely."""
    weights = np.exp(np.asarray(q["rows"].mean_log))[:, None] * np.asarray(np.exp(columns.mean_log))
    shares = (problem.counts[..., None] * weights / weights.sum(axis=2, keepdims=True)).sum(axis=1)
    exposure = problem.exposures[:, None] * np.asarray(columns.mean.sum(axis=0))
    rows, rates = model.row_prior.conditional(
        *in_default_float((shares, exposure)), q.get("row_rates")
    )
    return {"rows": rows} | ({} if rates is None else {"row_rates": rates})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["plain", "exposures"])
@pytest.mark.parametrize("in_rounds", slow_after(1, [True, False]))
def test_rows_end_where_an_update_changes_nothing(kind, case, in_rounds, monkeypatch):
    monkeypatch.setattr(module, "block_slots", lambda num_factors: 64)
    if in_rounds:
        monkeypatch.setattr(module, "_MANY_ROWS", 250)
        monkeypatch.setattr(module, "_ROUNDS", (4, 4, 1000))
    problem = make_problem(case, num_rows=250)
    model = make_model(kind)
    columns = random_posterior(model, 1, num_columns=9)["columns"]
    counts = check_sparse_counts(problem.counts)
    q = fold_in(model, {"columns": jax.device_get(columns)}, counts, problem.exposures)
    assert q["rows"].rate.shape == (250, 3)
    q = in_default_precision(q)
    again = dense_update(model, q, problem, columns)
    for name, gamma in again.items():
        np.testing.assert_allclose(q[name].mean, gamma.mean, rtol=2e-3, atol=1e-5)
    rows, rates = model.row_prior.initial(250, 3)
    start = {"rows": rows} | ({} if rates is None else {"row_rates": rates})
    first = dense_update(model, in_default_precision(start), problem, columns)
    difference = np.abs(first["rows"].mean - again["rows"].mean).max()
    assert difference > 0.1  # the test would notice a single update


def test_rows_do_not_depend_on_each_other():
    problem = make_problem(num_rows=30)
    model = make_model("hierarchical")
    columns = jax.device_get(random_posterior(model, 1, num_columns=9))
    counts = check_sparse_counts(problem.counts)
    together = fold_in(model, columns, counts)["rows"].mean
    alone = fold_in(model, columns, counts[7:8])["rows"].mean
    np.testing.assert_allclose(alone[0], together[7], rtol=1e-5, atol=1e-7)


def test_rows_converge_alike_on_every_scale():
    problem, model, scale = make_problem(num_rows=30), make_model("hierarchical"), 2.0**14
    columns = jax.device_get(random_posterior(model, 1, num_columns=9))
    counts = check_sparse_counts(problem.counts)
    theta = fold_in(model, columns, counts)["rows"].mean
    of_rates = model.row_prior.rate
    prior = model.row_prior.replace(rate=of_rates.replace(rate=of_rates.rate / scale))
    small = fold_in(model.replace(row_prior=prior), columns, counts, np.full(30, scale))
    np.testing.assert_allclose(scale * small["rows"].mean, theta, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_the_same_factors_in_rounds_and_in_any_company(kind, monkeypatch):
    """Rows that converge slowly show it where a round forgets how far the extrapolation is."""
    problem, model = make_problem(num_rows=250), make_model(kind)
    columns = jax.device_get(random_posterior(model, 1, num_columns=9))
    counts = check_sparse_counts(problem.counts)
    whole = fold_in(model, columns, counts)
    some = fold_in(model, columns, counts[:3])
    monkeypatch.setattr(module, "_MANY_ROWS", 250)
    for rounds in (module._ROUNDS, (4, 4, 1000)):
        monkeypatch.setattr(module, "_ROUNDS", rounds)
        in_rounds = fold_in(model, columns, counts)
        for name, gamma in whole.items():
            np.testing.assert_allclose(in_rounds[name].mean, gamma.mean, rtol=1e-6)
            np.testing.assert_allclose(some[name].mean, gamma.mean[:3], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_converge_within_80_updates(kind, monkeypatch):
    """As the extrapolation starts anew where it goes too far; without that it takes 300."""
    problem, model = make_problem(num_rows=250), make_model(kind)
    columns = jax.device_get(random_posterior(model, 1, num_columns=9))
    counts = check_sparse_counts(problem.counts)
    exact = fold_in(model, columns, counts, tolerance=1e-8)["rows"].mean
    size = exact.sum(axis=1)
    converged = fold_in(model, columns, counts)["rows"].mean
    assert (np.abs(converged - exact).sum(axis=1) < 1e-4 * size).all()
    for most_updates, is_enough in ((80, True), (20, False)):
        monkeypatch.setattr(module, "_MOST_UPDATES", most_updates)
        means = fold_in(model, columns, counts)["rows"].mean
        assert (np.abs(means - exact).sum(axis=1) < 1e-4 * size).all() == is_enough


def test_a_row_has_moved_by_its_extrapolation_or_by_its_update():
    """Either can be undone by the other, and nothing has converged then."""
    assert module._way(was=1.0, begun=1.5, now=1.5) == 0.5
    assert module._way(was=1.0, begun=1.5, now=1.0) == 0.5
