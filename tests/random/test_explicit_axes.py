"""Draws, densities and derivatives on a mesh with explicit axes, JAX's default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.slow import slow_after
from vigamma import Gamma, NegativeBinomial, Poisson
from vigamma.random import gamma, log_gamma

KEY = jax.random.key(0)
SHAPES = jnp.linspace(0.2, 9.0, 8)

WORK = {
    "draws": lambda a: gamma(KEY, a),
    "draws of logarithms": lambda a: log_gamma(KEY, a, (3,)),
    "gradients of draws": jax.grad(lambda a: log_gamma(KEY, a, (3,)).sum()),
    "jvp of draws": lambda a: jax.jvp(lambda a: gamma(KEY, a), (a,), (jnp.ones_like(a),))[1],
    "draws of many keys": lambda a: jax.vmap(gamma, (0, None))(jax.random.split(KEY, 3), a),
    "Poisson draws": lambda a: Poisson(a * 8000).sample(KEY, (2,)),
    "densities": lambda a: NegativeBinomial(a, a).log_prob(3) + Poisson(a).log_prob(3),
    "gradients of densities": jax.grad(lambda a: NegativeBinomial(a, a).log_prob(3).sum()),
    "densities of the Gamma": lambda a: Gamma(a, a).log_prob(a) + Gamma(a, a).entropy,
    "quantiles": lambda a: Gamma(a, a).quantile(0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_after(2, WORK))
def test_explicit_axes_change_nothing(name):
    expected = np.asarray(jax.jit(WORK[name])(SHAPES))
    with jax.set_mesh(jax.make_mesh((4,), ("data",))):
        spread = jax.device_put(SHAPES, PartitionSpec("data"))
        assert jax.typeof(spread).sharding.spec == PartitionSpec("data")
        got = jax.jit(WORK[name])(spread)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-5, atol=2e-6)
