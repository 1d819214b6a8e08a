"""The fit of a factorization by coordinate ascent."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.config import Experiment
from vigamma.data.blocks import block_slots
from vigamma.data.count_rows import CountRows, balanced_order, lay_out_rows, padded_rows
from vigamma.data.files import LoadedCounts
from vigamma.errors import NonFiniteError
from vigamma.fits.base import Advance
from vigamma.fits.factors import FactorFit, shardings_of
from vigamma.inference.coordinate_ascent import AscentState, CoordinateAscent
from vigamma.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.models.factor_model import Posterior, random_tilts
from vigamma.train_state import fuse_steps
from vigamma.typing import Array, PyTree

_MOST_PROGRAMS = 16
"""Of different inference, devices or numbers of fused steps, kept for further fits."""


class CoordinateAscentFit(FactorFit):
    """A factorization by `CoordinateAscent`; a step is a sweep."""

    rows_are_balanced = True
    only_for_steps: ClassVar[dict[str, None]] = {"start": None}

    def __init__(self, config: Experiment, data: LoadedCounts):
        """Splits the counts and builds the model; raises ValueError where that is not possible."""
        super().__init__(config, data)
        self._order = balanced_order(self.split.train.shape[0])
        self._laid_out: dict[tuple[Mesh, int], CountRows] = {}

    def start(self, mesh: Mesh, index: int = 0) -> AscentState:
        """The prior with a random tilt."""
        first = index * self._config.inference.num_restarts
        return self.start_from(self.tilts(first, mesh), mesh)

    def tilts(self, index: int, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        """The random tilts of a start; the same for all models of the same K."""
        train, config = self.split.train, self._config
        sizes = tuple(padded_rows(size, mesh.size) for size in train.shape)
        return random_tilts([config.seed, index], train, sizes, config.model.num_factors)

    def start_from(self, tilts: tuple[np.ndarray, np.ndarray], mesh: Mesh) -> AscentState:
        """The prior with these tilts."""
        self._place_validation(mesh, self._order, len(tilts[0]))
        validates = self.split.valid is not None
        q = self.model.initial(tilts)
        state = self._config.inference.init(self.model, q, validates=validates)
        return place(state, _shardings(state, mesh))

    def before_the_first_step(
        self,
        arrays: AscentState,
        advance: Advance,
        mesh: Mesh,
        say: Callable[[str], None],
        index: int = 0,
    ) -> AscentState:
        """Of several random tilts the best after some sweeps, if that is asked for.

        That is the one with the highest log-likelihood of validation counts so far, or, where there
        are none, with the highest ELBO. NaN or infinity in any of them is a NonFiniteError.
        """
        inference, best, highest = self._config.inference, arrays, -np.inf
        if inference.num_restarts == 1:
            return arrays
        for number in range(inference.num_restarts):
            tilts = self.tilts(index * inference.num_restarts + number, mesh)
            state = self.start_from(tilts, mesh)
            name = f"of restart {number + 1}"
            state, _ = self.climb(state, advance, inference.restart_sweeps, name)
            elbo, validated = float(state.elbo), state.best is not None
            score = float(state.best.log_likelihood) if validated else elbo
            detail = f", validation {score:.4f} nats" if validated else ""
            say(f"restart {number + 1}/{inference.num_restarts}: ELBO {elbo:,.1f} nats{detail}")
            if score > highest:
                best, highest = state, score
        return best

    def climb(
        self, arrays: AscentState, advance: Advance, last_step: int, name: str
    ) -> tuple[AscentState, list[tuple[int, float]]]:
        """Takes sweeps up to `last_step`, or to the end, and looks at validation counts when due.

        Args:
          arrays: the state.
          advance: the program of `compile`.
          last_step: the most sweeps to have completed.
          name: of what climbs, for the message.

        Returns:
          the state, and the step and the log-likelihood of every look.

        Raises:
          NonFiniteError: for NaN or infinity in a sweep.
        """
        looks = []
        while (step := self.step_of(arrays)) < last_step and not self.is_done(arrays):
            look = self.next_look(step)
            arrays, infos = advance(arrays, min(look, last_step))
            now = self.step_of(arrays)
            if bad := jax.device_get(infos).first_not_finite(now - step):
                where = f"at step {step + bad[0] + 1} {name}: {bad[1]}"
                raise NonFiniteError(f"not finite {where}; nothing was saved yet")
            if now == look or self.is_done(arrays):
                arrays, found = self.look(arrays)
                looks += [(now, score) for score in found.values()]
        return arrays, looks

    def batch(self, mesh: Mesh) -> CountRows:
        """The training counts on the devices; laid out once for all models that want them alike."""
        key = mesh, block_slots(self._config.model.num_factors)
        if key not in self._laid_out:
            order, missing = self._order, self.split.missing
            batch = lay_out_rows(
                self.split.train[order],
                self.exposures[order],
                None if missing is None else missing[order],
                num_shards=mesh.size,
                block_slots=key[1],
            )
            self._laid_out[key] = place(batch, by_rows(mesh))
        return self._laid_out[key]

    def compile(self, arrays: AscentState, mesh: Mesh, most_steps: int) -> Advance:
        """The program of `CoordinateAscent`, rows spread over the devices."""
        batch = self.batch(mesh)
        inference = dataclasses.replace(self._config.inference, num_restarts=1, restart_sweeps=1)
        program = _program(inference, mesh, most_steps)
        compiled = program.lower(arrays, jnp.uint32(0), batch).compile()
        return lambda arrays, last_step: compiled(arrays, jnp.uint32(last_step), batch)

    def is_done(self, arrays: AscentState) -> bool:
        """Whether the stopping rule of `CoordinateAscent` holds."""
        return bool(self._config.inference.is_done(arrays))

    def outcome(self, arrays: AscentState) -> tuple[Posterior, dict[str, Any]]:
        """The posterior that is kept and its ELBO, and whether a stopping rule holds."""
        kept = self.kept(arrays)
        outcome = {"elbo": float(kept.elbo), "sweeps": self.step_of(arrays)}
        return kept.q, outcome | {
            "converged": self.is_done(arrays),
            "sees_convergence": self.sees_convergence(arrays),
        }

    def sees_convergence(self, arrays: AscentState) -> bool:
        """Whether the stopping rule by the ELBO could hold: see `CoordinateAscent.tolerance`."""
        inference, dtype = self._config.inference, arrays.elbo.dtype
        total = float(self.split.train.sum(dtype=np.float64))
        rounding = float(np.finfo(dtype).epsneg)
        return inference.tolerance == 0 or bool(inference.sees(float(arrays.elbo), total, rounding))


@lru_cache(maxsize=_MOST_PROGRAMS)
def _program(inference: CoordinateAscent, mesh: Mesh, most_steps: int):
    """(state, last_step, batch) -> (state, infos); compiled once for arrays of the same shapes."""

    def take_step(state: AscentState, batch: PyTree):
        return inference.step(state, batch, ACROSS_DEVICES)

    def is_before(state: AscentState, last_step: Array) -> Array:
        return (state.step < last_step) & ~inference.is_done(state)

    def advance(state: AscentState, last_step: Array, batch: PyTree):
        shardings, everywhere = _shardings(state, mesh), replicated(mesh)
        program = on_every_device(
            fuse_steps(take_step, is_before, most_steps),
            mesh,
            inputs=(shardings, everywhere, by_rows(mesh)),
            outputs=(shardings, everywhere),
        )
        return program(state, last_step, batch)

    return jax.jit(advance, donate_argnums=0)


def _shardings(state: AscentState, mesh: Mesh) -> AscentState:
    return shardings_of(state, mesh, "q", "start")
