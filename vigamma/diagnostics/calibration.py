"""Calibration: whether held-out counts are as frequent as predicted, at low and at high rates."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv

from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.residuals import Residuals, rates_at
from vigamma.typing import FactorsMK, FactorsNK

_NUM_BINS = 12
_NUM_SAMPLED_CELLS = 2**19  # a bin then has 2**19 / 12 of them: a standard error below 0.5 %
_NORMAL_95 = 1.6448536  # the 95 % quantile of a standard normal
_ENOUGH = 5.0  # expected counts for which a sum is roughly normal


class Calibration(NamedTuple):
    """Held-out counts, binned by the predicted rates of their cells.

    Attributes:
      rates: the median rate of each bin, on the scale of the training counts.
      expected: the sum of the predicted rates of the held-out cells of each bin.
      observed: the sum of their counts.
      clumps: how many counts are held out together: Σ y² / Σ y for the protocol `entries`, which
        holds out whole entries, and 1 for the others.
    """

    rates: Float[np.ndarray, " bins"]
    expected: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    clumps: Float[np.ndarray, " bins"]

    @property
    def ratio(self) -> Float[np.ndarray, " bins"]:
        """Observed over expected."""
        return self.observed / self.expected

    def interval(self, probability: float) -> Float[np.ndarray, "2 bins"]:
        """Jeffreys intervals of the ratio, taking the numbers of clumps to be Poisson."""
        tail = (1 - probability) / 2
        num_clumps = gammaincinv(self.observed / self.clumps + 0.5, np.array([[tail], [1 - tail]]))
        return num_clumps * self.clumps / self.expected


def calibration(theta: FactorsNK, beta: FactorsMK, split: Split, seed: int) -> Calibration:
    """Compares the held-out counts of a split with their rates, in bins of equal expected counts.

    The protocols `thinning` and `entries` hold out a part of every cell. The expected counts of a
    bin are then estimated from 2¹⁹ cells drawn with probability r_nm / Σ r_nm, so that no N × M
    array is computed; the standard error is below 0.5 %.

    Args:
      theta: e_n E[θ_nk]; shape (N, K).
      beta: E[β_mk]; shape (M, K).
      split: a split with a test part.
      seed: the seed of `numpy.random.default_rng`.
    """
    theta, beta = np.asarray(theta, float), np.asarray(beta, float)
    test = split.test
    assert test is not None, "the split has no test part"
    rates = rates_at(theta, beta, test.rows, test.columns)
    if split.protocol == "cells":
        return _binned(rates, rates, float(rates.sum()), rates, test.counts)
    totals = theta.sum(axis=0) * beta.sum(axis=0)
    rng = np.random.default_rng([seed, 2])
    sampled = _rates_of_random_events(theta, beta, totals, rng)
    total = _scale(split, test) * totals.sum()
    are_whole = split.protocol == "entries"
    return _binned(sampled, np.ones(sampled.size), total, rates, test.counts, are_whole)


def share_of_sums_outside(residuals: Residuals, heldout: HeldOutCounts, axis: int) -> float | None:
    """The share of rows (axis 1) or columns (0) whose held-out sum is outside its 90 % interval.

    This is for counts held out by thinning: given the rates they are independent of the training
    counts, so that the share is 10 % on average if the model is correct. Only sums with at least 5
    expected counts are used; the result is None if there are none.

    Args:
      residuals: the residuals of the training counts.
      heldout: the held-out part; its rates are s = `rate_scale` times those of training.
      axis: 1 for the sums of rows, 0 for the sums of columns.
    """
    index = heldout.rows if axis == 1 else heldout.columns
    sums = np.bincount(index, heldout.counts, residuals.sums.size)
    s, trained = heldout.rate_scale, residuals.expected
    mean = s * trained.mean
    variance = mean + s**2 * (trained.variance - trained.mean)
    enough = mean >= _ENOUGH
    if not enough.any():
        return None
    outside = np.abs(sums - mean) > _NORMAL_95 * np.sqrt(variance)
    return float(outside[enough].mean())


def _scale(split: Split, test: HeldOutCounts) -> float:
    """The ratio of the expected held-out counts of a cell to its expected training counts.

    For `entries` it is the ratio of the numbers of held-out and training nonzeros.
    """
    if split.protocol == "thinning":
        return test.rate_scale
    return test.rows.size / split.train.nnz


def _rates_of_random_events(
    theta: np.ndarray, beta: np.ndarray, totals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The rates r_nm of cells drawn with probability r_nm / Σ r_nm: factor, then row and column."""
    sizes = rng.multinomial(_NUM_SAMPLED_CELLS, totals / totals.sum())
    rows, columns = (
        np.concatenate(
            [
                rng.choice(len(side), size, p=side[:, k] / side[:, k].sum())
                for k, size in enumerate(sizes)
            ]
        )
        for side in (theta, beta)
    )
    return rates_at(theta, beta, rows, columns)


def _binned(
    rates: np.ndarray,
    weights: np.ndarray,
    total: float,
    heldout_rates: np.ndarray,
    counts: np.ndarray,
    are_whole: bool = False,
) -> Calibration:
    """The counts in bins of equal weight; `total` is the expected sum of all held-out counts."""
    order = np.argsort(rates)
    ends = np.cumsum(weights[order]) / weights.sum()
    edges = np.unique(rates[order][np.searchsorted(ends, np.arange(1, _NUM_BINS) / _NUM_BINS)])
    bins, heldout_bins = np.digitize(rates, edges), np.digitize(heldout_rates, edges)
    kept = np.unique(bins)
    expected = total * np.bincount(bins, weights)[kept] / weights.sum()
    medians = np.array([np.median(rates[bins == b]) for b in kept])
    observed, squares = (
        np.bincount(heldout_bins, values, edges.size + 1)[kept] for values in (counts, counts**2)
    )
    clumps = squares / np.maximum(observed, 1) if are_whole else np.ones(kept.size)
    return Calibration(medians, expected, observed, np.maximum(clumps, 1))
