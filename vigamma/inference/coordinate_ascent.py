"""Coordinate ascent: full sweeps over all latents, extrapolated where that helps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vigamma.inference.info import StepInfo, all_finite
from vigamma.typing import Array, PyTree, record, spec

_CALM_SWEEPS = 3
_ROUNDING = 2e-7
"""The ELBO is a sum in float32: relative falls below this are not seen as falls."""


@record
class AscentState:
    """Everything that decides the next sweep.

    Attributes:
      step: the number of completed sweeps.
      model: the model; its priors move if they are learned.
      q: the posterior approximation.
      previous: the one before the last sweep that was kept.
      momentum: the number of sweeps kept since the last one that was not.
      elbo: the ELBO of the last sweep that was kept, in nats.
      calm: the number of sweeps in a row in which it hardly rose.
    """

    step: Array
    model: PyTree
    q: PyTree
    previous: PyTree
    momentum: Array
    elbo: Array
    calm: Array


@spec
class CoordinateAscent:
    """Sets every latent to its complete conditional in turn: the ELBO never falls.

    Extrapolated, a sweep starts at y = q (q / q')^w, elementwise in the shapes and rates, where q'
    is the posterior before the last sweep and w = t / (t + 3) grows with the number t of sweeps
    (Nesterov 1983). If the ELBO then falls, the sweep is discarded and t starts at 0 again
    (O'Donoghue & Candès 2015), so that the ELBO of the sweeps that are kept never falls either.

    The ELBO is that of the rows of this sweep and the columns that it started from: the pass over
    the counts that updates the columns has it for free.

    Attributes:
      extrapolate: whether to extrapolate.
      tolerance: the run stops after three sweeps in a row that raise the ELBO by less than this
        part of its size; 0 for never.
      learn_priors: whether the priors are moved to a higher ELBO after every sweep.
      num_restarts: so many random starts, of which the best goes on.
      restart_sweeps: the sweeps after which they are compared.
    """

    extrapolate: bool = True
    tolerance: float = 1e-5
    learn_priors: bool = False
    num_restarts: int = 1
    restart_sweeps: int = 20

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be at least 0, below 1, got {self.tolerance}")
        for name in ("num_restarts", "restart_sweeps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def init(self, model: PyTree, q: PyTree) -> AscentState:
        """The state before the first sweep."""
        return AscentState(
            step=jnp.uint32(0),
            model=model,
            q=q,
            previous=q,
            momentum=jnp.int32(0),
            elbo=jnp.asarray(-jnp.inf, jnp.result_type(float)),
            calm=jnp.int32(0),
        )

    def is_done(self, state: AscentState) -> Array:
        """Whether the stopping rule holds."""
        return (state.calm >= _CALM_SWEEPS) & (self.tolerance > 0)

    def step(
        self,
        state: AscentState,
        batch: PyTree,
        total: Callable[[PyTree], PyTree] = lambda statistics: statistics,
    ) -> tuple[AscentState, StepInfo]:
        """One sweep.

        Args:
          state: where the last sweep has led to.
          batch: the data, all of them or those of one device.
          total: sums statistics over the devices, if there are several.
        """
        model, start = state.model, self._start(state)
        q = model.with_local_conditionals(start, batch)
        statistics = total(model.global_statistics(q, batch))
        elbo = statistics.elbo + model.global_elbo(q)
        q = model.with_global_conditionals(q, statistics)
        if self.learn_priors:
            model = model.learned(q, statistics)
        rounding = _ROUNDING * jnp.abs(elbo)
        keep = (elbo >= state.elbo - rounding) | (state.momentum == 0)
        is_calm = keep & (elbo - state.elbo < self.tolerance * jnp.abs(elbo))
        info = StepInfo(elbo, all_finite({"elbo": elbo, "parameter": q}))
        kept = AscentState(
            step=state.step + 1,
            model=model,
            q=q,
            previous=state.q,
            momentum=state.momentum + 1,
            elbo=elbo,
            calm=jnp.where(is_calm, state.calm + 1, 0),
        )
        discarded = state.replace(
            step=state.step + 1, previous=state.q, momentum=jnp.int32(0), calm=jnp.int32(0)
        )
        return jax.tree.map(lambda new, old: jnp.where(keep, new, old), kept, discarded), info

    def _start(self, state: AscentState) -> PyTree:
        if not self.extrapolate:
            return state.q
        momentum = state.momentum.astype(state.elbo.dtype)
        weight = momentum / (momentum + 3.0)
        return jax.tree.map(
            lambda new, old: new * jnp.exp(weight * jnp.log(new / old)), state.q, state.previous
        )
