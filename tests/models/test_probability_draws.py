"""Draws of the probabilities of negative binomials are of their posterior given the factors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.sparse import csr_array

from tests.factors import in_default_precision
from vigamma.data.layout.count_entries import lay_out_entries
from vigamma.devices.mesh import ALONE
from vigamma.families.beta import Beta
from vigamma.models.probability_draws import _terms, draw_probabilities

SHAPES = 0.5, 2.0
NUM_ROWS, NUM_COLUMNS, NUM_COPIES = 60, 8, 16
NUM_STEPS = 900
STARTS = 1e-6, 0.3, 0.99


@functools.cache
def problem():
    """Means (N, M) and counts, from nearly Poisson counts to nearly always 0."""
    rng = np.random.default_rng(0)
    p = np.array([0.01, 0.01, 0.2, 0.2, 0.6, 0.6, 0.95, 0.95])
    means = rng.gamma(2, 0.5, NUM_ROWS)[:, None] * np.array([0.1, 300, 1, 30, 3, 300, 1, 10])
    return means, rng.poisson(rng.gamma(means * (1 - p) / p) * p / (1 - p))


def log_likelihood(log_odds: np.ndarray) -> np.ndarray:
    """Σ_n log NB(x_nm), of each column at each of these log-odds, by SciPy; shape (len, M)."""
    means, counts = problem()
    shapes = means / np.exp(log_odds)[:, None, None]
    found = special.gammaln(counts + shapes) - special.gammaln(shapes)
    found += counts * special.log_expit(log_odds)[:, None, None]
    found += shapes * special.log_expit(-log_odds)[:, None, None]
    return found.sum(axis=1)


@functools.cache
def exact_levels():
    """The posterior P(φ ≤ ...) of every column, on a grid of log-odds: the grid and (G, M)."""
    grid = np.linspace(-22, 9, 4001)
    a, b = SHAPES
    log_p = (
        log_likelihood(grid) + (a * special.log_expit(grid) + b * special.log_expit(-grid))[:, None]
    )
    return grid, np.cumsum(special.softmax(log_p, axis=0), axis=0)


@functools.cache
def draws() -> np.ndarray:
    """Log-odds of chains that start at each of `STARTS`: (steps, start, copy, M)."""
    means, counts = problem()
    counts = np.tile(counts, (1, NUM_COPIES))
    entries = lay_out_entries(
        csr_array(counts), np.ones(NUM_ROWS), None, num_shards=1, block_slots=64
    )
    num_padded = entries.is_column.size - counts.shape[1]
    assert not num_padded
    # A factor for each row alone gives cells any means: θ_n = e_n, β_m = the means of the column.
    theta = np.zeros((entries.exposures.size, NUM_ROWS))
    theta[:NUM_ROWS] = np.eye(NUM_ROWS)
    beta = np.tile(means.T, (NUM_COPIES, 1))
    args = in_default_precision((theta, beta, np.tile(means.sum(axis=0), NUM_COPIES), entries))
    prior = Beta(*in_default_precision(np.array(SHAPES)))

    @jax.jit
    def chain(start, key):
        def step(p, key):
            p, _ = draw_probabilities(p, prior, *args, key, ALONE)
            return p, p

        return jax.lax.scan(step, start, jax.random.split(key, NUM_STEPS))[1]

    found = []
    for i, start in enumerate(STARTS):
        p = chain(jnp.full(counts.shape[1], start, jnp.result_type(float)), jax.random.key(i))
        found.append(np.asarray(p, float))
    p = np.stack(found, axis=1)
    assert 0 < p.min() < p.max() < 1
    return special.logit(p).reshape(NUM_STEPS, len(STARTS), NUM_COPIES, NUM_COLUMNS)


def test_chains_from_any_start_have_the_levels_of_the_exact_posterior():
    """Means of the levels and of their squares, over batches of chains."""
    grid, levels = exact_levels()
    found = draws()[100:]
    for m in range(NUM_COLUMNS):
        level = np.interp(found[..., m], grid, levels[:, m])
        for power in (1, 2):
            of_chains = (level**power).mean(axis=0)  # (start, copy)
            error = of_chains.std(ddof=1) / np.sqrt(of_chains.size)
            assert error < 0.02, m
            assert abs(of_chains.mean() - 1 / (power + 1)) < 4.5 * error, m
            assert np.ptp(of_chains.mean(axis=1)) < 5 * error * np.sqrt(len(STARTS)), m


def test_chains_move_in_most_steps():
    moved = (np.diff(draws(), axis=0) != 0).mean(axis=(0, 1, 2))
    assert moved.min() > 0.4, moved


def test_the_sum_of_terms_is_that_of_the_new_values():
    means, counts = problem()
    entries = lay_out_entries(
        csr_array(counts), np.ones(NUM_ROWS), None, num_shards=1, block_slots=64
    )
    theta = np.pad(np.eye(NUM_ROWS), ((0, entries.exposures.size - NUM_ROWS), (0, 0)))
    beta = np.pad(means.T, ((0, entries.is_column.size - NUM_COLUMNS), (0, 0)))
    theta, beta, expected, entries = in_default_precision((theta, beta, beta.sum(axis=1), entries))
    prior = Beta(*in_default_precision(np.array(SHAPES)))
    p = jnp.full(len(beta), 0.3, beta.dtype)
    draw = jax.jit(
        lambda p, key: draw_probabilities(p, prior, theta, beta, expected, entries, key, ALONE)
    )
    for i in range(3):
        p, log_rising = draw(p, jax.random.key(i))
        shapes = means * (1 / np.asarray(p, float)[:NUM_COLUMNS] - 1)
        terms = special.gammaln(counts + shapes) - special.gammaln(shapes) - counts * np.log(shapes)
        np.testing.assert_allclose(log_rising, terms.sum(), rtol=1e-5)


@pytest.mark.parametrize("r", [1e-6, 0.03, 0.5, 1.0, 7.0, 300.0, 1e6])
def test_terms_are_those_of_a_chinese_restaurant(r):
    for x in (2, 3, 10, 64, 5000):
        opens = r / (r + np.arange(x))
        found = [
            float(part) for part in _terms(*in_default_precision((np.array(x * 1.0), np.array(r))))
        ]
        np.testing.assert_allclose(found[0], (1 - opens).sum(), rtol=1e-4, atol=3e-6 * x)
        variance = (opens * (1 - opens)).sum()
        np.testing.assert_allclose(found[1], variance, rtol=0.15, atol=3e-6 * x)
        terms = np.log1p(np.arange(x) / r).sum()
        np.testing.assert_allclose(found[2], terms, rtol=1e-5, atol=3e-6 * x)
