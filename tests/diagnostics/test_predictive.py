"""Scores of held-out counts, against dense NumPy and SciPy float64."""

import numpy as np
import pytest
import scipy.stats
from scipy.sparse import csr_array
from sklearn.metrics import mean_poisson_deviance

from vigamma import HeldOut
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.predictive import (
    cells,
    deviance,
    entries,
    heldout_log_likelihood,
    perplexity,
    thinning,
    total_log_likelihood,
)

NUM_ROWS, NUM_COLUMNS = 90, 130


def tables():
    """θ and β in float32, and their rates in float64."""
    rng = np.random.default_rng(0)
    theta = rng.gamma(0.5, 1.0, (NUM_ROWS, 3)).astype(np.float32)
    beta = rng.gamma(0.5, 1.0, (NUM_COLUMNS, 3)).astype(np.float32)
    return theta, beta, theta.astype(float) @ beta.T.astype(float)


def split(protocol: str) -> Split:
    counts = np.random.default_rng(1).poisson(tables()[2])
    data = LoadedCounts(check_sparse_counts(counts))
    return HeldOut(protocol=protocol, test_fraction=0.3, valid_fraction=0.2).split(data)


def dense(part: HeldOutCounts) -> np.ndarray:
    counts = np.zeros((NUM_ROWS, NUM_COLUMNS))
    counts[part.rows, part.columns] = part.counts
    return counts


def log_pmf(counts, rates) -> np.ndarray:
    return scipy.stats.poisson(rates).logpmf(counts)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_thinning_is_the_likelihood_of_all_cells_for_each_held_out_count(name):
    theta, beta, rates = tables()
    whole = split("thinning")
    part = getattr(whole, name)
    counts = dense(part)
    scale = {"valid": 0.2, "test": 0.3}[name] / 0.5
    score = heldout_log_likelihood(theta, beta, whole, part)
    expected = log_pmf(counts, scale * rates).sum() / counts.sum()
    np.testing.assert_allclose(score.log_likelihood, expected, rtol=1e-6)
    assert score.num_heldout == counts.sum() > part.counts.size  # a cell with 3 has three
    assert score == thinning(theta, beta, whole, part)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_cells_is_the_mean_over_zeros_and_nonzeros(name):
    theta, beta, rates = tables()
    whole = split("cells")
    part = getattr(whole, name)
    score = heldout_log_likelihood(theta, beta, whole, part)
    expected = log_pmf(part.counts, rates[part.rows, part.columns])
    np.testing.assert_allclose(score.log_likelihood, expected.mean(), rtol=1e-6)
    assert score.num_heldout == int({"valid": 0.2, "test": 0.3}[name] * rates.size)
    assert (part.counts == 0).sum() > 100
    assert score == cells(theta, beta, whole, part)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_entries_is_that_of_all_zeros_one_by_one(name):
    """Rows and columns without a training nonzero are left out of the mean over nonzeros."""
    theta, beta, rates = tables()
    whole = split("entries")
    train = whole.train.toarray()
    train[5], train[:, 7] = 0, 0
    whole = whole._replace(train=check_sparse_counts(csr_array(train)))
    part = getattr(whole, name)
    counts = train + dense(whole.valid) + dense(whole.test)
    at_zeros = log_pmf(0, rates)[counts == 0].sum() / (counts > 0).sum()
    seen = (dense(part) > 0) & (train.any(axis=1)[:, None] & train.any(axis=0))
    expected = log_pmf(dense(part), rates)[seen].mean() + at_zeros
    score = heldout_log_likelihood(theta, beta, whole, part)
    np.testing.assert_allclose(score.log_likelihood, expected, rtol=1e-5)
    assert score.num_heldout == seen.sum() < part.counts.size
    assert score == entries(theta, beta, whole, part)


@pytest.mark.parametrize("protocol", ["thinning", "cells", "entries"])
def test_the_truth_scores_better_than_wrong_rates(protocol):
    theta, beta, _ = tables()
    whole = split(protocol)
    truth = heldout_log_likelihood(
        theta * np.float32(1 if protocol == "cells" else 0.5), beta, whole, whole.test
    )
    wrong = heldout_log_likelihood(theta[::-1], beta, whole, whole.test)
    assert wrong.log_likelihood < truth.log_likelihood - 0.1


def test_a_rate_that_underflows_is_a_bad_score_but_a_number():
    theta, beta, _ = tables()
    score = heldout_log_likelihood(0 * theta, beta, split("cells"), split("cells").test)
    assert -1e3 < score.log_likelihood < -10


def seen(whole: Split) -> np.ndarray:
    train = whole.train.toarray() > 0
    return train.any(axis=1)[:, None] & train.any(axis=0)


def scored(name: str, protocol: str):
    """The cells that a protocol scores: their counts, their rates, and their weights.

    Those of `entries` are the held-out nonzeros and all zeros, as if as many were drawn as there
    would be beside these nonzeros.
    """
    rates = tables()[2]
    whole = split(protocol)
    part = getattr(whole, name)
    if protocol == "thinning":
        counts = dense(part).ravel()
        return counts, part.rate_scale * rates.ravel(), np.full(counts.size, 1 / counts.sum())
    if protocol == "cells":
        return (
            part.counts,
            rates[part.rows, part.columns],
            np.full(part.counts.size, 1 / part.counts.size),
        )
    zeros = whole.train.toarray() + dense(whole.valid) + dense(whole.test) == 0
    held = (dense(part) > 0) & seen(whole)
    counts = np.append(dense(part)[held], np.zeros(zeros.sum()))
    weights = np.append(
        np.full(held.sum(), 1 / held.sum()), np.full(zeros.sum(), 1 / (~zeros).sum())
    )
    return counts, np.append(rates[held], rates[zeros]), weights


@pytest.mark.parametrize("name", ["valid", "test"])
@pytest.mark.parametrize("protocol", ["thinning", "cells", "entries"])
def test_the_deviance_is_that_of_the_scored_cells(protocol, name):
    theta, beta, _ = tables()
    whole = split(protocol)
    part = getattr(whole, name)
    counts, rates, weights = scored(name, protocol)
    expected = mean_poisson_deviance(counts, rates, sample_weight=weights) * weights.sum()
    score = heldout_log_likelihood(theta, beta, whole, part)
    np.testing.assert_allclose(deviance(score, whole, part), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["valid", "test"])
@pytest.mark.parametrize("protocol", ["thinning", "cells", "entries"])
def test_perplexity_is_that_of_the_columns_a_row_can_have(protocol, name):
    theta, beta, rates = tables()
    whole = split(protocol)
    part = getattr(whole, name)
    counts, possible = dense(part), np.ones((NUM_ROWS, NUM_COLUMNS), bool)
    if protocol == "cells":
        possible = np.zeros_like(possible)
        possible[part.rows, part.columns] = True
    elif protocol == "entries":
        other = whole.test if name == "valid" else whole.valid
        possible = (whole.train.toarray() == 0) & (dense(other) == 0)
        counts = counts * seen(whole)
    shares = np.where(possible, rates, 0)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-30)
    logs = np.log(np.where(counts > 0, shares, 1))
    expected = np.exp(-(counts * logs).sum() / counts.sum())
    np.testing.assert_allclose(perplexity(theta, beta, whole, part), expected, rtol=1e-5)
    exposed = theta * np.linspace(1, 3, NUM_ROWS, dtype=np.float32)[:, None]
    np.testing.assert_allclose(perplexity(exposed, beta, whole, part), expected, rtol=1e-5)
    uniform = np.ones((NUM_ROWS, 1), np.float32), np.ones((NUM_COLUMNS, 1), np.float32)
    guesses = np.exp(
        (counts * np.log(np.maximum(possible.sum(axis=1), 1))[:, None]).sum() / counts.sum()
    )
    np.testing.assert_allclose(perplexity(*uniform, whole, part), guesses, rtol=1e-6)
    assert expected < 0.9 * guesses


def test_one_huge_rate_does_not_hide_the_others():
    theta, beta, _ = tables()
    theta[0] *= 1e8
    rates = theta.astype(float) @ beta.T.astype(float)
    counts = np.round(rates)
    rows, columns = np.nonzero(counts)
    part = HeldOutCounts(rows, columns, counts[rows, columns], 1.0)
    expected = scipy.stats.poisson(rates).logpmf(counts).sum()
    np.testing.assert_allclose(total_log_likelihood(theta, beta, part), expected, atol=1e-3)


def test_the_only_column_that_is_left_is_no_guess_whatever_rounding_leaves_of_it():
    """Of the first row; in the second, one rate in a hundred is of the column that is held out."""
    train = check_sparse_counts([[9, 0, 1], [1, 1, 0]])
    theta = np.array([[1e17, 1, 1], [99, 0, 1]], np.float32)
    for row, column in enumerate((1, 2)):
        test = HeldOutCounts(np.array([row]), np.array([column]), np.ones(1, np.float32), 1.0)
        whole = Split("entries", train, None, None, test)
        assert perplexity(theta, np.eye(3, dtype=np.float32), whole, test) == 1
