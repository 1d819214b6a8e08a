"""Device layout of sparse counts: rows are split into chunks of one width, in blocks of chunks.

The entries of a row are a contiguous run of *slots*, padded to a whole number of chunks. A kernel
scans over blocks of chunks, so that its working set has a small, fixed size.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Integer, Num

from vigamma.typing import Leaf, Record

_WIDTHS = (4, 8, 16, 32, 64)
_CHUNK_COST = 4.0
"""The overhead of a chunk, in slots: 2 to 4 give the fastest sweeps for 20 and 50 components and
rows of 17 to 170 entries."""

_SINGLE_BLOCK_WIDTH = 8
_WHOLE_ROW_WIDTH = 8
"""The same for all matrices, so that the sums of a row are bitwise equal whatever the other rows.
Where the best width is larger, updates take an eighth longer."""

_MOST_ROUNDED_BLOCKS = 32
_ROW_MULTIPLE = 8


class SparseBlocks(Record):
    """The entries of a sparse matrix, by row, in T blocks of C chunks of W slots.

    Attributes:
      columns: the column of each slot, 0 where it is padding; uint16 or int32.
      counts: the count of each slot, 0 where it is padding; an integer type, or float32 if counts
        are not whole.
      rows: the row of each chunk, ascending within a shard; the number of rows where it is
        padding; int32.
    """

    columns: Integer[Leaf, "T C W"]
    counts: Num[Leaf, "T C W"]
    rows: Integer[Leaf, "T C"]


def block_slots(num_factors: int) -> int:
    """The slots of a block, a power of two, such that its gathered factors take about 400 kB.

    In float32 they fit into the second-level cache of a CPU; half or double the size is 5 to 30 %
    slower.
    """
    return int(2 ** np.clip(np.round(np.log2(1e5 / num_factors)), 9, 12))


def make_blocks(shards: Sequence[scipy.sparse.csr_array], block_slots: int) -> SparseBlocks:
    """Lays out matrices of one shape, one per device, in NumPy, and concatenates their blocks.

    All shards get the same number of blocks, so that the leading axis can be sharded evenly over
    the devices. Matrices of similar size should get the same layout, so that they share a compiled
    program. Therefore a small number of blocks is rounded up, by up to a quarter, and matrices that
    fit a single block have chunks of the same width.

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


def make_blocks_both_ways(
    shards: Sequence[scipy.sparse.csr_array], block_slots: int
) -> tuple[SparseBlocks, SparseBlocks]:
    """As `make_blocks`, of the matrices and of their transposes."""
    transposes = [scipy.sparse.csr_array(shard.T.tocsr()) for shard in shards]
    return make_blocks(shards, block_slots), make_blocks(transposes, block_slots)


def make_whole_row_blocks(
    counts: scipy.sparse.csr_array, block_slots: int, multiple: int
) -> tuple[SparseBlocks, np.ndarray]:
    """Lays out a matrix such that no row is in two blocks; each block numbers its rows from 0.

    All blocks use nearly equally many slots. They are larger than `block_slots` only if the longest
    row is.

    Args:
      counts: a CSR matrix.
      block_slots: the slots of a block, at least 64.
      multiple: the number of blocks is a multiple of this.

    Returns:
      T blocks, and the row at each place of each block, -1 where there is none; (T, R).
    """
    lengths = np.diff(counts.indptr)
    width = _WHOLE_ROW_WIDTH
    chunks_of_row = -(-lengths // width)
    block_chunks = block_slots // width
    while block_chunks < chunks_of_row.max(initial=0):
        block_chunks *= 2
    num_blocks = 1 + int(chunks_of_row.sum()) // block_chunks
    while True:
        num_blocks = -(-_rounded_up(num_blocks) // multiple) * multiple
        places, used = _dealt(chunks_of_row, num_blocks)
        if used.max() <= block_chunks:
            break
        num_blocks += 1 + num_blocks // 64

    block_rows = places.shape[1]
    is_row, of_row = np.nonzero(places.ravel() >= 0)[0], places[places >= 0]
    chunks = np.zeros(places.size, np.int64)
    chunks[is_row] = chunks_of_row[of_row]
    in_block = chunks.reshape(places.shape)
    first_chunk = np.cumsum(in_block, axis=1) - in_block
    first_chunk = (first_chunk + block_chunks * np.arange(num_blocks)[:, None]).ravel()
    rows = np.full(num_blocks * block_chunks, block_rows, np.int32)
    rows[_runs(first_chunk, chunks)] = np.repeat(np.arange(places.size) % block_rows, chunks)

    first_slot = np.empty(lengths.size, np.int64)
    first_slot[of_row] = first_chunk[is_row] * width
    slots = _runs(first_slot, lengths)
    index_type = np.uint16 if counts.shape[1] <= 2**16 else np.int32
    columns = np.zeros(rows.size * width, index_type)
    values = np.zeros(rows.size * width, counts.dtype)
    columns[slots], values[slots] = counts.indices, counts.data
    shape = num_blocks, block_chunks
    blocks = SparseBlocks(
        columns=columns.reshape(*shape, width),
        counts=values.reshape(*shape, width),
        rows=rows.reshape(shape),
    )
    return blocks, places


def _dealt(sizes: np.ndarray, num_hands: int) -> tuple[np.ndarray, np.ndarray]:
    """Deals items evenly; returns the items of each hand, padded by -1, and its total size.

    Each round deals the largest remaining items to the half of the hands with the smallest totals.
    """
    order = np.argsort(-sizes, kind="stable")
    hand_of, place_of = np.zeros((2, sizes.size), np.int64)
    used, held = np.zeros((2, num_hands), np.int64)
    first = 0
    while first < sizes.size:
        items = order[first : first + (-(-num_hands // 2) if first else num_hands)]
        hands = np.argsort(used, kind="stable")[: items.size]
        hand_of[items], place_of[items] = hands, held[hands]
        used[hands] += sizes[items]
        held[hands] += 1
        first += items.size
    most = max(-(-int(held.max()) // _ROW_MULTIPLE), 1) * _ROW_MULTIPLE
    places = np.full((num_hands, most), -1)
    places[hand_of, place_of] = np.arange(sizes.size)
    return places, used


def _runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenated ranges [start, start + length)."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if ends.size else 0)


def _num_blocks(lengths: Sequence[np.ndarray], width: int, block_slots: int) -> int:
    """The number of blocks for the largest shard, at least 1, given the lengths of all rows."""
    most_chunks = max(int((-(-length // width)).sum()) for length in lengths)
    return max(1, -(-most_chunks // (block_slots // width)))


def _rounded_up(num_blocks: int) -> int:
    """Rounds up to one of 1, 2, ... 8, 10, 12, 14, 16, 20, ...; large numbers are not changed."""
    if num_blocks > _MOST_ROUNDED_BLOCKS:
        return num_blocks
    step = 2 ** max((num_blocks - 1).bit_length() - 3, 0)
    return -(-num_blocks // step) * step


def _best_width(lengths: np.ndarray) -> int:
    """The chunk width with the lowest cost for rows of these lengths."""
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
    # All chunks of a row except its last are full, so the entries fill the used slots in order.
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
