"""Verdicts: whether what was measured of a fit is as expected, for all that is checked of it."""

from collections.abc import Callable
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
"""What differs by less than this part, or share, is never called off."""

_SHARE_OUTSIDE = 0.1
"""The share of sums expected outside their 90 % intervals."""


class Verdict(NamedTuple):
    """What one check found.

    Attributes:
      check: its name.
      outcome: "as expected", "a little off" (beyond chance, but small) or "off".
      observed: what was measured.
      expected: what it should be; of replicates, their median.
      interval: the 5 % and 95 % quantiles of the replicates, if there are any.
      tail: the probability that a replicate lies as far out, if there are any.
      difference: by how much observed and expected differ: a ratio less 1, or between shares.
      rate: at which predicted count of a cell, for the calibration.
    """

    check: str
    outcome: Outcome
    observed: float
    expected: float
    interval: tuple[float, float] | None = None
    tail: float | None = None
    difference: float = 0.0
    rate: float | None = None

    @property
    def is_off(self) -> bool:
        """Whether it is to be told first."""
        return self.outcome == "off"


def run_verdict(has_ended: bool, has_converged: bool) -> Verdict:
    """Whether a run came to its end ("end"), and by itself ("convergence")."""
    check, is_right = ("convergence", has_converged) if has_ended else ("end", False)
    return Verdict(check, _outcome_of(not is_right), float(is_right), 1.0)


def gain_verdict(gain: float) -> Verdict:
    """Whether held-out counts are predicted better than by independent columns ("gain").

    Args:
      gain: the held-out log-likelihood over that of independent columns, in nats.
    """
    return Verdict("gain", _outcome_of(gain <= 0), gain, 0.0)


def predictive_verdicts(checks: PredictiveChecks) -> list[Verdict]:
    """The posterior predictive checks: "zeros", "row_sums", "column_sums" and "dispersion"."""
    observed, replicated = checks.observed, checks.replicated
    return [
        _compared("zeros", observed.zeros, replicated.zeros, two_sided_tail, _part_of_rarer),
        *(
            _compared(
                f"{side}_sums",
                getattr(observed, f"{side}s_outside"),
                getattr(replicated, f"{side}s_outside"),
                upper_tail,
                lambda share, middle: share - middle,
            )
            for side in ("row", "column")
        ),
        _compared(
            "dispersion", observed.dispersion, replicated.dispersion, two_sided_tail, _ratio_less_1
        ),
    ]


def calibration_verdict(found: Calibration) -> Verdict:
    """Held-out counts over their prediction, in the bin that differs most ("heldout_counts").

    A bin is off if its interval, at 5 % for all bins at once (Bonferroni), excludes 1.
    """
    ratio = found.ratio
    low, high = found.interval(1 - LEVEL / ratio.size)
    distance = np.abs(ratio - 1)
    differs = ((low > 1) | (high < 1)) & (distance > _TOLERATED)
    most = int(np.where(differs | ~differs.any(), distance, 0).argmax())
    return Verdict(
        "heldout_counts",
        _outcome_of(differs[most]),
        float(ratio[most]),
        1.0,
        difference=float(ratio[most] - 1),
        rate=float(found.rates[most]),
    )


def heldout_sums_verdict(side: str, share: float) -> Verdict:
    """Whether more held-out sums of rows or columns than 10 % are outside their 90 % intervals.

    Args:
      side: "row" or "column"; the check is "heldout_row_sums" or "heldout_column_sums".
      share: of the sums that are outside, from `share_of_sums_outside`.
    """
    difference = share - _SHARE_OUTSIDE
    outcome = _outcome_of(share > _SHARE_OUTSIDE + _TOLERATED)
    return Verdict(f"heldout_{side}_sums", outcome, share, _SHARE_OUTSIDE, difference=difference)


def _outcome_of(is_off: bool) -> Outcome:
    return "off" if is_off else "as expected"


def _compared(
    check: str,
    observed: np.ndarray,
    replicates: np.ndarray,
    tail_of: Callable[[float, np.ndarray], float],
    difference_of: Callable[[float, float], float],
) -> Verdict:
    """One number of the data beside those of the replicates."""
    low, middle, high = (float(q) for q in np.quantile(replicates, [0.05, 0.5, 0.95]))
    tail = tail_of(float(observed), replicates)
    difference = difference_of(float(observed), middle)
    outcome = "as expected"
    if tail < LEVEL:
        outcome = "off" if abs(difference) > _TOLERATED else "a little off"
    return Verdict(check, outcome, float(observed), middle, (low, high), tail, difference)


def _part_of_rarer(zeros: float, expected: float) -> float:
    """Compares shares of zeros, or of nonzeros if those are rarer."""
    if expected < 0.5:
        return _ratio_less_1(zeros, expected)
    return _ratio_less_1(1 - zeros, 1 - expected)


def _ratio_less_1(observed: float, expected: float) -> float:
    """Where nothing at all is expected: infinite, or 0 if nothing is observed either."""
    if expected == 0:
        return np.inf if observed > 0 else 0.0
    return observed / expected - 1
