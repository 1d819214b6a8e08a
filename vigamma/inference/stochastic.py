"""Stochastic variational inference: natural-gradient steps from minibatches of rows."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.contracts import CONDITIONALS, StepInfo
from vigamma.data.layout.minibatches import Minibatch
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.inference.best import Best, is_past, noted, nothing_yet, shardings_of
from vigamma.inference.extrapolation import extrapolated
from vigamma.inference.finite import all_finite
from vigamma.models.factor_model import ROW_LATENTS, Posterior
from vigamma.typing import Array, Key, PyTree, Record, spec


class StochasticState(Record):
    """Everything that determines the next step.

    Attributes:
      step: the number of completed steps.
      model: the model.
      q: the posterior approximation, rows in J batches: "rows" has the shape (B, J, K), and
        "row_rates", if there are any, (B, J); row n is [n // J, n % J].
      only_rows: whether steps update the rows only, and leave the columns unchanged.
      best: the best posterior so far on validation counts; None if there are none.
    """

    step: Array
    model: PyTree
    q: PyTree
    only_rows: Array
    best: Best | None = None


@spec
class StochasticVariationalInference:
    """Natural-gradient steps from minibatches of rows (Hoffman, Blei, Wang & Paisley 2013).

    Step t = 1, 2, ... updates the rows of one of J batches by their complete conditionals, starting
    from their posterior after the last step with this batch. The statistics of these rows, times J,
    are an estimate of those of all rows. Given them, the columns and their rates take a step toward
    their complete conditionals (a, b)* in natural parameters, here shapes a and rates b:

        (a, b) ← (1 - ρ_t) (a, b) + ρ_t (a, b)*,     ρ_t = (t + delay)^-forgetting_rate

    Every epoch takes all batches once, in random order. With a single batch and ρ = 1, a step is a
    sweep of `CoordinateAscent` without extrapolation.

    The sum of all ρ is the equivalent number of sweeps of coordinate ascent, and the last ρ is the
    remaining influence of single batches. In few epochs the sum is more important, and rows must
    have converged before their statistics are used; the defaults are chosen for this.

    Attributes:
      delay: at least 0; larger makes the first steps smaller.
      forgetting_rate: above 0.5, at most 1, so that the sum of the steps diverges and that of their
        squares converges; larger makes the last steps smaller.
      batch_rows: the largest number of rows of a batch.
      local_updates: the number of updates of the rows in a step, with extrapolation as in
        `CoordinateAscent`.
      stop_on_validation: whether the run stops when the validation score has not risen for ten
        epochs, and for half the number of epochs to the best.
    """

    delay: float = 1.0
    forgetting_rate: float = 0.51
    batch_rows: int = 2048
    local_updates: int = 8
    stop_on_validation: bool = False

    spreads_over_cores: ClassVar[bool] = True
    model_members: ClassVar[tuple[str, ...]] = CONDITIONALS

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        if not 0 <= self.delay < np.inf:
            raise ValueError(f"delay must be finite and at least 0, got {self.delay}")
        if not 0.5 < self.forgetting_rate <= 1:
            raise ValueError(
                f"forgetting_rate must be above 0.5, at most 1, got {self.forgetting_rate}"
            )
        for name in ("batch_rows", "local_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def num_batches(self, num_rows: int) -> int:
        """J, the smallest number of batches that hold all rows."""
        return -(-num_rows // self.batch_rows)

    def step_size(self, step: Any) -> Any:
        """ρ_t of the step after `step` completed ones, t = step + 1; a float or an array."""
        return (step + 1.0 + self.delay) ** -self.forgetting_rate

    def is_done(self, state: StochasticState) -> Array | bool:
        """Whether the stopping rule holds, if there is one."""
        if state.best is None or not self.stop_on_validation:
            return False
        return is_past(state, _num_batches(state))

    def after_validation(self, state: StochasticState, log_likelihood: float) -> StochasticState:
        """The state updated with the log-likelihood of the validation counts."""
        return noted(state, log_likelihood)[0]

    def init(
        self,
        model: PyTree,
        q: Posterior,
        *,
        key: Key | None = None,
        num_batches: int = 1,
        validates: bool = False,
    ) -> StochasticState:
        """The state before the first step; `num_batches` must divide the number of rows of q.

        `validates` is True if there are validation counts; `key` is not used.
        """
        del key
        rows, columns = _sides(q)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, num_batches, *leaf.shape[1:]), rows)
        q = rows | columns
        best = nothing_yet(model, q) if validates else None
        return StochasticState(jnp.uint32(0), model, q, jnp.bool_(False), best)

    def step(
        self, state: StochasticState, batch: Minibatch, devices: Collectives = ALONE
    ) -> tuple[StochasticState, StepInfo]:
        """Takes one step, with a batch of `CountRows`.

        The ELBO of the info is an estimate for the updated rows and the columns before the step: J
        times the part of the batch, plus the part of the columns. If the columns are fixed, its
        mean over all batches is the exact ELBO.
        """
        rows, columns = _sides(state.q)
        q = columns | jax.tree.map(lambda leaf: _at(leaf, batch.index), rows)
        step_size = self.step_size(state.step.astype(q["columns"].rate.dtype))
        step_size = jnp.where(state.only_rows, 0, step_size)
        q, info = self.moved(state.model, q, batch.data, _num_batches(state), step_size, devices)
        own_rows, columns = _sides(q)
        rows = jax.tree.map(lambda leaf, own: _with(leaf, batch.index, own), rows, own_rows)
        return state.replace(step=state.step + 1, q=rows | columns), info

    def shardings(self, state: StochasticState, mesh: Mesh) -> StochasticState:
        """The shardings of the state: rows and columns are sharded over the devices."""
        return shardings_of(state, mesh, "q")

    def outcome(self, state: Any, kept: Any) -> tuple[Posterior, dict[str, Any]]:
        """The kept posterior, with all rows updated given its columns, and its ELBO in nats.

        It takes a pass over all batches with the columns held fixed: the mean of its estimates is
        the ELBO.
        """
        own = jax.tree.map(jnp.copy, state.arrays.replace(q=kept.q, only_rows=jnp.bool_(True)))
        up_to_date, infos = state.pass_over(own)
        return up_to_date.q, {"elbo": float(infos.elbo.mean(dtype=np.float64))}

    def moved(
        self,
        model: PyTree,
        q: Posterior,
        batch: PyTree,
        num_batches: Array | int,
        step_size: Array,
        devices: Collectives = ALONE,
    ) -> tuple[Posterior, StepInfo]:
        """Takes a step of `q`, whose rows are those of one batch.

        Args:
          model: the model.
          q: the posterior of the columns, and the initial one of the rows of the batch.
          batch: the counts of these rows, or the shard of this device.
          num_batches: J, the number of all rows over that of the batch; need not be whole.
          step_size: ρ; a scalar.
          devices: the collectives over devices, if there are several.
        """
        is_column = batch.own_columns(devices)
        own_table = model.table(q, is_column)
        table = own_table.gathered(devices, batch)
        q = self._with_rows_updated(model, q, table, batch)
        statistics = model.statistics(q, table, batch).replace(row_prior=None).total(devices)
        statistics = jax.tree.map(lambda leaf: num_batches * leaf, statistics)
        of_columns = model.global_elbo(q, own_table, statistics, is_column)
        elbo = statistics.elbo + devices.total(of_columns)
        rows, columns = _sides(q)
        _, target = _sides(model.with_global_conditionals(q, statistics))
        columns = jax.tree.map(
            lambda old, new: (1.0 - step_size) * old + step_size * new, columns, target
        )
        q = rows | columns
        return q, StepInfo(elbo, all_finite({"elbo": elbo, "parameter": q}, devices))

    def _with_rows_updated(
        self, model: PyTree, q: Posterior, table: PyTree, batch: PyTree
    ) -> Posterior:
        """q after the local updates of the rows of a batch, with extrapolation."""

        def update(step: Array, carry: tuple[Posterior, Posterior]) -> tuple[Posterior, Posterior]:
            rows, previous = carry
            start = columns | extrapolated(rows, previous, step)
            return _sides(model.with_local_conditionals(start, table, batch))[0], rows

        rows, columns = _sides(q)
        rows, _ = jax.lax.fori_loop(0, self.local_updates, update, (rows, rows))
        return rows | columns


def _num_batches(state: StochasticState) -> int:
    """J, the number of batches."""
    return state.q["rows"].rate.shape[1]


def _at(leaf: Array, index: Array) -> Array:
    """leaf[:, index]."""
    return jax.lax.dynamic_index_in_dim(leaf, index, axis=1, keepdims=False)


def _with(leaf: Array, index: Array, part: Array) -> Array:
    """The array with `part` at [:, index]; unlike a scatter, this is done in place."""
    return jax.lax.dynamic_update_index_in_dim(leaf, part, index, axis=1)


def _sides(q: Posterior) -> tuple[Posterior, Posterior]:
    """The latents of the rows, and those of the columns."""
    rows = {name: gamma for name, gamma in q.items() if name in ROW_LATENTS}
    return rows, {name: gamma for name, gamma in q.items() if name not in rows}
