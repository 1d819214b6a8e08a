"""How a fit compares with the truth, where that is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigamma import Gamma
from vigamma.diagnostics.recovery import interval_coverage, matched_cosines, matched_factors

# Of one factor, with β nearly 1, so that the rate is nearly Gamma(4, 1).
ROWS = Gamma(jnp.full((500, 1), 4.0), jnp.ones((500, 1)))
COLUMNS = Gamma(jnp.full((500, 1), 1e6), jnp.full((500, 1), 1e6))


@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_the_truth_is_in_its_interval_as_often_as_promised_and_outside_on_both_sides(probability):
    rates = jnp.asarray(np.random.default_rng(0).gamma(4.0, 1.0, 500), jnp.float32)
    covered = interval_coverage(jax.random.key(0), ROWS, COLUMNS, rates, probability)
    assert covered == pytest.approx(probability, abs=0.07)
    half = jnp.arange(500) < 250
    for far in (1e-3, 1e3):
        moved = jnp.where(half, rates, far)
        covered = interval_coverage(jax.random.key(0), ROWS, COLUMNS, moved, probability)
        assert covered == pytest.approx(probability / 2, abs=0.07)


def test_factors_are_matched_for_the_largest_sum_of_cosines():
    rng = np.random.default_rng(1)
    beta, truth = rng.gamma(0.5, 1.0, (20, 4)), rng.gamma(0.5, 1.0, (20, 3))
    norms = np.outer(np.linalg.norm(truth, axis=0), np.linalg.norm(beta, axis=0))
    cosines = truth.T @ beta / norms
    best = max(itertools.permutations(range(4), 3), key=lambda p: cosines[range(3), p].sum())
    assert matched_factors(beta, truth).tolist() == list(best)
    np.testing.assert_allclose(matched_cosines(beta, truth), cosines[range(3), best])
