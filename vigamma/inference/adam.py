"""Adam with a cosine schedule."""

import math

import jax
import optax

from vigamma.typing import PyTree, spec


@spec
class Adam:
    """Adam (Kingma & Ba 2015) with cosine decay of the learning rate.

    The length of the schedule does not depend on the length of the run, so that a run that is
    extended later equals one that was as long from the start.

    Attributes:
      learning_rate: the learning rate of the first step; > 0.
      decay_steps: steps until the learning rate has decayed to `final_fraction` of its initial
        value, where it stays; ≥ 1.
      final_fraction: in [0, 1]; 1 is a constant learning rate.
      second_moment_decay: Adam's β₂, in [0, 1). The default is smaller than the usual 0.999,
        because the noise of sticking-the-landing gradients vanishes as q converges: a long memory
        of earlier noise would keep steps small in the direction in which the ELBO is flat, where
        shape and rate grow together. (At 0.99 rounding errors grow while the steps are large.)
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
    """Allows dtype promotion in the update: Optax mixes floats with its integer step count."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        with jax.numpy_dtype_promotion("standard"):
            return transformation.update(updates, state, params)

    return optax.GradientTransformation(transformation.init, update)
