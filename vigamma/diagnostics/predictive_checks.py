"""Posterior predictive checks of a factorization: are replicated counts like the observed ones?

A replicate is a whole data set with the same rows: θ and β ~ q, x ~ Poisson(e_n Σ_k θ_nk β_mk), or
p ~ q and negative binomials of these means, drawn in time proportional to its counts (Gelman, Meng
& Stern 1996, Statistica Sinica). The checks are conservative, because the same counts were fitted:
a flag shows misfit, a pass does not prove that the model is correct.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from vigamma.data.synthetic import draw_counts
from vigamma.diagnostics.residuals import Moments, factor_moments, sums_of_both
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma

NUM_REPLICATES = 50
LEVEL = 0.05
"""A check with a smaller tail probability is flagged."""

MOST_ROWS = 2000
"""Larger data are replaced by a random sample of this many rows."""

_FEWEST_REPLICATES = 40  # the smallest two-sided tail, 2 / (R + 1), is then below LEVEL
_NORMAL_95 = 1.6448536  # the 95 % quantile of a standard normal
_NUM_BINS = 16
_SMALLEST_FACTOR = 1e-30  # keeps factors that underflow positive


class Observed(NamedTuple):
    """Counts of some rows, and the posterior of their factors.

    Attributes:
      rows: q of the factors of these rows; shape (N, K).
      columns: q of the factors of the columns; shape (M, K).
      exposures: e_n; shape (N,).
      counts: canonical counts of shape (N, M), zero at unobserved cells.
      missing: ones at the unobserved cells, or None.
      probabilities: q of the p_m of negative binomials; None for Poisson counts.
    """

    rows: Gamma
    columns: Gamma
    exposures: Float[np.ndarray, " N"]
    counts: csr_array
    missing: csr_array | None
    probabilities: Beta | None = None


class Summary(NamedTuple):
    """Test statistics of a data set; those of R replicates have a leading axis of size R.

    Attributes:
      zeros: the share of zeros among the observed cells.
      rows_outside: the share of rows whose sum is outside its 90 % interval under q, more than
        1.645 standard deviations away from the mean.
      columns_outside: the same share for columns.
      dispersion: the mean of (variance of a column over the rows) / (its mean under q), over the
        columns with at least one expected count, or the column with the most if there are none.
      row_sums: the histogram of the sums of rows.
      column_sums: the histogram of the sums of columns.
      variances: the mean variance of the columns in each bin of their means under q.
    """

    zeros: np.ndarray
    rows_outside: np.ndarray
    columns_outside: np.ndarray
    dispersion: np.ndarray
    row_sums: np.ndarray
    column_sums: np.ndarray
    variances: np.ndarray


class Bins(NamedTuple):
    """The bins of a `Summary`.

    Attributes:
      row_sums: the edges of the histogram of row sums.
      column_sums: the edges of the histogram of column sums.
      means: the average of the columns' means under q, in each bin of `variances`.
    """

    row_sums: np.ndarray
    column_sums: np.ndarray
    means: np.ndarray


class PredictiveChecks(NamedTuple):
    """The statistics of the observed counts and of their replicates.

    Attributes:
      observed: the statistics of the data.
      replicated: the statistics of the replicates.
      bins: the bins of both.
      num_rows: how many rows were used.
    """

    observed: Summary
    replicated: Summary
    bins: Bins
    num_rows: int


def sample_of_rows(data: Observed, seed: int) -> Observed:
    """The data of at most `MOST_ROWS` rows, chosen at random."""
    num_rows = data.counts.shape[0]
    if num_rows <= MOST_ROWS:
        return data
    chosen = np.sort(np.random.default_rng(seed).choice(num_rows, MOST_ROWS, replace=False))
    return data._replace(
        rows=Gamma(data.rows.concentration[chosen], data.rows.rate[chosen]),
        exposures=data.exposures[chosen],
        counts=data.counts[chosen],
        missing=None if data.missing is None else data.missing[chosen],
    )


def replicate(data: Observed, rng: np.random.Generator) -> csr_array:
    """Draws a replicate of `data`: θ, β and p ~ q, then x of means e_n Σ_k θ_nk β_mk."""
    theta, beta = (_sample(factors, rng) for factors in (data.rows, data.columns))
    p = None
    if (q := data.probabilities) is not None:
        p = rng.beta(np.asarray(q.concentration1, float), np.asarray(q.concentration0, float))
    counts = draw_counts(theta * data.exposures[:, None], beta, rng, p)
    if data.missing is None:
        return counts
    counts = csr_array(counts - counts.multiply(data.missing))
    counts.eliminate_zeros()
    return counts


def predictive_checks(
    data: Observed,
    seed: int,
    num_replicates: int = NUM_REPLICATES,
    say: Callable[[int], None] = lambda _: None,
) -> PredictiveChecks:
    """Compares the counts with replicates of them.

    Args:
      data: the counts; `sample_of_rows` limits the number of their rows.
      seed: the seed of `numpy.random.default_rng`.
      num_replicates: R, at least 40: with fewer no two-sided tail probability is below `LEVEL`.
      say: called with the number of finished replicates.

    Raises:
      ValueError: for too few replicates.
    """
    if num_replicates < _FEWEST_REPLICATES:
        raise ValueError(
            f"num_replicates must be at least {_FEWEST_REPLICATES}, got {num_replicates}"
        )
    rng = np.random.default_rng([seed, 1])
    yardstick = _Yardstick(data)
    summaries = []
    for index in range(num_replicates):
        summaries.append(yardstick.measure(replicate(data, rng)))
        say(index + 1)
    replicated = Summary(*(np.stack(part) for part in zip(*summaries, strict=True)))
    observed = yardstick.measure(data.counts)
    return PredictiveChecks(observed, replicated, yardstick.bins, data.counts.shape[0])


def upper_tail(observed: float, replicates: np.ndarray) -> float:
    """The tail probability P(T ≥ observed) from R replicates: (1 + #{T_r ≥ T}) / (R + 1)."""
    return float((1 + (replicates >= observed).sum()) / (1 + replicates.size))


def two_sided_tail(observed: float, replicates: np.ndarray) -> float:
    """Twice the smaller of the two tail probabilities, at most 1."""
    tails = upper_tail(observed, replicates), upper_tail(-observed, -replicates)
    return min(1.0, 2 * min(tails))


class _Yardstick:
    """The moments of sums under q, and the `Summary` of a data set relative to them."""

    def __init__(self, data: Observed):
        rows = factor_moments(data.rows, data.exposures)
        columns = factor_moments(data.columns, probabilities=data.probabilities)
        self._sums = sums_of_both(rows, columns, data.missing)
        num_rows, num_columns = data.counts.shape
        self._num_seen = np.full(num_columns, float(num_rows))  # observed cells of each column
        if data.missing is not None:
            self._num_seen -= data.missing.sum(axis=0)
        self._means = self._sums[1].mean / np.maximum(self._num_seen, 1)
        most = self._sums[1].mean.max()
        self._is_common = self._sums[1].mean >= min(1.0, most)
        positive = self._means[self._is_common]
        edges = np.geomspace(positive.min(), positive.max() * (1 + 1e-9), _NUM_BINS + 1)
        self._bin = np.digitize(self._means, edges) - 1
        self._bin[~self._is_common] = -1
        of_rows, of_columns = (
            _edges(np.asarray(data.counts.sum(axis=axis, dtype=float)), expected)
            for axis, expected in ((1, self._sums[0]), (0, self._sums[1]))
        )
        self.bins = Bins(of_rows, of_columns, self._by_bin(self._means))

    def measure(self, counts: csr_array) -> Summary:
        values = csr_array((counts.data.astype(float), counts.indices, counts.indptr), counts.shape)
        row_sums, column_sums = (np.asarray(values.sum(axis=axis)) for axis in (1, 0))
        squares = np.bincount(values.indices, values.data**2, values.shape[1])
        seen = np.maximum(self._num_seen, 1)
        variances = (squares - column_sums**2 / seen) / np.maximum(seen - 1, 1)
        ratios = variances[self._is_common] / self._means[self._is_common]
        outside = [
            np.mean(np.abs(sums - expected.mean) > _NORMAL_95 * np.sqrt(expected.variance))
            for sums, expected in zip((row_sums, column_sums), self._sums, strict=True)
        ]
        return Summary(
            zeros=1 - values.nnz / self._num_seen.sum(),
            rows_outside=outside[0],
            columns_outside=outside[1],
            dispersion=ratios.mean(),
            row_sums=np.histogram(row_sums, self.bins.row_sums)[0],
            column_sums=np.histogram(column_sums, self.bins.column_sums)[0],
            variances=self._by_bin(variances),
        )

    def _by_bin(self, of_columns: np.ndarray) -> np.ndarray:
        """The mean over the columns of each nonempty bin."""
        chosen = self._bin >= 0
        sizes = np.bincount(self._bin[chosen], minlength=_NUM_BINS)
        sums = np.bincount(self._bin[chosen], of_columns[chosen], _NUM_BINS)
        return sums[sizes > 0] / sizes[sizes > 0]


def _sample(factors: Gamma, rng: np.random.Generator) -> np.ndarray:
    shape, rate = (np.asarray(part, np.float32) for part in (factors.concentration, factors.rate))
    return np.maximum(rng.standard_gamma(shape, dtype=np.float32) / rate, _SMALLEST_FACTOR)


def _edges(sums: np.ndarray, expected: Moments) -> np.ndarray:
    """The edges of a histogram of sums and their replicates, on a linear or a log scale."""
    reach = 5 * np.sqrt(expected.variance)
    top = max(sums.max(), (expected.mean + reach).max()) + 1
    low, high = np.quantile(sums, [0.05, 0.95])
    if high <= 8 * max(low, 1):
        least = max(0.0, min(sums.min(), (expected.mean - reach).min()))
        inner = np.linspace(max(least, low - (high - low)), high + (high - low), _NUM_BINS - 1)
        return np.unique(np.round([0, *inner, top]))
    return np.unique(np.round([0, *np.geomspace(1, top, _NUM_BINS)]))
