"""Moments of sums and residuals against brute force."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import Gamma
from vigamma.counts.sparse import check_sparse_counts
from vigamma.diagnostics.residuals import (
    FactorMoments,
    Moments,
    Residuals,
    factor_moments,
    rates_at,
    residuals,
    strangest_entry,
    sums_of_both,
)
from vigamma.families.beta import Beta

SHAPE = 7, 5
RNG = np.random.default_rng(3)
ROWS, COLUMNS = (Gamma(*RNG.uniform(0.5, 3, (2, size, 2))) for size in SHAPE)
EXPOSURES = RNG.uniform(0.5, 2, 7)
MISSING = (RNG.random(SHAPE) < 0.3).astype(np.uint8)
CASES = {"all cells": None, "missing": csr_array(MISSING)}
P = np.array([1e-6, 0.1, 0.5, 0.7, 0.8])
KINDS = {"Poisson": None, "negative binomial": Beta(1e6 * P, 1e6 * (1 - P))}
NOISE = {"Poisson": np.ones(5), "negative binomial": 1 / (1 - P)}


def moments_of(kind="Poisson"):
    return factor_moments(ROWS, EXPOSURES), factor_moments(COLUMNS, probabilities=KINDS[kind])


def rates():
    theta, beta = (side.mean for side in moments_of())
    return theta, beta, theta @ beta.T


def draw(kind, means, rng):
    """Counts of these means; their last axis is that of the columns."""
    if kind == "Poisson":
        return rng.poisson(means)
    return rng.poisson(rng.gamma(means * (1 - P) / P) * P / (1 - P))


def is_near(draws, expected):
    """Whether means of draws, along the first axis, are within 4 standard errors."""
    errors = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return (np.abs(draws.mean(axis=0) - expected) < 4 * errors).all()


def test_the_noise_of_columns_is_that_of_their_mean_probabilities():
    rows, columns = moments_of("negative binomial")
    np.testing.assert_array_equal(rows.noise, 1)
    np.testing.assert_allclose(columns.noise, 1 / (1 - P))
    np.testing.assert_array_equal(moments_of()[1].noise, 1)
    unsure = factor_moments(COLUMNS, probabilities=Beta(np.full(5, 3.0), np.full(5, 1.0)))
    np.testing.assert_allclose(unsure.noise, 4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", [0, 1])
def test_moments_of_sums_are_those_of_draws(case, kind, axis):
    missing, rng, size = CASES[case], np.random.default_rng(axis), 40_000
    theta, beta = (
        rng.gamma(g.concentration, 1 / g.rate, (size, *g.rate.shape)) for g in (ROWS, COLUMNS)
    )
    counts = draw(kind, np.einsum("snk,smk,n->snm", theta, beta, EXPOSURES), rng)
    counts[:, MISSING.astype(bool) & (missing is not None)] = 0
    sums = counts.sum(axis=1 + axis).astype(float)
    found = sums_of_both(*moments_of(kind), missing)[1 - axis]
    assert is_near(sums, found.mean)
    assert is_near((sums - found.mean) ** 2, found.variance)
    assert not is_near(sums, 1.1 * found.mean)
    assert not is_near((sums - found.mean) ** 2, found.mean)  # Poisson alone is not enough


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_residuals_are_those_of_dense_arrays(case, kind):
    r = rates()[2]
    seen = np.ones(SHAPE) if CASES[case] is None else 1.0 - MISSING
    x = np.random.default_rng(0).poisson(r) * seen
    v, moments = NOISE[kind], moments_of(kind)
    both = residuals(*moments, check_sparse_counts(x), CASES[case])
    variances = 2 * r**2 + (3 * v - 1) * (v - 1) / v * r
    for axis, found in zip((1, 0), both, strict=True):
        excess = (((x - r) ** 2 / v - x) * seen).sum(axis=axis)
        np.testing.assert_allclose(
            found.of_dispersion, excess / np.sqrt((variances * seen).sum(axis=axis))
        )
        np.testing.assert_allclose(found.sums, x.sum(axis=axis))
        np.testing.assert_allclose(found.expected.mean, (r * seen).sum(axis=axis))
        z = (found.sums - found.expected.mean) / np.sqrt(found.expected.variance)
        np.testing.assert_allclose(found.of_sums, z)


@pytest.mark.parametrize("kind", KINDS)
def test_dispersion_has_mean_0_and_variance_1_for_counts_of_the_model(kind):
    r, v = rates()[2], NOISE[kind]
    draws = draw(kind, np.broadcast_to(r, (40_000, *SHAPE)), np.random.default_rng(1))
    variances = 2 * r**2 + (3 * v - 1) * (v - 1) / v * r
    for axis in (1, 2):
        excess = ((draws - r) ** 2 / v - draws).sum(axis=axis)
        scatter = excess / np.sqrt(variances.sum(axis=axis - 1))
        assert is_near(scatter, 0)
        assert is_near(scatter**2, 1)
        assert not is_near(((2 * draws - r) ** 2 / v - 2 * draws).sum(axis=axis), 0)


def test_the_strangest_entry_adds_most():
    r, (own, others) = rates()[2], moments_of()
    counts = np.zeros(SHAPE, int)
    counts[2] = [1, 0, 0, 90, 2]
    matrix = check_sparse_counts(counts)
    column, count, rate = strangest_entry(matrix, 2, own, others)
    assert (column, count) == (3, 90)
    assert rate == pytest.approx(r[2, 3])
    assert strangest_entry(matrix, 0, own, others) is None
    transposed = strangest_entry(csr_array(matrix.T), 3, others, own)
    assert transposed == pytest.approx((2, 90, rate))


def test_the_strangest_entry_is_neither_the_largest_nor_the_farthest_from_its_rate():
    means, one = np.array([[50.0], [1.0], [11.0]]), np.ones((1, 1))
    row, others = (FactorMoments(mean, 0 * mean, np.ones(len(mean))) for mean in (one, means))
    matrix = check_sparse_counts([[52, 6, 18]])  # (x - r)² - x: -48, 19, 31
    assert strangest_entry(matrix, 0, row, others) == (2, 18, 11)
    matrix = check_sparse_counts([[60, 9, 11]])  # 40, 55, -11, and (x - r)²: 100, 64, 0
    assert strangest_entry(matrix, 0, row, others) == (1, 9, 1)
    noisy = others._replace(noise=np.array([1.0, 4.0, 1.0]))  # (x - r)² / v - x: 40, 7, -11
    assert strangest_entry(matrix, 0, row, noisy) == (0, 60, 50)
    rows = FactorMoments(np.array([[1.0], [20.0]]), np.zeros((2, 1)), np.ones(2))
    column = check_sparse_counts([[9, 30]])  # 55, 70, and with v = 4: 7, -5
    assert strangest_entry(column, 0, row, rows) == (1, 30, 20)
    assert strangest_entry(column, 0, row._replace(noise=np.array([4.0])), rows) == (0, 9, 1)


def test_rates_at_cells_are_those_of_the_product():
    theta, beta, r = rates()
    row, column = np.divmod(np.arange(35), 5)
    np.testing.assert_allclose(rates_at(theta, beta, row, column), r.ravel())


def test_the_rows_that_scatter_most_come_first():
    none = np.zeros(6)
    found = Residuals(none, Moments(none, none), none, np.array([1.0, -9, 5, 2, 5, 0]))
    assert found.largest_scatter().tolist() == [2, 4, 3, 0, 5, 1]
    assert found.largest_scatter(3).tolist() == [2, 4, 3]
