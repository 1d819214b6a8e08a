"""The layout for Gibbs sampling holds exactly the entries of the matrix, smallest counts first."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special

from tests.data.test_blocks import BLOCK_SLOTS, matrices_of
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.layout.count_entries import MOST_UNITS, lay_out_entries
from vigamma.devices.mesh import make_mesh, place

EDGES = [0, 1, MOST_UNITS, MOST_UNITS + 1, 255, 256, 70_000]


def lay_out(counts, *, num_shards=1, exposures=None, missing=None):
    counts = np.asarray(counts)
    return lay_out_entries(
        check_sparse_counts(counts),
        np.ones(len(counts)) if exposures is None else exposures,
        None if missing is None else sp.csr_array(missing.astype(np.uint8)),
        num_shards=num_shards,
        block_slots=BLOCK_SLOTS,
    )


def matrix_of(blocks, shape, num_shards: int) -> np.ndarray:
    """The matrix, from its entries alone; checks their order and what padding must look like."""
    shard_rows = shape[0] // num_shards
    matrix = np.zeros(shape, np.int64)
    leaves = [np.split(leaf, num_shards) for leaf in (blocks.rows, blocks.columns, blocks.counts)]
    for i, of_shard in enumerate(zip(*leaves, strict=True)):
        rows, columns, counts = (leaf.ravel().astype(np.int64) for leaf in of_shard)
        is_entry = counts > 0
        num_entries = is_entry.sum()
        assert is_entry[:num_entries].all()  # padding comes last
        assert not rows[num_entries:].any()
        assert not columns[num_entries:].any()
        assert (rows < shard_rows).all()
        order = np.lexsort([rows[is_entry], counts[is_entry]])
        np.testing.assert_array_equal(order, np.arange(num_entries))
        np.add.at(matrix[i * shard_rows :], (rows, columns), counts)
        own = matrix[i * shard_rows : (i + 1) * shard_rows]
        assert np.count_nonzero(own) == num_entries  # no cell twice
    return matrix


def check(counts: np.ndarray, num_shards: int):
    entries = lay_out(counts, num_shards=num_shards)
    num_rows, num_columns = counts.shape
    padded = np.zeros((entries.exposures.size, num_columns), np.int64)
    padded[:num_rows] = counts
    assert padded.shape[0] % num_shards == 0
    is_small = padded <= MOST_UNITS
    for blocks, wanted, dtype in (
        (entries.small, np.where(is_small, padded, 0), np.uint8),
        (entries.large, np.where(is_small, 0, padded), np.int32),
    ):
        assert blocks.counts.dtype == dtype
        np.testing.assert_array_equal(matrix_of(blocks, padded.shape, num_shards), wanted)
        fullest = max(np.count_nonzero(part) for part in np.split(wanted, num_shards))
        size = blocks.counts.shape[1]
        assert len(blocks.counts) == num_shards * -(-fullest // size)  # no block in vain
    return entries


@st.composite
def matrices(draw) -> np.ndarray:
    """Rows are empty or full, as their density decides; counts are small, large or at an edge."""
    shape = draw(st.integers(1, 150)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = rng.choice([0.0, 0.02, 0.3, 1.0], (shape[0], 1))
    counts = rng.choice([*EDGES, *range(2, 9)], shape)
    return np.where(rng.random(shape) < density, counts, 0)


@settings(max_examples=100, deadline=None)
@given(counts=matrices().filter(np.any), num_shards=st.sampled_from([1, 2, 3, 4]))
@example(counts=np.array([EDGES]), num_shards=1)
@example(counts=np.full((40, 1), MOST_UNITS + 1), num_shards=4)
@example(counts=np.ones((128, 90), np.int64), num_shards=2)
@example(counts=np.arange(128)[:, None] // 64 * np.ones((1, 9), np.int64), num_shards=2)
def test_the_matrix_comes_back_from_its_entries(counts, num_shards):
    check(counts, num_shards)


def test_entries_of_several_blocks_are_sorted_over_all_of_them():
    counts = np.random.default_rng(0).integers(0, 100, (150, 60))
    entries = check(counts, 2)
    assert len(entries.small.counts) > 4
    assert len(entries.large.counts) > 4


@pytest.mark.parametrize(("num_columns", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.int32)])
def test_columns_are_stored_in_the_smallest_type_that_holds_them(num_columns, dtype):
    last = num_columns - 1
    counts = sp.csr_array(([1, 100], ([0, 2], [last, last])), shape=(3, num_columns), dtype=int)
    entries = lay_out_entries(counts, np.ones(3), None, num_shards=1, block_slots=BLOCK_SLOTS)
    for blocks in (entries.small, entries.large):
        assert blocks.columns.dtype == dtype
        assert blocks.rows.dtype == np.int32
        assert blocks.columns.max() == last


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_rows_and_columns_are_padded_and_marked(num_shards):
    counts = np.ones((70, 65), np.int64)
    entries = lay_out(counts, num_shards=num_shards, exposures=np.arange(1.0, 71))
    assert entries.exposures.dtype == entries.log_constants.dtype == jax.numpy.result_type(float)
    np.testing.assert_array_equal(entries.exposures, np.append(np.arange(1, 71), np.zeros(58)))
    np.testing.assert_array_equal(entries.is_column, np.arange(128) < 65)
    assert entries.log_constants.shape == (128,)
    assert not entries.log_constants[70:].any()


def test_log_constants_are_those_of_the_poisson_probabilities():
    """Σ_m log Poisson(x; e r) = constant + Σ_m (x log(r / x) - e r)."""
    rng = np.random.default_rng(1)
    counts, exposures = rng.choice(EDGES, (12, 9)), rng.uniform(0.1, 9, 12)
    entries = lay_out(counts, exposures=exposures)
    expected = special.xlogy(counts, counts * exposures[:, None]) - special.gammaln(counts + 1.0)
    np.testing.assert_allclose(entries.log_constants[:12], expected.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("num_shards", [1, 2])
def test_missing_cells_are_laid_out_both_ways(num_shards):
    rng = np.random.default_rng(2)
    missing = rng.random((100, 90)) < rng.choice([0, 0.1, 1], (100, 1), p=[0.5, 0.4, 0.1])
    counts = np.where(missing, 0, rng.integers(0, 3, missing.shape))
    entries = lay_out(counts, num_shards=num_shards, missing=missing)
    padded = np.zeros((128, 90), np.int64)
    padded[:100] = missing
    shards = np.split(padded, num_shards)
    by_row = matrices_of(entries.missing_by_row, shards[0].shape, num_shards)
    by_column = matrices_of(entries.missing_by_column, shards[0].T.shape, num_shards)
    for row_wise, column_wise, wanted in zip(by_row, by_column, shards, strict=True):
        np.testing.assert_array_equal(row_wise, wanted)
        np.testing.assert_array_equal(column_wise, wanted.T)


def test_without_missing_cells_nothing_is_laid_out_for_them():
    entries = lay_out(np.eye(3, dtype=int))
    assert entries.missing_by_row is None
    assert entries.missing_by_column is None


@pytest.mark.parametrize("axis", [0, 1])
def test_sums_that_an_int32_cannot_hold_are_refused(axis):
    """Sums of counts that it can, and where the other axis has small sums."""
    largest = np.full((1, 128), 2**24)  # 2^31 in all
    fits = largest - (np.arange(128) == 5)
    check(fits if axis else fits.T, 1)
    with pytest.raises(ValueError, match=r"sum to less than 2\^31"):
        lay_out(largest if axis else largest.T)


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_each_device_gets_the_entries_of_its_own_rows(num_shards):
    rng = np.random.default_rng(3)
    counts = rng.choice([0, 1, 5, 300], (128, 6))
    entries = lay_out(counts, num_shards=num_shards)
    mesh = make_mesh(jax.devices()[:num_shards])
    placed = place(entries, entries.shardings(mesh))
    size = 128 // num_shards
    for i, device in enumerate(jax.devices()[:num_shards]):

        def of_device(leaf, device=device):
            (shard,) = (s for s in leaf.addressable_shards if s.device == device)
            return np.asarray(shard.data)

        own = jax.tree.map(of_device, placed)
        found = sum(matrix_of(blocks, (size, 6), 1) for blocks in (own.small, own.large))
        np.testing.assert_array_equal(found, counts[i * size : (i + 1) * size])
        assert own.is_column.size == 64
