"""Everything that decides the next step of a run, and the compiled program that takes steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from vigamma.inference.gradient_ascent import GradientAscent, StepInfo
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
        """The state before the first step."""
        self.q = q
        self.optimizer = algorithm.init(q)
        self.key = nnx.Variable(key)

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
      advance(arrays, last_step) -> (arrays, infos): takes steps until `last_step` or until
      `chunk_steps` are done. `arrays` is `nnx.state(state)`, replicated over the mesh, and is
      donated; `infos` is a `StepInfo` with a leading axis of `chunk_steps`, zeros in the steps
      not taken. One program serves every number of steps, so that the result does not depend on
      where a run was cut.
    """
    graph, arrays = nnx.split(state)

    def take_step(arrays: PyTree, model: PyTree, batch: PyTree) -> tuple[PyTree, StepInfo]:
        state = nnx.merge(graph, arrays)
        info = algorithm.step(state.optimizer, model, state.q, batch, state.key[...])
        return nnx.state(state), info

    def advance(arrays: PyTree, last_step: Array, model: PyTree, batch: PyTree):
        no_info = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(take_step, arrays, model, batch)[1],
        )

        def body(arrays: PyTree, _: None) -> tuple[PyTree, StepInfo]:
            return jax.lax.cond(
                arrays.optimizer.step[...] < last_step,
                lambda arrays: take_step(arrays, model, batch),
                lambda arrays: (arrays, no_info),
                arrays,
            )

        return jax.lax.scan(body, arrays, length=chunk_steps)

    program = jax.jit(on_every_device(advance, mesh), donate_argnums=0)
    compiled = program.lower(arrays, jnp.uint32(0), model, batch).compile()
    return lambda arrays, last_step: compiled(arrays, jnp.uint32(last_step), model, batch)
