"""Sparse counts, entry by entry and sorted by count, as Gibbs sampling reads them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Integer
from scipy.sparse import csr_array

from vigamma.data.layout.blocks import SparseBlocks, make_blocks_both_ways
from vigamma.data.layout.count_rows import own_columns, padded_rows, row_constants, row_shards
from vigamma.devices.mesh import Collectives, by_rows, replicated
from vigamma.typing import Array, Leaf, PyTree, Record

MOST_UNITS = 64
"""Up to this count an entry costs one categorical draw per unit; a larger one costs K binomials. On
a CPU the two take equally long at counts of about 100, with 20 components as with 50."""

_BLOCK_ENTRIES = 1024
"""The fastest of 512, 1024, 2048 and 4096 at 20, 50 and 100 components. The block of the largest
counts is mostly idle: of few entries, blocks half as large are 20 to 30 % faster."""

_FEW_ENTRIES = 2**15

_LARGE_BLOCK_ENTRIES = 256


class EntryBlocks(Record):
    """Entries in T blocks of S, sorted by count, then by row.

    Attributes:
      rows: the row of each entry, within its device; 0 in padding; int32.
      columns: the column of each entry, 0 in padding; uint16 or int32.
      counts: the count, 0 in padding; uint8 or int32.
    """

    rows: Integer[Leaf, "T S"]
    columns: Integer[Leaf, "T S"]
    counts: Integer[Leaf, "T S"]


class CountEntries(Record):
    """Sparse counts and all else that a Gibbs sweep needs.

    All but `column_sums` and `is_column` is sharded by row.

    Leading axes of N rows, M columns, or blocks are padded. Floats are of JAX's default type.

    Attributes:
      small: the entries with counts up to `MOST_UNITS`.
      large: the other entries.
      exposures: e_n > 0; 0 in rows of padding.
      log_constants: Σ_m (x_nm log(x_nm e_n) - log x_nm!), in nats.
      column_sums: Σ_n x_nm over the rows of all devices; sharded by column.
      is_column: whether a column is real rather than padding.
      missing_by_row: the cells that were not observed, by row; None if there are none.
      missing_by_column: the same cells, transposed.
    """

    small: EntryBlocks
    large: EntryBlocks
    exposures: Float[Leaf, " N"]
    log_constants: Float[Leaf, " N"]
    column_sums: Float[Leaf, " M"]
    is_column: Bool[Leaf, " M"]
    missing_by_row: SparseBlocks | None = None
    missing_by_column: SparseBlocks | None = None

    def shardings(self, mesh: Mesh) -> PyTree:
        """The sharding of each leaf: all but `is_column` is spread over the devices."""
        spread = jax.tree.map(lambda _: by_rows(mesh), self)
        return spread.replace(is_column=replicated(mesh))

    def own_columns(self, devices: Collectives) -> Array:
        """Whether each column of this device's shard is real; shape (M / number of devices,)."""
        return own_columns(self.is_column, devices)


def lay_out_entries(
    counts: csr_array,
    exposures: np.ndarray,
    missing: csr_array | None,
    *,
    num_shards: int,
    block_slots: int,
) -> CountEntries:
    """Lays out counts in NumPy, with rows in contiguous shards of equal size.

    Args:
      counts: canonical counts of shape (N, M).
      exposures: e_n > 0; shape (N,).
      missing: a pattern of ones at the unobserved cells, or None.
      num_shards: the number of devices.
      block_slots: the slots of a block of missing cells, at least 64.

    Raises:
      ValueError: if a row or a column sums to 2^31 or more.
    """
    sums = [counts.sum(axis=axis, dtype=np.int64) for axis in (0, 1)]
    if max(of_axis.max(initial=0) for of_axis in sums) >= 2**31:
        raise ValueError("posterior samples need rows and columns that sum to less than 2^31")
    num_padded, num_columns = (padded_rows(size, num_shards) for size in counts.shape)
    shards = row_shards(counts, num_padded, num_shards)
    missing_blocks: tuple[SparseBlocks | None, SparseBlocks | None] = (None, None)
    if missing is not None:
        cells = row_shards(missing, num_padded, num_shards)
        missing_blocks = make_blocks_both_ways(cells, block_slots)

    def lengthened(values: np.ndarray, size: int = num_padded) -> np.ndarray:
        return np.pad(values, (0, size - values.size)).astype(jnp.result_type(float))

    is_small = max(shard.nnz for shard in shards) < _FEW_ENTRIES
    block_entries = _BLOCK_ENTRIES // 2 if is_small else _BLOCK_ENTRIES
    return CountEntries(
        _blocks(shards, 1, MOST_UNITS, block_entries, np.uint8),
        _blocks(shards, MOST_UNITS + 1, np.inf, _LARGE_BLOCK_ENTRIES, np.int32),
        lengthened(exposures),
        lengthened(row_constants(counts, exposures)[1]),
        lengthened(sums[0], num_columns),
        np.arange(num_columns) < counts.shape[1],
        *missing_blocks,
    )


def _blocks(
    shards: Sequence[csr_array], lowest: float, highest: float, size: int, dtype: Any
) -> EntryBlocks:
    """The entries with counts from `lowest` to `highest`, equally many blocks per shard."""
    chosen = [np.flatnonzero((s.data >= lowest) & (s.data <= highest)) for s in shards]
    num_blocks = max(-(-places.size // size) for places in chosen)
    index_type = np.uint16 if shards[0].shape[1] <= 2**16 else np.int32
    shape = len(shards), num_blocks * size
    rows, columns, counts = (
        np.zeros(shape, np.int32),
        np.zeros(shape, index_type),
        np.zeros(shape, dtype),
    )
    for i, (shard, places) in enumerate(zip(shards, chosen, strict=True)):
        places = places[np.argsort(shard.data[places], kind="stable")]
        of_entries = np.repeat(np.arange(shard.shape[0]), np.diff(shard.indptr))
        rows[i, : places.size] = of_entries[places]
        columns[i, : places.size] = shard.indices[places]
        counts[i, : places.size] = shard.data[places]
    return EntryBlocks(*(array.reshape(-1, size) for array in (rows, columns, counts)))
