"""Coordinate ascent: full sweeps over all latents, extrapolated where that helps."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.contracts import CONDITIONALS, StepInfo
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.devices.processes import whole
from vigamma.inference.best import Best, is_past, noted, nothing_yet, shardings_of
from vigamma.inference.extrapolation import extrapolated
from vigamma.inference.finite import all_finite
from vigamma.typing import Array, Key, PyTree, Record, spec

_CALM_SWEEPS = 3
_PLAIN_SWEEPS = 10
"""Where there are validation counts. On ratings, few rows of many columns, they are predicted best
after 4 to 9 sweeps, and by up to 0.02 nats better if none of these was extrapolated."""

_FINEST_TOLERANCE = 1e-6
_MOST_COUNTS_A_NAT = 10.0
"""With so many counts n a nat of the ELBO, and a rise r of 1e-5 of it, √(n r) is 1 % of it."""

_ROUNDING = 2e-7
"""The ELBO is a sum in float32: relative falls below this are not seen as falls."""


class AscentState(Record):
    """Everything that decides the next sweep.

    Attributes:
      step: the number of completed sweeps.
      model: the model; its priors move if they are learned.
      q: the posterior approximation.
      start: where the next sweep starts: q, extrapolated.
      momentum: the number of sweeps kept since the last one that was not.
      elbo: the ELBO of the last sweep that was kept, in nats.
      calm: the number of sweeps in a row in which it hardly rose.
      best: the best so far by validation counts; None where there are none.
    """

    step: Array
    model: PyTree
    q: PyTree
    start: PyTree
    momentum: Array
    elbo: Array
    calm: Array
    best: Best | None = None


@spec
class CoordinateAscent:
    """Sets every latent to its complete conditional in turn: the ELBO never falls.

    Extrapolated, a sweep starts at y = q + w (q - q') q / q', elementwise in the shapes and rates,
    between q/2 and 2q, where q' is the posterior before the last sweep and w = t / (t + 3) grows
    with the number t of sweeps (Nesterov 1983). If the ELBO then falls, the sweep is discarded and
    t starts at 0 again (O'Donoghue & Candès 2015), so that the ELBO of the sweeps that are kept
    never falls either. Where validation counts are looked at, so that the best sweep is kept,
    extrapolation waits for ten sweeps, and t starts at 0 again whenever they are predicted no
    better: it would step over the best.

    The ELBO is that of the rows of this sweep and the columns that it started from: the pass over
    the counts that updates the columns has it for free.

    Attributes:
      extrapolate: whether to extrapolate.
      tolerance: the run stops after three sweeps in a row that raise the ELBO by less than this
        part of its size; 0 for never. A sweep is a gradient step that counts shorten: n of them,
        divided anew among the factors, can rise by √(n r) nats where a sweep rises by r. Where
        counts sum to more than ten times the ELBO in nats, as where one of 1e6 stands among small
        ones, the part is so many times smaller; and a run does not stop where such a rise is lost
        in the rounding of the ELBO, whose terms are as large as all counts together. Only float64
        can see it beside a count of 1e9.
      stop_on_validation: whether the run also stops where the log-likelihood of validation counts
        has not risen for ten sweeps, and half as many as it took to the best.
      learn_priors: whether the priors are moved to a higher ELBO after every sweep.
      num_restarts: so many random starts, of which the best goes on: that with the highest
        log-likelihood of validation counts, or ELBO if there are none.
      restart_sweeps: the sweeps after which they are compared.
    """

    extrapolate: bool = True
    tolerance: float = 1e-5
    stop_on_validation: bool = False
    learn_priors: bool = False
    num_restarts: int = 1
    restart_sweeps: int = 20

    spreads_over_cores: ClassVar[bool] = True
    model_members: ClassVar[tuple[str, ...]] = CONDITIONALS

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be at least 0, below 1, got {self.tolerance}")
        for name in ("num_restarts", "restart_sweeps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def num_batches(self, num_rows: int) -> None:
        """None: a sweep takes all rows at once."""
        del num_rows

    def init(
        self,
        model: PyTree,
        q: PyTree,
        *,
        key: Key | None = None,
        num_batches: int = 1,
        validates: bool = False,
    ) -> AscentState:
        """The state before the first sweep.

        `validates` if there are validation counts; `key` and `num_batches` are not used.
        """
        del key, num_batches
        lowest = jnp.asarray(-jnp.inf, jnp.result_type(float))
        return AscentState(
            step=jnp.uint32(0),
            model=model,
            q=q,
            start=q,
            momentum=jnp.int32(0),
            elbo=lowest,
            calm=jnp.int32(0),
            best=nothing_yet(model, q, lowest) if validates else None,
        )

    def is_done(self, state: AscentState) -> Array:
        """Whether a stopping rule holds."""
        is_calm = state.calm >= _CALM_SWEEPS
        if state.best is None or not self.stop_on_validation:
            return is_calm
        return is_calm | is_past(state)

    def sees(self, elbo: Array, num_counts: Array, rounding: float | np.floating) -> Array:
        """Whether a rise that stops a run is more than the rounding of the ELBO.

        Of a tolerance below a millionth, which is as near as it comes in float32, this is asked at
        a millionth.

        Args:
          elbo: in nats.
          num_counts: the sum of all counts, or of their expectations.
          rounding: the relative error of a float.
        """
        visible = max(self.tolerance, _FINEST_TOLERANCE)
        return visible * _scale_of_rises(elbo, num_counts) > rounding * num_counts

    def outcome(self, state: Any, kept: Any) -> tuple[PyTree, dict[str, Any]]:
        """The posterior that is kept, its ELBO, and whether the stopping rule holds, and could."""
        elbo = state.arrays.elbo
        num_counts = whole(state.data.row_sums).sum(dtype=np.float64)
        sees = self.tolerance == 0 or self.sees(elbo, num_counts, np.finfo(elbo.dtype).epsneg)
        found = {"converged": state.is_done, "sees_convergence": bool(sees)}
        return kept.q, {"elbo": float(kept.elbo), **found}

    def after_validation(self, state: AscentState, log_likelihood: float) -> AscentState:
        """The state that has noted the log-likelihood of the validation counts."""
        state, rose = noted(state, log_likelihood)
        if rose:
            return state
        start = jax.tree.map(jnp.copy, state.q)
        return state.replace(start=start, momentum=0 * state.momentum)

    def step(
        self, state: AscentState, batch: PyTree, devices: Collectives = ALONE
    ) -> tuple[AscentState, StepInfo]:
        """One sweep.

        Args:
          state: where the last sweep has led to.
          batch: the data, all of them or those of one device.
          devices: how the parts of several devices come together, if there are several.
        """
        model, start, is_column = state.model, state.start, batch.own_columns(devices)
        own_table = model.table(start, is_column)
        table = own_table.gathered(devices, batch)
        q = model.with_local_conditionals(start, table, batch)
        statistics = model.statistics(q, table, batch)
        if not self.learn_priors:  # a sum over devices would keep work that nobody looks at
            statistics = statistics.replace(row_prior=None)
        statistics = statistics.total(devices)
        of_columns = model.global_elbo(q, own_table, statistics, is_column)
        elbo = statistics.elbo + devices.total(of_columns)
        if self.learn_priors:  # before the columns, whose statistics are of where they started
            of_columns = devices.total(model.column_statistics(q, is_column))
            model = model.learned(statistics, of_columns)
        q = model.with_global_conditionals(q, statistics)
        expected = (statistics.exposure * table.total).sum()
        after = self._kept_or_discarded(state, model, q, elbo, expected)
        checked = {
            "elbo": elbo,
            "prior": model,
            "parameter": jax.tree.map(jnp.add, q, after.start),  # one pass over both
        }
        return after, StepInfo(after.elbo, all_finite(checked, devices))

    def shardings(self, state: AscentState, mesh: Mesh) -> AscentState:
        """Rows and columns are spread over the devices."""
        return shardings_of(state, mesh, "q", "start")

    def _kept_or_discarded(
        self, state: AscentState, model: PyTree, q: PyTree, elbo: Array, num_counts: Array
    ) -> AscentState:
        """The state after a sweep from `state` to `q`; `num_counts` is the sum of all counts."""
        rounding = _ROUNDING * jnp.abs(elbo)
        waits = state.best is not None and state.step + 1 < _PLAIN_SWEEPS
        keep = (elbo >= state.elbo - rounding) | (state.momentum == 0)
        is_calm = (
            keep
            & (elbo - state.elbo < self.tolerance * _scale_of_rises(elbo, num_counts))
            & self.sees(elbo, num_counts, jnp.finfo(elbo.dtype).epsneg)
            & (self.tolerance > 0)
        )
        kept = state.replace(
            model=model,
            q=q,
            momentum=jnp.where(waits, 0, state.momentum + 1),
            elbo=elbo,
            calm=jnp.where(is_calm, state.calm + 1, 0),
        )
        discarded = state.replace(momentum=jnp.int32(0), calm=jnp.int32(0))
        after = jax.tree.map(lambda new, old: jnp.where(keep, new, old), kept, discarded)
        start = extrapolated(after.q, state.q, after.momentum) if self.extrapolate else after.q
        return after.replace(step=state.step + 1, start=start)


def _scale_of_rises(elbo: Array, num_counts: Array) -> Array:
    """What the tolerance is a part of, in nats."""
    return abs(elbo) * jnp.minimum(1, _MOST_COUNTS_A_NAT * abs(elbo) / num_counts)
