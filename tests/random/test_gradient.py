"""The pathwise gradient is the derivative of the quantile function, and unbiased."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special

from vigamma.random import gamma, log_gamma
from vigamma.random.implicit import log_shape_gradient


def exact_gradient(a: float, log_z: float) -> float:
    """d log z / da at fixed quantile in high precision: the series of vigamma.random.implicit."""
    with mp.workdps(40):
        a, log_z = mp.mpf(a), mp.mpf(log_z)
        z, digamma, power, total, k = mp.exp(log_z), mp.digamma(a + 1), mp.mpf(1), mp.mpf(0), 0
        while k <= z - a or abs(power * digamma) > mp.mpf(10) ** -22 * abs(total):
            total += power * (digamma - log_z)
            k += 1
            power *= z / (a + k)
            digamma += 1 / (a + k)
        return float(total / a)


def log_quantile(a: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """log z with F(z; a) = quantile, also where z underflows."""
    z = special.gammaincinv(a, quantile)
    small = (np.log(quantile) + special.gammaln(a + 1)) / a
    return np.where(z > 1e-290, np.log(np.maximum(z, 1e-300)), small)


def random_cases(size: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Shapes from 1e-3 to 1e5 and log z at quantiles from 1e-4 to 1 - 1e-4, rounded to dtype.

    Half of the quantiles are in the tails.
    """
    rng = np.random.default_rng(0)
    a = (10 ** rng.uniform(-3, 5, size)).astype(dtype)
    tail = 10 ** rng.uniform(-4, -0.31, size)
    kind, inner = rng.integers(0, 4, size), rng.uniform(1e-4, 1 - 1e-4, (2, size))
    quantile = np.choose(kind, [tail, 1 - tail, *inner])
    return a, log_quantile(a.astype(np.float64), quantile).astype(dtype)


def relative_error(a: np.ndarray, log_z: np.ndarray, got: jax.Array) -> np.ndarray:
    cases = zip(a.astype(float), log_z.astype(float), strict=True)
    exact = np.array([exact_gradient(*case) for case in cases])
    assert np.all(np.isfinite(got))
    assert np.all(np.asarray(got) > 0)
    return np.abs(np.asarray(got, np.float64) / exact - 1)


@jax.jit
def gradient_at(a: jax.Array, log_z: jax.Array) -> jax.Array:
    return log_shape_gradient(a, log_z - jnp.log1p(a)) / a


@pytest.mark.parametrize("size", [300, pytest.param(2000, marks=pytest.mark.nightly)])
def test_float32_gradient_at_fixed_quantiles(size):
    a, log_z = random_cases(size, np.float32)
    error = relative_error(a, log_z, gradient_at(jnp.asarray(a), jnp.asarray(log_z)))
    assert np.median(error) < 2e-7
    assert error.max() < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, pytest.param(2000, marks=pytest.mark.nightly)])
def test_float64_gradient_at_fixed_quantiles(size):
    a, log_z = random_cases(size, np.float64)
    with jax.enable_x64(True):
        error = relative_error(a, log_z, gradient_at(jnp.asarray(a), jnp.asarray(log_z)))
    assert np.median(error) < 2e-13
    assert error.max() < 2e-12


@pytest.mark.parametrize("quantile", [1e-4, 0.1, 0.5, 0.9, 1 - 1e-4])
def test_gradient_is_the_derivative_of_the_quantile_function(quantile):
    a = np.array([0.05, 0.3, 0.99, 1.0, 2.5, 40.0, 3e3])
    step = 1e-5 * a
    slope = (log_quantile(a + step, quantile) - log_quantile(a - step, quantile)) / (2 * step)
    with jax.enable_x64(True):
        got = gradient_at(jnp.asarray(a), jnp.asarray(log_quantile(a, quantile)))
    np.testing.assert_allclose(got, slope, rtol=1e-7)


@pytest.mark.parametrize("draw", [gamma, log_gamma])
def test_gradient_of_a_draw_is_exact_at_that_draw(draw):
    smallest = -1 if draw is gamma else -3
    a = (10 ** np.random.default_rng(1).uniform(smallest, 5, 200)).astype(np.float32)
    tangents = (jnp.ones(a.shape, a.dtype),)
    z, gradient = jax.jvp(lambda a: draw(jax.random.key(5), a), (jnp.asarray(a),), tangents)
    z, gradient = (np.asarray(leaf, np.float64) for leaf in (z, gradient))
    # Smaller draws of `gamma` are rounded up.
    visible = z > 1e-37 if draw is gamma else np.full(z.shape, True)
    assert visible.mean() > 0.99
    log_z, log_gradient = (np.log(z), gradient / z) if draw is gamma else (z, gradient)
    error = relative_error(a[visible], log_z[visible], log_gradient[visible])
    assert np.median(error) < 2e-7
    assert error.max() < 2e-6


@pytest.mark.parametrize("a", [1e-3, 0.01, 0.1, 0.5, 1.0, 3.0, 100.0, 1e4])
def test_mean_gradient_of_log_z_is_trigamma(a):
    a = float(np.float32(a))
    gradient = jax.grad(lambda a: log_gamma(jax.random.key(7), a).sum())(jnp.full(1_000_000, a))
    gradient = np.asarray(gradient, np.float64)
    standard_error = gradient.std() / np.sqrt(gradient.size)
    assert abs(gradient.mean() - special.polygamma(1, a)) < 4 * standard_error
    assert standard_error < 0.01 * special.polygamma(1, a)


@pytest.mark.parametrize("a", [0.3, 1.0, 10.0, 1e4])
def test_mean_gradient_of_z_is_one(a):
    gradient = jax.grad(lambda a: gamma(jax.random.key(8), a).sum())(jnp.full(1_000_000, a))
    gradient = np.asarray(gradient, np.float64)
    assert abs(gradient.mean() - 1) < 4 * gradient.std() / 1000
    assert gradient.std() < 3


def test_gradient_stays_positive_and_finite_in_the_farthest_tails():
    a = jnp.asarray(10 ** np.linspace(-4, 6, 300), jnp.float32)
    for quantile in (1e-10, 1 - 1e-10):
        shapes = np.asarray(a, np.float64)
        gradient = gradient_at(a, jnp.asarray(log_quantile(shapes, quantile), jnp.float32))
        assert jnp.all(jnp.isfinite(gradient))
        assert jnp.all(gradient > 0)


@jax.jit
def curvature(a: jax.Array) -> jax.Array:
    """The second derivatives of draws, reverse over reverse."""
    return jax.grad(lambda a: jax.grad(lambda a: log_gamma(jax.random.key(9), a).sum())(a).sum())(a)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.float64, 1e-5)])
def test_second_derivatives(dtype, tolerance):
    with jax.enable_x64(True):
        a = np.array([0.02, 0.4, 1.0, 7.0, 900.0], dtype).astype(np.float64)
        got = curvature(jnp.asarray(a, dtype))
        draws = np.asarray(jax.jit(log_gamma)(jax.random.key(9), jnp.asarray(a, dtype)), np.float64)
        quantile, step = special.gammainc(a, np.exp(draws)), 1e-4 * a
        up, down = (
            gradient_at(jnp.asarray(b), jnp.asarray(log_quantile(b, quantile)))
            for b in (a + step, a - step)
        )
        assert got.dtype == dtype
        np.testing.assert_allclose(got, (up - down) / (2 * step), rtol=tolerance)


def test_second_derivatives_are_finite_at_extreme_shapes():
    assert jnp.all(jnp.isfinite(curvature(jnp.array([1e-6, 1e-4, 1e-2, 1.0, 1e6]))))


def test_the_gradient_is_finite_where_draws_are_rounded_up_to_the_smallest_number():
    a = jnp.full(1_000_000, 0.01)  # as many as above: the programs are there
    gradient = np.asarray(jax.grad(lambda a: gamma(jax.random.key(8), a).sum())(a))
    assert np.isfinite(gradient).all()
    assert gradient.min() > 0
    assert 0.4 < (gradient < 1e-33).mean() < 0.43
