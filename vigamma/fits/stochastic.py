"""The fit of a factorization by stochastic variational inference."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.config import Experiment
from vigamma.data.blocks import block_slots
from vigamma.data.count_rows import batch_at, lay_out_batches, padded_rows
from vigamma.data.files import LoadedCounts
from vigamma.fits.base import Advance
from vigamma.fits.factors import FactorFit, shardings_of
from vigamma.inference.info import StepInfo
from vigamma.inference.stochastic import StochasticState
from vigamma.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.models.factor_model import Posterior, random_tilts
from vigamma.typing import Array, PyTree, default_float


class StochasticFit(FactorFit):
    """A factorization by `StochasticVariationalInference`; a step is a minibatch.

    The counts stay on the host. A batch goes to the devices while the one before it is at work.
    """

    def __init__(self, config: Experiment, data: LoadedCounts):
        """Splits the counts and builds the model; raises ValueError where that is not possible."""
        super().__init__(config, data)
        self.steps_per_sweep = config.inference.num_batches(self.split.train.shape[0])

    def start(self, mesh: Mesh, index: int = 0) -> StochasticState:
        """The prior with a random tilt."""
        config, num_batches = self._config, self.steps_per_sweep
        self._batches = lay_out_batches(
            self.split.train,
            self.exposures,
            self.split.missing,
            num_batches=num_batches,
            num_shards=mesh.size,
            block_slots=block_slots(config.model.num_factors),
        )
        sizes = (
            self._batches.exposures.size,
            padded_rows(self.split.train.shape[1], mesh.size),
        )
        seed = [config.seed, index] if index else config.seed
        tilts = random_tilts(seed, self.split.train, sizes, config.model.num_factors)
        q = self.model.initial(tilts)
        self._place_validation(mesh, np.arange(self.split.train.shape[0]), sizes[0])
        validates = self.split.valid is not None
        state = config.inference.init(self.model, q, num_batches, validates=validates)
        shardings = shardings_of(state, mesh, "q")
        self._by_rows = by_rows(mesh)
        state = place(state, shardings)
        self._take_step = self._program(state, shardings, mesh)
        return state

    def _program(self, state: StochasticState, shardings: PyTree, mesh: Mesh):
        """One step, compiled: (state, batch, index, step_size) -> (state, info)."""

        def take_step(state: StochasticState, batch: PyTree, index: Array, step_size: Array):
            return self._config.inference.step(state, batch, index, step_size, ACROSS_DEVICES)

        everywhere = replicated(mesh)
        program = on_every_device(
            take_step,
            mesh,
            inputs=(shardings, by_rows(mesh), everywhere, everywhere),
            outputs=(shardings, everywhere),
        )
        example = (state, self._on_devices(0), np.int32(0), default_float(0))
        return jax.jit(program, donate_argnums=0).lower(*example).compile()

    def _on_devices(self, index: int) -> PyTree:
        return place(batch_at(self._batches, index), self._by_rows)

    def compile(self, arrays: StochasticState, mesh: Mesh, most_steps: int) -> Advance:
        """The steps of the schedule; their program is that of `start`."""
        del arrays, mesh, most_steps
        inference, seed = self._config.inference, self._config.seed

        def advance(arrays: StochasticState, last_step: int) -> tuple[StochasticState, StepInfo]:
            return self._take_steps(
                arrays,
                (
                    (
                        inference.batch_of(seed, step, self.steps_per_sweep),
                        inference.step_size(step),
                    )
                    for step in range(self.step_of(arrays), last_step)
                ),
            )

        return advance

    def _take_steps(
        self, state: StochasticState, schedule: Iterable[tuple[int, float]]
    ) -> tuple[StochasticState, StepInfo]:
        """A step for each (batch, step size); infos in NumPy, with a leading axis of steps."""
        infos: list[StepInfo] = []
        for index, step_size in schedule:
            batch = self._on_devices(index)  # while the step before is at work
            jax.block_until_ready(infos[-1:])  # so that no more than two batches are there
            state, info = self._take_step(state, batch, np.int32(index), default_float(step_size))
            infos.append(info)
        return state, jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(infos))

    def is_done(self, arrays: StochasticState) -> bool:
        """Whether validation counts have not risen for long, if that is asked for."""
        return bool(self._config.inference.is_done(arrays, self.steps_per_sweep))

    def outcome(self, arrays: StochasticState) -> tuple[Posterior, dict[str, Any]]:
        """The posterior that is kept, all rows updated once more, and its exact ELBO."""
        settled, elbo = self._settled(arrays.replace(q=self.kept(arrays).q))
        return settled.q, {"elbo": elbo, "sweeps": self.step_of(arrays) / self.steps_per_sweep}

    def _settled(self, arrays: StochasticState) -> tuple[StochasticState, float]:
        """The state after a pass that updates rows only, and its ELBO, in nats.

        Steps of size 0 leave the columns as they are, and the mean of their estimates is the ELBO.
        """
        own = jax.tree.map(jnp.copy, arrays)  # a step uses up what it takes
        batches = range(self.steps_per_sweep)
        settled, infos = self._take_steps(own, ((index, 0.0) for index in batches))
        return settled, float(infos.elbo.mean(dtype=np.float64))
