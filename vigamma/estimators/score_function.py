"""The score-function ELBO estimator: black-box variational inference with a control variate."""

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma.typing import Array, PyTree, spec


@spec
class ScoreFunctionElbo:
    """∇ ELBO = E_q[f(θ) ∇ log q(θ)] with f(θ) = log p(x, θ) - log q(θ) (Ranganath et al. 2014).

    It needs no derivative of the model or of the samples. From the f of each sample the mean f of
    the *other* samples is subtracted (leave-one-out control variate; Mnih & Rezende 2016), which
    leaves the estimate unbiased. In closed form that is S / (S - 1) times the covariance of f and
    the score over the S samples, so that only means have to be summed over devices.

    Attributes:
      num_samples: Monte Carlo samples S a step, over all devices; ≥ 2.
    """

    num_samples: int = 1024

    def validate(self) -> None:
        """Raises ValueError where no sample is left after leaving one out."""
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, got {self.num_samples}")

    def moments(self, model: PyTree, q: nnx.Module, batch: PyTree, keys: Array) -> PyTree:
        """Means over the samples of `keys` of f, ∇ log q and f ∇ log q, with f taken from f(E[θ]).

        The center f(E[θ]) is the same on every device, changes nothing in exact arithmetic, and
        keeps the covariance free of cancellation.
        """
        fixed = q.detached()

        def integrand(log_theta: Array) -> Array:
            return model.log_joint(log_theta, batch) - fixed.log_prob(log_theta)

        center = integrand(fixed.log_mean())
        log_theta_s = jax.vmap(fixed.log_sample)(keys)
        f_s = jax.vmap(integrand)(log_theta_s) - center

        def mean_log_prob(q: nnx.Module, weight_s: Array) -> Array:
            return (weight_s * jax.vmap(q.log_prob)(log_theta_s)).mean()

        score = nnx.grad(mean_log_prob)
        return center, f_s.mean(), score(q, jnp.ones_like(f_s)), score(q, f_s)

    def combine(self, moments: PyTree) -> tuple[Array, nnx.State]:
        """The estimate (ELBO, gradient) from moments averaged over all samples."""
        center, mean_f, mean_score, mean_product = moments
        correction = self.num_samples / (self.num_samples - 1)
        gradient = jax.tree.map(
            lambda product, score: correction * (product - mean_f * score),
            mean_product,
            mean_score,
        )
        return center + mean_f, gradient
