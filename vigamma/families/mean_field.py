"""The variational family: independent Gammas, trained through their log-shapes and log-rates."""

from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from vigamma.families.gamma import Gamma
from vigamma.floats import as_floats
from vigamma.typing import Array, Key


class MeanFieldGamma(nnx.Module):
    """q(θ) = Π_m Gamma(θ_m | shape_m, rate_m), a product of independent Gammas.

    Attributes:
      log_shape: logarithm of the shapes, an `nnx.Param`.
      log_rate: logarithm of the rates, an `nnx.Param` of the same shape.
    """

    def __init__(self, initial: Gamma):
        """Starts at the distribution `initial`, usually the prior; rejects parameters ≤ 0."""
        initial.validate("MeanFieldGamma")
        shape, rate = as_floats(initial.concentration, initial.rate)
        self.log_shape = nnx.Param(jnp.log(shape))
        self.log_rate = nnx.Param(jnp.log(rate))

    def distribution(self) -> Gamma:
        """The Gamma distribution that the parameters stand for."""
        return Gamma(jnp.exp(self.log_shape[...]), jnp.exp(self.log_rate[...]))

    def log_sample(self, key: Key) -> Float[Array, "*shape"]:
        """One draw of log θ, differentiable in both parameters."""
        return self.distribution().log_sample(key)

    def log_mean(self) -> Float[Array, "*shape"]:
        """log E_q[θ]."""
        return self.log_shape[...] - self.log_rate[...]

    def log_prob(self, log_theta: Float[Array, "*shape"]) -> Float[Array, ""]:
        """log q(θ) in nats, summed over all latents, at θ = exp(log_theta)."""
        return self.distribution().log_prob_from_log(log_theta).sum()

    def detached(self) -> Self:
        """The same distribution with parameters that no gradient reaches."""
        graph, state = nnx.split(self)
        return nnx.merge(graph, jax.tree.map(jax.lax.stop_gradient, state))
