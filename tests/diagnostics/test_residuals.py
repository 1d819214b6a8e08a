"""Moments of sums and residuals against brute force."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import Gamma
from vigamma.counts.sparse import check_sparse_counts
from vigamma.diagnostics.residuals import (
    Moments,
    Residuals,
    factor_moments,
    rates_at,
    residuals,
    strangest_entry,
    sum_moments,
)

SHAPE = 7, 5
RNG = np.random.default_rng(3)
ROWS, COLUMNS = (Gamma(*RNG.uniform(0.5, 3, (2, size, 2))) for size in SHAPE)
EXPOSURES = RNG.uniform(0.5, 2, 7)
MISSING = (RNG.random(SHAPE) < 0.3).astype(np.uint8)
CASES = {"all cells": None, "missing": csr_array(MISSING)}


def rates():
    theta, beta = factor_moments(ROWS, EXPOSURES).mean, factor_moments(COLUMNS).mean
    return theta, beta, theta @ beta.T


def is_near(draws, expected):
    """Whether means of draws, along the first axis, are within 4 standard errors."""
    errors = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return (np.abs(draws.mean(axis=0) - expected) < 4 * errors).all()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("axis", [0, 1])
def test_moments_of_sums_are_those_of_draws(case, axis):
    missing, rng, size = CASES[case], np.random.default_rng(axis), 40_000
    theta, beta = (
        rng.gamma(g.concentration, 1 / g.rate, (size, *g.rate.shape)) for g in (ROWS, COLUMNS)
    )
    counts = rng.poisson(np.einsum("snk,smk,n->snm", theta, beta, EXPOSURES))
    counts[:, MISSING.astype(bool) & (missing is not None)] = 0
    sums = counts.sum(axis=1 + axis).astype(float)
    sides = factor_moments(ROWS, EXPOSURES), factor_moments(COLUMNS)
    if axis == 0:
        sides = sides[::-1]
        missing = None if missing is None else csr_array(missing.T)
    found = sum_moments(*sides, missing)
    assert is_near(sums, found.mean)
    assert is_near((sums - found.mean) ** 2, found.variance)
    assert not is_near(sums, 1.1 * found.mean)
    assert not is_near((sums - found.mean) ** 2, found.mean)  # Poisson alone is not enough


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_those_of_dense_arrays(case):
    r = rates()[2]
    seen = np.ones(SHAPE) if CASES[case] is None else 1.0 - MISSING
    x = np.random.default_rng(0).poisson(r) * seen
    moments = factor_moments(ROWS, EXPOSURES), factor_moments(COLUMNS)
    both = residuals(*moments, check_sparse_counts(x), CASES[case])
    for axis, found in zip((1, 0), both, strict=True):
        excess = (((x - r) ** 2 - x) * seen).sum(axis=axis)
        np.testing.assert_allclose(
            found.of_dispersion, excess / np.sqrt(2 * (r**2 * seen).sum(axis=axis))
        )
        np.testing.assert_allclose(found.sums, x.sum(axis=axis))
        np.testing.assert_allclose(found.expected.mean, (r * seen).sum(axis=axis))
        z = (found.sums - found.expected.mean) / np.sqrt(found.expected.variance)
        np.testing.assert_allclose(found.of_sums, z)


def test_dispersion_has_mean_0_and_variance_1_for_poisson_counts():
    r = rates()[2]
    draws = np.random.default_rng(1).poisson(r, (20_000, *SHAPE)).astype(float)
    scatter = ((draws - r) ** 2 - draws).sum(axis=2) / np.sqrt(2 * (r**2).sum(axis=1))
    assert is_near(scatter, 0)
    assert is_near(scatter**2, 1)
    doubled = ((2 * draws - r) ** 2 - 2 * draws).sum(axis=2)
    assert not is_near(doubled, 0)


def test_the_strangest_entry_adds_most():
    theta, beta, r = rates()
    counts = np.zeros(SHAPE, int)
    counts[2] = [1, 0, 0, 90, 2]
    matrix = check_sparse_counts(counts)
    column, count, rate = strangest_entry(matrix, 2, theta, beta)
    assert (column, count) == (3, 90)
    assert rate == pytest.approx(r[2, 3])
    assert strangest_entry(matrix, 0, theta, beta) is None
    transposed = strangest_entry(csr_array(matrix.T), 3, beta, theta)
    assert transposed == pytest.approx((2, 90, rate))


def test_the_strangest_entry_is_neither_the_largest_nor_the_farthest_from_its_rate():
    others = np.array([[50.0], [1.0], [11.0]])
    matrix = check_sparse_counts([[52, 6, 18]])  # (x - r)² - x: -48, 19, 31
    assert strangest_entry(matrix, 0, np.ones((1, 1)), others) == (2, 18, 11)
    matrix = check_sparse_counts([[60, 9, 11]])  # 40, 55, -11, and (x - r)²: 100, 64, 0
    assert strangest_entry(matrix, 0, np.ones((1, 1)), others) == (1, 9, 1)


def test_rates_at_cells_are_those_of_the_product():
    theta, beta, r = rates()
    row, column = np.divmod(np.arange(35), 5)
    np.testing.assert_allclose(rates_at(theta, beta, row, column), r.ravel())


def test_the_rows_that_scatter_most_come_first():
    none = np.zeros(6)
    found = Residuals(none, Moments(none, none), none, np.array([1.0, -9, 5, 2, 5, 0]))
    assert found.largest_scatter().tolist() == [2, 4, 3, 0, 5, 1]
    assert found.largest_scatter(3).tolist() == [2, 4, 3]
