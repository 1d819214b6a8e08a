"""The train state: an algorithm with its state on all devices."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.contracts import Algorithm, StepInfo
from vigamma.data.layout.minibatches import Minibatches
from vigamma.devices.mesh import ACROSS_DEVICES, make_mesh, on_every_device, place, replicated
from vigamma.inference.fusing import fuse_steps
from vigamma.typing import Array, Key, PyTree

_MOST_PROGRAMS = 16
"""The number of cached programs, which differ in algorithm, device mesh or fused steps."""


class TrainState:
    """An algorithm, its state on the devices, and the compiled program of its steps.

    For gradient ascent with Adam, `step` is an Optax update of the parameters of an `nnx.Module`:

        state = TrainState(
            GradientAscent(estimator=PathwiseElbo(), optimizer=Adam()),
            model, MeanFieldGamma(model.prior), statistics, key=jax.random.key(0),
        )
        infos = state.step(5000)
        state.arrays.q.distribution()

    Steps are compiled by `jit` over all devices of the mesh. Data that a step takes as a whole stay
    on the devices, and many steps are fused into one program. `Minibatches` stay on the host; the
    next one is transferred during the current step.

    Attributes:
      arrays: the state of the algorithm, a pytree. A step donates its buffers.
      algorithm: the algorithm.
      mesh: the device mesh.
      data: the data of the steps.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        model: Any,
        q: Any,
        data: PyTree | Minibatches,
        *,
        key: Key | None = None,
        validates: bool = False,
        mesh: Mesh | None = None,
        fused_steps: int = 100,
    ):
        """Initializes the state before the first step, with copies of the arguments' arrays.

        Args:
          algorithm: the inference algorithm.
          model: the model, as the algorithm takes it.
          q: the variational family, or its initial distribution.
          data: `Minibatches`, or the data that every step takes as a whole.
          key: the PRNG key of the run, if the algorithm draws random numbers.
          validates: whether there are validation counts.
          mesh: the device mesh; by default all devices.
          fused_steps: the largest number of steps fused into one program.

        Raises:
          ValueError: if a field of the algorithm is out of range, its samples cannot be divided
            evenly among the devices, or `fused_steps` is less than 1.
        """
        if fused_steps < 1:
            raise ValueError(f"fused_steps must be at least 1, got {fused_steps}")
        self.algorithm, self.mesh = algorithm, make_mesh() if mesh is None else mesh
        self.data, self._fused_steps = data, fused_steps
        num_batches = data.num_batches if isinstance(data, Minibatches) else 1
        self._is_streamed = num_batches > 1
        state = algorithm.init(model, q, key=key, num_batches=num_batches, validates=validates)
        state = jax.tree.map(lambda x: jnp.copy(x) if isinstance(x, jax.Array) else x, state)
        self.arrays = place(state, algorithm.shardings(state, self.mesh))
        self._compiled: Any = None
        self._resident: PyTree = None

    @property
    def num_steps(self) -> int:
        """The number of completed steps."""
        return int(self.arrays.step)

    @property
    def is_done(self) -> bool:
        """Whether a stopping rule of the algorithm holds."""
        return bool(self.algorithm.is_done(self.arrays))

    def compile(self) -> None:
        """Compiles the program unless it is compiled already; `step` calls this."""
        if self._compiled is not None:
            return
        batch = self._first_batch()
        algorithm: Any = self.algorithm  # which is hashable, as a Spec
        program = _program(algorithm, self.mesh, 1 if self._is_streamed else self._fused_steps)
        self._compiled = program.lower(self.arrays, jnp.uint32(0), batch).compile()

    def step(self, num_steps: int = 1) -> StepInfo:
        """Takes `num_steps` steps, or fewer if a stopping rule holds earlier.

        Returns:
          the `StepInfo` of the steps taken, as NumPy arrays with a leading axis of steps.

        Raises:
          ValueError: if no step is left to take.
        """
        self.compile()
        take = self._stream if self._is_streamed else self._fuse
        infos = list(take(self.num_steps + num_steps))
        if not infos:
            raise ValueError("no step is left to take")
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)

    def pass_over(self, arrays: PyTree) -> tuple[PyTree, StepInfo]:
        """Takes a step with each batch, in order, from a given state, whose buffers are donated.

        Returns:
          the new state, and the `StepInfo` as from `step`.
        """
        self.compile()
        infos = []
        for index in range(self.data.num_batches):
            batch = self._on_devices(index) if self._is_streamed else self._resident
            arrays, info = self._compiled(arrays, arrays.step + jnp.uint32(1), batch)
            infos.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:1], jax.device_get(info)))
        return arrays, jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)

    def _fuse(self, last_step: int) -> Iterator[StepInfo]:
        while (step := self.num_steps) < last_step and not self.is_done:
            self.arrays, infos = self._compiled(self.arrays, jnp.uint32(last_step), self._resident)
            taken = self.num_steps - step
            yield jax.tree.map(lambda leaf, n=taken: np.asarray(leaf)[:n], jax.device_get(infos))

    def _stream(self, last_step: int) -> Iterator[StepInfo]:
        infos: list[StepInfo] = []
        for step in range(self.num_steps, last_step):
            batch = self._on_devices(self.data.batch_of(step))  # during the previous step
            jax.block_until_ready(infos[-1:])  # so that at most two batches are on the devices
            self.arrays, info = self._compiled(self.arrays, jnp.uint32(last_step), batch)
            infos.append(info)
        return iter(jax.device_get(infos))

    def _first_batch(self) -> PyTree:
        if self._is_streamed:
            return self._on_devices(0)
        if self._resident is None:
            is_dealt = isinstance(self.data, Minibatches)
            self._resident = self._placed(self.data.at(0) if is_dealt else self.data)
        return self._resident

    def _on_devices(self, index: int) -> PyTree:
        return self._placed(self.data.at(index))

    def _placed(self, batch: PyTree) -> PyTree:
        return place(batch, _batch_shardings(batch, self.mesh))


def _batch_shardings(batch: PyTree, mesh: Mesh) -> PyTree:
    """The shardings of a batch: its own if it defines any, and replicated otherwise."""
    return batch.shardings(mesh) if hasattr(batch, "shardings") else replicated(mesh)


@lru_cache(maxsize=_MOST_PROGRAMS)
def _program(algorithm: Algorithm, mesh: Mesh, fused_steps: int) -> jax.stages.Wrapped:
    """(state, last_step, batch) -> (state, infos); compiled once for each set of array shapes."""

    def take_step(state: PyTree, batch: PyTree) -> tuple[PyTree, StepInfo]:
        return algorithm.step(state, batch, ACROSS_DEVICES)

    def is_before(state: PyTree, last_step: Array) -> Array:
        return (state.step < last_step) & ~jnp.asarray(algorithm.is_done(state))

    def advance(state: PyTree, last_step: Array, batch: PyTree) -> tuple[PyTree, StepInfo]:
        shardings, everywhere = algorithm.shardings(state, mesh), replicated(mesh)
        program = on_every_device(
            fuse_steps(take_step, is_before, fused_steps),
            mesh,
            inputs=(shardings, everywhere, _batch_shardings(batch, mesh)),
            outputs=(shardings, everywhere),
        )
        return program(state, last_step, batch)

    return jax.jit(advance, donate_argnums=0)
