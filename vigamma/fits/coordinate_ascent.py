"""The fit of a factorization by coordinate ascent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vigamma.data.blocks import block_slots
from vigamma.data.count_rows import lay_out_rows, padded_rows
from vigamma.fits.base import Advance, Report
from vigamma.fits.factors import FactorFit, shardings_of
from vigamma.inference.coordinate_ascent import AscentState
from vigamma.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.train_state import fuse_steps
from vigamma.typing import Array, PyTree


class CoordinateAscentFit(FactorFit):
    """A factorization by `CoordinateAscent`; a step is a sweep."""

    def start(self, mesh: Mesh, say: Callable[[str], None]) -> AscentState:
        """The prior with a random tilt; of several such starts, the best after some sweeps."""
        inference = self._config.inference
        self._batch = place(
            lay_out_rows(
                self.split.train,
                self._exposures,
                self.split.missing,
                num_shards=mesh.size,
                block_slots=block_slots(self._config.model.num_factors),
            ),
            by_rows(mesh),
        )
        model = jax.tree.map(jnp.asarray, self.model)

        def initial(key: Array) -> AscentState:
            sizes = (padded_rows(size, mesh.size) for size in self.split.train.shape)
            q = model.initial(key, *sizes, self._config.model.num_factors)
            state = inference.init(model, q)
            return place(state, _shardings(state, mesh))

        keys = jax.random.split(jax.random.key(self._config.seed), inference.num_restarts)
        if inference.num_restarts == 1:
            return initial(keys[0])
        return self._best_start(initial, keys, mesh, say)

    def _best_start(self, initial, keys: Array, mesh: Mesh, say) -> AscentState:
        inference = self._config.inference
        advance, best = None, None
        for index, key in enumerate(keys):
            state = initial(key)
            advance = advance or self.compile(state, mesh, inference.restart_sweeps)
            state, _ = advance(state, inference.restart_sweeps)
            say(f"start {index + 1}/{len(keys)}: ELBO {float(state.elbo):,.1f} nats")
            if best is None or state.elbo > best.elbo:
                best = state
        return best

    def compile(self, arrays: AscentState, mesh: Mesh, most_steps: int) -> Advance:
        """The program of `CoordinateAscent`, rows spread over the devices."""
        inference = self._config.inference

        def take_step(state: AscentState, batch: PyTree):
            return inference.step(state, batch, ACROSS_DEVICES)

        def is_before(state: AscentState, last_step: Array) -> Array:
            return (state.step < last_step) & ~inference.is_done(state)

        shardings, everywhere = _shardings(arrays, mesh), replicated(mesh)
        program = on_every_device(
            fuse_steps(take_step, is_before, most_steps),
            mesh,
            inputs=(shardings, everywhere, by_rows(mesh)),
            outputs=(shardings, everywhere),
        )
        compiled = (
            jax.jit(program, donate_argnums=0).lower(arrays, jnp.uint32(0), self._batch).compile()
        )
        return lambda arrays, last_step: compiled(arrays, jnp.uint32(last_step), self._batch)

    def is_done(self, arrays: AscentState) -> bool:
        """Whether the stopping rule of `CoordinateAscent` holds."""
        return bool(self._config.inference.is_done(arrays))

    def observe(self, arrays: AscentState) -> tuple[AscentState, dict[str, float]]:
        """The scores of `FactorFit`; the state takes note of that of the validation counts."""
        arrays, scores = super().observe(arrays)
        if "valid_log_likelihood" in scores:
            inference = self._config.inference
            arrays = inference.after_validation(arrays, scores["valid_log_likelihood"])
        return arrays, scores

    def report(self, arrays: AscentState) -> Report:
        """The ELBO of the last sweep that was kept, and the score of the held-out counts."""
        return self._report(
            arrays.q,
            elbo=float(arrays.elbo),
            sweeps=self.step_of(arrays),
            converged=self.is_done(arrays),
        )


def _shardings(state: AscentState, mesh: Mesh) -> AscentState:
    return shardings_of(state, mesh, "q", "previous")
