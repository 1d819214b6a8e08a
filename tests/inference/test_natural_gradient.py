import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from vigamma import NaturalGradient, scale_by_inverse_fisher
from vigamma.inference.natural_gradient import clip_shape_and_mean


def fisher(shape: float) -> np.ndarray:
    trigamma = scipy.special.polygamma(1, np.float64(shape))
    return np.array([[shape**2 * trigamma, -shape], [-shape, shape]])


@pytest.mark.parametrize("shape", [1e-4, 0.1, 1.0, 30.0, 2848.0, 1e5])
def test_the_closed_form_inverts_the_fisher_matrix(shape):
    params = {"log_shape": jnp.log(jnp.float32([shape])), "log_rate": jnp.zeros(1)}
    wanted = np.array([0.3, -0.2])
    by_shape, by_rate = fisher(float(np.exp(np.float64(params["log_shape"][0])))) @ wanted
    gradient = {"log_shape": jnp.float32([by_shape]), "log_rate": jnp.float32([by_rate])}
    transformation = scale_by_inverse_fisher()
    update, _ = transformation.update(gradient, transformation.init(params), params)
    # The matrix has condition number 4 a: float32 gradients carry that much rounding.
    rounding = 1e-6 * (1 + 4 * shape)
    np.testing.assert_allclose(update["log_shape"][0], wanted[0], rtol=rounding)
    np.testing.assert_allclose(update["log_rate"][0], wanted[1], rtol=rounding)


@pytest.mark.slow
def test_the_fisher_matrix_is_the_variance_of_the_score():
    from vigamma import Gamma

    def log_prob(params, log_x):
        return Gamma(jnp.exp(params[0]), jnp.exp(params[1])).log_prob_from_log(log_x)

    params = jnp.log(jnp.float32([2.5, 0.7]))
    draws = Gamma(jnp.float32(2.5), jnp.float32(0.7)).log_sample(jax.random.key(0), (50_000,))
    scores = np.asarray(jax.vmap(jax.grad(log_prob), (None, 0))(params, draws))
    np.testing.assert_allclose(scores.T @ scores / 50_000, fisher(2.5), rtol=0.05)


def test_it_composes_with_optax_and_nested_parameters():
    pair = {"log_shape": jnp.ones(3), "log_rate": jnp.ones(3)}
    params = {"theta": pair, "beta": pair}
    chain = optax.chain(scale_by_inverse_fisher(), optax.clip_by_global_norm(0.1))
    update, _ = chain.update(params, chain.init(params), params)
    np.testing.assert_allclose(optax.tree.norm(update), 0.1, rtol=1e-5)
    assert jax.tree.structure(update) == jax.tree.structure(params)


def test_clipping_the_shape_leaves_the_mean_alone():
    transformation = clip_shape_and_mean(1.0)
    update = {"log_shape": jnp.float32([9.0, -9.0, 0.5]), "log_rate": jnp.float32([8.5, -7.0, 0.7])}
    clipped, _ = transformation.update(update, transformation.init(update))
    np.testing.assert_allclose(clipped["log_shape"], [1, -1, 0.5])
    np.testing.assert_allclose(
        clipped["log_shape"] - clipped["log_rate"], [0.5, -1, -0.2], rtol=1e-5
    )


def test_other_parameters_are_refused():
    with pytest.raises(ValueError, match="named log_shape and log_rate"):
        scale_by_inverse_fisher().init({"w": jnp.ones(3)})
    pair = {"log_shape": jnp.ones(3), "log_rate": jnp.ones(3)}
    with pytest.raises(ValueError, match="named log_shape and log_rate"):
        scale_by_inverse_fisher().init(pair | {"log_scale": jnp.ones(3)})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"learning_rate": -1.0}, r"learning_rate must be in \(0, 1\]"),
        ({"learning_rate": 1.5}, r"learning_rate must be in \(0, 1\]"),
        ({"max_update": 0.0}, "max_update must be positive"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(bad, message):
    NaturalGradient(learning_rate=1.0).validate()
    with pytest.raises(ValueError, match=message):
        NaturalGradient(**bad).validate()


def test_natural_gradients_without_the_parameters_are_refused():
    pair = {"log_shape": jnp.ones(2), "log_rate": jnp.ones(2)}
    transformation = scale_by_inverse_fisher()
    with pytest.raises(ValueError, match="need the parameters: update"):
        transformation.update(pair, transformation.init(pair))
