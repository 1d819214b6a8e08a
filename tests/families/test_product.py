"""A product of families does for each of its parts what the part does."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from flax import nnx

from vigamma import Gamma, ProductOfGammas

GAMMAS = {
    "rows": Gamma(jnp.float32([[2, 3], [0.4, 1]]), jnp.float32([[1, 2], [3, 4]])),
    "columns": Gamma(jnp.float32([0.7, 5]), jnp.float32([2, 0.5])),
}
AT = {"rows": jnp.float32([[-1, 0.5], [2, -3]]), "columns": jnp.float32([0.1, 0.2])}


def test_values_are_those_of_the_parts():
    log_prob, log_mean, distribution = jax.jit(
        lambda gammas: [
            f(ProductOfGammas(gammas))
            for f in (
                lambda q: q.log_prob(AT),
                ProductOfGammas.log_mean,
                ProductOfGammas.distribution,
            )
        ]
    )(GAMMAS)
    expected = sum(
        scipy.stats.gamma(g.concentration, scale=1 / g.rate).logpdf(np.exp(AT[name])).sum()
        for name, g in GAMMAS.items()
    )
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    for name, gamma in GAMMAS.items():
        np.testing.assert_allclose(log_mean[name], np.log(gamma.mean), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(distribution[name].mean, gamma.mean, rtol=1e-6)


def test_no_gradient_reaches_a_detached_copy():
    @jax.jit
    def gradients(gammas):
        q = ProductOfGammas(gammas)
        still = nnx.grad(lambda q: q.detached().log_prob(AT))(q)
        return nnx.to_pure_dict(still), nnx.to_pure_dict(nnx.grad(lambda q: q.log_prob(AT))(q))

    still, moving = map(jax.tree.leaves, gradients(GAMMAS))
    assert all((leaf == 0).all() for leaf in still)
    assert all((leaf != 0).any() for leaf in moving)


def test_parts_that_are_alike_are_drawn_apart():
    alike = {"one": GAMMAS["columns"], "two": GAMMAS["columns"]}
    drawn = jax.jit(lambda g: ProductOfGammas(g).log_sample(jax.random.key(0)))(alike)
    assert (drawn["one"] != drawn["two"]).all()
