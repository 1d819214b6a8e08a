"""The passes over sparse entries, against dense NumPy float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.sparse import csr_array

from tests.slow import slow_after
from vigamma.data.layout.blocks import make_blocks
from vigamma.models.kernels import (
    elementwise,
    gathered,
    shares_given,
    split_counts,
    sum_over_entries,
    sum_over_factors,
)

NUM_ROWS, NUM_COLUMNS = 40, 90
SIZES = [1, 3, 8, 20, 33, 56, 100]  # below, at and above the padding and the unrolled copies

split = jax.jit(split_counts)
sum_entries = jax.jit(sum_over_entries, static_argnames="num_rows")


def skewed_counts() -> np.ndarray:
    """Rows and columns from empty to full."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.geomspace(0.02, 30, NUM_ROWS)[:, None], (NUM_ROWS, NUM_COLUMNS))
    counts[7], counts[:, 11] = 0, 0
    return counts


def blocks_of(counts: np.ndarray, block_slots: int = 256):
    return make_blocks([csr_array(counts.astype(np.uint8))], block_slots)


def tables(num_factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of rows and columns, in float32 and up to a million times different."""
    rng = np.random.default_rng(num_factors)
    own, other = (
        np.exp(rng.uniform(-7, 7, (size, num_factors))) for size in (NUM_ROWS, NUM_COLUMNS)
    )
    return own.astype(np.float32), other.astype(np.float32)


def dense_split(own, other, counts) -> tuple[np.ndarray, np.ndarray, float]:
    """(shares of rows, shares of columns, Σ x log(r / x)) in float64."""
    own, other = own.astype(np.float64), other.astype(np.float64)
    rates = own @ other.T
    ratios = counts / rates
    fit = -special.xlogy(counts, ratios).sum()
    return own * (ratios @ other), other * (ratios.T @ own), fit


@pytest.mark.parametrize("block_slots", slow_after(1, [64, 1024]))
@pytest.mark.parametrize("num_factors", SIZES)
def test_split_counts_is_the_dense_one(num_factors, block_slots):
    counts, (own, other) = skewed_counts(), tables(num_factors)
    shares, fit = split(own, other, blocks_of(counts, block_slots))
    expected, _, expected_fit = dense_split(own, other, counts)
    np.testing.assert_allclose(shares, expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(fit, expected_fit, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), counts.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("block_slots", slow_after(1, [64, 1024]))
@pytest.mark.parametrize("num_factors", SIZES)
def test_sum_over_entries_is_the_dense_one(num_factors, block_slots):
    counts, (_, other) = skewed_counts(), tables(num_factors)
    got = sum_entries(other, blocks_of(counts, block_slots), num_rows=NUM_ROWS)
    expected = (counts > 0) @ other.astype(np.float64)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert (got[7] == 0).all()


def test_the_other_side_gets_the_transposed_shares():
    counts, (own, other) = skewed_counts(), tables(3)
    shares, fit = split(other, own, blocks_of(counts.T))
    _, expected, expected_fit = dense_split(own, other, counts)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)
    np.testing.assert_allclose(fit, expected_fit, rtol=1e-5)


@pytest.mark.parametrize("num_factors", [3, 8, 56])
def test_zero_and_extreme_weights(num_factors):
    """A component that is 0 gets nothing; scales that cancel change nothing."""
    counts, (own, other) = skewed_counts(), tables(num_factors)
    own[:, 0] = other[:, 1] = 0
    own[:, 2] *= np.float32(1e-20)
    other[:, 2] *= np.float32(1e20)
    shares, _ = split(own, other, blocks_of(counts))
    expected, _, _ = dense_split(own, other, counts)
    assert (np.asarray(shares[:, :2]) <= 1e-20 * counts.max()).all()
    np.testing.assert_allclose(shares[:, 2:], expected[:, 2:], rtol=1e-5)


def test_shares_of_a_single_block_are_the_dense_ones():
    """Padding refers to the first column, which here has no weight and no count."""
    counts, (own, other) = skewed_counts(), tables(3)
    counts[:, 0] = other[0] = 0
    block = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), blocks_of(counts, 2**13))
    assert (block.counts > 0).sum() == (counts > 0).sum()
    assert ((block.counts == 0) & (block.columns == 0)).any()
    shares = jax.jit(shares_given)(own, gathered(other, block.columns), block)
    np.testing.assert_allclose(
        shares[:, 0], dense_split(own, other[1:], counts[:, 1:])[0][:, 0], rtol=1e-5
    )
    np.testing.assert_allclose(shares.sum(axis=1), counts.sum(axis=1), rtol=1e-5)


def test_rates_that_are_the_counts_fit_perfectly():
    """Exactly 0 nats, where a sum of x log r would be off by many for so large a count."""
    counts = np.array([[2**24, 0], [0, 3]], np.int32)
    own = jnp.asarray([[2.0**24], [3.0]])
    blocks = make_blocks([csr_array(counts)], 64)
    shares, fit = split(own, jnp.ones((2, 1)), blocks)
    np.testing.assert_array_equal(shares, own)
    assert fit == 0


@pytest.mark.parametrize("num_factors", slow_after(1, [8, 3, 56]))
def test_the_gradient_of_the_fit_is_that_of_the_dense_sum(num_factors):
    counts, (own, other) = skewed_counts(), tables(num_factors)
    blocks = blocks_of(counts)
    gradient = jax.jit(jax.grad(lambda *weights: split_counts(*weights, blocks)[1], (0, 1)))
    with jax.enable_x64(True):

        def fit(own, other):  # up to a constant
            return (counts.astype(np.float64) * jnp.log(own @ other.T)).sum()

        expected = jax.grad(fit, (0, 1))(*(jnp.asarray(t, float) for t in (own, other)))
    for got, wanted in zip(gradient(own, other), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def largest_array(compiled) -> int:
    """The number of elements of the largest array in a compiled program."""
    shapes = re.findall(r"\b(?:pred|[a-z]+\d+)\[([\d,]+)\]", compiled.as_text())
    return max(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


@pytest.mark.parametrize("kernel", ["split_counts", "sum_over_entries"])
def test_no_array_has_all_entries_and_all_components(kernel):
    num_factors, counts = 20, np.ones((128, 128), np.uint8)
    table = jnp.ones((128, num_factors))

    def compiled(block_slots: int):
        blocks = blocks_of(counts, block_slots)
        if kernel == "split_counts":
            return split.lower(table, table, blocks).compile()
        return sum_entries.lower(table, blocks, num_rows=128).compile()

    # The entries; tables have 128 · 24 elements, and what is gathered for a block has 256 · 24.
    assert largest_array(compiled(256)) == counts.size
    assert largest_array(compiled(counts.size)) >= counts.size * num_factors  # in a single block


def test_rows_beyond_the_last_are_only_padding():
    """One entry in a block of 64 slots: 15 chunks of padding must not reach the last row."""
    counts = np.zeros((5, 7), np.uint8)
    counts[2, 3] = 9
    table = jnp.ones((7, 2))
    shares, fit = split(jnp.ones((5, 2)), table, blocks_of(counts, 64))
    expected = np.zeros((5, 2))
    expected[2] = 4.5
    np.testing.assert_array_equal(shares, expected)
    np.testing.assert_allclose(fit, 9 * np.log(2 / 9), rtol=1e-6)
    np.testing.assert_array_equal(
        sum_entries(table, blocks_of(counts, 64), num_rows=5), expected / 4.5
    )


@pytest.mark.parametrize("shape", [(6, 5), (7, 5), (2, 1), (1, 3), (64, 20)])
def test_elementwise_is_the_function(shape):
    rng = np.random.default_rng(0)
    a, b = rng.gamma(1.0, 1.0, (2, *shape)).astype(np.float32)
    got = jax.jit(lambda a, b: elementwise(lambda a, b: a / b + jnp.log(a), a, b))(a, b)
    np.testing.assert_allclose(got, a / b + np.log(a), rtol=1e-6, atol=1e-6)


def test_sum_over_factors():
    table = np.random.default_rng(0).gamma(1.0, 1.0, (40, 50)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(sum_over_factors)(table), table.sum(axis=1), rtol=1e-6)
