import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from vigamma import NegativeBinomial, Poisson

COUNTS = np.float32([0, 1, 2, 7, 30])


def test_poisson_log_prob_matches_scipy():
    rate = jnp.float32(3.7)
    exact = scipy.stats.poisson(3.7).logpmf(COUNTS)
    np.testing.assert_allclose(Poisson(rate).log_prob(jnp.asarray(COUNTS)), exact, rtol=1e-5)


def test_poisson_of_rate_zero_gives_zeros():
    log_prob = Poisson(jnp.float32(0)).log_prob(jnp.float32([0, 1]))
    np.testing.assert_allclose(log_prob, [0, -np.inf], atol=1e-6)


def test_negative_binomial_log_prob_matches_scipy():
    a, b = 2.5, 0.8
    exact = scipy.stats.nbinom(a, b / (1 + b)).logpmf(COUNTS)
    got = NegativeBinomial(jnp.float32(a), jnp.float32(b)).log_prob(jnp.asarray(COUNTS))
    np.testing.assert_allclose(got, exact, rtol=1e-5)


def test_samples_have_the_moments():
    for family in (
        Poisson(jnp.float32([3.7])),
        NegativeBinomial(jnp.float32([2.5]), jnp.float32([0.8])),
    ):
        draws = family.sample(jax.random.key(0), (40_000,))
        chex.assert_shape(draws, (40_000, 1))
        assert draws.dtype == jnp.int32
        error = np.sqrt(family.variance / 40_000)
        assert abs(draws.mean() - family.mean) < 4 * error
        np.testing.assert_allclose(draws.var(), family.variance, rtol=0.05)
