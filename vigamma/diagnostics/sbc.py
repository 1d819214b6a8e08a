"""Simulation-based calibration: whether an algorithm draws from the exact posterior.

If θ ~ p(θ) and x ~ p(x | θ), then θ is one more draw from p(θ | x). So its rank among D independent
draws of a correct algorithm is uniform on 0, ..., D (Cook, Gelman & Rubin 2006; Talts, Betancourt,
Simpson, Vehtari & Gelman 2018). Over N simulated x, the ranks have the ECDF

    F_i = #{n: rank_n ≤ i} / N,   N F_i ~ Binomial(N, z_i),   z_i = (i + 1) / (D + 1)

which is compared with a band that contains all of F with a given probability (Säilynoja, Bürkner &
Vehtari 2022, Statistics and Computing). F is above the band at small i and below it at large i if
the draws are too narrow, the other way round if they are too wide, and below it (above it) at all
i if they are too small (too large).
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Integer

_NUM_HALVINGS = 50


class Band(NamedTuple):
    """Bounds of the ECDF of uniform ranks, which it touches or stays between.

    Attributes:
      expected: z_i, for i = 0, ..., D - 1; at i = D every ECDF is 1.
      lower: the smallest values of F_i.
      upper: the largest values of F_i.
    """

    expected: Float[np.ndarray, " D"]
    lower: Float[np.ndarray, " D"]
    upper: Float[np.ndarray, " D"]


class RankCheck(NamedTuple):
    """The ECDFs of the ranks of T quantities, and their band.

    Attributes:
      ecdf: F_i of each quantity; shape (D, T).
      band: the band of every quantity.
      is_inside: whether all of the ECDF is inside; shape (T,).
    """

    ecdf: Float[np.ndarray, "D T"]
    band: Band
    is_inside: Bool[np.ndarray, " T"]


def rank_of(
    truth: Float[np.ndarray, " T"], draws: Float[np.ndarray, "D T"], rng: np.random.Generator
) -> Integer[np.ndarray, " T"]:
    """The number of draws below the true value, with ties broken at random.

    Args:
      truth: T quantities at the parameters that the data were simulated from.
      draws: the same of D posterior draws, thinned such that they are nearly independent: ranks
        among correlated draws are too often small or large.
      rng: breaks ties. A tie of the truth with j draws has j + 1 orders of equal probability.

    Raises:
      ValueError: if the shapes do not match, if there are no draws, or if a value is NaN.
    """
    truth, draws = np.asarray(truth), np.asarray(draws)
    if truth.ndim != 1 or draws.ndim != 2 or draws.shape[1] != truth.size or not draws.size:
        raise ValueError(
            "truth and draws must have shapes (T,) and (D, T) with D ≥ 1, "
            f"got {truth.shape} and {draws.shape}"
        )
    if np.isnan(truth).any() or np.isnan(draws).any():
        raise ValueError("truth and draws must not be NaN: they have no ranks")
    below, ties = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    return below + rng.integers(ties + 1)


def ecdf_band(num_ranks: int, num_draws: int, probability: float = 0.95) -> Band:
    """A band that contains the whole ECDF of uniform ranks with at least this probability.

    The bounds at i are the γ / 2 and 1 - γ / 2 quantiles of Binomial(N, z_i). γ is the largest one,
    up to 1 - probability, that keeps the probability, which is computed exactly.

    Args:
      num_ranks: N, the number of simulated data sets.
      num_draws: D, the draws from each posterior.
      probability: of the ECDF of one quantity; for T quantities together that of each may be
        1 - (1 - probability) / T.

    Raises:
      ValueError: if there are no ranks or draws, or if the probability is not between 0 and 1.
    """
    for name, value in (("num_ranks", num_ranks), ("num_draws", num_draws)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 < probability < 1:
        raise ValueError(f"probability must be between 0 and 1, got {probability}")
    expected = np.arange(1, num_draws + 1) / (num_draws + 1)
    # The largest tail is between γ / 2 for a single i and, by Bonferroni, that for all of them.
    high = np.log((1 - probability) / 2)
    low = high - np.log(num_draws) - 1e-6
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        bounds = _quantiles(num_ranks, expected, np.exp(middle))
        if _probability_inside(num_ranks, *bounds) >= probability:
            low = middle
        else:
            high = middle
    lower, upper = _quantiles(num_ranks, expected, np.exp(low))
    return Band(expected, lower / num_ranks, upper / num_ranks)


def check_ranks(
    ranks: Integer[np.ndarray, "N T"], num_draws: int, probability: float = 0.95
) -> RankCheck:
    """Compares the ECDF of the ranks of each quantity with the band of uniform ranks.

    Args:
      ranks: as of `rank_of`, a row for each simulated data set.
      num_draws: D, the draws that the ranks are among.
      probability: as in `ecdf_band`, for each quantity.

    Raises:
      ValueError: if ranks are not a matrix of integers from 0 to D, or as in `ecdf_band`.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or not np.issubdtype(ranks.dtype, np.integer):
        raise ValueError(
            f"ranks must be integers of shape (N, T), got {ranks.dtype} of shape {ranks.shape}"
        )
    band = ecdf_band(len(ranks), num_draws, probability)
    if ranks.size and not 0 <= ranks.min() <= ranks.max() <= num_draws:
        raise ValueError(f"ranks must be from 0 to {num_draws}, got {ranks.min()} to {ranks.max()}")
    ecdf = np.array([(ranks <= i).sum(axis=0) for i in range(num_draws)]) / len(ranks)
    is_inside = np.asarray((band.lower[:, None] <= ecdf) & (ecdf <= band.upper[:, None]))
    return RankCheck(ecdf, band, np.all(is_inside, axis=0))


def _quantiles(num_ranks: int, expected: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """The `tail` and 1 - `tail` quantiles of Binomial(N, z_i), as integers.

    The upper ones mirror the lower ones, as the search for the tail may end at a jump of both.
    """
    lower = scipy.stats.binom.ppf(tail, num_ranks, expected).astype(int)
    return lower, num_ranks - lower[::-1]


def _probability_inside(num_ranks: int, lower: np.ndarray, upper: np.ndarray) -> float:
    """P(lower_i ≤ N F_i ≤ upper_i for all i), exactly.

    N F is a random walk of D + 1 independent Poisson steps of mean N / (D + 1), given that it ends
    at N; so the probability is that of the walks that stay inside and end there, over Poisson(N; N)
    (Moscovich & Nadler 2017, Statistics & Probability Letters).
    """
    step = scipy.stats.poisson.pmf(np.arange(num_ranks + 1), num_ranks / (lower.size + 1))
    first, walks = 0, np.ones(1)  # the probabilities to be at first, first + 1, ...
    for low, high in zip(np.append(lower, num_ranks), np.append(upper, num_ranks), strict=True):
        moved = np.convolve(walks, step[: high - first + 1])
        walks, first = moved[low - first : high - first + 1], low
    return float(walks[0] / scipy.stats.poisson.pmf(num_ranks, num_ranks))
