"""Verdicts: whether the result of each check of a fit is as expected."""

import operator
from typing import Literal, NamedTuple

import numpy as np

from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import (
    LEVEL,
    PredictiveChecks,
    two_sided_tail,
    upper_tail,
)

Outcome = Literal["as expected", "a little off", "off"]

_TOLERATED = 0.05
"""A smaller difference, as a ratio less 1 or a share, is never called off."""

_LOST = 0.01
"""The share of the gain over independent columns that a fit may lose after its best sweep."""

_SHARE_OUTSIDE = 0.1
"""The share of sums expected outside their 90 % intervals."""


class Verdict(NamedTuple):
    """The result of one check.

    Attributes:
      check: the name of the check.
      outcome: "as expected", "a little off" (significant, but small) or "off".
      observed: the observed value.
      expected: the expected value; the median of the replicates, if there are any.
      difference: observed / expected - 1, or a difference of shares.
      interval: the 5 % and 95 % quantiles of the replicates, if there are any; of shares without
        replicates, those that are as expected.
      tail: the tail probability among the replicates, if there are any.
      rate: for calibration, the median predicted rate of the bin.
      is_one_sided: whether only values above the interval are off; `tail` is then the upper one,
        and otherwise that of both sides.
    """

    check: str
    outcome: Outcome
    observed: float
    expected: float
    difference: float = 0.0
    interval: tuple[float, float] | None = None
    tail: float | None = None
    rate: float | None = None
    is_one_sided: bool = False

    @property
    def is_off(self) -> bool:
        """Whether the outcome is "off": reports list these verdicts first."""
        return self.outcome == "off"


def run_verdict(has_ended: bool, has_converged: bool) -> Verdict:
    """Whether a run has ended ("end"), and if so, whether it has converged ("convergence")."""
    check, is_right = ("convergence", has_converged) if has_ended else ("end", False)
    return Verdict(check, _outcome(not is_right), float(is_right), 1.0)


def gain_verdict(gain: float) -> Verdict:
    """Whether held-out counts are predicted better than by independent columns ("gain").

    Args:
      gain: the held-out log-likelihood minus that of independent columns, in nats.
    """
    return Verdict("gain", _outcome(gain <= 0), gain, 0.0)


def factors_verdict(num_distinct: int, num_factors: int) -> Verdict:
    """Whether nine tenths of the factors are used, and are not nearly equal to others ("factors").

    Args:
      num_distinct: those that are not `redundant_factors`.
      num_factors: K.
    """
    outcome = _outcome(num_distinct < 0.9 * num_factors)
    return Verdict("factors", outcome, num_distinct, num_factors, num_distinct - num_factors)


def overfit_verdict(loss: float, gain: float) -> Verdict:
    """Whether held-out counts were predicted worse again as the fit went on ("overfit").

    It is off if the loss is more than 1 % of the gain. With the right number of factors the score
    is nearly level at its best, and loses 0.1 % on simulated cells and on text; that of 20 and 50
    factors of the digits loses 14 % and 70 % within ten sweeps.

    Args:
      loss: the best held-out score minus the last one, in nats.
      gain: the best held-out score minus that of independent columns, in nats.
    """
    return Verdict("overfit", _outcome(loss > _LOST * max(gain, 0.0)), loss, 0.0, loss)


def predictive_verdicts(checks: PredictiveChecks) -> list[Verdict]:
    """The verdicts of the posterior predictive checks, named after the fields of `Summary`."""
    found = []
    for check, (tail_of, difference_of) in _PREDICTIVE_CHECKS.items():
        observed = float(getattr(checks.observed, check))
        replicates = getattr(checks.replicated, check)
        low, middle, high = (float(q) for q in np.quantile(replicates, [0.05, 0.5, 0.95]))
        tail, difference = tail_of(observed, replicates), difference_of(observed, middle)
        outcome: Outcome = "as expected"
        if tail < LEVEL:
            outcome = "off" if abs(difference) > _TOLERATED else "a little off"
        verdict = Verdict(check, outcome, observed, middle, difference, (low, high), tail)
        found.append(verdict._replace(is_one_sided=tail_of is upper_tail))
    return found


def calibration_verdict(found: Calibration) -> Verdict:
    """The ratio of held-out to predicted counts, in the worst bin ("heldout_counts").

    A bin is off if its ratio differs from 1 by more than 5 %, and its interval, at a level of 5 %
    for all bins together (Bonferroni), excludes 1.
    """
    ratio = found.ratio
    low, high = found.interval(1 - LEVEL / ratio.size)
    distance = np.abs(ratio - 1)
    differs = ((low > 1) | (high < 1)) & (distance > _TOLERATED)
    most = int(np.where(differs | ~differs.any(), distance, 0).argmax())
    observed, rate = float(ratio[most]), float(found.rates[most])
    outcome = _outcome(differs[most])
    return Verdict("heldout_counts", outcome, observed, 1.0, observed - 1, rate=rate)


def heldout_sums_verdict(side: str, share: float) -> Verdict:
    """Whether more held-out sums than expected are outside their 90 % intervals.

    Args:
      side: "rows" or "columns"; the check is "heldout_rows_outside" or "heldout_columns_outside".
      share: the share of sums outside, from `share_of_sums_outside`.
    """
    outcome = _outcome(share > _SHARE_OUTSIDE + _TOLERATED)
    found = Verdict(f"heldout_{side}_outside", outcome, share, _SHARE_OUTSIDE)
    interval = 0.0, _SHARE_OUTSIDE + _TOLERATED
    return found._replace(difference=share - _SHARE_OUTSIDE, interval=interval, is_one_sided=True)


def _outcome(is_off: bool) -> Outcome:
    return "off" if is_off else "as expected"


def _ratio_less_1(observed: float, expected: float) -> float:
    """observed / expected - 1; infinite if only `expected` is 0, and 0 if both are."""
    if expected == 0:
        return np.inf if observed > 0 else 0.0
    return observed / expected - 1


def _part_of_rarer(zeros: float, expected: float) -> float:
    """The relative difference of the shares of zeros, or of nonzeros if those are rarer."""
    if expected < 0.5:
        return _ratio_less_1(zeros, expected)
    return _ratio_less_1(1 - zeros, 1 - expected)


_PREDICTIVE_CHECKS = {
    "zeros": (two_sided_tail, _part_of_rarer),
    # Intervals that hold too many sums are no fault: rows were fitted to these very counts.
    "rows_outside": (upper_tail, operator.sub),
    "columns_outside": (upper_tail, operator.sub),
    "dispersion": (two_sided_tail, _ratio_less_1),
}
"""For each check, the functions that compute the tail probability and the difference."""
