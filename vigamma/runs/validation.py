"""The validation score, computed on the devices, and cheap enough for every early sweep."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import DTypeLike

from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.devices.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.devices.processes import whole
from vigamma.diagnostics.weighted_cells import weighted_cells
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.models.factor_model import PROBABILITIES, Posterior
from vigamma.models.factor_priors import means_of
from vigamma.models.kernels import gather, negative_binomial_terms, padded, sum_over_factors
from vigamma.typing import Array, Leaf, Record

_SMALLEST_RATE = 1e-30  # keeps log r finite where a rate underflows
_NUM_BLOCKS = 64


class PlacedCells(Record):
    """Weighted cells on the devices of their rows; leading axes are sharded over the devices.

    Attributes:
      rows: the index of the row among those of its device; shape (E,).
      columns: the index of the column; shape (E,).
      exposures: e_n; shape (E,).
      log_weights: a_i; shape (E,).
      weights: b_i; shape (E,).
      row_exposures: e_n of all rows, 0 for padding; shape (N,).
      is_column: False for columns of padding; shape (M,).
      counts: y_i; shape (E,).
      trained: what the training counts have of the cells; shape (E,).
      trained_sums: Σ_n x_nm of the training counts; shape (M,).
    """

    rows: Leaf
    columns: Leaf
    exposures: Leaf
    log_weights: Leaf
    weights: Leaf
    row_exposures: Leaf
    is_column: Leaf
    counts: Leaf
    trained: Leaf
    trained_sums: Leaf


class Validation(NamedTuple):
    """The validation score, a function of the posterior; see `WeightedCells`.

    Attributes:
      cells: the weighted cells, on the devices.
      weight_of_all: t, the weight of the sum of all rates.
      constant: c, in nats.
      scale: s if the parts are thinned, or None.
      mesh: the device mesh.
    """

    cells: PlacedCells
    weight_of_all: float
    constant: float
    scale: float | None
    mesh: Mesh

    @classmethod
    def of(
        cls,
        split: Split,
        heldout: HeldOutCounts,
        exposures: np.ndarray,
        order: np.ndarray,
        sizes: tuple[int, int],
        mesh: Mesh,
    ) -> Self:
        """Places the cells on the devices.

        Args:
          split: all parts, and the protocol.
          heldout: the part to score.
          exposures: e_n; shape (N,).
          order: row order[i] is stored at position i; shape (N,).
          sizes: N and M, padded.
          mesh: the device mesh.
        """
        found = weighted_cells(split, heldout)
        places = np.empty_like(order)
        places[order] = np.arange(order.size)
        rows_each = sizes[0] // mesh.size
        device, row = np.divmod(places[found.rows], rows_each)
        slots, size = _slots_by_device(device, mesh.size)

        def spread(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
            placed: np.ndarray = np.zeros(mesh.size * size, dtype)
            placed[slots] = values
            return placed

        own = jnp.result_type(float)  # the dtype of the posterior
        row_exposures = np.zeros(sizes[0], own)
        row_exposures[: order.size] = exposures[order]
        cells = PlacedCells(
            rows=spread(row, np.int32),
            columns=spread(found.columns, np.int32),
            exposures=spread(exposures[found.rows], own),
            log_weights=spread(found.log_weights, own),
            weights=spread(found.weights, own),
            row_exposures=row_exposures,
            is_column=np.arange(sizes[1]) < split.train.shape[1],
            counts=spread(found.counts, own),
            trained=spread(found.trained, own),
            trained_sums=np.pad(
                split.train.sum(axis=0).astype(own), (0, sizes[1] - split.train.shape[1])
            ),
        )
        scale = found.scale if split.protocol == "thinning" else None
        cells = place(cells, by_rows(mesh))
        return cls(cells, found.weight_of_all, found.constant, scale, mesh)

    def log_likelihood(self, q: Posterior) -> float:
        """The score of `vigamma.diagnostics.predictive` on the held-out part, in nats.

        Args:
          q: a posterior as a fit stores it: rows may be in batches, with two leading axes.
        """
        sides = q["rows"], q["columns"]
        if (probabilities := q.get(PROBABILITIES)) is not None:
            scale = 1.0 if self.scale is None else self.scale
            program = _negative_binomial_program(self.mesh, self.scale)
            found = program(*sides, probabilities, self.cells)
            sums, of_rows, of_columns, offset = (whole(part).astype(np.float64) for part in found)
            of_all = self.weight_of_all / scale * (of_rows @ of_columns + offset)
            return float(sums.sum() + self.constant - np.log(scale) + of_all)
        sums, of_rows, of_columns = (
            whole(part).astype(np.float64) for part in _program(self.mesh)(*sides, self.cells)
        )
        return float(sums.sum() + self.constant + self.weight_of_all * (of_rows @ of_columns))


def _slots_by_device(device: np.ndarray, num_devices: int) -> tuple[np.ndarray, int]:
    """The slot of each cell, contiguous for each device; and the number of slots per device."""
    numbers = np.bincount(device, minlength=num_devices)
    size = max(-(-numbers.max() // _NUM_BLOCKS), 1) * _NUM_BLOCKS
    order = np.argsort(device, kind="stable")
    slots = np.empty_like(order)
    firsts = np.cumsum(numbers) - numbers
    slots[order] = np.arange(order.size) - firsts[device[order]] + size * device[order]
    return slots, int(size)


@lru_cache
def _program(mesh: Mesh) -> Callable[..., tuple[Array, Array, Array]]:
    """(rows, columns, cells) -> partial sums of the score; Σ_n e_n E[θ_n] and Σ_m E[β_m]."""

    def local(rows: Gamma, columns: Gamma, cells: PlacedCells) -> tuple[Array, Array, Array]:
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), rows)
        theta, own_beta = means_of(rows), means_of(columns)
        beta = ACROSS_DEVICES.gather(own_beta)
        theta_, beta_ = padded(theta), padded(beta)
        cells_of = (cells.rows, cells.columns, cells.exposures, cells.log_weights, cells.weights)

        def sum_of_block(block: tuple[Array, ...]) -> Array:
            rows, columns, exposures, log_weights, weights = block
            rates = exposures * sum_over_factors(gather(theta_, rows) * gather(beta_, columns))
            logs = jnp.log(jnp.maximum(rates, _SMALLEST_RATE))
            return (log_weights * logs + weights * rates).sum()

        blocks = jax.tree.map(lambda leaf: leaf.reshape(_NUM_BLOCKS, -1), cells_of)
        sums = jax.lax.map(sum_of_block, blocks)
        of_rows = cells.row_exposures @ theta
        of_columns = cells.is_column.astype(theta.dtype) @ own_beta
        return ACROSS_DEVICES.total((sums, of_rows, of_columns))

    spread = by_rows(mesh)
    return jax.jit(
        on_every_device(local, mesh, inputs=(spread, spread, spread), outputs=replicated(mesh))
    )


@lru_cache
def _negative_binomial_program(mesh: Mesh, scale: float | None) -> Callable[..., Any]:
    """(rows, columns, probabilities, cells) -> as `_program`, for negative binomials.

    The sums over columns are weighted by their exposures; and Σ_m x_m offset_m if the parts are
    thinned, or else 0. See `vigamma.diagnostics.likelihoods`.
    """

    def local(
        rows: Gamma, columns: Gamma, probabilities: Beta, cells: PlacedCells
    ) -> tuple[Array, ...]:
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), rows)
        theta, own_beta, p = means_of(rows), means_of(columns), probabilities.mean
        odds = (1 - p) / p
        own_p = p if scale is None else scale / (scale + odds + 1)
        offsets = -jnp.log1p(-own_p)
        of_columns = [
            ACROSS_DEVICES.gather(x) for x in (odds, jnp.log(own_p), odds * offsets, own_beta)
        ]
        all_odds, log_p, exposures, beta = of_columns
        theta_, beta_ = padded(theta), padded(beta)
        cells_of = (
            cells.rows, cells.columns, cells.exposures, cells.log_weights, cells.weights,
            cells.counts, cells.trained,
        )  # fmt: skip

        def sum_of_block(block: tuple[Array, ...]) -> Array:
            rows, columns, row_exposures, log_weights, weights, counts, trained = block
            means = sum_over_factors(gather(theta_, rows) * gather(beta_, columns))
            means = jnp.maximum(row_exposures * means, _SMALLEST_RATE)
            shapes, y = all_odds[columns] * means + trained, jnp.maximum(counts, 1)
            _, rising = negative_binomial_terms(y, shapes, counts > 0)
            log_factors = rising / y + jnp.log(y) + log_p[columns]
            return (log_weights * log_factors + weights * exposures[columns] * means).sum()

        blocks = jax.tree.map(lambda leaf: leaf.reshape(_NUM_BLOCKS, -1), cells_of)
        sums = jax.lax.map(sum_of_block, blocks)
        of_rows = cells.row_exposures @ theta
        is_column = cells.is_column.astype(theta.dtype)
        of_all = (is_column * odds * offsets) @ own_beta
        offset = (is_column * cells.trained_sums * offsets).sum() * float(scale is not None)
        return ACROSS_DEVICES.total((sums, of_rows, of_all, offset))

    spread = by_rows(mesh)
    return jax.jit(
        on_every_device(
            local, mesh, inputs=(spread, spread, spread, spread), outputs=replicated(mesh)
        )
    )
