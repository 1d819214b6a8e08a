"""Adam with a cosine schedule."""

import math

import jax
import optax

from vigamma.typing import PyTree, spec


@spec
class Adam:
    """Adam (Kingma & Ba 2015), its learning rate decayed along half a cosine.

    The schedule has its own length, not the run's, so that a run can be prolonged and still equal
    one that was planned longer from the start.

    Attributes:
      learning_rate: the learning rate of the first step; > 0.
      decay_steps: steps until the rate has fallen to `final_fraction` of it, where it stays; ≥ 1.
      final_fraction: in [0, 1]; 1 is a constant learning rate.
      second_moment_decay: Adam's β₂, in [0, 1). Shorter than the usual 0.999, for the noise of
        sticking-the-landing gradients falls as q comes near: a long memory of the earlier noise
        keeps the steps short along the direction in which the ELBO is flat, a shape and a rate
        that grow together. (Much shorter, at 0.99, rounding errors grow while the steps are large.)
    """

    learning_rate: float = 0.2
    decay_steps: int = 5000
    final_fraction: float = 0.001
    second_moment_decay: float = 0.997

    def validate(self) -> None:
        """Raises ValueError for hyperparameters out of range."""
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if self.decay_steps < 1:
            raise ValueError(f"decay_steps must be at least 1, got {self.decay_steps}")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction must be in [0, 1], got {self.final_fraction}")
        if not 0 <= self.second_moment_decay < 1:
            raise ValueError(
                f"second_moment_decay must be in [0, 1), got {self.second_moment_decay}"
            )

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation, for gradients of the loss -ELBO."""
        schedule = optax.cosine_decay_schedule(
            self.learning_rate, self.decay_steps, self.final_fraction
        )
        return _promoting(optax.adam(schedule, b2=self.second_moment_decay))


def _promoting(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Optax mixes float and int in its step count, which strict promotion would not allow."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        with jax.numpy_dtype_promotion("standard"):
            return transformation.update(updates, state, params)

    return optax.GradientTransformation(transformation.init, update)
