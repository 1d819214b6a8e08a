"""Gradient ascent of the ELBO: any estimator, any Optax transformation."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma.estimators.analytic import AnalyticElbo
from vigamma.estimators.pathwise import PathwiseElbo
from vigamma.estimators.score_function import ScoreFunctionElbo
from vigamma.inference.adam import Adam
from vigamma.inference.info import StepInfo, all_finite
from vigamma.inference.natural_gradient import NaturalGradient
from vigamma.mesh import local_sample_keys, mean_over_devices
from vigamma.typing import Array, Key, PyTree, spec


@spec
class GradientAscent:
    """Moves the parameters of q along a gradient estimate of the ELBO, one Optax update a step.

    Attributes:
      estimator: how the ELBO and its gradient are estimated.
      optimizer: what makes a step of the gradient.
    """

    estimator: PathwiseElbo | ScoreFunctionElbo | AnalyticElbo
    optimizer: Adam | NaturalGradient

    spreads_over_cores: ClassVar[bool] = False

    def init(self, q: nnx.Module) -> nnx.Optimizer:
        """The state of the optimizer before the first step; its `step` counts updates."""
        return nnx.Optimizer(q, self.optimizer.transformation(), wrt=nnx.Param)

    def estimate(
        self, model: PyTree, q: nnx.Module, batch: PyTree, key: Key
    ) -> tuple[Array, nnx.State]:
        """(ELBO, gradient), the samples spread over devices; inside `mesh.on_every_device`.

        Sample s draws from fold_in(key, s). One all-reduce.
        """
        keys = local_sample_keys(key, self.estimator.num_samples)
        moments = self.estimator.moments(model, q, batch, keys)
        return self.estimator.combine(mean_over_devices(moments))

    def step(
        self, optimizer: nnx.Optimizer, model: PyTree, q: nnx.Module, batch: PyTree, key: Key
    ) -> StepInfo:
        """One update of `q` and `optimizer` in place; inside `mesh.on_every_device`.

        The key of a step is fold_in(key, step), so a step depends on nothing before it but the
        state.
        """
        elbo, gradient = self.estimate(
            model, q, batch, jax.random.fold_in(key, optimizer.step[...])
        )
        optimizer.update(q, jax.tree.map(jnp.negative, gradient))  # Optax minimizes: loss = -elbo
        trees = {
            "elbo": elbo,
            "gradient of": nnx.to_pure_dict(gradient),
            "parameter": nnx.to_pure_dict(nnx.state(q, nnx.Param)),
            "optimizer": nnx.to_pure_dict(nnx.state(optimizer, nnx.OptState)),
        }
        return StepInfo(elbo, all_finite(trees))
