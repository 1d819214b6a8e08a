"""The score-function ELBO estimator: black-box variational inference with a control variate."""

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma.contracts import Family, Gradient, Model
from vigamma.data.layout.minibatches import Minibatch
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.estimators.integrand import (
    log_joint,
    log_prob,
    log_sample,
    mean_over_devices,
    over,
    weight_of_rows,
)
from vigamma.families.joint import log_mean
from vigamma.typing import Array, PyTree, spec


@spec
class ScoreFunctionElbo:
    """∇ ELBO = E_q[f(θ) ∇ log q(θ)] with f(θ) = log p(x, θ) - log q(θ) (Ranganath et al. 2014).

    It needs no derivative of the model or of the samples. The mean f of the *other* samples is
    subtracted from the f of each sample (leave-one-out control variate; Mnih & Rezende 2016), which
    leaves the estimate unbiased. In closed form the gradient is S / (S - 1) times the covariance of
    f and the score over the S samples, so that devices exchange means only.

    Attributes:
      num_samples: Monte Carlo samples S per step, over all devices; ≥ 2.
    """

    num_samples: int = 1024

    def validate(self) -> None:
        """Raises ValueError for fewer than two samples."""
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, got {self.num_samples}")

    def estimate(
        self, model: Model, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient; one all-reduce, or two if rows are sharded."""
        center, mean_f, mean_score, mean_product = mean_over_devices(
            self.moments(model, q, batch, keys, devices), devices
        )
        correction = self.num_samples / (self.num_samples - 1)
        gradient = jax.tree.map(
            lambda product, score: correction * (product - mean_f * score),
            mean_product,
            mean_score,
        )
        return center + mean_f, gradient

    def moments(
        self, model: Model, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> PyTree:
        """f(E[θ]), and means over the samples of f - f(E[θ]), ∇ log q and (f - f(E[θ])) ∇ log q.

        The center f(E[θ]) is the same on every device. In exact arithmetic it changes nothing; in
        floats it avoids cancellation in the covariance. If rows are sharded, each device has a part
        of f, and the parts are averaged before they are multiplied by the scores.
        """
        fixed = jax.lax.stop_gradient(q.distribution(batch))

        def integrand(log_latents: PyTree) -> Array:
            log_q = log_prob(fixed, log_latents, model, batch, weight_of_rows(batch))
            return log_joint(model, log_latents, batch) - log_q

        log_latents_s = jax.vmap(lambda key: log_sample(fixed, key, model, batch))(keys)
        center, f_s = integrand(log_mean(fixed)), jax.vmap(integrand)(log_latents_s)
        if isinstance(batch, Minibatch):
            center, f_s = devices.mean((center, f_s))
        f_s = f_s - center

        def mean_log_prob(q: Family, weight_s: Array) -> Array:
            own = q.distribution(batch)
            log_prob_s = jax.vmap(lambda latents: log_prob(own, latents, model, batch, num_devices))
            return (weight_s * log_prob_s(log_latents_s)).mean()

        num_devices = devices.size()
        score = nnx.grad(mean_log_prob)
        scores = over((score(q, jnp.ones_like(f_s)), score(q, f_s)), num_devices)
        return center, f_s.mean(), *scores
