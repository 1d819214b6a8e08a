"""Everything that decides the next step of a run, and the compiled program that takes steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from vigamma.inference.gradient_ascent import GradientAscent
from vigamma.inference.info import StepInfo
from vigamma.mesh import on_every_device
from vigamma.typing import Array, Key, PyTree


class TrainState(nnx.Module):
    """The posterior approximation, its optimizer, and the key of the run.

    Attributes:
      q: the variational family.
      optimizer: the Optax state; its `step` counts completed updates.
      key: the PRNG key that the keys of all steps are folded from.
    """

    def __init__(self, q: nnx.Module, algorithm: GradientAscent, key: Key):
        """The state before the first step, with copies of `q` and `key`: steps use up what is here.

        Raises ValueError where the algorithm has a field out of range.
        """
        graph, arrays = nnx.split(q)
        self.q = nnx.merge(graph, jax.tree.map(jnp.copy, arrays))
        self.optimizer = algorithm.init(self.q)
        self.key = nnx.Variable(jnp.copy(key))

    @property
    def step(self) -> int:
        """The number of completed updates."""
        return int(self.optimizer.step[...])


def compile_steps(
    state: TrainState,
    algorithm: GradientAscent,
    model: PyTree,
    batch: PyTree,
    mesh: Mesh,
    chunk_steps: int,
) -> Callable[[PyTree, int], tuple[PyTree, Any]]:
    """Compiles `chunk_steps` fused steps over all devices of the mesh.

    Returns:
      advance(arrays, last_step) -> (arrays, infos), as of `fuse_steps`. `arrays` is
      `nnx.state(state)`, replicated over the mesh, and is donated.

    Raises:
      ValueError: where the algorithm has a field out of range, its samples cannot be spread evenly
        over the devices, or `chunk_steps` is less than 1.
    """
    if chunk_steps < 1:
        raise ValueError(f"chunk_steps must be at least 1, got {chunk_steps}")
    graph, arrays = nnx.split(state)

    def take_step(arrays: PyTree, model: PyTree, batch: PyTree) -> tuple[PyTree, StepInfo]:
        state = nnx.merge(graph, arrays)
        info = algorithm.step(state.optimizer, model, state.q, batch, state.key[...])
        return nnx.state(state), info

    def is_before(arrays: PyTree, last_step: Array) -> Array:
        return arrays.optimizer.step[...] < last_step

    program = on_every_device(fuse_steps(take_step, is_before, chunk_steps), mesh)
    compiled = jax.jit(program, donate_argnums=0).lower(arrays, jnp.uint32(0), model, batch)
    compiled = compiled.compile()
    return lambda arrays, last_step: compiled(arrays, jnp.uint32(last_step), model, batch)


def fuse_steps(
    take_step: Callable[..., tuple[PyTree, PyTree]],
    is_before: Callable[[PyTree, Array], Array],
    num_steps: int,
) -> Callable[..., tuple[PyTree, PyTree]]:
    """Fuses up to `num_steps` steps into one program.

    One program serves every number of steps, so that the result does not depend on where a run was
    cut.

    Args:
      take_step: (arrays, *data) -> (arrays, info).
      is_before: (arrays, last_step) -> whether to take another step.
      num_steps: the most steps to take.

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
