"""Scores of negative binomials against dense SciPy, and thinned parts against the joint law."""

import numpy as np
import pytest
import scipy.stats
from scipy import special

from vigamma import HeldOut
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.likelihoods import likelihood_of
from vigamma.diagnostics.predictive import heldout_log_likelihood, log_likelihood_of_rows

SHAPE = 60, 50


def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """θ, β and p in float32, and the means in float64."""
    rng = np.random.default_rng(0)
    theta = rng.gamma(0.5, 1.0, (SHAPE[0], 3)).astype(np.float32)
    beta = rng.gamma(0.5, 1.0, (SHAPE[1], 3)).astype(np.float32)
    p = rng.uniform(0.01, 0.95, SHAPE[1]).astype(np.float32)
    return theta, beta, p, theta.astype(float) @ beta.T.astype(float)


def split(protocol: str) -> Split:
    _, _, p, means = tables()
    odds = (1 - p) / p
    rng = np.random.default_rng(1)
    counts = rng.poisson(rng.gamma(means * odds) / odds)
    data = LoadedCounts(check_sparse_counts(counts))
    return HeldOut(protocol=protocol, test_fraction=0.3, valid_fraction=0.2).split(data)


def log_pmf(counts, means, p) -> np.ndarray:
    return scipy.stats.nbinom(means * (1 - p) / p, 1 - p).logpmf(counts)


def dense(part: HeldOutCounts) -> np.ndarray:
    counts = np.zeros(SHAPE)
    counts[part.rows, part.columns] = part.counts
    return counts


@pytest.mark.parametrize("name", ["valid", "test"])
def test_thinned_counts_are_scored_given_the_training_counts(name):
    """p(y | x) = p(x, y) / p(x), where x + y is a negative binomial, and x a part of it."""
    theta, beta, p, means = tables()
    whole = split("thinning")
    y, x = dense(getattr(whole, name)), whole.train.toarray()
    scale = {"valid": 0.2, "test": 0.3}[name] / 0.5
    odds = (1 - p) / p
    of_both = 1 / (1 + odds / (1 + scale))  # the probability of x + y, of mean (1 + s) λ
    log_joint = log_pmf(x + y, (1 + scale) * means, of_both)
    log_joint += scipy.stats.binom(x + y, 1 / (1 + scale)).logpmf(x)
    expected = (log_joint - log_pmf(x, means, p)).sum() / y.sum()
    score = heldout_log_likelihood(theta, beta, whole, getattr(whole, name), p)
    np.testing.assert_allclose(score.log_likelihood, expected, rtol=1e-5)
    assert score.num_heldout == y.sum()
    unconditional = log_pmf(y, scale * means, 1 / (1 + odds / scale)).sum() / y.sum()
    assert score.log_likelihood > unconditional + 0.1


def test_cells_are_the_mean_over_zeros_and_nonzeros():
    theta, beta, p, means = tables()
    whole = split("cells")
    at = whole.test.rows, whole.test.columns
    score = heldout_log_likelihood(theta, beta, whole, whole.test, p)
    expected = log_pmf(whole.test.counts, means[at], p[at[1]]).mean()
    np.testing.assert_allclose(score.log_likelihood, expected, rtol=1e-5)


def test_entries_are_those_of_all_zeros_one_by_one():
    theta, beta, p, means = tables()
    whole = split("entries")
    test, parts = whole.test, (whole.valid, whole.test)
    seen = whole.is_seen(test)
    is_zero = (whole.train.toarray() == 0) & (sum(map(dense, parts)) == 0)
    at = test.rows[seen], test.columns[seen]
    num_nonzeros = whole.train.nnz + sum(part.rows.size for part in parts)
    expected = log_pmf(test.counts[seen], means[at], p[at[1]]).mean()
    expected += log_pmf(0, means, p)[is_zero].sum() / num_nonzeros
    score = heldout_log_likelihood(theta, beta, whole, test, p)
    np.testing.assert_allclose(score.log_likelihood, expected, rtol=1e-5)


def test_rows_are_scored_one_by_one():
    theta, beta, p, means = tables()
    part = split("cells").test
    scores = log_likelihood_of_rows(theta, beta, part, p)
    np.testing.assert_allclose(scores, log_pmf(dense(part), means, p).sum(axis=1), rtol=1e-5)


def test_probabilities_near_zero_score_like_poisson_counts():
    theta, beta, _, _ = tables()
    for protocol in ("thinning", "cells", "entries"):
        whole = split(protocol)
        small = np.full(SHAPE[1], 1e-7)
        scores = [heldout_log_likelihood(theta, beta, whole, whole.test, p) for p in (small, None)]
        np.testing.assert_allclose(scores[0].log_likelihood, scores[1].log_likelihood, rtol=1e-4)


def test_thinned_parts_are_not_independent_and_their_law_is_that_of_draws():
    """Of 400,000 draws: the mean of y at every x is that of the likelihood."""
    rng, p, mean, scale = np.random.default_rng(2), 0.6, 2.0, 0.25
    odds = (1 - p) / p
    rates = rng.gamma(mean * odds, 1 / odds, 400_000)
    x, y = rng.poisson(rates), rng.poisson(scale * rates)
    likelihood = likelihood_of(np.array([p]), scale, is_thinned=True)
    values = np.arange(60.0)
    for seen in range(6):
        log_p = likelihood.log_factors(values, np.full(60, mean), slice(0, 1), np.full(60, seen))
        log_p -= mean * likelihood.exposures(1) + seen * likelihood.offsets
        assert special.logsumexp(log_p) == pytest.approx(0, abs=1e-6)
        found = y[x == seen]
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - np.exp(log_p) @ values) < 4 * error
