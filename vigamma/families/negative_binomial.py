"""The negative binomial distribution: a Poisson whose rate is Gamma distributed."""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from vigamma.families.gamma import Gamma
from vigamma.families.poisson import Poisson
from vigamma.special import log_factorial
from vigamma.typing import Array, Key, record


@record
class NegativeBinomial:
    """x ~ Poisson(θ), θ ~ Gamma(shape a = `concentration`, rate b = `rate`), with θ integrated out.

    p(x) = Γ(a + x) / (Γ(a) x!) · (b / (1 + b))^a · (1 / (1 + b))^x,   x = 0, 1, 2, ...
    """

    concentration: Array
    rate: Array

    @property
    def mean(self) -> Array:
        """E[x] = a / b."""
        return self.concentration / self.rate

    @property
    def variance(self) -> Array:
        """Var[x] = a / b + a / b²."""
        return self.mean * (1 + 1 / self.rate)

    def log_prob(self, count: Array) -> Array:
        """log p(count) in nats, elementwise."""
        a, b = self.concentration, self.rate
        log_choose = gammaln(a + count) - gammaln(a) - log_factorial(count)
        return log_choose - a * jnp.log1p(1 / b) - count * jnp.log1p(b)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws int32 counts, by drawing the Poisson rates first."""
        key_rate, key_count = jax.random.split(key)
        theta = Gamma(self.concentration, self.rate).sample(key_rate, sample_shape)
        return Poisson(theta).sample(key_count)
