"""Each count splits among components as a multinomial, and nothing of it is lost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.factors import in_default_precision
from tests.slow import slow_after
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.layout.count_entries import MOST_UNITS, lay_out_entries
from vigamma.models.allocation import allocate_counts

SIZES = [1, MOST_UNITS, MOST_UNITS + 1, 500, 10_000]
NUM_ROWS = 200  # of each size
LEAST_P = 1e-5

_draw = jax.jit(allocate_counts)


def entries_of(counts):
    layout = {"num_shards": 1, "block_slots": 64}
    counts = np.asarray(counts)
    entries = lay_out_entries(check_sparse_counts(counts), np.ones(len(counts)), None, **layout)
    return in_default_precision(entries)


def padded(table) -> jax.Array:
    """A table of factors with ones in the rows that the layout adds."""
    table = np.asarray(table)
    rows = np.pad(table, ((0, -len(table) % 64), (0, 0)), constant_values=1)
    return jnp.asarray(rows, jnp.result_type(float))


def draw(theta, beta, counts, seed: int = 0, first_row: int = 0):
    """(Σ_m z (N, K), Σ_n z (M, K), the fit) in NumPy, without padding."""
    rows, columns, fit = _draw(
        padded(theta), padded(beta), entries_of(counts), jax.random.key(seed), jnp.int32(first_row)
    )
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    assert not rows[len(theta) :].any()
    assert not columns[len(beta) :].any()
    return rows[: len(theta)], columns[: len(beta)], float(fit)


def random_factors(num_rows: int, num_columns: int, num_factors: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return (np.exp(rng.normal(0, 1.5, (size, num_factors))) for size in (num_rows, num_columns))


@functools.cache
def probabilities(num_factors: int) -> np.ndarray:
    """Of the components of three cells of a row, whose θ is 1; shape (3, K)."""
    _, beta = random_factors(1, 3, num_factors)
    return beta / beta.sum(axis=1, keepdims=True)


@functools.cache
def samples(num_factors: int, x64: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of rows of three equal counts of each of `SIZES`, many alike, under several keys.

    Returns the row sums, by size, (5, R, K), and the column sums, (S, 3, K).
    """
    counts = np.repeat(SIZES, NUM_ROWS)[:, None] * np.ones((1, 3), int)
    theta, beta = np.ones((len(counts), num_factors)), 7 * probabilities(num_factors)
    with jax.enable_x64(x64):
        drawn = [draw(theta, beta, counts, seed)[:2] for seed in range(20)]
    rows, columns = (np.stack(part) for part in zip(*drawn, strict=True))
    rows = rows.reshape(20, len(SIZES), NUM_ROWS, num_factors).swapaxes(0, 1)
    return rows.reshape(len(SIZES), -1, num_factors), columns


def covariance(size: int, probabilities: np.ndarray) -> np.ndarray:
    """Of the sum of independent multinomials; shape (K, K)."""
    return size * sum(np.diag(p) - np.outer(p, p) for p in probabilities)


BY_PRECISION = [
    (3, False),
    *[pytest.param(k, False, marks=pytest.mark.nightly) for k in (8, 20)],
    (9, False),
    (9, True),
]


@pytest.mark.slow
@pytest.mark.parametrize(("num_factors", "x64"), BY_PRECISION)
def test_row_sums_have_the_mean_and_covariance_of_multinomials(num_factors, x64):
    p = probabilities(num_factors)
    for size, drawn in zip(SIZES, samples(num_factors, x64)[0], strict=True):
        expected = covariance(size, p)
        variance = np.diag(expected)
        z = (drawn.mean(axis=0) - size * p.sum(axis=0)) / np.sqrt(variance / len(drawn))
        assert np.abs(z).max() < 5, size
        # The fourth joint cumulants of multinomials are at most their covariances.
        error = np.outer(variance, variance) + expected**2 + np.abs(expected)
        z = (np.cov(drawn.T) - expected) / np.sqrt(error / len(drawn))
        assert np.abs(z).max() < 5, size


@pytest.mark.parametrize(("num_factors", "x64"), slow_after(1, BY_PRECISION))
def test_column_sums_have_the_mean_and_variance_of_multinomials(num_factors, x64):
    p, drawn = probabilities(num_factors), samples(num_factors, x64)[1]
    total = NUM_ROWS * sum(SIZES)
    z = (drawn - total * p) / np.sqrt(total * p * (1 - p))
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(len(drawn))
    assert scipy.stats.chi2(len(drawn)).sf((z**2).sum(axis=0)).min() > LEAST_P
    assert scipy.stats.chi2(len(drawn)).cdf((z**2).sum(axis=0)).min() > LEAST_P


def fits(drawn: np.ndarray, pmf: np.ndarray) -> bool:
    """Whether integers are drawn from a distribution, by χ² over groups of 20 or more."""
    expected = pmf * len(drawn)
    group = np.minimum((np.cumsum(expected) / 20).astype(int), int(expected.sum() / 20) - 1)
    expected = np.bincount(group, expected)
    found = np.bincount(group[drawn], minlength=len(expected))
    is_used = expected > 0
    expected, found = expected[is_used], found[is_used]
    assert len(expected) > 5
    statistic = ((found - expected) ** 2 / expected).sum()
    return scipy.stats.chi2(len(expected) - 1).sf(statistic) > LEAST_P


@pytest.mark.parametrize("x64", [False, True])
def test_a_single_unit_falls_to_each_component_with_its_probability(x64):
    _, beta = random_factors(1, 1, 20, seed=1)
    with jax.enable_x64(x64):
        drawn = [
            draw(np.ones((1000, 20)), beta, np.ones((1000, 1), int), seed)[0] for seed in range(40)
        ]
    components = np.concatenate([rows.argmax(axis=1) for rows in drawn])
    assert fits(components, beta[0] / beta.sum())
    assert not fits(components, np.roll(beta[0], 1) / beta.sum())


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("size", slow_after(2, [MOST_UNITS, MOST_UNITS + 1, 500]))
def test_the_part_of_each_component_is_binomial(size, x64):
    p = np.array([0.02, 0.6, 0.08, 0.3])
    with jax.enable_x64(x64):
        drawn = [
            draw(np.ones((1000, 4)), p[None], np.full((1000, 1), size), seed)[0]
            for seed in range(20)
        ]
    for part, probability in zip(np.concatenate(drawn).T, p, strict=True):
        distribution = scipy.stats.binom(size, probability)
        if probability > 0.02 or size > MOST_UNITS + 1:
            assert fits(part, distribution.pmf(np.arange(size + 1)))
        assert not fits(part, scipy.stats.binom(size, probability + 0.02).pmf(np.arange(size + 1)))


def table_pmf(size: int, r: float) -> np.ndarray:
    """P(l tables) of a Chinese restaurant of `size` customers and concentration r."""
    pmf = np.eye(1, size + 1)[0]
    for unit in range(size):
        opens = r / (r + unit)
        pmf = (1 - opens) * pmf + opens * np.roll(pmf, 1)
    return pmf


@pytest.mark.slow
@pytest.mark.parametrize(("size", "shape"), [(20, 2.0), (MOST_UNITS, 5.0), (300, 4.0)])
def test_the_tables_of_a_chinese_restaurant_are_split(size, shape):
    """Of rows with an exposure of 2, whose shapes are r = 2 Σ_k θ_k β_k / odds."""
    weights, odds = np.array([0.02, 0.6, 0.08, 0.3]), 0.5
    theta = np.full((1000, 4), shape * odds / 2)
    entries = entries_of(np.full((1000, 1), size)).replace(
        exposures=jnp.full(1024, 2.0, jnp.result_type(float))
    )
    of_columns = jnp.full(64, odds, jnp.result_type(float))
    found = [
        _draw(padded(theta), padded(weights[None]), entries, jax.random.key(seed), odds=of_columns)
        for seed in range(10)
    ]
    rows = np.concatenate([np.asarray(part.rows)[:1000] for part in found])
    tables = rows.sum(axis=1)
    assert fits(tables, table_pmf(size, shape))
    assert not fits(tables, table_pmf(size, 1.1 * shape))
    expected = weights * tables.sum()
    assert scipy.stats.chisquare(rows.sum(axis=0), expected).pvalue > LEAST_P
    variance = weights * (1 - weights) * tables.mean()
    z = (rows - weights * tables[:, None]).var(axis=0) / variance - 1
    assert np.abs(z).max() < 6 * np.sqrt(3 / len(rows) / weights.min() / tables.mean())
    np.testing.assert_array_equal(found[0].columns[0], np.asarray(found[0].rows)[:1000].sum(axis=0))
    rates = theta[0] @ weights
    np.testing.assert_allclose(found[0].fit, 1000 * size * np.log(rates / size), rtol=1e-5)


EDGES = [0, 0, 0, 1, 2, 3, MOST_UNITS, MOST_UNITS + 1, 300, 2**24]


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 12.0])
@pytest.mark.parametrize("num_factors", [1, 3, 8, 9, pytest.param(20, marks=pytest.mark.nightly)])
def test_every_unit_is_in_one_row_sum_and_one_column_sum(num_factors, spread):
    """Weights differ by factors of up to 1e25 where the spread is large."""
    rng = np.random.default_rng(3)
    counts = rng.choice(EDGES, (90, 20))
    theta, beta = (
        np.exp(np.clip(rng.normal(0, spread, (size, num_factors)), -29, 29)) for size in (90, 20)
    )
    rows, columns, fit = draw(theta, beta, counts)
    np.testing.assert_array_equal(rows.sum(axis=1), counts.sum(axis=1))
    np.testing.assert_array_equal(columns.sum(axis=1), counts.sum(axis=0))
    np.testing.assert_array_equal(rows.sum(axis=0), columns.sum(axis=0))
    assert min(rows.min(), columns.min()) >= 0
    rates = theta @ beta.T
    terms = np.where(counts > 0, counts * np.log(rates / np.maximum(counts, 1)), 0)
    np.testing.assert_allclose(fit, terms.sum(), rtol=0, atol=2e-7 * np.abs(terms).sum())


@pytest.mark.parametrize("size", [3, 500])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_components_with_a_vanishing_share_get_nothing_and_the_others_their_share(size, scale):
    weights = np.full(20, 1e-12)
    weights[[2, 9, 17]] = 0.1, 0.5, 0.4
    theta, beta = np.sqrt(scale) * np.ones((1000, 20)), np.sqrt(scale) * weights[None]
    rows, _, _ = draw(theta, beta, np.full((1000, 1), size))
    assert not np.delete(rows, [2, 9, 17], axis=1).any()
    expected = size * 1000 * weights[[2, 9, 17]]
    z = (rows.sum(axis=0)[[2, 9, 17]] - expected) / np.sqrt(expected)
    assert np.abs(z).max() < 5


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, MOST_UNITS + 1])
def test_a_count_of_components_far_apart_goes_to_the_one_that_both_sides_have(size):
    """In float32 the other products are 0."""
    theta, beta = np.full((64, 20), 1e-29), np.full((20, 20), 1e-29)
    theta[np.arange(64), np.arange(64) % 20] = 1.0
    np.fill_diagonal(beta, 1e-6)
    counts = size * (np.arange(64)[:, None] % 20 == np.arange(20))
    rows, columns, _ = draw(theta, beta, counts)
    np.testing.assert_array_equal(rows, counts)
    np.testing.assert_array_equal(columns, np.diag(counts.sum(axis=0)))


def test_the_largest_random_number_does_not_leave_the_components_with_a_weight():
    """At this row and column it is within 2^-25 of 1, which is 1 in float32."""
    theta, beta = np.ones((1, 9)), np.ones((12, 9))
    theta[:, 8], beta[:, 8] = 1e-29, 1e-29
    counts = np.zeros((1, 12), int)
    counts[0, 5] = 1
    rows, columns, _ = draw(theta, beta, counts, first_row=3718407)
    np.testing.assert_array_equal(rows, np.eye(9)[[7]])
    np.testing.assert_array_equal(columns[5], np.eye(9)[7])


def mixed_problem():
    rng = np.random.default_rng(4)
    theta, beta = random_factors(128, 10, 9)
    return theta, beta, rng.choice([0, 1, 7, MOST_UNITS + 1, 400], (128, 10))


@pytest.mark.slow
@pytest.mark.parametrize("num_shards", [2, 4])
def test_a_part_of_the_rows_draws_what_it_draws_among_all(num_shards):
    theta, beta, counts = mixed_problem()
    rows, columns, _ = draw(theta, beta, counts)
    size = 128 // num_shards
    parts = [
        draw(theta[first : first + size], beta, counts[first : first + size], first_row=first)
        for first in range(0, 128, size)
    ]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), rows)
    np.testing.assert_array_equal(sum(part[1] for part in parts), columns)
    elsewhere = draw(theta, beta, counts, first_row=1)[0]
    assert (elsewhere != rows).any(axis=1).mean() > 0.9


@pytest.mark.slow
def test_the_draws_of_an_entry_do_not_depend_on_other_entries():
    theta, beta, counts = mixed_problem()
    rows, columns, _ = draw(theta, beta, counts)
    rng = np.random.default_rng(5)
    other = rng.permuted(counts, axis=0)
    is_kept = np.arange(128) % 3 > 0
    changed = draw(theta, beta, np.where(is_kept[:, None], counts, other))[0]
    np.testing.assert_array_equal(changed[is_kept], rows[is_kept])
    assert (changed[~is_kept] != rows[~is_kept]).any(axis=1).mean() > 0.9
    is_kept = np.arange(10) % 3 > 0
    changed = draw(theta, beta, np.where(is_kept, counts, other))[1]
    np.testing.assert_array_equal(changed[is_kept], columns[is_kept])
    assert (changed[~is_kept] != columns[~is_kept]).any(axis=1).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 500])
def test_rows_columns_and_keys_draw_independently(size):
    """Entry (n, m) is also compared with entry (m, n)."""
    counts, halves = np.full((60, 60), size), np.ones((60, 2))
    number = np.zeros((2, 60, 60))
    for m in range(60):
        only = np.where(np.arange(60) == m, counts, 0)
        for seed in range(2):
            number[seed, :, m] = draw(halves, halves, only, seed)[0][:, 0]
    a, b = (number - size / 2) / np.sqrt(size / 4)
    upper = np.triu_indices(60, 1)
    pairs = [
        (a, b),
        (a[1:], a[:-1]),
        (a[:, 1:], a[:, :-1]),
        (a[1:, :-1], a[:-1, 1:]),
        (a[upper], a.T[upper]),
    ]
    for one, other in pairs:
        assert abs((one * other).mean()) < 5 / np.sqrt(one.size)
