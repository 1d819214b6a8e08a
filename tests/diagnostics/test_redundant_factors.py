"""Idle factors, and near duplicates of heavier ones."""

import numpy as np
import pytest

from vigamma.diagnostics.redundant_factors import idle_below, redundant_factors

RNG = np.random.default_rng(0)
THETA, BETA = RNG.gamma(0.3, 1.0, (50, 4)), RNG.gamma(0.3, 1.0, (40, 4))


def with_weights(*shares: float, beta: np.ndarray = BETA) -> np.ndarray:
    """Rows by which the factors of `beta` have these shares."""
    return THETA / THETA.sum(axis=0) * shares / beta.sum(axis=0)


def test_different_factors_are_all_needed():
    assert redundant_factors(THETA, BETA) == ((), ())


def test_factors_with_few_counts_are_idle_the_heaviest_first():
    found = redundant_factors(with_weights(0.005, 0.9, 0.009, 0.086), BETA)
    assert found.idle == (2, 0)
    assert found.number == 2
    assert redundant_factors(with_weights(0.011, 0.9, 0.013, 0.076), BETA).idle == ()


@pytest.mark.parametrize(
    ("num_factors", "share"), [(1, 0.01), (10, 0.01), (20, 0.005), (100, 1e-3)]
)
def test_a_tenth_of_an_equal_share_is_in_use_however_many_there_are(num_factors, share):
    assert idle_below(num_factors) == pytest.approx(share)


def test_a_factor_like_a_heavier_one_on_any_scale_is_its_duplicate():
    beta = BETA * [1.0, 1.0, 50.0, 1e-6]
    beta[:, 2] = 50 * BETA[:, 1] * RNG.uniform(0.95, 1.05, 40)
    for shares, expected in (((0.2, 0.4, 0.1, 0.3), (2, 1)), ((0.2, 0.1, 0.4, 0.3), (1, 2))):
        found = redundant_factors(with_weights(*shares, beta=beta), beta)
        ((factor, original, cosine),) = found.duplicates
        assert (factor, original) == expected
        assert 0.99 < cosine < 1.0


def test_a_duplicate_is_of_the_factor_most_like_it():
    beta = BETA.copy()
    beta[:, 1] = beta[:, 0] * RNG.uniform(0.7, 1.3, 40)
    beta[:, 2] = beta[:, 1]
    found = redundant_factors(with_weights(4, 3, 2, 1, beta=beta), beta)
    assert [(k, original) for k, original, _ in found.duplicates] == [(1, 0), (2, 1)]
    assert 1 - 1e-12 < found.duplicates[1].cosine <= 1


def test_columns_that_are_common_in_all_factors_make_none_alike():
    beta = BETA / BETA.sum(axis=0)
    beta[0] = 3.0
    cosine = beta[:, 0] @ beta[:, 1] / np.linalg.norm(beta[:, 0]) / np.linalg.norm(beta[:, 1])
    assert cosine > 0.97  # of β as it is
    assert redundant_factors(THETA, beta).duplicates == ()


def test_idle_factors_which_are_all_like_the_prior_are_no_duplicates():
    beta = BETA.copy()
    beta[:, 2:] = 1.0
    theta = with_weights(0.6, 0.4, 2e-5, 1e-5, beta=beta)
    assert redundant_factors(theta, beta) == ((2, 3), ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_factor_and_columns_without_counts(dtype):
    beta = np.ones((3, 1), dtype)
    beta[1] = 0
    assert redundant_factors(np.ones((2, 1), dtype), beta) == ((), ())
    twice = np.tile(beta, 2)
    ((factor, original, _),) = redundant_factors(np.ones((2, 2), dtype), twice).duplicates
    assert (factor, original) == (1, 0)
