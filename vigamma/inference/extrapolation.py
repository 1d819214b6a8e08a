"""Extrapolation of posteriors in their shapes and rates."""

import jax
import jax.numpy as jnp

from vigamma.typing import Array, PyTree


def extrapolated(q: PyTree, previous: PyTree, num_steps: Array) -> PyTree:
    """q + w (q - q') q / q', elementwise between q/2 and 2q, with w = t / (t + 3).

    This continues the relative change from the previous posterior q' to q, with a weight w that
    grows with the number t of steps (Nesterov 1983). Shapes and rates stay positive.

    Args:
      q: shapes and rates.
      previous: q', those before the last step.
      num_steps: t, a scalar or one for each row; q is unchanged if it is 0.
    """

    def moved(new: Array, old: Array) -> Array:
        t = num_steps.astype(new.dtype)
        t = t.reshape(t.shape + (1,) * (new.ndim - t.ndim)) if t.ndim else t
        return new * jnp.clip(1 + t / (t + 3) * (new - old) / old, 0.5, 2.0)

    return jax.tree.map(moved, q, previous)
