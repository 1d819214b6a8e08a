"""The Beta distribution against SciPy and quadrature."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy import special

from vigamma import Beta

A, B = (x.ravel() for x in np.meshgrid([0.3, 0.9, 1.0, 1.5, 20.0, 1e3], [0.4, 1.0, 3.0, 500.0]))
T = np.linspace(-200, 200, 80_001)[:, None]  # log-odds


def expectation(log_odds_to_value) -> np.ndarray:
    log_density = A * special.log_expit(T) + B * special.log_expit(-T) - special.betaln(A, B)
    return (np.exp(log_density) * log_odds_to_value(T)).sum(axis=0) * (T[1, 0] - T[0, 0])


def exposure(t):
    return np.where(t < -30, 1.0, -special.log_expit(-t) * special.expit(-t) / special.expit(t))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_moments_are_those_of_quadrature(dtype, rtol):
    with jax.enable_x64(dtype == np.float64):
        q = Beta(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
        found = [q.mean, q.variance, q.mean_log, q.mean_log_complement, q.mean_exposure]
        chex.assert_type(found, dtype)
    exact = scipy.stats.beta(A, B)
    expected = [exact.mean(), exact.var(), expectation(special.log_expit)]
    expected += [expectation(lambda t: special.log_expit(-t)), expectation(exposure)]
    for got, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, value, rtol=rtol)


def test_divergences_are_those_of_scipy_and_0_between_equals():
    q, prior = Beta(jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)), (0.5, 2.0)
    logs = special.digamma(A) - special.digamma(A + B), special.digamma(B) - special.digamma(A + B)
    exact = special.betaln(*prior) - special.betaln(A, B)
    exact += (A - prior[0]) * logs[0] + (B - prior[1]) * logs[1]
    got = q.kl_divergence(Beta(*map(jnp.float32, prior)))
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q.kl_divergence(q), 0, atol=3e-5)


def test_densities_are_those_of_scipy():
    p = np.linspace(0.05, 0.95, A.size)
    got = Beta(jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)).log_prob(p)
    np.testing.assert_allclose(got, scipy.stats.beta(A, B).logpdf(p), rtol=2e-4, atol=1e-5)


def test_draws_have_the_moments():
    q = Beta(jnp.asarray([0.5, 3.0]), jnp.asarray([2.0, 3.0]))
    draws = np.asarray(q.sample(jax.random.key(0), (100_000,)))
    np.testing.assert_allclose(draws.mean(axis=0), q.mean, atol=4e-3)
    np.testing.assert_allclose(draws.var(axis=0), q.variance, rtol=0.03)


def test_draws_have_the_distribution_and_the_pathwise_gradient():
    """d E[f(p)] / d(a, b) is the mean of the gradients of f at draws."""
    a, b = (jnp.asarray(x, jnp.result_type(float)) for x in (0.4, 1.7))

    def value(shapes, key, power):
        return jnp.exp(power * Beta(*shapes).log_sample(key))

    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: Beta(a, b).log_sample(key))(keys)
    assert scipy.stats.kstest(np.exp(draws), scipy.stats.beta(a, b).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.exp(draws), scipy.stats.beta(a, 1.1 * b).cdf).pvalue < 1e-3
    gradients = jax.vmap(jax.grad(value), (None, 0, None))((a, b), keys, 1.0)
    total = float(a + b)
    expected = float(b) / total**2, -float(a) / total**2  # of E[p] = a / (a + b)
    for found, exact in zip(gradients, expected, strict=True):
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - exact) < 4.5 * error < 0.02


def test_densities_of_logarithms_reach_probabilities_near_0_and_1():
    q = Beta(jnp.float32(0.5), jnp.float32(2.0))
    for log_p in (-80.0, -3.0, -1e-6):
        expected = scipy.stats.beta(0.5, 2).logpdf(np.exp(np.float64(log_p)))
        np.testing.assert_allclose(q.log_prob_from_log(jnp.float32(log_p)), expected, rtol=1e-5)
    p = jnp.float32(0.3)
    np.testing.assert_allclose(q.log_prob_from_log(jnp.log(p)), q.log_prob(p), rtol=1e-5)
