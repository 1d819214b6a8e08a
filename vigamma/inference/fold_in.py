"""Fold-in: the posterior of new rows, given the columns of a fit."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vigamma.data.layout.blocks import SparseBlocks, block_slots, make_whole_row_blocks
from vigamma.data.layout.count_rows import padded_rows, with_ones
from vigamma.devices.mesh import by_rows, make_mesh, on_every_device, place, replicated
from vigamma.inference.extrapolation import extrapolated
from vigamma.models.factor_model import ColumnTable, FactorModel, Posterior, columns_of
from vigamma.models.factor_priors import means_of
from vigamma.models.kernels import elementwise, gathered, sum_over_factors
from vigamma.typing import Array, default_float

TOLERANCE = 1e-6
"""A row has converged when neither an update nor the extrapolation before it changes its means by
more than this fraction of their sum."""

_MOST_UPDATES = 1000
_MANY_ROWS = 2**12
_ROUNDS = (40, 40, _MOST_UPDATES)
"""The most updates of each round if there are many rows. Most rows converge in the first round, and
only the others enter the next one. The result of a row does not depend on the other rows."""


def fold_in(
    model: FactorModel,
    columns: Posterior,
    counts: csr_array,
    exposures: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> Posterior:
    """The posterior of new rows, by coordinate ascent with the columns held fixed.

    Rows are independent given the columns. Each starts from the prior, and is updated with
    extrapolation until it has converged. The extrapolation of a row is restarted whenever it points
    against the update (O'Donoghue & Candès 2015, the gradient scheme).

    Args:
      model: the model of the fit.
      columns: its posterior, of which "columns" (M, K) and, if the model has them,
        "column_probabilities" (M,) are used, without padding.
      counts: canonical counts of the new rows; shape (N, M).
      exposures: e_n > 0; shape (N,); by default 1.
      tolerance: see `TOLERANCE`.

    Returns:
      "rows" (N, K) and, if the model has them, "row_rates" (N,), as NumPy arrays of JAX's default
      float dtype.
    """
    mesh, num_rows = make_mesh(), counts.shape[0]
    model, given = jax.tree.map(
        lambda leaf: np.asarray(leaf, jnp.result_type(float)), (model, columns_of(columns))
    )
    exposures = np.ones(num_rows) if exposures is None else np.asarray(exposures)
    is_column = np.arange(padded_rows(counts.shape[1], mesh.size)) < counts.shape[1]
    given = with_ones(given, is_column.size)
    table = _table(*place((model, given, is_column), replicated(mesh)))
    rows, rates = model.row_prior.initial(num_rows, given["columns"].rate.shape[1])
    q = {"rows": rows} | ({} if rates is None else {"row_rates": rates})
    at_start = np.zeros(num_rows, np.int32), np.full(num_rows, np.inf, table.means.dtype)
    reached = _Reached(q, jax.tree.map(np.copy, q), *at_start)  # type: ignore[arg-type]  # in NumPy

    def converge(chosen: np.ndarray, most_updates: int) -> _Reached:
        start = jax.tree.map(lambda leaf: leaf[chosen], reached)
        limits = default_float(tolerance), np.int32(most_updates)
        return _converge_all(mesh, model, table, counts[chosen], exposures[chosen], start, limits)

    left = np.arange(num_rows)
    for most_updates in _ROUNDS if num_rows >= _MANY_ROWS else (_MOST_UPDATES,):
        converged = converge(left, most_updates)
        for leaf, now in zip(*map(jax.tree.leaves, (reached, converged)), strict=True):
            leaf[left] = now
        left = left[converged.moved > tolerance]
        if not left.size:
            break
    return q


class _Reached(NamedTuple):
    """The state of the updates of N rows.

    Attributes:
      rows: their posterior.
      previous: their posterior before the last update.
      momentum: the number of updates since the last restart of the extrapolation; shape (N,).
      moved: the relative change of each row in the last update, see `TOLERANCE`; shape (N,).
    """

    rows: Posterior
    previous: Posterior
    momentum: Array
    moved: Array


def _converge_all(
    mesh: Mesh,
    model: FactorModel,
    table: ColumnTable,
    counts: csr_array,
    exposures: np.ndarray,
    start: _Reached,
    limits: tuple[np.floating, np.int32],
) -> _Reached:
    """The rows, updated until they converge or the largest number of updates is reached."""
    slots = block_slots(table.weights.shape[1])
    blocks, places = make_whole_row_blocks(counts, slots, mesh.size)
    is_row = places >= 0
    reached = jax.tree.map(lambda leaf: leaf[places], start)
    at_places = place((reached, blocks, np.where(is_row, exposures[places], 0)), by_rows(mesh))
    found = jax.device_get(_converge(mesh)(model, table, *at_places, *limits))

    def in_order(leaf: np.ndarray) -> np.ndarray:
        ordered = np.empty_like(leaf, shape=(counts.shape[0], *leaf.shape[2:]))
        ordered[places[is_row]] = leaf[is_row]
        return ordered

    return jax.tree.map(in_order, found)


@jax.jit
def _table(model: FactorModel, given: Posterior, is_column: Array) -> ColumnTable:
    return model.table(given, is_column)


@cache
def _converge(mesh: Mesh) -> Callable[..., _Reached]:
    """(model, table, reached, blocks, e_n, *limits) -> reached; compiled once for each shape.

    Blocks are processed one after the other, so that the weights of their columns stay in the CPU
    cache.
    """

    def local(
        model: FactorModel,
        table: ColumnTable,
        reached: _Reached,
        blocks: SparseBlocks,
        exposures: Array,
        tolerance: Array,
        most_updates: Array,
    ) -> _Reached:
        def converge(of_block: tuple[_Reached, SparseBlocks, Array]) -> _Reached:
            reached, block, e_n = of_block
            weights = gathered(table.weights, block.columns)

            def update(carry: tuple[_Reached, Array]) -> tuple[_Reached, Array]:
                (rows, previous, momentum, moved), step = carry
                converged = moved <= tolerance
                start = extrapolated(rows, previous, momentum)
                new = model.rows_given(start, table, weights, block, e_n)
                was, begun, now = (means_of(q["rows"]) for q in (rows, start, new))
                against = sum_over_factors(elementwise(_opposition, was, begun, now)) > 0
                way = sum_over_factors(elementwise(_way, was, begun, now))
                now_moved = way / sum_over_factors(now)

                def unless_converged(new: Array, old: Array) -> Array:
                    return jnp.where(
                        converged.reshape(converged.shape + (1,) * (new.ndim - 1)), old, new
                    )

                new, moved = jax.tree.map(unless_converged, (new, now_moved), (rows, moved))
                return _Reached(new, rows, jnp.where(against, 0, momentum + 1), moved), step + 1

            def goes_on(carry: tuple[_Reached, Array]) -> Array:
                reached, step = carry
                return (reached.moved > tolerance).any() & (step < most_updates)

            reached = reached._replace(moved=jnp.where(e_n > 0, reached.moved, 0.0))
            return jax.lax.while_loop(goes_on, update, (reached, jnp.int32(0)))[0]

        return jax.lax.map(converge, (reached, blocks, exposures))

    whole, spread = replicated(mesh), by_rows(mesh)
    inputs = (whole, whole, spread, spread, spread, whole, whole)
    return jax.jit(on_every_device(local, mesh, inputs=inputs, outputs=spread))


def _opposition(was: Array, begun: Array, now: Array) -> Array:
    """Positive where the update from `begun` to `now` opposes the whole step from `was` to `now`.

    It is to first order the product of the two steps in log-means, with the sign reversed.
    """
    return (begun - now) * (now - was) / (now * now)


def _way(was: Array, begun: Array, now: Array) -> Array:
    return jnp.maximum(jnp.abs(now - begun), jnp.abs(now - was))
