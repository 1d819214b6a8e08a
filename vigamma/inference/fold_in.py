"""Fold-in: the posterior of new rows, given the columns of a fit."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vigamma.data.blocks import block_slots
from vigamma.data.count_rows import CountRows, batch_at, lay_out_batches, padded_rows
from vigamma.families.gamma import Gamma
from vigamma.inference.extrapolation import extrapolated
from vigamma.mesh import by_rows, make_mesh, on_every_device, place, replicated
from vigamma.models.factor_model import ColumnTable, FactorModel, Posterior
from vigamma.typing import Array

TOLERANCE = 1e-5
"""A row is settled when an update moves its means by less than this part of their sum."""

_MOST_UPDATES = 1000
_BATCH_ROWS = 2**13


def fold_in(
    model: FactorModel,
    columns: Gamma,
    counts: csr_array,
    exposures: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> Posterior:
    """The posterior of new rows by coordinate ascent in which the columns stay as they are.

    Rows do not depend on each other. Starting from the prior, each is updated, extrapolated, until
    it has settled, and then stays; the extrapolation of a row starts anew whenever it points
    against the update (O'Donoghue & Candès 2015, the gradient scheme).

    Args:
      model: of the fit.
      columns: the posterior of its columns, without padding; shape (M, K).
      counts: canonical counts of the new rows; shape (N, M).
      exposures: e_n > 0; shape (N,); by default 1.
      tolerance: see `TOLERANCE`.

    Returns:
      "rows" (N, K) and, where the model has them, "row_rates" (N,); in NumPy.
    """
    mesh = make_mesh()
    num_rows, num_factors = counts.shape[0], columns.rate.shape[1]
    num_batches = -(-num_rows // _BATCH_ROWS)
    batches = lay_out_batches(
        counts,
        np.ones(num_rows) if exposures is None else exposures,
        None,
        num_batches=num_batches,
        num_shards=mesh.size,
        block_slots=block_slots(num_factors),
    )
    size = batches.exposures.shape[1]
    rows, rates = model.row_prior.initial(size, num_factors)
    start = {"rows": rows} | ({} if rates is None else {"row_rates": rates})
    start = place(start, by_rows(mesh))
    columns = place(_padded(columns, padded_rows(counts.shape[1], mesh.size)), replicated(mesh))
    found: list[Any] = []
    for index in range(num_batches):
        batch = place(batch_at(batches, index), by_rows(mesh))
        found.append(_settle(mesh)(model, columns, start, batch, np.float32(tolerance)))
    parts = jax.device_get(found)

    def interleaved(*of_batches: np.ndarray) -> np.ndarray:
        return np.stack(of_batches, axis=1).reshape(-1, *of_batches[0].shape[1:])[:num_rows]

    return jax.tree.map(interleaved, *parts)


@cache
def _settle(mesh: Mesh):
    """(model, columns, rows, batch, tolerance) -> rows, settled; compiled once for each shape."""

    def local(
        model: FactorModel, table: ColumnTable, rows: Posterior, batch: CountRows, tolerance: Array
    ) -> Posterior:
        def update(carry):
            rows, previous, momentum, moved, step = carry
            settled = moved <= tolerance
            start = extrapolated(rows, previous, momentum)
            new = model.with_local_conditionals(start, table, batch)
            was, begun, now = (q["rows"].mean for q in (rows, start, new))
            against = ((begun - now) * (now - was) / (now * now)).sum(axis=1) > 0
            now_moved = jnp.abs(now - begun).sum(axis=1) / now.sum(axis=1)

            def unless_settled(new: Array, old: Array) -> Array:
                return jnp.where(settled.reshape(settled.shape + (1,) * (new.ndim - 1)), old, new)

            new, moved = jax.tree.map(unless_settled, (new, now_moved), (rows, moved))
            return new, rows, jnp.where(against, 0, momentum + 1), moved, step + 1

        def goes_on(carry) -> Array:
            return (carry[3] > tolerance).any() & (carry[4] < _MOST_UPDATES)

        momentum = jnp.zeros(batch.exposures.shape, jnp.int32)
        moved = jnp.full(batch.exposures.shape, jnp.inf, table.means.dtype)
        carry = rows, rows, momentum, moved, jnp.int32(0)
        return jax.lax.while_loop(goes_on, update, carry)[0]

    whole, spread = replicated(mesh), by_rows(mesh)
    settle = on_every_device(
        local, mesh, inputs=(whole, whole, spread, spread, whole), outputs=spread
    )

    def program(model, columns, rows, batch, tolerance):
        table = model.table({"columns": columns}, batch)
        return settle(model, table, rows, batch, tolerance)

    return jax.jit(program)


def _padded(columns: Gamma, size: int) -> Gamma:
    def pad(leaf: np.ndarray) -> np.ndarray:
        leaf = np.asarray(leaf)
        return np.pad(leaf, ((0, size - len(leaf)), (0, 0)), constant_values=1)

    return jax.tree.map(pad, columns)
