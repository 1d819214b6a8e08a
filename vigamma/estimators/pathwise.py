"""The pathwise ELBO estimator: Monte Carlo samples that carry their own derivatives."""

import jax
from flax import nnx

from vigamma.typing import Array, PyTree, spec


@spec
class PathwiseElbo:
    """ELBO = E_q[log p(x, θ) - log q(θ)], by samples θ_s ~ q that depend on q's parameters.

    The gradient flows through the samples by implicit reparameterization (Figurnov, Mohamed &
    Mnih 2018). The remaining term, E_q[∇ log q(θ)] at fixed θ, is zero in expectation: *sticking
    the landing* (Roeder, Wu & Duvenaud 2017) leaves it out, and with it all noise of the gradient
    where q is the exact posterior.

    Attributes:
      num_samples: Monte Carlo samples a step, over all devices; ≥ 1.
      sticking_the_landing: whether to leave out the score term.
    """

    num_samples: int = 128
    sticking_the_landing: bool = True

    def validate(self) -> None:
        """Raises ValueError for no samples."""
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")

    def moments(self, model: PyTree, q: nnx.Module, batch: PyTree, keys: Array) -> PyTree:
        """The ELBO in nats and its gradient, averaged over the samples of `keys`."""

        def elbo(q: nnx.Module) -> Array:
            scored = q.detached() if self.sticking_the_landing else q

            def integrand(key: Array) -> Array:
                log_theta = q.log_sample(key)
                return model.log_joint(log_theta, batch) - scored.log_prob(log_theta)

            return jax.vmap(integrand)(keys).mean()

        return nnx.value_and_grad(elbo)(q)

    def combine(self, moments: PyTree) -> tuple[Array, nnx.State]:
        """The estimate (ELBO, gradient) from moments averaged over all samples."""
        return moments
