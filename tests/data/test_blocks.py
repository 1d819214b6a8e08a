"""Blocks hold exactly the entries of the matrix, and nothing else that counts."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vigamma.data.layout.blocks import (
    _CHUNK_COST,
    _SINGLE_BLOCK_WIDTH,
    _WIDTHS,
    block_slots,
    make_blocks,
    make_whole_row_blocks,
)

BLOCK_SLOTS = 64


def matrices_of(blocks, shape, num_shards: int) -> list[np.ndarray]:
    """The matrix of each shard, from its slots alone; checks what padding must look like."""
    num_rows = shape[0]
    of_shards = [
        np.split(leaf, num_shards) for leaf in (blocks.columns, blocks.counts, blocks.rows)
    ]
    matrices = []
    for columns, counts, rows in zip(*of_shards, strict=True):
        rows = rows.ravel()
        columns, counts = (x.reshape(rows.size, -1).astype(np.int64) for x in (columns, counts))
        assert (np.diff(rows) >= 0).all()
        assert (counts[rows == num_rows] == 0).all()
        assert (columns[counts == 0] == 0).all()
        assert (counts[rows < num_rows].sum(axis=1) > 0).all()  # no chunk in vain
        chunk, slot = np.nonzero(counts)
        matrix = np.zeros(shape, np.int64)
        np.add.at(matrix, (rows[chunk], columns[chunk, slot]), counts[chunk, slot])
        assert np.count_nonzero(matrix) == chunk.size  # no cell twice
        matrices.append(matrix)
    return matrices


def cost(matrices, width: int) -> float:
    """In slots; a chunk costs as much as `_CHUNK_COST` more of them."""
    lengths = [np.count_nonzero(row) for matrix in matrices for row in matrix]
    return sum((width + _CHUNK_COST) * -(-length // width) for length in lengths)


def fits_a_single_block(matrices) -> bool:
    width = _SINGLE_BLOCK_WIDTH
    return all(
        sum(width * -(-np.count_nonzero(row) // width) for row in matrix) <= BLOCK_SLOTS
        for matrix in matrices
    )


def check(dense: list[np.ndarray], dtype=np.uint8):
    blocks = make_blocks([sp.csr_array(matrix.astype(dtype)) for matrix in dense], BLOCK_SLOTS)
    width = blocks.columns.shape[2]
    assert blocks.counts.dtype == dtype
    assert blocks.rows.dtype == np.int32
    assert blocks.columns.shape == blocks.counts.shape == (*blocks.rows.shape, width)
    assert blocks.rows.shape[1] * width == BLOCK_SLOTS
    assert blocks.rows.shape[0] % len(dense) == 0  # as many blocks for each shard
    if fits_a_single_block(dense):
        assert (width, blocks.rows.shape[0]) == (_SINGLE_BLOCK_WIDTH, len(dense))
    else:
        assert cost(dense, width) == min(cost(dense, other) for other in _WIDTHS)
    for got, wanted in zip(matrices_of(blocks, dense[0].shape, len(dense)), dense, strict=True):
        np.testing.assert_array_equal(got, wanted)
    return blocks


@st.composite
def shards(draw) -> list[np.ndarray]:
    """Matrices of one shape whose rows are empty, short or full, as their density decides."""
    num_shards = draw(st.sampled_from([1, 2, 4]))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 150))
    density = draw(
        st.lists(
            st.sampled_from([0.0, 0.02, 0.3, 1.0]),
            min_size=num_shards * shape[0],
            max_size=num_shards * shape[0],
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_entry = rng.random((num_shards * shape[0], shape[1])) < np.array(density)[:, None]
    return np.split(is_entry * rng.integers(1, 256, is_entry.shape), num_shards)


@settings(max_examples=200, deadline=None)
@given(dense=shards())
@example(dense=[np.zeros((3, 5), np.int64)])
@example(dense=[np.full((1, 1), 255)])
@example(dense=[np.ones((1, 130), np.int64), np.zeros((1, 130), np.int64)])
@example(dense=[np.ones((40, 1), np.int64)])
def test_the_matrix_comes_back_from_its_blocks(dense):
    check(dense)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_the_type_of_the_counts_is_kept(dtype):
    largest = 2**24 if dtype == np.float32 else np.iinfo(dtype).max
    check([np.array([[0, largest, 1], [0, 0, 3]])], dtype)


@pytest.mark.parametrize(
    ("num_columns", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.int32), (200_000, np.int32)]
)
def test_columns_are_stored_in_the_smallest_type_that_holds_them(num_columns, dtype):
    last = num_columns - 1
    matrix = np.zeros((3, num_columns), np.uint8)
    matrix[[0, 0, 2], [0, last, last]] = 1, 2, 3
    assert check([matrix]).columns.dtype == dtype


@pytest.mark.parametrize(
    ("lengths", "width"),
    [([1] * 50, 4), ([4] * 50, 4), ([5] * 50, 8), ([16] * 50, 16), ([64] * 9, 64), ([200] * 9, 32)],
)
def test_the_width_follows_the_lengths_of_the_rows(lengths, width):
    matrix = np.arange(200) < np.array(lengths)[:, None]
    assert check([matrix.astype(np.int64)]).columns.shape[2] == width


@pytest.mark.parametrize(
    ("num_chunks", "num_blocks"),
    [
        (1, 1),
        (8, 1),
        (9, 2),
        (64, 8),
        (65, 10),
        (80, 10),
        (97, 14),
        (129, 20),
        (250, 32),
        (257, 33),
    ],
)
def test_matrices_of_nearly_one_size_have_one_layout(num_chunks, num_blocks):
    blocks = check([np.ones((num_chunks, 8), np.int64)])
    assert blocks.counts.shape == (num_blocks, 8, 8)


def test_a_shard_without_entries_has_only_padding_and_as_many_blocks_as_the_others():
    blocks = check([np.ones((30, 10), np.int64), np.zeros((30, 10), np.int64)])
    first, second = np.split(blocks.rows, 2)
    assert (first < 30).any()
    assert (second == 30).all()


@pytest.mark.parametrize("num_rows", [0, 1, 7, 300])
def test_whole_row_blocks_hold_every_entry_once_at_the_place_of_its_row(num_rows):
    rng = np.random.default_rng(2)
    counts = rng.poisson(rng.gamma(0.3, 1.0, (num_rows, 1)), (num_rows, 90)).astype(np.uint8)
    counts[:1] = 5  # longer than a block of 64
    blocks, places = make_whole_row_blocks(sp.csr_array(counts), 64, multiple=2)
    assert len(places) == len(blocks.rows)
    assert len(places) % 2 == 0
    assert sorted(places[places >= 0].tolist()) == list(range(num_rows))
    found = np.zeros_like(counts)
    for columns, values, rows, of_block in zip(
        blocks.columns, blocks.counts, blocks.rows, places, strict=True
    ):
        used = rows < len(of_block)
        assert (values[~used] == 0).all()
        row = np.broadcast_to(of_block[rows[used]][:, None], values[used].shape)
        np.add.at(found, (row, columns[used]), values[used])
    np.testing.assert_array_equal(found, counts)


def test_blocks_have_room_for_the_factors_of_their_entries_within_limits():
    sizes = [block_slots(num_factors) for num_factors in (1, 20, 50, 100, 200, 1000, 10**5)]
    assert sizes == [4096, 4096, 2048, 1024, 512, 512, 512]


def test_whole_row_blocks_are_nearly_equally_full():
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    counts = (np.arange(40) < lengths[:, None]).astype(np.uint8)
    blocks, places = make_whole_row_blocks(sp.csr_array(counts), 128, multiple=1)
    chunks = (blocks.rows < places.shape[1]).sum(axis=1)
    assert chunks.min() > 0.9 * chunks.max()
