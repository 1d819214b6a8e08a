"""Rows on devices: their padding, shards, sums and constants."""

import jax
import numpy as np
import pytest
import scipy.stats
from scipy import special
from scipy.sparse import csr_array

from tests.data.test_blocks import matrices_of
from vigamma.data.layout.count_rows import (
    balanced_order,
    in_order,
    lay_out_rows,
    padded_rows,
    with_ones,
)

NUM_ROWS, NUM_COLUMNS = 70, 11


def counts_and_missing():
    rng = np.random.default_rng(2)
    counts = rng.poisson(rng.gamma(0.4, 5.0, (NUM_ROWS, NUM_COLUMNS))).astype(np.uint8)
    missing = rng.random(counts.shape) < 0.15
    counts[missing] = 0
    counts[[0, 30]], missing[[5, 69]] = 0, False
    return counts, missing


def lay_out(counts, *, exposures=None, missing=None, num_shards=1):
    return lay_out_rows(
        csr_array(counts),
        np.ones(len(counts)) if exposures is None else exposures,
        None if missing is None else csr_array(missing.astype(np.uint8)),
        num_shards=num_shards,
        block_slots=64,
    )


@pytest.mark.parametrize(
    ("num_rows", "num_shards", "padded"),
    [
        (1, 1, 64),
        (64, 1, 64),
        (65, 4, 128),
        (64, 64, 64),
        (1, 3, 192),
        (193, 3, 384),
        (5, 128, 128),
    ],
)
def test_rows_are_padded_to_a_multiple_of_64_and_of_the_devices(num_rows, num_shards, padded):
    assert padded_rows(num_rows, num_shards) == padded


@pytest.mark.parametrize("num_shards", [1, 2, 3, 4])
def test_shards_are_the_rows_in_order_and_their_transposes(num_shards):
    counts, missing = counts_and_missing()
    rows = lay_out(counts, missing=missing, num_shards=num_shards)
    size = padded_rows(NUM_ROWS, num_shards) // num_shards
    for dense, by_row, by_column in (
        (counts, rows.by_row, rows.by_column),
        (missing, rows.missing_by_row, rows.missing_by_column),
    ):
        whole = np.zeros((num_shards * size, NUM_COLUMNS), np.int64)
        whole[:NUM_ROWS] = dense
        parts = np.split(whole, num_shards)
        transposed = [part.T for part in parts]
        np.testing.assert_array_equal(matrices_of(by_row, parts[0].shape, num_shards), parts)
        np.testing.assert_array_equal(
            matrices_of(by_column, parts[0].T.shape, num_shards), transposed
        )


def test_nothing_is_missing_unless_said():
    rows = lay_out(counts_and_missing()[0])
    assert rows.missing_by_row is None
    assert rows.missing_by_column is None


def test_every_leaf_can_be_spread_over_the_devices():
    counts, missing = counts_and_missing()
    for leaf in jax.tree.leaves(lay_out(counts, missing=missing, num_shards=4)):
        assert len(leaf) % 4 == 0


def test_sums_and_constants_complete_the_poisson_likelihood():
    """With rates r: log p(x) = Σ x log(r / x) - e r + log_constants, here in SciPy's float64."""
    counts, _ = counts_and_missing()
    rng = np.random.default_rng(3)
    exposures, rates = rng.gamma(2.0, 1.0, NUM_ROWS), rng.gamma(2.0, 2.0, counts.shape)
    rows = lay_out(counts, exposures=exposures)
    scaled = exposures[:, None] * rates
    log_likelihood = scipy.stats.poisson(scaled).logpmf(counts).sum(axis=1)
    constants = log_likelihood - (-special.xlogy(counts, counts / rates) - scaled).sum(axis=1)
    np.testing.assert_allclose(rows.log_constants[:NUM_ROWS], constants, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(rows.row_sums[:NUM_ROWS], counts.sum(axis=1, dtype=np.int64))
    np.testing.assert_array_equal(rows.exposures[:NUM_ROWS], exposures.astype(np.float32))
    for name in ("exposures", "row_sums", "log_constants"):
        leaf = getattr(rows, name)
        assert leaf.dtype == np.float32
        assert leaf.shape == (128,)
        assert (leaf[NUM_ROWS:] == 0).all()


def test_columns_are_padded_as_rows_are():
    for num_shards, padded in ((1, 64), (3, 192)):
        is_column = lay_out(counts_and_missing()[0], num_shards=num_shards).is_column
        assert is_column.dtype == bool
        np.testing.assert_array_equal(is_column, np.arange(padded) < NUM_COLUMNS)


def test_sums_of_small_integers_do_not_wrap():
    rows = lay_out(np.full((1, 300), 255, np.uint8))
    assert rows.row_sums[0] == 300 * 255


def test_huge_counts_have_the_constants_of_scipy():
    rows = lay_out(np.array([[10**6, 0], [1, 2**24]], np.int32))
    x = np.array([1e6, 2.0**24])
    exact = x * np.log(x) - special.gammaln(x + 1)  # of a count of 1: 0
    np.testing.assert_allclose(rows.log_constants[:2], exact, rtol=1e-7)


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 1000])
def test_the_balanced_order_has_every_row_once_and_spreads_neighbours(num_rows):
    order = balanced_order(num_rows)
    np.testing.assert_array_equal(np.sort(order), np.arange(num_rows))
    if num_rows == 1000:  # lengths that grow, on four devices
        lengths = (order**2).reshape(4, -1).sum(axis=1)
        assert lengths.max() < 1.1 * lengths.min()
        plain = (np.arange(1000) ** 2).reshape(4, -1).sum(axis=1)
        assert plain.max() > 30 * plain.min()


def test_fractions_have_the_constants_of_the_gamma_function_and_no_counts_have_none():
    counts = np.array([[0.5, 0.0, 3.25], [0.0, 0.0, 0.0]], np.float32)
    rows = lay_out(counts)
    wanted = (special.xlogy(counts, counts) - special.gammaln(counts + 1.0)).sum(axis=1)
    np.testing.assert_allclose(rows.log_constants[:2], wanted, rtol=1e-6)
    np.testing.assert_array_equal(rows.row_sums[:2], [3.75, 0.0])
    empty = lay_out(np.zeros((2, 3), np.uint8))
    assert not empty.by_row.counts.any()
    assert not empty.log_constants.any()


@pytest.mark.parametrize("num_rows", [1, 64, 300])
def test_rows_come_back_in_order(num_rows):
    rows = np.arange(num_rows)
    np.testing.assert_array_equal(in_order(rows[balanced_order(num_rows)]), rows)


def test_ones_follow_arrays_along_their_first_axis():
    padded = with_ones({"a": np.zeros((2, 3)), "b": np.array([5.0])}, 4)
    np.testing.assert_array_equal(padded["a"], [[0] * 3, [0] * 3, [1] * 3, [1] * 3])
    np.testing.assert_array_equal(padded["b"], [5, 1, 1, 1])
