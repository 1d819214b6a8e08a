import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vigamma import Beta, Gamma, MeanFieldBeta, MeanFieldGamma, ProductOfGammas, RowParam
from vigamma.families.joint import log_mean, log_prob, log_sample


@pytest.mark.parametrize("size", [1, 7, 64])
def test_starts_at_the_given_distribution(size):
    initial = Gamma(jnp.linspace(0.1, 9, size), jnp.linspace(1, 2, size))
    q = MeanFieldGamma(initial)
    chex.assert_trees_all_close(q.distribution(), initial, rtol=1e-6)
    chex.assert_shape([q.log_shape[...], q.log_rate[...]], (size,))
    chex.assert_shape(log_sample(q.distribution(), jax.random.key(0)), (size,))
    assert set(nnx.to_pure_dict(nnx.state(q, nnx.Param))) == {"log_shape", "log_rate"}


def test_log_prob_is_the_sum_and_log_mean_the_mean():
    q = MeanFieldGamma(Gamma(jnp.float32([0.2, 3]), jnp.float32([1, 2])))
    log_theta = jnp.float32([-30, 0.3])
    q = q.distribution()
    expected = q.log_prob_from_log(log_theta).sum()
    chex.assert_shape(log_prob(q, log_theta), ())
    np.testing.assert_allclose(log_prob(q, log_theta), expected)
    np.testing.assert_allclose(jnp.exp(log_mean(q)), [0.2, 1.5], rtol=1e-6)


def test_the_rows_of_a_batch_are_those_of_its_index():
    gamma = Gamma(jnp.arange(1.0, 25).reshape(4, 3, 2), jnp.ones((4, 3, 2)))
    batch = types.SimpleNamespace(index=jnp.int32(2))
    rows, shared = (MeanFieldGamma(gamma, kind) for kind in (RowParam, nnx.Param))
    of_batch = jax.jit(lambda q, index: q.distribution(types.SimpleNamespace(index=index)))
    np.testing.assert_allclose(
        of_batch(rows, batch.index).concentration, gamma.concentration[:, 2], rtol=1e-6
    )
    chex.assert_trees_all_close(rows.distribution(), gamma, rtol=1e-6)
    chex.assert_trees_all_close(shared.distribution(batch), gamma, rtol=1e-6)


def test_rejects_parameters_that_are_not_positive():
    with pytest.raises(ValueError, match=r"MeanFieldGamma\.rate must be positive.*index \(1,\)"):
        MeanFieldGamma(Gamma(jnp.float32([2, 3]), jnp.float32([1, 0])))


def test_a_product_takes_the_latents_by_their_names():
    gamma = Gamma([2, 3], [1, 2])
    q = ProductOfGammas({"a": gamma, "b": gamma}).distribution()
    value = log_prob(q, {"b": jnp.zeros(2), "a": jnp.zeros(2)})
    np.testing.assert_allclose(value, 2 * gamma.log_prob_from_log(jnp.zeros(2)).sum(), rtol=1e-6)
    assert np.isnan(log_prob(q, {"a": jnp.zeros(2), "b": jnp.float32([0, np.nan])}))
    assert log_prob(q, {"a": jnp.zeros(2), "b": jnp.float32([0, np.inf])}) == -np.inf
    for names in ("a", "abc"):
        with pytest.raises(ValueError, match="the latents must be a, b, got"):
            log_prob(q, {name: jnp.zeros(2) for name in names})


def test_a_product_has_betas_for_probabilities():
    gamma, beta = Gamma([2.0, 3.0], [1.0, 2.0]), Beta(jnp.float32([0.5, 3]), jnp.float32([2, 1]))
    q = ProductOfGammas({"a": gamma, "p": beta}).distribution()
    chex.assert_trees_all_close(q["p"], beta, rtol=1e-6)
    log_latents = {"a": jnp.zeros(2), "p": jnp.log(jnp.float32([0.2, 0.7]))}
    expected = (
        gamma.log_prob_from_log(jnp.zeros(2)).sum() + beta.log_prob(jnp.float32([0.2, 0.7])).sum()
    )
    np.testing.assert_allclose(log_prob(q, log_latents), expected, rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(log_mean(q)["p"]), [0.2, 0.75], rtol=1e-6)
    chex.assert_shape(log_sample(q, jax.random.key(0))["p"], (2,))
    with pytest.raises(ValueError, match=r"MeanFieldBeta\.concentration0 must be positive"):
        MeanFieldBeta(Beta(jnp.ones(2), jnp.float32([1, 0])))
