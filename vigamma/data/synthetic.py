"""Synthetic counts with known factors, drawn in time independent of the number of zeros."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32
from scipy.sparse import csr_array

from vigamma.counts.sparse import check_sparse_counts, from_cells
from vigamma.typing import spec

_RANK_OFFSET = 10.0
_SMALLEST_FACTOR = 1e-30  # has a finite logarithm in float32
_NUM_SAMPLED_CELLS = 2**18  # gives the accuracy stated by `SyntheticFactors`
_NEWTON_STEPS = 50
_MOST_EVENTS = 50  # beyond this mean, the sampled cells do not suffice for `find_scale`
_EVENTS_PER_BLOCK = 2**21  # bounds the memory for the cells of events
_PROBABILITY_RANGE = 1e-12, 1 - 1e-7  # counts of larger probabilities might exceed int32

_Urn = Callable[[int], np.ndarray]
"""A function that draws a given number of indices."""


class SyntheticCounts(NamedTuple):
    """Counts, with the fields of `LoadedCounts`, and the factors from which they were drawn.

    Attributes:
      counts: canonical counts ~ Poisson(θ βᵀ), of shape (N, M).
      parts: None; there is no split.
      row_names: None.
      column_names: None.
      theta: the factors of the rows.
      beta: the factors of the columns.
    """

    counts: csr_array
    parts: None
    row_names: None
    column_names: None
    theta: Float32[np.ndarray, "N K"]
    beta: Float32[np.ndarray, "M K"]


@spec
class SyntheticFactors:
    """Gamma factors with rows and columns of power-law sizes, and Poisson counts.

    θ_nk = s u_n Gamma(a, a), β_mk = v_m Gamma(a, a), x_nm ~ Poisson(Σ_k θ_nk β_mk)

    The u_n are proportional to (rank + 10)^-exponent, with ranks in random order, and have mean 1;
    likewise the v_m. Before scaling, factors are raised to at least 1e-30, so that their logarithms
    are finite in float32. The scale s sets the expected number of nonzeros to the requested one,
    within 0.1 % at the defaults and 3 % for the most unequal factors.

    Attributes:
      num_rows: N.
      num_columns: M.
      num_factors: K.
      num_nonzeros: the expected number of nonzeros; at most a quarter of the N · M cells.
      row_exponent: how unequal the rows are; 0 is equal.
      column_exponent: how unequal the columns are; 0 is equal.
      concentration: the shape a of the Gamma factors, at least 0.01; smaller is sparser.
      seed: the seed of all draws, at least 0.
    """

    num_rows: int = 2000
    num_columns: int = 1000
    num_factors: int = 10
    num_nonzeros: int = 100_000
    row_exponent: float = 0.7
    column_exponent: float = 0.8
    concentration: float = 0.3
    seed: int = 0

    def validate(self) -> None:
        """Raises ValueError for a size, exponent, concentration or seed out of range."""
        for name in ("num_rows", "num_columns", "num_factors", "num_nonzeros"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if 4 * self.num_nonzeros > self.num_rows * self.num_columns:
            raise ValueError(
                f"num_nonzeros must be at most a quarter of the {self.num_rows} × "
                f"{self.num_columns} cells, got {self.num_nonzeros}"
            )
        for name, least in (
            ("row_exponent", 0),
            ("column_exponent", 0),
            ("concentration", 0.01),
            ("seed", 0),
        ):
            if not least <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def load(self) -> SyntheticCounts:
        """Draws the factors, then the counts.

        Raises:
          ValueError: for fields out of range, and for factors so unequal that the mean of the
            nonzero counts would exceed 50.
        """
        rng = np.random.default_rng(self.seed)
        theta = self._factors(self.num_rows, self.row_exponent, rng)
        beta = self._factors(self.num_columns, self.column_exponent, rng)
        theta *= np.float32(find_scale(theta, beta, self.num_nonzeros, rng))
        counts = check_sparse_counts(draw_counts(theta, beta, rng), "synthetic counts")
        return SyntheticCounts(counts, None, None, None, theta, beta)

    def _factors(self, size: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
        """Weights · Gamma(a, a), float32 of shape (size, K); none underflows to 0."""
        weights = (rng.permutation(size) + _RANK_OFFSET) ** -exponent
        gammas = rng.standard_gamma(self.concentration, (size, self.num_factors))
        factors = (weights / weights.mean())[:, None] * (gammas / self.concentration)
        return np.maximum(factors, _SMALLEST_FACTOR).astype(np.float32)


def find_scale(
    theta: np.ndarray, beta: np.ndarray, num_nonzeros: int, rng: np.random.Generator
) -> float:
    """The s for which Poisson(s θ βᵀ) has `num_nonzeros` expected nonzeros.

    Σ_nm (1 - exp(-s r_nm)) = R E[(1 - exp(-s r)) / r], where R = Σ_nm r_nm and the expectation is
    over cells drawn with probability r_nm / R. The averaged values are between 0 and s, so that few
    cells suffice. The mean is concave in s, and Newton's method from s = 0 ascends to the solution.

    Args:
      theta: positive, of shape (N, K).
      beta: positive, of shape (M, K).
      num_nonzeros: below N · M.
      rng: the generator that draws the cells.

    Raises:
      ValueError: if the mean of the nonzero counts would exceed 50, for which the sampled cells do
        not suffice.
    """
    totals_k = theta.sum(axis=0, dtype=np.float64) * beta.sum(axis=0, dtype=np.float64)
    total = totals_k.sum()
    sizes_k = rng.multinomial(_NUM_SAMPLED_CELLS, totals_k / total)
    rows, columns = (
        np.concatenate([urn(size) for urn, size in zip(_urns(f, rng), sizes_k, strict=True)])
        for f in (theta, beta)
    )
    rates = np.einsum("sk,sk->s", theta[rows], beta[columns], dtype=np.float64)
    scale = 0.0
    for _ in range(_NEWTON_STEPS):
        nonzeros = total * np.mean(-np.expm1(-scale * rates) / rates)
        slope = total * np.mean(np.exp(-scale * rates))
        scale += (num_nonzeros - nonzeros) / slope
        if scale * total > _MOST_EVENTS * num_nonzeros:
            raise ValueError(
                f"num_nonzeros = {num_nonzeros} needs counts above {_MOST_EVENTS} on average; ask "
                "for fewer, for a larger concentration or for smaller exponents"
            )
    return scale


def draw_counts(
    theta: Float[np.ndarray, "N K"],
    beta: Float[np.ndarray, "M K"],
    rng: np.random.Generator,
    probabilities: Float[np.ndarray, " M"] | None = None,
) -> csr_array:
    """Draws counts ~ Poisson(θ βᵀ) exactly, in time proportional to their sum.

    A count is a number of events. Row n has Poisson(θ_nk Σ_m β_mk) events of factor k, each of
    which is in column m with probability β_mk / Σ_m β_mk. Every column of β needs a positive entry.
    In the result, columns are sorted and no zeros are stored.

    With `probabilities` p_m, counts are negative binomials of these means λ and of variances
    λ / (1 - p_m). An event then adds y ~ Logarithmic(p_m), and their number is
    Poisson(-λ log(1 - p_m) (1 - p_m) / p_m) (Quenouille 1949, "A relation between the logarithmic,
    Poisson, and negative binomial series"). The p_m are clipped to [1e-12, 1 - 1e-7].
    """
    if probabilities is not None:
        p = probabilities = np.clip(probabilities, *_PROBABILITY_RANGE)
        beta = beta * (-np.log1p(-p) * (1 - p) / p)[:, None]
    totals_k = beta.sum(axis=0, dtype=np.float64)
    urns = _urns(beta, rng)
    ends = np.cumsum(theta @ totals_k)
    block_of_row = (ends / _EVENTS_PER_BLOCK).astype(np.int64)
    starts = np.flatnonzero(np.diff(block_of_row)) + 1
    blocks = np.split(theta, starts)
    return scipy.sparse.vstack(
        [_draw_block(block, totals_k, urns, len(beta), rng, probabilities) for block in blocks],
        format="csr",
    )


def _urns(factors: np.ndarray, rng: np.random.Generator) -> list[_Urn]:
    """For each factor, a sampler of indices with probabilities proportional to its entries."""
    from scipy.stats.sampling import DiscreteAliasUrn  # takes 0.4 s; only for these data

    return [DiscreteAliasUrn(f, random_state=rng).rvs for f in factors.T.astype(np.float64)]


def _draw_block(
    theta: np.ndarray,
    totals_k: np.ndarray,
    urns: list[_Urn],
    num_columns: int,
    rng: np.random.Generator,
    probabilities: np.ndarray | None,
) -> csr_array:
    """Draws the counts of some rows: their events are sorted by cell and counted, or added."""
    events_kn = rng.poisson(theta * totals_k).T
    row_starts = np.arange(len(theta)) * num_columns
    cells = np.concatenate(
        [
            np.repeat(row_starts, events_n) + urn(events_n.sum())
            for events_n, urn in zip(events_kn, urns, strict=True)
        ]
    )
    cells.sort()
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    if probabilities is None:
        counts = np.diff(first, append=cells.size)
    else:
        counts = np.add.reduceat(rng.logseries(probabilities[cells % num_columns]), first)
    return from_cells(cells[first], counts, (len(theta), num_columns))
