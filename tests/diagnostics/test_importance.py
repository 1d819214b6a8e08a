"""Importance weights tell a good posterior from a bad one, and estimate the evidence."""

import numpy as np
import pytest
import scipy.stats

from vigamma import importance_check


def test_weights_of_known_tails_have_their_shapes():
    rng = np.random.default_rng(0)
    shapes = np.array([0.2, 0.5, 1.2])
    log_weights = np.log(scipy.stats.genpareto(shapes).rvs((20_000, 3), random_state=rng))
    check = importance_check(log_weights)
    np.testing.assert_allclose(check.khat, shapes, atol=0.15)
    np.testing.assert_array_equal(check.is_good, [True, True, False])
    assert check.ess[2] < 0.1 * check.ess[0]


def test_means_are_those_of_the_weights_however_small():
    rng = np.random.default_rng(1)
    log_weights = rng.normal(size=(4000, 2)) * 0.5
    check = importance_check(log_weights - 5000)
    np.testing.assert_allclose(check.elbo, -5000, atol=0.05)
    np.testing.assert_allclose(check.log_evidence, -5000 + 0.5**2 / 2, atol=0.05)
    expected = 4000 / np.exp(0.5**2)
    np.testing.assert_allclose(check.ess, expected, rtol=0.1)


def test_equal_weights_are_of_the_posterior_itself():
    check = importance_check(np.full((100, 2), -3.0))
    assert (check.khat == -np.inf).all()
    assert check.is_good.all()
    np.testing.assert_allclose(check.ess, 100)


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [(np.zeros((99, 1)), "100 draws, got 99"), (np.full((200, 1), np.nan), "finite")],
)
def test_weights_that_say_nothing_are_refused(log_weights, message):
    with pytest.raises(ValueError, match=message):
        importance_check(log_weights)
