"""Samples of new rows are of their exact posterior given the columns."""

import numpy as np
import pytest
import scipy.stats
from scipy.sparse import csr_array

from tests.factors import KINDS, NEGATIVE_BINOMIAL, make_model, to_numpy
from vigamma import Gamma
from vigamma.families.beta import Beta
from vigamma.inference.row_samples import sample_rows
from vigamma.models.factor_model import PROBABILITIES

EXPOSURES = np.array([2.0, 0.5, 1.0])
NUM_DRAWS = 200
ODDS = np.array([3.0, 0.5])  # of negative binomials


def draws_of(kind: str, counts: np.ndarray, betas: list[np.ndarray], seed: int = 0):
    """Draws of two chains at each of these β, and at each of them again and again."""
    shape = betas[0].shape
    columns = {"columns": Gamma(np.full(shape, 50.0), 50 / np.mean(betas, axis=0))}
    stacked = [{"columns": np.stack([beta, beta])} for beta in betas]
    if kind == NEGATIVE_BINOMIAL:
        columns[PROBABILITIES] = Beta(*(50 * np.array([ODDS / (1 + ODDS), 1 / (1 + ODDS)])))
        for draw in stacked:
            draw[PROBABILITIES] = np.stack(2 * [ODDS / (1 + ODDS)])
    return sample_rows(
        make_model(kind), columns, stacked, csr_array(counts), EXPOSURES[: len(counts)], seed
    )


@pytest.mark.slow
def test_with_one_factor_of_fixed_rate_the_posterior_is_a_gamma():
    counts = np.array([[3, 0, 90], [0, 0, 0], [1, 0, 0]], np.int32)
    beta = np.array([[0.5], [2.0], [1.5]])
    found = draws_of("flat", counts, [beta] * NUM_DRAWS)
    prior = make_model("flat").row_prior
    shape = to_numpy(prior.concentration) + counts.sum(axis=1)
    rate = to_numpy(prior.rate) + EXPOSURES * beta.sum()
    for chain in range(2):
        theta = np.array([draw["rows"][chain, :, 0] for draw in found])
        for n in range(3):
            expected = scipy.stats.gamma(shape[n], scale=1 / rate[n])
            assert scipy.stats.kstest(theta[:, n], expected.cdf).pvalue > 1e-4
            assert scipy.stats.kstest(1.15 * theta[:, n], expected.cdf).pvalue < 1e-3 or n != 0


def likelihood(kind: str, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    distribution = scipy.stats.poisson(means)
    if kind == NEGATIVE_BINOMIAL:
        distribution = scipy.stats.nbinom(means / ODDS, 1 / (1 + ODDS))
    return distribution.pmf(counts).prod(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.nightly) for kind in KINDS), NEGATIVE_BINOMIAL]
)
def test_with_two_factors_means_are_those_of_weighted_draws_from_the_prior(kind):
    counts = np.array([[2, 1], [0, 3], [0, 0]], np.int32)
    beta, rng, size = np.array([[0.6, 0.1], [0.2, 1.0]]), np.random.default_rng(0), 300_000
    found = draws_of(kind, counts, [beta] * 800)
    prior = make_model(kind).row_prior
    concentration = to_numpy(prior.concentration)
    for n in range(3):
        rate = to_numpy(prior.rate) if kind == "flat" else None
        if rate is None:
            of_rates = prior.rate
            rate = rng.gamma(to_numpy(of_rates.concentration), 1 / to_numpy(of_rates.rate), size)
        theta = rng.gamma(concentration, 1, (size, 2)) / np.reshape(rate, (-1, 1))
        weights = likelihood(kind, EXPOSURES[n] * theta @ beta.T, counts[n])
        expected = weights @ np.log1p(theta) / weights.sum()
        drawn = np.log1p([draw["rows"][:, n] for draw in found])  # (D, C, K)
        batches = drawn.reshape(20, -1, 2).mean(axis=1)  # of draws that are correlated
        error = batches.std(axis=0, ddof=1) / np.sqrt(20)
        assert (np.abs(batches.mean(axis=0) - expected) < 4.5 * error + 0.01 * expected).all()
        swapped = likelihood(kind, EXPOSURES[n] * theta @ beta[::-1].T, counts[n])
        wrong = swapped @ np.log1p(theta) / swapped.sum()
        assert n == 2 or (np.abs(batches.mean(axis=0) - wrong) > 5 * error).any()


def test_each_draw_is_given_its_own_columns_and_a_row_depends_on_no_other():
    counts = np.array([[40, 0], [0, 40], [3, 0]], np.int32)
    betas = [np.full((2, 1), 0.1 if i % 2 else 10.0) for i in range(60)]
    found = draws_of("flat", counts, betas)
    theta = np.array([draw["rows"] for draw in found])
    np.testing.assert_allclose(np.median(theta[1::2] / theta[::2]), 20 / 1.1, rtol=0.5)
    fewer = draws_of("flat", counts[:2], betas)
    np.testing.assert_array_equal(theta[:, :, :2], [draw["rows"] for draw in fewer])
    assert (theta != [draw["rows"] for draw in draws_of("flat", counts, betas, seed=1)]).all()
    assert (theta[:, 0] != theta[:, 1]).all()
