"""Sparse counts as a device wants them: each row cut into chunks of one width, chunks in blocks.

The entries of a row are one contiguous run of *slots*, padded to a whole number of chunks. A kernel
scans over blocks of chunks; everything that it touches at once then has one small, fixed size.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vigamma.typing import Array, record

_WIDTHS = (4, 8, 16, 32, 64)
_CHUNK_COST = 4.0
"""What a chunk costs beside its slots, in slots: 2 to 4 give the fastest sweeps, of 20 and of 50
components, on rows of 17 to 170 entries."""

_SINGLE_BLOCK_WIDTH = 8
_MOST_ROUNDED_BLOCKS = 32


@record
class SparseBlocks:
    """The entries of a sparse matrix, by row, in T blocks of C chunks of W slots.

    Attributes:
      columns: the column of each slot, 0 where it is padding; uint16 or int32, shape (T, C, W).
      counts: the count of each slot, 0 where it is padding; an integer type, or float32 where
        counts are not whole; shape (T, C, W).
      rows: the row of each chunk, ascending within a shard; the number of rows where it is
        padding; int32, shape (T, C).
    """

    columns: Array
    counts: Array
    rows: Array


def block_slots(num_factors: int) -> int:
    """The slots of a block whose gathered factors, in float32, fit into 400 kB, a power of two.

    Within the second-level cache of a CPU; half and double are 5 to 30 % slower.
    """
    return int(2 ** np.clip(np.round(np.log2(1e5 / num_factors)), 9, 12))


def make_blocks(shards: Sequence[scipy.sparse.csr_array], block_slots: int) -> SparseBlocks:
    """Lays out matrices of one shape, one per device, in NumPy: their blocks one after another.

    All shards get the same number of blocks, so that the leading axis can be spread evenly over
    the devices. Matrices of nearly one size should come to the same layout, so that one compiled
    program serves them: a few blocks are rounded up in number, by up to a quarter, and what fits a
    single block has chunks of one width.

    Args:
      shards: CSR matrices with sorted rows, of the same shape and the same type of counts.
      block_slots: the slots of a block, at least 64.
    """
    lengths = [np.diff(shard.indptr) for shard in shards]
    width = _SINGLE_BLOCK_WIDTH
    if _num_blocks(lengths, width, block_slots) > 1:
        width = _best_width(np.concatenate(lengths))
    num_blocks = _rounded_up(_num_blocks(lengths, width, block_slots))
    block_chunks = block_slots // width
    laid_out = [
        _chunks_of(shard, length, num_blocks * block_chunks, width)
        for shard, length in zip(shards, lengths, strict=True)
    ]
    columns, counts, rows = (
        arrays[0] if len(shards) == 1 else np.concatenate(arrays)
        for arrays in zip(*laid_out, strict=True)
    )
    chunks = (len(shards) * num_blocks, block_chunks)
    return SparseBlocks(
        columns=columns.reshape(*chunks, width),
        counts=counts.reshape(*chunks, width),
        rows=rows.reshape(chunks),
    )


def _num_blocks(lengths: Sequence[np.ndarray], width: int, block_slots: int) -> int:
    """The blocks that the largest shard needs, at least 1, given the lengths of all rows."""
    most_chunks = max(int((-(-length // width)).sum()) for length in lengths)
    return max(1, -(-most_chunks // (block_slots // width)))


def _rounded_up(num_blocks: int) -> int:
    """One of 1, 2, ... 8, 10, 12, 14, 16, 20, ...; large numbers stay as they are."""
    if num_blocks > _MOST_ROUNDED_BLOCKS:
        return num_blocks
    step = 2 ** max((num_blocks - 1).bit_length() - 3, 0)
    return -(-num_blocks // step) * step


def _best_width(lengths: np.ndarray) -> int:
    """The width of chunks that makes rows of these lengths cheapest."""
    return min(_WIDTHS, key=lambda width: (-(-lengths // width)).sum() * (width + _CHUNK_COST))


def _chunks_of(
    matrix: scipy.sparse.csr_array, lengths: np.ndarray, num_chunks: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(columns, counts, rows) of one matrix, padded to `num_chunks` chunks."""
    num_rows, num_columns = matrix.shape
    chunks_of_row = -(-lengths // width)
    rows = np.full(num_chunks, num_rows, np.int32)
    used = int(chunks_of_row.sum())
    rows[:used] = np.repeat(np.arange(num_rows, dtype=np.int32), chunks_of_row)
    # All chunks of a row but its last are full: the entries, in order, fill the slots that are
    # used, in order.
    filled = np.full(num_chunks, width, np.int8)
    filled[used:] = 0
    last = np.cumsum(chunks_of_row)[lengths > 0] - 1
    filled[last] -= (-lengths[lengths > 0] % width).astype(np.int8)
    is_used = np.arange(width, dtype=np.int8) < filled[:, None]
    index_type = np.uint16 if num_columns <= 2**16 else np.int32
    columns = np.zeros((num_chunks, width), index_type)
    counts = np.zeros((num_chunks, width), matrix.dtype)
    columns[is_used], counts[is_used] = matrix.indices, matrix.data
    return columns, counts, rows
