import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vigamma import Gamma, MeanFieldGamma, ProductOfGammas


@pytest.mark.parametrize("size", [1, 7, 64])
def test_starts_at_the_given_distribution(size):
    initial = Gamma(jnp.linspace(0.1, 9, size), jnp.linspace(1, 2, size))
    q = MeanFieldGamma(initial)
    chex.assert_trees_all_close(q.distribution(), initial, rtol=1e-6)
    chex.assert_shape([q.log_shape[...], q.log_rate[...], q.log_sample(jax.random.key(0))], (size,))
    assert set(nnx.to_pure_dict(nnx.state(q, nnx.Param))) == {"log_shape", "log_rate"}


def test_log_prob_is_the_sum_and_log_mean_the_mean():
    q = MeanFieldGamma(Gamma(jnp.float32([0.2, 3]), jnp.float32([1, 2])))
    log_theta = jnp.float32([-30, 0.3])
    expected = q.distribution().log_prob_from_log(log_theta).sum()
    chex.assert_shape(q.log_prob(log_theta), ())
    np.testing.assert_allclose(q.log_prob(log_theta), expected)
    np.testing.assert_allclose(jnp.exp(q.log_mean()), [0.2, 1.5], rtol=1e-6)


def test_no_gradient_reaches_a_detached_copy():
    q = MeanFieldGamma(Gamma(jnp.float32([2, 3]), jnp.float32([1, 2])))
    at = jnp.float32([0.1, 0.2])
    moving = nnx.grad(lambda q: q.log_prob(at))(q)
    still = nnx.grad(lambda q: q.detached().log_prob(at))(q)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moving))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(still))
    assert q.detached().log_prob(at) == q.log_prob(at)


def test_rejects_parameters_that_are_not_positive():
    with pytest.raises(ValueError, match=r"MeanFieldGamma\.rate must be positive.*index \(1,\)"):
        MeanFieldGamma(Gamma(jnp.float32([2, 3]), jnp.float32([1, 0])))


def test_a_product_takes_the_latents_by_their_names():
    gamma = Gamma([2, 3], [1, 2])
    q = ProductOfGammas({"a": gamma, "b": gamma})
    log_prob = q.log_prob({"b": jnp.zeros(2), "a": jnp.zeros(2)})
    np.testing.assert_allclose(log_prob, 2 * gamma.log_prob_from_log(jnp.zeros(2)).sum(), rtol=1e-6)
    assert np.isnan(q.log_prob({"a": jnp.zeros(2), "b": jnp.float32([0, np.nan])}))
    assert q.log_prob({"a": jnp.zeros(2), "b": jnp.float32([0, np.inf])}) == -np.inf
    for names in ("a", "abc"):
        with pytest.raises(ValueError, match="the latents must be a, b, got"):
            q.log_prob({name: jnp.zeros(2) for name in names})
