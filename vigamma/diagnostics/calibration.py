"""Calibration: whether held-out counts are as frequent as predicted, at low and at high rates.

A held-out part y of a cell with rate r is predicted by s r, where s is the scale of the part. The
parts x and y of a negative binomial that is thinned share a Gamma-distributed rate, so that, as in
`diagnostics.likelihoods`,

E[y | x] = s ((1 - p) r + p x),   Var[y | x] = (1 + s p) E[y | x]

given r; p is 0 for Poisson counts. Cells that are held out as a whole have a variance of v r, with
v = 1 / (1 - p).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.special import gammaincinv

from vigamma.counts.sparse import rows_of, values_at
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.residuals import FactorMoments, rates_at, sum_moments

_NUM_BINS = 12
_NUM_SAMPLED_CELLS = 2**19  # a bin then has 2**19 / 12 of them: a standard error below 0.5 %
_NORMAL_95 = 1.6448536  # the 95 % quantile of a standard normal
_ENOUGH = 5.0  # expected counts for which a sum is roughly normal


class Calibration(NamedTuple):
    """Held-out counts, binned by the predictions of their cells.

    Attributes:
      rates: the median prediction of each bin, on the scale of the training counts.
      expected: the sum of the predictions of the held-out cells of each bin.
      observed: the sum of their counts.
      clumps: the variance of that sum over its mean, as if counts came in clumps of this size:
        Σ y² / Σ y for the protocol `entries`, which holds out whole entries; for the others the
        mean of that of single counts, which is 1 for Poisson counts.
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


class _Prediction(NamedTuple):
    """What is predicted of the test part of cells, on the scale of the training counts.

    It is Σ_k θ_nk β_mk + w_m x_nm, with the β_mk below and the training counts x_nm.

    Attributes:
      theta: e_n E[θ_nk]; shape (N, K).
      beta: E[β_mk], with thinning (1 - p_m) E[β_mk]; shape (M, K).
      weights: w_m: p_m with thinning, otherwise 0.
      noise: the variance of a count over its mean, by column.
      train: the training counts.
    """

    theta: np.ndarray
    beta: np.ndarray
    weights: np.ndarray
    noise: np.ndarray
    train: csr_array

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The predictions of some cells."""
        rates = rates_at(self.theta, self.beta, rows, columns)
        if not self.weights.any():
            return rates
        return rates + self.weights[columns] * values_at(self.train, rows, columns)


def calibration(
    rows: FactorMoments, columns: FactorMoments, split: Split, seed: int
) -> Calibration:
    """Compares held-out counts with their predictions, in bins of equal expected counts.

    The protocols `thinning` and `entries` hold out a part of every cell. The expected counts of a
    bin are then estimated from 2¹⁹ cells drawn with probabilities proportional to the predictions,
    so that no N × M array is computed; the standard error is below 0.5 %.

    Args:
      rows: the moments of e_n θ_nk; shape (N, K).
      columns: the moments of β_mk; shape (M, K).
      split: a split with a test part.
      seed: the seed of `numpy.random.default_rng`.
    """
    test = split.test
    assert test is not None, "the split has no test part"
    weights = np.zeros(len(columns.mean))
    if split.protocol == "thinning":
        columns, weights = _given_training(columns, test.rate_scale)
    prediction = _Prediction(rows.mean, columns.mean, weights, columns.noise, split.train)
    heldout = prediction.at(test.rows, test.columns)
    if split.protocol == "cells":
        noise = columns.noise[test.columns]
        return _binned(heldout, heldout, noise, float(heldout.sum()), heldout, test.counts)
    cells, sum_of_all = _random_cells(prediction, np.random.default_rng([seed, 2]))
    total = _scale(split, test) * sum_of_all
    drawn, noise = prediction.at(*cells), columns.noise[cells[1]]
    are_whole = split.protocol == "entries"
    return _binned(drawn, np.ones(drawn.size), noise, total, heldout, test.counts, are_whole)


def share_of_sums_outside(
    rows: FactorMoments, columns: FactorMoments, split: Split, axis: int
) -> float | None:
    """The share of rows (axis 1) or columns (0) whose held-out sum is outside its 90 % interval.

    This is for counts held out by thinning, whose distribution given the rates and the training
    counts is known, so that the share is 10 % on average if the model is correct. Only sums with at
    least 5 expected counts are used; the result is None if there are none.

    Args:
      rows: the moments of e_n θ_nk; shape (N, K).
      columns: the moments of β_mk; shape (M, K).
      split: a split by thinning, with a test part.
      axis: 1 for the sums of rows, 0 for the sums of columns.
    """
    test = split.test
    assert test is not None, "the split has no test part"
    s = test.rate_scale
    columns, p = _given_training(columns, s)
    rows = FactorMoments(s * rows.mean, s**2 * rows.variance, rows.noise)
    weights = s * np.stack([p, columns.noise * p], axis=1)
    if axis == 1:
        index, of_rates = test.rows, sum_moments(rows, columns)
        of_trained = split.train @ weights
    else:
        index, of_rates = test.columns, sum_moments(columns, rows)
        of_trained = split.train.sum(axis=0, dtype=float)[:, None] * weights
    mean, variance = of_rates.mean + of_trained[:, 0], of_rates.variance + of_trained[:, 1]
    sums = np.bincount(index, test.counts, mean.size)
    enough = mean >= _ENOUGH
    if not enough.any():
        return None
    outside = np.abs(sums - mean) > _NORMAL_95 * np.sqrt(variance)
    return float(outside[enough].mean())


def _given_training(columns: FactorMoments, s: float) -> tuple[FactorMoments, np.ndarray]:
    """(1 - p_m) β_mk and the noise 1 + s p_m of a thinned part, and p_m, from the noise v_m."""
    p = 1 - 1 / columns.noise
    rest = 1 / columns.noise[:, None]
    return FactorMoments(rest * columns.mean, rest**2 * columns.variance, 1 + s * p), p


def _scale(split: Split, test: HeldOutCounts) -> float:
    """The ratio of the expected held-out counts of a cell to its expected training counts.

    For `entries` it is the ratio of the numbers of held-out and training nonzeros.
    """
    if split.protocol == "thinning":
        return test.rate_scale
    return test.rows.size / split.train.nnz


def _random_cells(
    prediction: _Prediction, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Cells drawn with probabilities proportional to their predictions, and the sum of these.

    A cell is drawn from a factor, row and column apart, or from the training counts.
    """
    theta, beta, train = prediction.theta, prediction.beta, prediction.train
    totals = theta.sum(axis=0) * beta.sum(axis=0)
    of_trained = prediction.weights[train.indices] * train.data
    if of_trained.any():
        totals = np.append(totals, of_trained.sum())
    sizes = rng.multinomial(_NUM_SAMPLED_CELLS, totals / totals.sum())
    drawn = [
        [
            rng.choice(len(factor), size, p=factor / factor.sum())
            for factor, size in zip(side.T, sizes, strict=False)  # the last is of training counts
        ]
        for side in (theta, beta)
    ]
    if of_trained.any():
        entries = rng.choice(train.nnz, sizes[-1], p=of_trained / of_trained.sum())
        for side, places in zip(drawn, (rows_of(train), train.indices), strict=True):
            side.append(places[entries])
    rows, columns = map(np.concatenate, drawn)
    return (rows, columns), float(totals.sum())


def _binned(
    rates: np.ndarray,
    weights: np.ndarray,
    noise: np.ndarray,
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
    sizes = np.bincount(bins, weights)[kept]
    medians = np.array([np.median(rates[bins == b]) for b in kept])
    observed, squares = (
        np.bincount(heldout_bins, values, edges.size + 1)[kept] for values in (counts, counts**2)
    )
    clumps = np.bincount(bins, weights * noise)[kept] / sizes
    if are_whole:
        clumps = np.maximum(squares / np.maximum(observed, 1), 1)
    return Calibration(medians, total * sizes / weights.sum(), observed, clumps)
