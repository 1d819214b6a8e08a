"""The log-likelihood of held-out counts, one function for each protocol of `HeldOut`.

Scores use the posterior mean rates r_nm = e_n Σ_k E[θ_nk] E[β_mk], which are exact because the
factors are independent under q: `theta` is e_n E[θ_nk], and `beta` is E[β_mk]. Counts are Poisson
counts with these rates or, if their `probabilities` E[p_m] are given, negative binomials with these
means; both likelihoods are on one scale. No N × M array is computed: the sum of all rates is
(Σ_n e_n E[θ_n]) · (Σ_m E[β_m]).
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from vigamma.counts.sparse import rows_of, values_at
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.diagnostics.likelihoods import Likelihood, NegativeBinomialLikelihood, likelihood_of
from vigamma.typing import AnyArray, Array, FactorsMK, FactorsNK

_SMALLEST_RATE = 1e-30  # keeps log r finite where a rate underflows
_BLOCK = 2**12  # the cells of a block, which bound the memory of gathered factors


Probabilities: TypeAlias = Float[AnyArray, " M"] | None
"""E[p_m] of negative binomials; None for Poisson counts."""


class Score(NamedTuple):
    """The log-likelihood of held-out counts.

    Attributes:
      log_likelihood: the mean per unit of the protocol (count, cell or nonzero), in nats.
      num_heldout: the number of these units.
    """

    log_likelihood: float
    num_heldout: int


def heldout_log_likelihood(
    theta: FactorsNK,
    beta: FactorsMK,
    split: Split,
    heldout: HeldOutCounts,
    probabilities: Probabilities = None,
) -> Score:
    """Scores `split.test` or `split.valid` by the function named after the protocol."""
    functions = {"thinning": thinning, "cells": cells, "entries": entries}
    return functions[split.protocol](theta, beta, split, heldout, probabilities)


def deviance(score: Score, split: Split, heldout: HeldOutCounts) -> float:
    """The Poisson deviance 2 (L* - L), where L is `score` and L* has rates equal to the counts.

    It is 2 (Σ y log(y / r) - y + r) per unit of the protocol, and at least 0. For `entries`, only
    nonzeros in rows and columns with a training nonzero are included.
    """
    saturated = _terms(heldout, np.log(np.maximum(heldout.counts, 1.0))) - heldout.counts
    if split.protocol == "thinning":
        best = saturated.sum() / heldout.counts.sum(dtype=float)
    else:
        kept = split.is_seen(heldout) if split.protocol == "entries" else slice(None)
        best = saturated[kept].mean()
    return float(2 * (best - score.log_likelihood))


def perplexity(theta: FactorsNK, beta: FactorsMK, split: Split, heldout: HeldOutCounts) -> float:
    """The perplexity of the columns of held-out counts, given their rows.

    exp(-Σ_nm y_nm log(r_nm / Σ_{m' in C_n} r_nm') / Σ_nm y_nm)

    C_n is the set of columns in which row n can have held-out counts: all for `thinning`, the
    held-out ones for `cells`, those without a count in another part for `entries`. For `entries`,
    the y_nm in rows and columns without a training nonzero are left out. Exposures cancel.
    """
    rates, counts = _rates(theta, beta, heldout), heldout.counts.astype(float)
    num_rows = split.train.shape[0]
    if split.protocol == "cells":
        totals = np.bincount(heldout.rows, rates, num_rows)
    else:
        totals = np.asarray(theta, float) @ np.asarray(beta).sum(axis=0, dtype=float)
    if split.protocol == "entries":
        kept = split.is_seen(heldout)
        counts = np.where(kept, counts, 0.0)
        for part in _parts(split):
            if part.rows is not heldout.rows:
                totals -= np.bincount(part.rows, _rates(theta, beta, part), num_rows)
        totals = np.maximum(totals, np.bincount(heldout.rows, rates, num_rows))  # after rounding
    log_shares = np.log(rates) - np.log(totals[heldout.rows])
    return float(np.exp(-(counts * log_shares).sum() / counts.sum()))


def thinning(
    theta: FactorsNK,
    beta: FactorsMK,
    split: Split,
    heldout: HeldOutCounts,
    probabilities: Probabilities = None,
) -> Score:
    """The log-likelihood of all cells per held-out count (a cell with value 3 has three counts).

    For Poisson counts (Σ_nm y_nm log(s r_nm) - s r_nm - log y_nm!) / Σ_nm y_nm, zeros included,
    where s is the ratio of the held-out rates to the training rates.
    """
    likelihood = likelihood_of(probabilities, heldout.rate_scale, is_thinned=True)
    num_counts, trained, zeros = heldout.counts.sum(dtype=float), np.zeros(1), 0.0
    if isinstance(likelihood, NegativeBinomialLikelihood):
        trained = values_at(split.train, heldout.rows, heldout.columns)
        zeros = split.train.sum(axis=0).astype(float) @ likelihood.offsets
    zeros += _sum_of_all_rates(theta, beta, likelihood.exposures(len(beta)))
    rates = _rates(theta, beta, heldout)
    nonzeros = _log_factors(heldout, rates, likelihood, trained).sum()
    return Score(float(nonzeros - zeros) / float(num_counts), int(num_counts))


def total_log_likelihood(theta: FactorsNK, beta: FactorsMK, heldout: HeldOutCounts) -> float:
    """Σ_nm y_nm log(s r_nm) - s r_nm - log y_nm! over all cells, in nats; s is the `rate_scale`.

    `heldout` lists the nonzero y_nm, which need not be whole numbers.
    """
    return float(log_likelihood_of_rows(theta, beta, heldout).sum())


def log_likelihood_of_rows(
    theta: FactorsNK,
    beta: FactorsMK,
    heldout: HeldOutCounts,
    probabilities: Probabilities = None,
) -> np.ndarray:
    """The log-likelihood of all cells of each row, in nats; float64 of shape (N,).

    For Poisson counts it is the contribution of the row to `total_log_likelihood`; of other counts,
    no part of the same cells may have been seen.
    """
    likelihood = likelihood_of(probabilities, heldout.rate_scale, is_thinned=False)
    terms = _log_factors(heldout, _rates(theta, beta, heldout), likelihood, np.zeros(1))
    totals = np.asarray(theta, float) @ _exposed(beta, likelihood.exposures(len(beta)))
    return np.bincount(heldout.rows, terms, len(theta)) - totals


def cells(
    theta: FactorsNK,
    beta: FactorsMK,
    split: Split,
    heldout: HeldOutCounts,
    probabilities: Probabilities = None,
) -> Score:
    """The mean log-probability of the held-out cells, zeros and nonzeros alike."""
    del split
    likelihood = likelihood_of(probabilities, 1.0, is_thinned=False)
    return Score(_log_probs(theta, beta, heldout, likelihood).mean().item(), heldout.counts.size)


def entries(
    theta: FactorsNK,
    beta: FactorsMK,
    split: Split,
    heldout: HeldOutCounts,
    probabilities: Probabilities = None,
) -> Score:
    """The log-likelihood of a random sample of all cells, per nonzero of the sample.

    The mean over held-out nonzeros of the log-probability, plus (their share of all nonzeros)
    (the sum of log-probabilities over the zeros) / (number of held-out nonzeros). A zero has
    -r_nm if counts are Poisson. Rows and columns without a training nonzero are left out of the
    mean.
    """
    likelihood = likelihood_of(probabilities, 1.0, is_thinned=False)
    seen = split.is_seen(heldout)
    of_nonzeros = _log_probs(theta, beta, heldout, likelihood)[seen].mean()
    at_zeros = sum_at_zeros(theta, beta, split, likelihood.exposures(len(beta)))
    num_nonzeros = sum(part.rows.size for part in _parts(split))
    return Score(float(of_nonzeros - at_zeros / num_nonzeros), int(seen.sum()))


def sum_at_zeros(
    theta: FactorsNK, beta: FactorsMK, split: Split, exposures: Float[np.ndarray, " M"]
) -> float:
    """Σ exposure_m r_nm over the cells that are zero in all parts."""
    at_nonzeros = (_rates(theta, beta, part) @ exposures[part.columns] for part in _parts(split))
    return _sum_of_all_rates(theta, beta, exposures) - float(sum(at_nonzeros))


def _parts(split: Split) -> list[HeldOutCounts]:
    train = HeldOutCounts(rows_of(split.train), split.train.indices, split.train.data, 1.0)
    return [part for part in (train, split.valid, split.test) if part is not None]


def _log_factors(
    heldout: HeldOutCounts, rates: np.ndarray, likelihood: Likelihood, trained: np.ndarray
) -> np.ndarray:
    return likelihood.log_factors(heldout.counts.astype(float), rates, heldout.columns, trained)


def _log_probs(
    theta: FactorsNK, beta: FactorsMK, heldout: HeldOutCounts, likelihood: Likelihood
) -> np.ndarray:
    """The log-probabilities of cells of which training counts have no part, in float64."""
    rates, exposures = _rates(theta, beta, heldout), likelihood.exposures(len(beta))
    factors = _log_factors(heldout, rates, likelihood, np.zeros(1))
    return factors - exposures[heldout.columns] * rates


def _terms(heldout: HeldOutCounts, log_rates: np.ndarray) -> np.ndarray:
    """y log r - log y! of every cell, in float64."""
    counts = heldout.counts.astype(float)
    return counts * log_rates - gammaln(counts + 1)


def _rates(theta: FactorsNK, beta: FactorsMK, heldout: HeldOutCounts) -> np.ndarray:
    """Σ_k θ_nk β_mk at the held-out cells, in float64; in blocks."""
    num_blocks = -(-heldout.rows.size // _BLOCK)
    padding = num_blocks * _BLOCK - heldout.rows.size
    rows, columns = (
        np.pad(indices, (0, padding)).reshape(num_blocks, _BLOCK)
        for indices in (heldout.rows, heldout.columns)
    )
    with jax.enable_x64(True):  # consistent with the sum of all rates
        rates = np.asarray(_block_rates(theta, beta, rows, columns))
    return np.maximum(rates.ravel()[: heldout.rows.size], _SMALLEST_RATE)


@jax.jit
def _block_rates(theta: Array, beta: Array, rows: Array, columns: Array) -> Array:
    def of_block(block: tuple[Array, Array]) -> Array:
        factors = (
            table[index].astype(float) for table, index in zip((theta, beta), block, strict=True)
        )
        return jnp.multiply(*factors).sum(axis=1)

    return jax.lax.map(of_block, (rows, columns))


def _sum_of_all_rates(
    theta: FactorsNK, beta: FactorsMK, exposures: Float[np.ndarray, " M"]
) -> float:
    """Σ_nm exposure_m r_nm over all cells."""
    return float(np.asarray(theta).sum(axis=0, dtype=float) @ _exposed(beta, exposures))


def _exposed(beta: FactorsMK, exposures: Float[np.ndarray, " M"]) -> np.ndarray:
    """Σ_m exposure_m β_mk in float64; unlike `@`, it converts no whole table."""
    return np.einsum("m,mk->k", exposures, np.asarray(beta))
