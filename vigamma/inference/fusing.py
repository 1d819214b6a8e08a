"""Fusion of many steps into one device program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vigamma.typing import Array, PyTree


def fuse_steps(
    take_step: Callable[..., tuple[PyTree, PyTree]],
    is_before: Callable[[PyTree, Array], Array],
    num_steps: int,
) -> Callable[..., tuple[PyTree, PyTree]]:
    """Fuses up to `num_steps` steps into one program.

    The same program takes any number of steps, so that the result does not depend on where a run
    was interrupted.

    Args:
      take_step: (arrays, *data) -> (arrays, info).
      is_before: (arrays, last_step) -> whether to take another step.
      num_steps: the largest number of steps of one call.

    Returns:
      advance(arrays, last_step, *data) -> (arrays, infos): takes steps until `last_step`, or until
      `num_steps` are done. `infos` has a leading axis of `num_steps`, zeros in steps not taken.
    """

    def advance(arrays: PyTree, last_step: Array, *data: PyTree) -> tuple[PyTree, PyTree]:
        infos = jax.tree.map(
            lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype),
            jax.eval_shape(take_step, arrays, *data)[1],
        )

        def is_on(carry: PyTree) -> Array:
            taken, arrays, _ = carry
            return (taken < num_steps) & is_before(arrays, last_step)

        def body(carry: PyTree) -> PyTree:
            taken, arrays, infos = carry
            arrays, info = take_step(arrays, *data)
            infos = jax.tree.map(lambda all_, one: all_.at[taken].set(one), infos, info)
            return taken + 1, arrays, infos

        _, arrays, infos = jax.lax.while_loop(is_on, body, (0, arrays, infos))
        return arrays, infos

    return advance
