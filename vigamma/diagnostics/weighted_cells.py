"""Held-out scores as weighted sums over few cells, cheap enough to compute after every sweep.

Each protocol of `vigamma.diagnostics.predictive` is linear in log-rates and rates:

    score = c + Σ_i (a_i log r_i + b_i r_i) + t Σ_nm r_nm

over some cells i; the sum of all rates is cheap. Negative binomials have log-factors of cells in
place of y_i log r_i, and exposures of columns; see `vigamma.diagnostics.likelihoods`. If there are
many cells, a sample drawn with probabilities proportional to the counts is used instead. The sample
is always the same, so that the scores of different sweeps and models are comparable.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.special import gammaln

from vigamma.counts.sparse import values_at
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.likelihoods import NegativeBinomialLikelihood, likelihood_of
from vigamma.typing import AnyArray, FactorsMK, FactorsNK

MOST_CELLS = 2**17
"""The most held-out cells (for `entries`, nonzeros) to use; half as many are drawn from more."""

_BLOCK = 2**22  # bounds the memory of cumulative sums
_CELLS_PER_BLOCK = 2**14  # bounds the memory of gathered factors
_SMALLEST_RATE = 1e-30  # keeps log r finite where a rate underflows


class WeightedCells(NamedTuple):
    """The coefficients of a score.

    Attributes:
      rows: the rows of the cells i.
      columns: the columns of the cells i.
      log_weights: a_i.
      weights: b_i.
      weight_of_all: t.
      constant: c, in nats.
      counts: y_i; where it is 0, a_i is 0.
      trained: what the training counts have of the cells i, with thinning; otherwise 0.
      scale: s; the constant contains log s.
    """

    rows: Integer[np.ndarray, " E"]
    columns: Integer[np.ndarray, " E"]
    log_weights: Float64[np.ndarray, " E"]
    weights: Float64[np.ndarray, " E"]
    weight_of_all: float
    constant: float
    counts: Float64[np.ndarray, " E"]
    trained: Float64[np.ndarray, " E"]
    scale: float = 1.0


def weighted_cells(
    split: Split, heldout: HeldOutCounts, most_cells: int = MOST_CELLS
) -> WeightedCells:
    """The coefficients of `heldout_log_likelihood(theta, beta, split, heldout)`.

    The score is equal to it up to rounding if there are at most `most_cells` cells, and an unbiased
    estimate of it otherwise.
    """
    kinds = {"thinning": _thinning, "cells": _cells, "entries": _entries}
    return kinds[split.protocol](split, heldout, most_cells)


def score_of_rows(
    split: Split,
    heldout: HeldOutCounts,
    theta: FactorsNK,
    beta: FactorsMK,
    probabilities: Float[AnyArray, " M"] | None = None,
) -> Float64[np.ndarray, " N"]:
    """What each row adds to the score, in nats; their sum is the score less c - log s.

    Args:
      split: all parts, and the protocol.
      heldout: the part to score.
      theta: e_n E[θ_nk].
      beta: E[β_mk].
      probabilities: E[p_m] of negative binomials; None for Poisson counts.
    """
    is_thinned = split.protocol == "thinning"
    cells = weighted_cells(split, heldout)
    likelihood = likelihood_of(probabilities, cells.scale, is_thinned)
    exposures, t = likelihood.exposures(len(beta)), cells.weight_of_all / cells.scale
    rates = _rates_of(cells, theta, beta)
    factors = likelihood.log_factors(cells.counts, rates, cells.columns, cells.trained)
    log_factors = (factors + gammaln(cells.counts + 1)) / np.maximum(cells.counts, 1)
    terms = cells.log_weights * log_factors + cells.weights * exposures[cells.columns] * rates
    scores = np.bincount(cells.rows, terms, len(theta))
    scores += t * (np.asarray(theta, float) @ (exposures @ np.asarray(beta, float)))
    if isinstance(likelihood, NegativeBinomialLikelihood) and is_thinned:
        scores += t * (split.train @ likelihood.offsets)
    return scores


def _rates_of(cells: WeightedCells, theta: FactorsNK, beta: FactorsMK) -> np.ndarray:
    """Σ_k θ_nk β_mk of the cells, in float64; in blocks."""
    starts = range(0, max(cells.rows.size, 1), _CELLS_PER_BLOCK)
    blocks = (slice(start, start + _CELLS_PER_BLOCK) for start in starts)
    rates = [
        np.einsum("ik,ik->i", theta[cells.rows[b]], beta[cells.columns[b]], dtype=float)
        for b in blocks
    ]
    return np.maximum(np.concatenate(rates), _SMALLEST_RATE)


def _thinning(split: Split, heldout: HeldOutCounts, most_cells: int) -> WeightedCells:
    total = heldout.counts.sum(dtype=float)
    chosen, weights = _drawn([heldout.counts], most_cells)
    log_weights = weights * heldout.counts[chosen] / total
    scale = heldout.rate_scale
    constant = np.log(scale) - gammaln(heldout.counts.astype(float) + 1).sum() / total
    places = heldout.rows[chosen], heldout.columns[chosen]
    return WeightedCells(
        *places,
        log_weights,
        np.zeros(chosen.size),
        -scale / total,
        constant,
        heldout.counts[chosen].astype(float),
        values_at(split.train, *places),
        scale,
    )


def _cells(split: Split, heldout: HeldOutCounts, most_cells: int) -> WeightedCells:
    del split
    return _mean_log_poisson(heldout, most_cells)


def _entries(split: Split, heldout: HeldOutCounts, most_cells: int) -> WeightedCells:
    """The rates of the zeros are all rates minus those of the nonzeros, per nonzero."""
    kept = split.is_seen(heldout)
    rows, columns, counts = (array[kept] for array in heldout[:3])
    seen = HeldOutCounts(rows, columns, counts, heldout.rate_scale)
    scored = _mean_log_poisson(seen, most_cells)
    rows, columns, weights = _nonzeros(split, most_cells)
    num_nonzeros = split.train.nnz + sum(part.rows.size for part in _held_out(split))
    return WeightedCells(
        np.append(scored.rows, rows),
        np.append(scored.columns, columns),
        np.append(scored.log_weights, np.zeros(rows.size)),
        np.append(scored.weights, weights / num_nonzeros),
        -1 / num_nonzeros,
        scored.constant,
        np.append(scored.counts, np.zeros(rows.size)),
        np.zeros(scored.rows.size + rows.size),
    )


def _mean_log_poisson(part: HeldOutCounts, most_cells: int) -> WeightedCells:
    """The mean of log Poisson(y_i | r_i)."""
    size = max(part.counts.size, 1)
    chosen, weights = _drawn([part.counts], most_cells)
    counts, weights = part.counts[chosen].astype(float), weights / size
    constant = -gammaln(part.counts.astype(float) + 1).sum() / size
    places = part.rows[chosen], part.columns[chosen]
    log_weights = weights * counts
    none = np.zeros(counts.size)
    return WeightedCells(*places, log_weights, -weights, 0.0, constant, counts, none)


def _held_out(split: Split) -> list[HeldOutCounts]:
    return [part for part in (split.valid, split.test) if part is not None]


def _nonzeros(split: Split, most_cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and weights of the nonzeros of all parts, or of a sample of them."""
    train, held = split.train, _held_out(split)
    chosen, weights = _drawn([train.data, *(part.counts for part in held)], most_cells)
    inside = chosen[: np.searchsorted(chosen, train.nnz)]
    others = chosen[inside.size :] - train.nnz
    rows = [np.searchsorted(train.indptr, inside, side="right") - 1]
    columns = [train.indices[inside]]
    for part in held:
        own = others[: np.searchsorted(others, part.rows.size)]
        others = others[own.size :] - part.rows.size
        rows.append(part.rows[own])
        columns.append(part.columns[own])
    return np.concatenate(rows), np.concatenate(columns), weights


def _drawn(counts: Sequence[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices i in ascending order, and weights w_i, so that Σ w_i f_i estimates Σ f over all.

    If there are at most `most` counts, these are all of them, with weights of 1. Otherwise half of
    `most` are drawn with probabilities proportional to x + 1/2, as the terms of the sum roughly
    are. No other array of the size of the counts is allocated.
    """
    size = sum(part.size for part in counts)
    if size <= most:
        return np.arange(size), np.ones(size)
    rng, number = np.random.default_rng(0), most // 2
    totals = [block.sum() for block in _blocks(counts)]
    numbers = rng.multinomial(number, np.array(totals) / sum(totals))
    indices, weights, start = [], [], 0
    for block, drawn in zip(_blocks(counts), numbers, strict=True):
        ends = np.cumsum(block)
        places = np.sort(np.searchsorted(ends, rng.random(drawn) * ends[-1], side="right"))
        indices.append(start + places)
        weights.append(sum(totals) / number / block[places])
        start += block.size
    return np.concatenate(indices), np.concatenate(weights)


def _blocks(counts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for part in counts:
        for start in range(0, part.size, _BLOCK):
            yield part[start : start + _BLOCK] + 0.5
