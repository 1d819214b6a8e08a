"""Calibration against all cells, listed."""

import numpy as np
import pytest
import scipy.stats
from scipy.sparse import csr_array

from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOut, HeldOutCounts, Split
from vigamma.diagnostics.calibration import Calibration, calibration, share_of_sums_outside
from vigamma.diagnostics.residuals import FactorMoments

RNG = np.random.default_rng(1)
THETA, BETA = RNG.gamma(0.5, 1.0, (300, 3)) + 0.02, RNG.gamma(0.5, 1.0, (200, 3)) + 0.02
COUNTS = RNG.poisson(THETA @ BETA.T)
P = np.where(np.arange(200) % 2, 0.75, 1e-3)
BURSTY = RNG.poisson(RNG.gamma(THETA @ BETA.T * (1 - P) / P) * P / (1 - P))
KEPT = {"thinning": 0.8, "cells": 1.0, "entries": 0.75}  # 5 % validate


def certain(mean, noise=1.0):
    """Moments of factors without uncertainty."""
    return FactorMoments(mean, 0 * mean, np.broadcast_to(noise, len(mean)))


def split_of(protocol, counts=COUNTS):
    heldout = HeldOut(protocol=protocol, test_fraction=0.2)
    return heldout.split(LoadedCounts(check_sparse_counts(counts)))


@pytest.mark.parametrize("protocol", KEPT)
def test_the_truth_is_calibrated_and_a_wrong_rate_is_not(protocol):
    split = split_of(protocol)
    found = calibration(certain(KEPT[protocol] * THETA), certain(BETA), split, 0)
    low, high = found.interval(1 - 0.01 / 12)
    assert ((low < 1.01) & (high > 0.99)).all()
    assert found.observed.sum() == split.test.counts.sum()
    assert (np.diff(found.rates) > 0).all()
    half = certain(0.5 * KEPT[protocol] * THETA)
    low, _ = calibration(half, certain(BETA), split, 0).interval(0.9)
    assert (low > 1).all()


@pytest.mark.parametrize("protocol", KEPT)
def test_negative_binomials_are_calibrated_with_intervals_of_their_variances(protocol):
    split, kept = split_of(protocol, BURSTY), KEPT[protocol]
    noise = 1 + (kept if protocol == "thinning" else 1) * P / (1 - P)
    rows, columns = certain(kept * THETA), certain(BETA, noise)
    found = calibration(rows, columns, split, 0)
    low, high = found.interval(1 - 0.01 / 12)
    assert ((low < 1.01) & (high > 0.99)).all()
    assert found.observed.sum() == split.test.counts.sum()
    if protocol != "cells":
        return
    as_poisson = calibration(rows, certain(BETA), split, 0)
    np.testing.assert_array_equal(as_poisson.clumps, 1)
    np.testing.assert_array_equal(found.ratio, as_poisson.ratio)
    rates = (THETA @ BETA.T)[split.test.rows, split.test.columns]
    assert found.clumps @ found.expected == pytest.approx(rates @ noise[split.test.columns])


def test_a_thinned_part_of_negative_binomials_is_predicted_given_the_other():
    """By brute force over all cells."""
    split = split_of("thinning", BURSTY)
    train, test = split.train.toarray(), np.zeros(BURSTY.shape)
    test[split.test.rows, split.test.columns] = split.test.counts
    p = 1 - 1 / (1 + 0.8 * P / (1 - P))
    predicted = 0.25 * ((1 - p) * (0.8 * THETA @ BETA.T) + p * train)
    rows, columns = certain(0.8 * THETA), certain(BETA, 1 / (1 - p))
    found = calibration(rows, columns, split, 0)
    assert found.expected.sum() == pytest.approx(predicted.sum())
    middle = 0.25 * np.sqrt(found.rates[:-1] * found.rates[1:])
    index = np.digitize(predicted.ravel(), middle)
    np.testing.assert_allclose(found.expected, np.bincount(index, predicted.ravel()), rtol=0.3)
    for axis in (1, 0):
        share = share_of_sums_outside(rows, columns, split, axis)
        mean = predicted.sum(axis=axis)
        variance = ((1 + 0.25 * p) * predicted).sum(axis=axis)
        outside = np.abs(test.sum(axis=axis) - mean) > 1.6448536 * np.sqrt(variance)
        assert share == pytest.approx(outside[mean >= 5].mean())
        assert 0.04 < share < 0.15
    assert share_of_sums_outside(rows, certain(BETA), split, 1) > 0.16


def test_sampled_bins_expect_what_all_cells_sum_to():
    split = split_of("thinning")
    found = calibration(certain(0.8 * THETA), certain(BETA), split, 0)
    rates = (0.8 * THETA @ BETA.T).ravel()
    assert found.expected.sum() == pytest.approx(0.25 * rates.sum())
    middle = np.sqrt(found.rates[:-1] * found.rates[1:])  # any edges will do for the totals
    of_cells = 0.25 * np.bincount(np.digitize(rates, middle), rates)
    np.testing.assert_allclose(found.expected, of_cells, rtol=0.3)


def test_sums_outside_their_intervals_are_a_tenth_of_a_right_model():
    sides, shares = (certain(0.8 * THETA), certain(BETA)), {}
    for name, counts in (
        ("right", COUNTS),
        ("wrong", np.random.default_rng(2).permutation(COUNTS)),
    ):
        split = split_of("thinning", counts)
        shares[name] = share_of_sums_outside(*sides, split, 1)
        columns = share_of_sums_outside(*sides, split, 0)
    assert 0.04 < shares["right"] < 0.17
    assert shares["wrong"] > 0.4
    assert 0 <= columns <= 1
    few = split_of("thinning", (np.arange(60_000) % 977 == 0).reshape(300, 200).astype(int))
    assert share_of_sums_outside(certain(1e-4 * THETA), sides[1], few, 1) is None


def test_the_interval_of_a_held_out_sum_has_the_variance_of_rates_and_of_poisson_counts():
    """A tenth is outside where the rates of rows are uncertain, and on both sides."""
    num, s, rng = 4000, 0.5, np.random.default_rng(0)
    theta, counts = 30 * rng.gamma(9.0, 1 / 9, num), np.ones((num, 1), int)
    sums = rng.poisson(s * theta).astype(np.float32)
    heldout = HeldOutCounts(np.arange(num), np.zeros(num, int), sums, s)
    split = Split("thinning", check_sparse_counts(counts), None, None, heldout)
    rows = FactorMoments(np.full((num, 1), 30.0), np.full((num, 1), 100.0), np.ones(num))
    error = 4 * np.sqrt(0.1 * 0.9 / num)
    share = share_of_sums_outside(rows, certain(np.ones((1, 1))), split, 1)
    assert share == pytest.approx(0.1, abs=error)
    for far in (0.0, 1e3):
        moved = heldout._replace(counts=np.full(num, far, np.float32))
        split = split._replace(test=moved)
        assert share_of_sums_outside(rows, certain(np.ones((1, 1))), split, 1) == 1


def test_sums_of_which_fewer_than_five_are_expected_are_not_looked_at():
    heldout = HeldOutCounts(np.arange(2), np.zeros(2, int), np.float32([99, 5]), 1.0)
    split = Split("thinning", check_sparse_counts([[1], [1]]), None, None, heldout)
    rows, column = certain(np.array([[4.9], [5.1]])), certain(np.ones((1, 1)))
    assert share_of_sums_outside(rows, column, split, 1) == 0


def test_entries_that_are_held_out_whole_have_wider_intervals():
    sides = certain(THETA), certain(BETA)
    found = {name: calibration(*sides, split_of(name), 0) for name in KEPT}
    assert (found["thinning"].clumps == 1).all()
    test = split_of("entries").test.counts
    assert found["entries"].clumps.max() > (test**2).sum() / test.sum() > 1


def test_the_interval_of_a_ratio_is_that_of_jeffreys():
    found = Calibration(
        np.ones(2), np.array([4.0, 9.0]), np.array([3.0, 12.0]), np.array([1.0, 2.0])
    )
    shapes, scales = np.array([3.5, 6.5]), np.array([1 / 4, 2 / 9])
    low, high = found.interval(0.8)
    np.testing.assert_allclose(low, scipy.stats.gamma(shapes, scale=scales).ppf(0.1))
    np.testing.assert_allclose(high, scipy.stats.gamma(shapes, scale=scales).ppf(0.9))


def test_of_entries_as_large_a_part_is_expected_as_was_held_out_whatever_their_counts():
    split = split_of("entries")
    counts = np.where(np.arange(split.train.nnz) < 9, np.float32(1e4), split.train.data)
    train = csr_array((counts, split.train.indices, split.train.indptr), split.train.shape)
    sides = certain(0.75 * THETA), certain(BETA)
    found = calibration(*sides, split._replace(train=train), 0)
    expected = 0.2 / 0.75 * 0.75 * (THETA @ BETA.T).sum()
    assert found.expected.sum() == pytest.approx(expected, rel=1e-3)
