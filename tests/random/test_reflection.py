"""The reflecting step leaves Gammas invariant, and moves to the other side of their center."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.slow import slow_after
from vigamma.random.reflection import SMALLEST_SHAPE, reflected_gamma

SIZE = 400_000


def _step(z: np.ndarray, shape: float, uniform: np.ndarray) -> np.ndarray:
    dtype = jnp.result_type(float)
    arguments = (jnp.asarray(x, dtype) for x in (z, np.full(z.shape, shape), uniform))
    return np.asarray(reflected_gamma(*arguments), np.float64)


@pytest.mark.parametrize("shape", slow_after(3, [0.4, 1.3, 1e4, 1.0, 4.0, 50.0]))
def test_the_gamma_is_invariant(shape):
    rng = np.random.default_rng(0)
    z = rng.gamma(shape, size=SIZE)
    stepped = _step(z, shape, 1 - rng.random(SIZE))
    assert (stepped != z).mean() > 0.6
    assert stats.kstest(stepped, stats.gamma(shape).cdf).pvalue > 1e-3


def test_without_rejections_the_gamma_would_change():
    rng = np.random.default_rng(1)
    z = rng.gamma(1.0, size=SIZE)
    stepped = _step(z, 1.0, np.full(SIZE, 1e-30))
    assert stats.kstest(stepped, stats.gamma(1.0).cdf).pvalue < 1e-6


@pytest.mark.parametrize("shape", [SMALLEST_SHAPE, 3.0, 1e3])
def test_two_steps_return(shape):
    z = np.random.default_rng(2).gamma(shape, size=1000)
    accepting = np.full(z.shape, 1e-30)
    there = _step(z, shape, accepting)
    back = _step(there, shape, accepting)
    moved = there != z
    np.testing.assert_allclose(back[moved], z[moved], rtol=2e-3)
    assert stats.spearmanr(z, there).statistic < -0.8


@pytest.mark.parametrize("shape", [SMALLEST_SHAPE, 2.0, 30.0])
def test_steps_from_the_shapes_in_use_are_mostly_accepted(shape):
    rng = np.random.default_rng(3)
    z = rng.gamma(shape, size=SIZE)
    assert (_step(z, shape, 1 - rng.random(SIZE)) != z).mean() > 0.95


@pytest.mark.parametrize("z", [1e-29, 1e29])
def test_values_far_from_the_center_stay_or_move_to_finite_ones(z):
    stepped = _step(np.array([z]), 5.0, np.array([0.5]))
    assert np.isfinite(stepped).all()
    assert (stepped > 0).all()
