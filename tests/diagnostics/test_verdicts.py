"""Verdicts on data that are as expected, a little off and off."""

import numpy as np
import pytest

from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import PredictiveChecks, Summary
from vigamma.diagnostics.verdicts import (
    calibration_verdict,
    factors_verdict,
    gain_verdict,
    heldout_sums_verdict,
    overfit_verdict,
    predictive_verdicts,
    run_verdict,
)


def checks_with(noise: float = 0.01, middle=(), **observed: float) -> PredictiveChecks:
    """40 replicates around 0.5, 0.1, 0.1 and 1, or `middle`, and what is observed beside them."""
    noise = np.linspace(-noise, noise, 40)
    expected = {"zeros": 0.5, "rows_outside": 0.1, "columns_outside": 0.1, "dispersion": 1.0}
    expected |= dict(middle)
    none = np.zeros(1)
    rest = {"row_sums": none, "column_sums": none, "variances": none}
    replicated = Summary(**{name: value + noise for name, value in expected.items()}, **rest)
    return PredictiveChecks(Summary(**(expected | observed), **rest), replicated, None, 10)


def calibration_of(ratio, num_counts: float = 1000.0) -> Calibration:
    """Bins of predicted counts 0.1, 0.2, ..., of as many counts as are given."""
    ratio = np.asarray(ratio)
    expected = np.full(ratio.size, num_counts)
    rates = 0.1 * np.arange(1, ratio.size + 1)
    return Calibration(rates, expected, ratio * expected, np.ones(ratio.size))


@pytest.mark.parametrize(
    ("observed", "index", "outcome", "difference"),
    [
        ({}, 0, "as expected", 0.0),
        ({"zeros": 0.8}, 0, "off", -0.6),
        ({"zeros": 0.3}, 0, "off", 0.4),
        ({"zeros": 0.52}, 0, "a little off", -0.04),
        ({"rows_outside": 0.4}, 1, "off", 0.3),
        ({"rows_outside": 0.14}, 1, "a little off", 0.04),
        ({"columns_outside": 0.4}, 2, "off", 0.3),
        ({"columns_outside": 0.0}, 2, "as expected", -0.1),
        ({"dispersion": 3.0}, 3, "off", 2.0),
        ({"dispersion": 0.5}, 3, "off", -0.5),
        ({"dispersion": 1.04}, 3, "a little off", 0.04),
    ],
)
def test_what_differs_beyond_chance_and_by_more_than_a_twentieth_is_off(
    observed, index, outcome, difference
):
    verdicts = predictive_verdicts(checks_with(**observed))
    assert [v.check for v in verdicts] == ["zeros", "rows_outside", "columns_outside", "dispersion"]
    found = verdicts[index]
    assert (found.outcome, found.is_off) == (outcome, outcome == "off")
    assert found.difference == pytest.approx(difference)
    assert found.interval == pytest.approx((found.expected - 0.009, found.expected + 0.009))
    assert all(v.outcome == "as expected" for v in verdicts if v is not found)


def test_large_differences_within_the_replicates_are_as_expected():
    assert predictive_verdicts(checks_with(noise=0.4, zeros=0.8))[0].outcome == "as expected"


def test_of_zeros_and_nonzeros_the_rarer_are_compared():
    for expected, observed, difference in ((0.2, 0.3, 0.5), (0.8, 0.9, -0.5)):
        checks = checks_with(middle={"zeros": expected}, zeros=observed)
        assert predictive_verdicts(checks)[0].difference == pytest.approx(difference)


@pytest.mark.parametrize(
    ("observed", "outcome", "difference"), [(0.0, "as expected", 0.0), (0.1, "off", np.inf)]
)
def test_data_of_which_no_zero_is_expected_have_a_verdict(observed, outcome, difference):
    checks = checks_with(noise=0.0, middle={"zeros": 0.0}, zeros=observed)
    found = predictive_verdicts(checks)[0]
    assert (found.outcome, found.difference) == (outcome, difference)


@pytest.mark.parametrize(
    ("ratio", "num_counts", "outcome", "rate"),
    [
        ([1.0, 1.02, 0.99], 1e3, "as expected", 0.2),
        ([1.0, 1.2, 0.7], 1e3, "off", 0.3),
        ([1.0, 1.2, 0.7], 5.0, "as expected", 0.3),  # as far, but of so few counts
        ([1.0, 1.04, 1.0], 1e6, "as expected", 0.2),  # beyond chance, but small
    ],
)
def test_the_bin_that_differs_most_is_off_beyond_chance_and_a_twentieth(
    ratio, num_counts, outcome, rate
):
    found = calibration_verdict(calibration_of(ratio, num_counts))
    assert (found.outcome, found.rate) == (outcome, pytest.approx(rate))
    assert found.observed == pytest.approx(found.difference + 1)


def test_a_bin_that_is_off_goes_before_one_that_differs_more_by_chance():
    found = Calibration(*np.array([[0.1, 0.2], [2.0, 1000.0], [4.0, 1300.0], [1.0, 1.0]]))
    verdict = calibration_verdict(found)
    assert (verdict.outcome, verdict.rate, verdict.observed) == ("off", 0.2, 1.3)


def test_bins_are_judged_all_at_once():
    """One of 2 bins by itself is beyond 99 %; one of 200 is not: some are by chance."""
    for size, is_off in ((2, True), (200, False)):
        ratio = np.ones(size)
        ratio[1] = 1.09
        assert calibration_verdict(calibration_of(ratio)).is_off == is_off


@pytest.mark.parametrize(("share", "is_off"), [(0.0, False), (0.149, False), (0.151, True)])
def test_held_out_sums_are_off_where_more_than_15_percent_are_outside(share, is_off):
    found = heldout_sums_verdict("columns", share)
    assert (found.check, found.expected, found.is_off) == ("heldout_columns_outside", 0.1, is_off)
    assert found.difference == pytest.approx(share - 0.1)


def test_a_run_is_off_until_it_has_ended_and_converged():
    verdicts = [run_verdict(*case) for case in ((False, True), (True, False), (True, True))]
    assert [(v.check, v.is_off) for v in verdicts] == [
        ("end", True), ("convergence", True), ("convergence", False)
    ]  # fmt: skip


@pytest.mark.parametrize(("gain", "is_off"), [(1e-3, False), (0.0, True), (-1.0, True)])
def test_a_fit_no_better_than_independent_columns_is_off(gain, is_off):
    assert gain_verdict(gain).is_off == is_off


@pytest.mark.parametrize(("num_distinct", "is_off"), [(20, False), (18, False), (17, True)])
def test_idle_and_repeated_factors_are_off_beyond_a_tenth(num_distinct, is_off):
    verdict = factors_verdict(num_distinct, 20)
    assert (verdict.check, verdict.is_off) == ("factors", is_off)
    assert verdict.difference == num_distinct - 20


@pytest.mark.parametrize(
    ("loss", "gain", "is_off"),
    [(0.0, 1.0, False), (0.009, 1.0, False), (0.011, 1.0, True), (0.011, 2.0, False),
     (0.001, -1.0, True), (0.0, -1.0, False)],
)  # fmt: skip
def test_a_fit_that_loses_a_hundredth_of_its_gain_overfits(loss, gain, is_off):
    assert overfit_verdict(loss, gain).is_off == is_off
