"""The pathwise ELBO estimator: reparameterized Monte Carlo samples."""

import jax
from flax import nnx

from vigamma.contracts import Family, Gradient, Model
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.estimators.integrand import (
    log_joint,
    log_prob,
    log_sample,
    mean_over_devices,
    over,
    weight_of_rows,
)
from vigamma.typing import Array, Key, PyTree, spec


@spec
class PathwiseElbo:
    """ELBO = E_q[log p(x, θ) - log q(θ)], from samples θ_s ~ q that depend on q's parameters.

    The gradient flows through the samples by implicit reparameterization (Figurnov, Mohamed &
    Mnih 2018). The remaining term, E_q[∇ log q(θ)] at fixed θ, is zero in expectation: *sticking
    the landing* (Roeder, Wu & Duvenaud 2017) leaves it out, so that the gradient has no variance
    where q is the exact posterior.

    Attributes:
      num_samples: Monte Carlo samples per step, over all devices; ≥ 1.
      sticking_the_landing: whether to leave out the score term.
    """

    num_samples: int = 128
    sticking_the_landing: bool = True

    def validate(self) -> None:
        """Raises ValueError for no samples."""
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")

    def estimate(
        self, model: Model, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient; one all-reduce."""

        def elbo(q: Family) -> Array:
            sampled = q.distribution(batch)
            scored = jax.lax.stop_gradient(sampled) if self.sticking_the_landing else sampled

            def integrand(key: Key) -> Array:
                log_latents = log_sample(sampled, key, model, batch)
                log_q = log_prob(scored, log_latents, model, batch, weight_of_rows(batch))
                return log_joint(model, log_latents, batch) - log_q

            return jax.vmap(integrand)(keys).mean()

        value, gradient = nnx.value_and_grad(elbo)(q)
        return mean_over_devices((value, over(gradient, devices.size())), devices)
