"""Rows of sparse counts on devices, with the row constants that a factorization needs."""

import math
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Bool, Float
from scipy.sparse import csr_array

from vigamma.data.layout.blocks import SparseBlocks, make_blocks_both_ways
from vigamma.devices.mesh import Collectives, by_rows, replicated
from vigamma.typing import Array, Leaf, PyTree, Record

ROW_MULTIPLE = 64
"""Rows and columns are padded to a multiple of this, so that they shard evenly over devices and
loops over them fill vector registers (an odd number of rows can cost five times as much)."""

_ENTRIES_AT_ONCE = 2**20
"""Bounds fresh memory pages: touching 80 MB for the first time takes longer than computing it."""


class CountRows(Record):
    """Rows of sparse counts, all or a minibatch; all leaves but `is_column` are sharded.

    Leading axes of N rows, M columns, or blocks are padded. Floats are of JAX's default type.

    Attributes:
      by_row: the counts by row.
      by_column: the same counts, transposed; each device holds only those of its own rows.
      exposures: e_n > 0; 0 for padding rows.
      row_sums: Σ_m x_nm.
      log_constants: Σ_m (x_nm log(x_nm e_n) - log x_nm!), in nats.
      is_column: whether a column is real, not padding.
      missing_by_row: the unobserved cells, by row; None if there are none.
      missing_by_column: the same cells, transposed.
    """

    by_row: SparseBlocks
    by_column: SparseBlocks
    exposures: Float[Leaf, " N"]
    row_sums: Float[Leaf, " N"]
    log_constants: Float[Leaf, " N"]
    is_column: Bool[Leaf, " M"]
    missing_by_row: SparseBlocks | None = None
    missing_by_column: SparseBlocks | None = None

    def without_rows(self) -> Self:
        """A copy with the same columns and no rows."""
        is_column = self.is_column
        return jax.tree.map(lambda leaf: leaf[:0], self).replace(is_column=is_column)

    def shardings(self, mesh: Mesh) -> PyTree:
        """The shardings: all leaves but `is_column` are sharded over the devices by row."""
        spread = jax.tree.map(lambda _: by_rows(mesh), self)
        return spread.replace(is_column=replicated(mesh))

    def own_columns(self, devices: Collectives) -> Array:
        """Whether each column of this device's shard is real; shape (M / number of devices,)."""
        return own_columns(self.is_column, devices)

    def dense(self) -> tuple[Array, Array]:
        """The dense counts of one device, and whether each cell is observed; shape (N, M) each."""
        shape = self.exposures.size, self.is_column.size
        counts = _dense(self.by_row, shape, self.exposures.dtype)
        if self.missing_by_row is None:
            return counts, jnp.ones(shape, bool)
        return counts, _dense(self.missing_by_row, shape, counts.dtype) == 0


def own_columns(is_column: Array, devices: Collectives) -> Array:
    """The part of `is_column` that belongs to this device's shard of the columns."""
    size = is_column.size // devices.size()
    return jax.lax.dynamic_slice_in_dim(is_column, devices.index() * size, size)


def _dense(blocks: SparseBlocks, shape: tuple[int, int], dtype: DTypeLike) -> Array:
    """The dense matrix of some blocks; padding chunks and slots add nothing."""
    rows, columns = jnp.broadcast_arrays(blocks.rows[..., None], blocks.columns.astype(jnp.int32))
    counts = blocks.counts.astype(dtype)
    return jnp.zeros(shape, dtype).at[rows, columns].add(counts, mode="drop")


def padded_rows(num_rows: int, num_shards: int) -> int:
    """The padded number of rows or columns, equal for 1, 2, 4, ... 64 devices."""
    multiple = math.lcm(ROW_MULTIPLE, num_shards)
    return -(-num_rows // multiple) * multiple


def with_ones(tree: PyTree, size: int) -> PyTree:
    """NumPy arrays whose leading axes are padded with ones up to `size`."""

    def padded(leaf: np.ndarray) -> np.ndarray:
        leaf = np.asarray(leaf)
        widths = [(0, size - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
        return np.pad(leaf, widths, constant_values=1)

    return jax.tree.map(padded, tree)


def balanced_order(num_rows: int) -> np.ndarray:
    """An order of rows that distributes adjacent rows, which are often similar, over the devices.

    It is every 64th row from row 0, then every 64th row from row 1, and so on, so that all devices
    get nearly the same number of counts. Position i stores row `balanced_order(N)[i]`.
    """
    starts = range(min(ROW_MULTIPLE, num_rows))
    return np.concatenate([np.arange(first, num_rows, ROW_MULTIPLE) for first in starts])


def in_order(stored_rows: np.ndarray) -> np.ndarray:
    """Reorders values stored in `balanced_order` to the order of the rows."""
    rows = np.empty_like(stored_rows)
    rows[balanced_order(len(stored_rows))] = stored_rows
    return rows


def lay_out_rows(
    counts: csr_array,
    exposures: np.ndarray,
    missing: csr_array | None,
    *,
    num_shards: int,
    block_slots: int,
) -> CountRows:
    """Lays out counts in NumPy, with rows in contiguous shards of equal size.

    Args:
      counts: canonical counts of shape (N, M).
      exposures: e_n > 0; shape (N,).
      missing: a pattern of ones at the unobserved cells, or None.
      num_shards: the number of devices.
      block_slots: the slots of a block, at least 64.
    """
    batches = lay_out_batches(
        counts, exposures, missing, num_batches=1, num_shards=num_shards, block_slots=block_slots
    )
    return batch_at(batches, 0)


def lay_out_batches(
    counts: csr_array,
    exposures: np.ndarray,
    missing: csr_array | None,
    *,
    num_batches: int,
    num_shards: int,
    block_slots: int,
) -> CountRows:
    """Lays out J minibatches of rows in NumPy, each as by `lay_out_rows`.

    Batch j has the rows j, j + J, j + 2J, ..., so that batches are similar even if the data are
    sorted. All batches have the same shape: every leaf has a leading axis of size J; see
    `batch_at`.
    """
    size = padded_rows(-(-counts.shape[0] // num_batches), num_shards)

    def in_batches(blocks: SparseBlocks) -> SparseBlocks:
        return jax.tree.map(lambda leaf: leaf.reshape(num_batches, -1, *leaf.shape[1:]), blocks)

    def both_ways(matrix: csr_array) -> tuple[SparseBlocks, SparseBlocks]:
        shards = [
            shard
            for batch in _interleaved(matrix, num_batches)
            for shard in row_shards(batch, size, num_shards)
        ]
        by_row, by_column = make_blocks_both_ways(shards, block_slots)
        return in_batches(by_row), in_batches(by_column)

    def of_rows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, (0, num_batches * size - values.size))
        return np.ascontiguousarray(padded.reshape(size, num_batches).T, jnp.result_type(float))

    by_row, by_column = both_ways(counts)
    missing_both_ways = (None, None) if missing is None else both_ways(missing)
    row_sums, log_constants = row_constants(counts, exposures)
    is_column = np.arange(padded_rows(counts.shape[1], num_shards)) < counts.shape[1]
    return CountRows(
        by_row,
        by_column,
        of_rows(exposures),
        of_rows(row_sums),
        of_rows(log_constants),
        np.tile(is_column, (num_batches, 1)),
        *missing_both_ways,
    )


def batch_at(batches: CountRows, index: int) -> CountRows:
    """One batch of `lay_out_batches`, as views."""
    return jax.tree.map(lambda leaf: leaf[index], batches)


def _interleaved(matrix: csr_array, num_batches: int) -> list[csr_array]:
    if num_batches == 1:
        return [matrix]  # slicing would copy it
    return [matrix[j::num_batches] for j in range(num_batches)]


def row_shards(matrix: csr_array, num_padded: int, num_shards: int) -> list[csr_array]:
    """Contiguous shards of equally many rows, as views of the arrays of `matrix`."""
    size = num_padded // num_shards
    starts = np.append(
        matrix.indptr, np.full(num_padded - matrix.shape[0], matrix.indptr[-1], matrix.indptr.dtype)
    )
    shards = []
    for first in range(0, num_padded, size):
        part = starts[first : first + size + 1]
        entries = slice(part[0], part[-1])
        arrays = (matrix.data[entries], matrix.indices[entries], part - part[0])
        shards.append(csr_array(arrays, shape=(size, matrix.shape[1])))
    return shards


def row_constants(counts: csr_array, exposures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ_m x_nm and Σ_m (x_nm log(x_nm e_n) - log x_nm!), in float64."""
    largest = counts.data.max(initial=0)
    is_small = counts.dtype.kind != "f" and largest < 2**16
    table = _log_constant(np.arange(int(largest) + 1)) if is_small else None
    ones = np.ones(counts.shape[1])  # a product is five times faster than a sum over rows
    sums, log_constants = np.empty((2, counts.shape[0]))
    rows_each = max(counts.shape[0] * _ENTRIES_AT_ONCE // max(counts.nnz, 1), 1)
    for first in range(0, counts.shape[0], rows_each):
        rows = slice(first, first + rows_each)
        part = counts[rows]
        sums[rows] = part @ ones
        of_entries = _log_constant(part.data) if table is None else table[part.data]
        part = csr_array((of_entries, part.indices, part.indptr), shape=part.shape)
        log_constants[rows] = part @ ones
    return sums, sums * np.log(exposures) + log_constants


def _log_constant(counts: np.ndarray) -> np.ndarray:
    counts = counts.astype(np.float64)
    return scipy.special.xlogy(counts, counts) - scipy.special.gammaln(counts + 1.0)
