"""Negative-binomial factorizations from end to end: runs, devices, answers, refusals, estimator."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import xarray
from matplotlib.figure import Figure
from scipy.sparse import csr_array, save_npz

from tests import test_train_factors
from tests.test_report import OF_KIND, page_of
from vigamma import (
    Adam,
    CoordinateAscent,
    Experiment,
    Gibbs,
    GradientAscent,
    HeldOut,
    HierarchicalNegativeBinomialFactorization,
    HierarchicalPoissonFactorization,
    NegativeBinomialFactorization,
    PathwiseElbo,
    PoissonFactorization,
    PoissonFactorizer,
    SparseCounts,
    StochasticVariationalInference,
    answer_new_rows,
    check_rows,
    evaluate,
    export,
    fit,
    load_run,
    load_run_data,
    log_evidence_bounds,
    recommend,
    run_experiment,
    sample,
    topics,
)
from vigamma.answers.generation import generate
from vigamma.answers.recommendation import samples_of_new
from vigamma.devices.mesh import make_mesh
from vigamma.diagnostics.recovery import matched_cosines
from vigamma.models.factor_model import PROBABILITIES
from vigamma.report.checks import heldout_of, replication_of
from vigamma.report.results import load_results
from vigamma.report.variation import variation_of
from vigamma.runs.train import load_fit

pytestmark = pytest.mark.usefixtures("no_figures")

BURSTY = 0.8
"""The probability of every other column."""


def bursty_counts(num_rows: int = 300, num_columns: int = 40, seed: int = 0):
    """Counts with three factors, negative binomials in even columns and Poisson in odd ones."""
    rng = np.random.default_rng(seed)
    theta = rng.gamma(0.3, 1.0, (num_rows, 3)) + 0.1
    beta = rng.gamma(0.5, 4.0, (num_columns, 3)) + 0.05
    means = theta @ beta.T
    odds = (1 - BURSTY) / BURSTY
    rates = means.copy()
    rates[:, ::2] = rng.gamma(means[:, ::2] * odds) / odds
    return rng.poisson(rates), beta


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bursty") / "counts.npz"
    save_npz(path, csr_array(bursty_counts()[0]))
    return SparseCounts(path=str(path))


def experiment(data, **changes) -> Experiment:
    changes = {
        "heldout": HeldOut(protocol="cells", test_fraction=0.2, valid_fraction=0.1),
        "model": HierarchicalNegativeBinomialFactorization(num_factors=3),
    } | changes
    return test_train_factors.experiment(data=data, **changes)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    config = experiment(data, heldout=HeldOut(protocol="thinning", test_fraction=0.2))
    run_experiment(config, workdir)
    return workdir


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("model", "inference"),
    [
        (NegativeBinomialFactorization, CoordinateAscent(tolerance=0)),
        pytest.param(
            HierarchicalNegativeBinomialFactorization,
            StochasticVariationalInference(batch_rows=100),
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_any_number_of_devices_has_the_same_fit(data, model, inference):
    config = experiment(data, model=model(num_factors=3), inference=inference)
    ends = []
    for num_devices in (1, 4):
        found, mesh = load_fit(config), make_mesh(jax.devices()[:num_devices])
        state = found.start(mesh)
        infos = state.step(12)
        ends.append((infos.elbo, found.posterior(state)))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-4)
    for name, part in ends[0][1].items():
        np.testing.assert_allclose(part.mean, ends[1][1][name].mean, rtol=0.02)
    assert ends[0][0][-1] > ends[0][0][0]


@pytest.mark.nightly
def test_a_run_cut_at_any_sweep_and_resumed_is_bit_identical(data, tmp_path):
    config = experiment(data, inference=CoordinateAscent(tolerance=0, learn_priors=True))
    whole = run_experiment(config, tmp_path / "whole").summary
    for num_steps in (7, 24):
        cut = dataclasses.replace(config, num_steps=num_steps)
        resumed = run_experiment(cut, tmp_path / "cut").summary
    assert resumed["resumed_from"] == 7
    for name in ("elbo", "heldout_log_likelihood", "valid_log_likelihood"):
        assert resumed[name] == whole[name]


@pytest.mark.slow
def test_it_beats_poisson_where_counts_vary_more_and_finds_which_columns_do(data):
    counts, beta = bursty_counts()
    heldout = HeldOut(protocol="cells", test_fraction=0.2)
    models = NegativeBinomialFactorization(num_factors=3), PoissonFactorization(num_factors=3)
    found, poisson = (fit(model, counts, heldout=heldout) for model in models)
    gain = found.summary["heldout_log_likelihood"] - poisson.summary["heldout_log_likelihood"]
    assert gain > 0.1
    p = np.asarray(found.posterior[PROBABILITIES].mean)
    assert np.median(p[::2]) > 0.6
    assert np.median(p[1::2]) < 0.15
    cosines = matched_cosines(np.asarray(found.posterior["columns"].mean), beta)
    assert cosines.min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "models",
    [
        (NegativeBinomialFactorization, PoissonFactorization),
        pytest.param(
            (HierarchicalNegativeBinomialFactorization, HierarchicalPoissonFactorization),
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_poisson_counts_lose_nothing(models):
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(0.3, 1.0, (400, 3)) @ rng.gamma(0.5, 1.0, (60, 3)).T)
    heldout = HeldOut(protocol="cells", test_fraction=0.2)
    scores = [
        fit(model(num_factors=3, row_shape=0.5), counts, heldout=heldout).summary
        for model in models
    ]
    gain = scores[0]["heldout_log_likelihood"] - scores[1]["heldout_log_likelihood"]
    assert gain > -0.0015  # a cell, of 4,800


@pytest.mark.slow
def test_columns_without_counts_have_small_means_with_many_factors():
    """Rather than a p near 1, which the default of the prior avoids."""
    counts = np.pad(bursty_counts()[0], ((0, 0), (0, 2)))
    sums = {}
    for shape in (None, 2.0):
        model = NegativeBinomialFactorization(num_factors=30, failure_shape=shape)
        q = fit(model, counts, num_steps=100).posterior
        sums[shape] = (q["columns"].mean @ q["rows"].mean.sum(axis=0))[-2:].max()
    assert sums[None] < 30 < 100 < sums[2.0]


@pytest.mark.slow
def test_a_run_is_read_back_and_scored_under_both_likelihoods(finished):
    run = load_run(finished)
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["model"] == "HierarchicalNegativeBinomialFactorization"
    found = evaluate(run, load_run_data(run))
    assert found.fitted.log_likelihood == pytest.approx(summary["heldout_log_likelihood"], rel=1e-6)
    assert found.fitted.poisson_log_likelihood < found.fitted.log_likelihood - 0.1
    assert found.independent.poisson_log_likelihood == found.independent.log_likelihood
    assert "log-likelihood as Poisson" in found.table


def test_answers_are_those_of_the_means(finished, tmp_path):
    run = load_run(finished)
    table = recommend(run, ["0"], top=5)
    theta, beta = run.mean_factors()
    rates = theta[0].astype(float) @ beta.T.astype(float)
    np.testing.assert_allclose(table["rate"], rates[table["item"].astype(int)], rtol=1e-5)
    assert len(topics(run, top=3).weights) == 3

    q = run.factors.q[PROBABILITIES]
    export(run, tmp_path / "all.npz")
    arrays = np.load(tmp_path / "all.npz")
    np.testing.assert_array_equal(arrays[f"{PROBABILITIES}_shape1"], q.concentration1)
    export(run, tmp_path / "all.csv")
    columns = pd.read_csv(tmp_path / "all.columns.csv")
    np.testing.assert_allclose(columns["probability_mean"], q.mean, rtol=1e-5)
    assert "probability_mean" not in pd.read_csv(tmp_path / "all.rows.csv")
    export(run, tmp_path / "all.nc", draws=400)
    drawn = xarray.open_dataset(tmp_path / "all.nc", group="posterior", engine="h5netcdf")
    of_draws = drawn[PROBABILITIES].mean(("chain", "draw"))
    np.testing.assert_allclose(of_draws, q.mean, atol=0.05)
    export(run, tmp_path / "all.h5ad")


@pytest.mark.slow
def test_rows_are_drawn_with_the_variance_of_the_model(finished):
    drawn = generate(finished, 4000, 0)
    excess = ((drawn.counts - drawn.theta) ** 2).mean(axis=0) / drawn.theta.mean(axis=0)
    p = np.asarray(load_run(finished).factors.q[PROBABILITIES].mean)
    assert np.median(np.abs(excess * (1 - p) - 1)) < 0.15
    assert excess[::2].mean() > 3 > excess[1::2].mean()


def test_a_report_finds_counts_as_expected_and_names_the_columns_that_vary_most(finished):
    results, run = load_results(finished, print), load_run(finished)
    of_evaluate = evaluate(run, load_run_data(run))
    for name, score in (
        ("factors", of_evaluate.fitted.log_likelihood),
        ("poisson", of_evaluate.fitted.poisson_log_likelihood),
        ("independent", of_evaluate.independent.log_likelihood),
    ):
        assert results.scores[name].log_likelihood == pytest.approx(score, rel=1e-6)

    def outcomes(results):
        return {v.check: v.outcome for v in replication_of(results, print)["verdicts"]}

    found = outcomes(results)
    # As many zeros are in 2 to 10 % of the replicates, so that seeds decide on "a little off".
    assert found == dict.fromkeys(found, "as expected") | {"zeros": found["zeros"]}
    assert found["zeros"] != "off"
    q = dict(results.run.factors.q)
    del q[PROBABILITIES]
    as_poisson = results.run._replace(factors=results.run.factors._replace(q=q))
    assert outcomes(results._replace(run=as_poisson))["dispersion"] == "off"
    heldout = {v.check: v.observed for v in heldout_of(results)["verdicts"]}
    assert heldout["heldout_rows_outside"] < 0.15

    found, q = variation_of(results), run.factors.q[PROBABILITIES]
    assert variation_of(results._replace(run=as_poisson)) is None
    assert found["num_columns"] == 40
    assert found["median"] == pytest.approx(np.median(q.mean))
    order = np.argsort(-q.mean, kind="stable")
    counts = results.data.split.train.toarray()
    for m, column in zip(order, found["columns"], strict=False):
        assert (column["name"], m % 2) == (f"column {m}", 0)
        law = scipy.stats.beta(float(q.concentration1[m]), float(q.concentration0[m]))
        assert column["interval"] == pytest.approx(law.interval(0.9))
        assert column["mean"] == pytest.approx(law.mean())
        assert column["ratio"] == pytest.approx(1 / (1 - law.mean()))
        assert (column["sum"], column["num_rows"]) == (counts[:, m].sum(), (counts[:, m] > 0).sum())
    few = csr_array(np.where(np.arange(40) == order[5], counts[:, [order[5]]] > 0, 0))
    split = results.data.split._replace(train=few[:9])
    data = SimpleNamespace(split=split, words=results.data.words)
    (only,) = variation_of(results._replace(data=data))["columns"]
    assert only["name"] == f"column {order[5]}"


def test_a_page_says_what_is_of_negative_binomials_only(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda _, buffer, **__: buffer.write(b"<svg/>"))
    text = page_of(finished, tmp_path).text
    for words in OF_KIND["negative binomial"]:
        assert words in text, words
    for words in (*OF_KIND["Poisson"], "configs/counts_negative_binomial.py"):
        assert words not in text, words


def test_new_rows_are_inferred_and_scored(finished):
    run = load_run(finished)
    counts = csr_array(bursty_counts(50, seed=7)[0])
    own = load_run_data(run).split.train[:50]
    (answers,) = answer_new_rows(run, own, [str(i) for i in range(50)])
    theta = answers.factors[["mean_1", "mean_2", "mean_3"]].to_numpy()
    np.testing.assert_allclose(theta, run.factors.q["rows"].mean[:50], rtol=0.1, atol=0.02)
    (answers,) = answer_new_rows(run, counts, [str(i) for i in range(50)])
    assert np.isfinite(answers.scores["log_likelihood"]).all()


@pytest.mark.nightly
def test_posterior_samples_hold_the_probabilities_in_wider_intervals(finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    outcome = sample(workdir, Gibbs(num_chains=4, burn_in=40, thin=4), num_sweeps=200)
    assert outcome.summary["num_draws"] == 160
    assert outcome.summary[PROBABILITIES]["rhat"] < 1.2
    assert "probabilities of columns" in outcome.table
    run = load_run(workdir)
    p = run.samples.taken(PROBABILITIES, np.arange(40))
    odds = 0.8 * BURSTY / (1 - BURSTY)  # of the part of the counts that is in training
    true = odds / (1 + odds)
    low, high = np.quantile(p[:, ::2], [0.05, 0.95], axis=0)
    assert ((low < true) & (true < high)).mean() > 0.7
    deviations = np.sqrt(run.factors.q[PROBABILITIES].variance[::2])
    assert np.median(p[:, ::2].std(axis=0) / deviations) > 1.2
    assert np.median(p[:, 1::2]) < 0.1

    table = recommend(run, ["3"], top=5)
    assert (table["low"] < table["rate"]).all()
    found = variation_of(load_results(workdir, print))
    assert found["num_draws"] == 160
    for m, column in zip(np.argsort(-p.mean(axis=0)), found["columns"], strict=False):
        assert column["name"] == f"column {m}"
        ends = np.quantile(p[:, m], [0.05, 0.95], method="weibull")
        assert column["interval"] == pytest.approx(ends)
    (path,) = export(run, tmp_path / "draws.nc")
    with xarray.open_dataset(path, group="posterior", engine="h5netcdf") as found:
        expected = run.samples.draws[2][PROBABILITIES][1]
        np.testing.assert_array_equal(found[PROBABILITIES][1, 2], expected)
    own = load_run_data(run).split.train[:4]
    (folded,) = (answer.factors for answer in answer_new_rows(run, own, list("abcd")))
    sampled = samples_of_new(run, run.samples, own, None, 0)
    theta = folded[["mean_1", "mean_2", "mean_3"]].to_numpy()
    expected = theta @ run.factors.q["columns"].mean.sum(axis=0)
    rows = sampled.taken("rows", slice(4))
    columns = sampled.taken("columns", slice(None)).sum(axis=1)
    sums = (rows * columns[:, None]).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(sums, expected, rtol=0.15)


def by_gradients(data, workdir, model, num_steps: int):
    inference = GradientAscent(
        estimator=PathwiseElbo(num_samples=8),
        optimizer=Adam(learning_rate=0.1, decay_steps=num_steps),
    )
    heldout = HeldOut(protocol="cells", test_fraction=0.2)
    config = experiment(data, model=model, heldout=heldout, inference=inference)
    config = dataclasses.replace(config, num_steps=num_steps, log_every=num_steps // 2)
    return run_experiment(config, workdir).summary, load_run(workdir)


@pytest.mark.nightly
def test_a_run_by_gradients_has_betas_and_is_read_back(data, tmp_path):
    model = NegativeBinomialFactorization(num_factors=1)
    summary, run = by_gradients(data, tmp_path, model, 60)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    elbos = [json.loads(line)["elbo"] for line in lines]
    assert elbos[-1] > elbos[0] + 1000
    found = evaluate(run, load_run_data(run)).fitted.log_likelihood
    assert found == pytest.approx(summary["heldout_log_likelihood"], rel=1e-5)
    p = run.factors.q[PROBABILITIES].mean
    assert p[::2].mean() > p[1::2].mean() + 0.1


@pytest.mark.nightly
def test_gradients_of_the_log_joint_reach_a_higher_bound(data, tmp_path):
    """Coordinate ascent bounds the numbers of tables, too, which gradients sum out."""
    model = NegativeBinomialFactorization(num_factors=3, row_shape=0.5)
    heldout = HeldOut(protocol="cells", test_fraction=0.2)
    ascent = fit(model, bursty_counts()[0], heldout=heldout).summary
    summary, run = by_gradients(data, tmp_path, model, 1000)
    assert summary["elbo"] > ascent["elbo"] + 20
    assert summary["heldout_log_likelihood"] > ascent["heldout_log_likelihood"] - 0.05
    p = run.factors.q[PROBABILITIES].mean
    assert np.median(p[::2]) > 0.6 > 0.3 > np.median(p[1::2])


def test_what_needs_poisson_counts_is_refused(finished, data):
    run = load_run(finished)
    message = "need Poisson counts, and are not implemented for negative binomials"
    model, q, counts = run.factors.model, run.factors.q, load_run_data(run).split.train
    with pytest.raises(ValueError, match=f"bounds of the evidence {message}"):
        log_evidence_bounds(model, q, counts, {}, key=jax.random.key(0))
    with pytest.raises(ValueError, match=f"importance weights {message}"):
        check_rows(model, q["columns"].mean, counts, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"success_shape must be in \[0.1, 10000\], got 0"):
        fit(NegativeBinomialFactorization(success_shape=0.0), counts)


@pytest.mark.slow
def test_the_estimator_takes_the_likelihood():
    counts, _ = bursty_counts()
    settings = {"n_components": 3, "random_state": 0}
    found = PoissonFactorizer(likelihood="negative_binomial", **settings).fit(counts)
    plain = PoissonFactorizer(**settings).fit(counts)
    new, _ = bursty_counts(seed=5)
    assert found.score(new) > plain.score(new) + 1
    assert found.transform(new).shape == (300, 3)
    drawn = found.sample(2000, random_state=1)
    assert drawn[:, ::2].var() > 1.2 * plain.sample(2000, random_state=1)[:, ::2].var()
    with pytest.raises(ValueError, match="negative binomials need whole numbers"):
        found.fit(counts + 0.5)
    with pytest.raises(ValueError, match=r"likelihood must be one of .*, got 'gaussian'"):
        PoissonFactorizer(likelihood="gaussian").fit(counts)


@pytest.mark.nightly
def test_the_estimator_takes_batches_and_samples():
    counts, _ = bursty_counts()
    found = PoissonFactorizer(3, likelihood="negative_binomial", random_state=0)
    for start in range(0, 300, 100):
        found.partial_fit(counts[start : start + 100])
    assert np.isfinite(found.elbo_)
    found.fit(counts).sample_posterior(counts, n_sweeps=80, n_chains=2, random_state=0)
    low, high = found.transform_interval(counts[:20], 0.9)
    theta = found.transform(counts[:20])
    assert ((low < theta) & (theta < high)).mean() > 0.8
