"""The Poisson distribution of counts."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from vigamma.random.keys import threefry_key
from vigamma.special import log_factorial
from vigamma.typing import Array, Key, record


@record
class Poisson:
    """Independent Poisson distributions: p(x) = rate^x e^(-rate) / x!,  x = 0, 1, 2, ...

    Its `rate` is the expected count; it has nothing to do with the rate of a Gamma.
    """

    rate: Array

    @property
    def mean(self) -> Array:
        """E[x] = rate."""
        return self.rate

    @property
    def variance(self) -> Array:
        """Var[x] = rate."""
        return self.rate

    def log_prob(self, count: Array) -> Array:
        """log p(count) in nats, elementwise; 0 log 0 = 0, so a rate of 0 may meet a count of 0."""
        return xlogy(count, self.rate) - self.rate - log_factorial(count)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws int32 counts; shape `sample_shape + rate.shape`."""
        shape = (*sample_shape, *self.rate.shape)
        rate = jnp.broadcast_to(self.rate, shape)
        return jax.random.poisson(threefry_key(key), rate, shape, dtype=jnp.int32)
