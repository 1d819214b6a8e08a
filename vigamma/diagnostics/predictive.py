"""The log-likelihood of held-out counts, one function for each protocol of `HeldOut`.

Scores use the posterior mean rates r_nm = e_n Σ_k E[θ_nk] E[β_mk], which are exact because the
factors are independent under q: `theta` is e_n E[θ_nk], and `beta` is E[β_mk]. No N × M array is
computed: the sum of all rates is (Σ_n e_n E[θ_n]) · (Σ_m E[β_m]).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln

from vigamma.counts.sparse import rows_of
from vigamma.data.heldout import HeldOutCounts, Split
from vigamma.typing import Array, FactorsMK, FactorsNK

_SMALLEST_RATE = 1e-30  # keeps log r finite where a rate underflows
_BLOCK = 2**12  # the cells of a block, which bound the memory of gathered factors


class Score(NamedTuple):
    """The log-likelihood of held-out counts.

    Attributes:
      log_likelihood: the mean per unit of the protocol (count, cell or nonzero), in nats.
      num_heldout: the number of these units.
    """

    log_likelihood: float
    num_heldout: int


def heldout_log_likelihood(
    theta: FactorsNK, beta: FactorsMK, split: Split, heldout: HeldOutCounts
) -> Score:
    """Scores `split.test` or `split.valid` by the function named after the protocol."""
    functions = {"thinning": thinning, "cells": cells, "entries": entries}
    return functions[split.protocol](theta, beta, split, heldout)


def scores(theta: FactorsNK, beta: FactorsMK, split: Split) -> dict[str, Score]:
    """The scores of the existing parts: "valid" (validation) and "heldout" (test)."""
    held_out = (("valid", split.valid), ("heldout", split.test))
    parts = {name: part for name, part in held_out if part is not None}
    if split.protocol == "entries":
        at_zeros = sum_at_zeros(theta, beta, split)
        return {name: entries(theta, beta, split, part, at_zeros) for name, part in parts.items()}
    return {name: heldout_log_likelihood(theta, beta, split, part) for name, part in parts.items()}


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


def thinning(theta: FactorsNK, beta: FactorsMK, split: Split, heldout: HeldOutCounts) -> Score:
    """The log-likelihood of all cells per held-out count (a cell with value 3 has three counts).

    (Σ_nm y_nm log(s r_nm) - s r_nm - log y_nm!) / Σ_nm y_nm, zeros included, where s is the ratio
    of the held-out rates to the training rates.
    """
    del split
    num_counts = heldout.counts.sum(dtype=float)
    log_likelihood = total_log_likelihood(theta, beta, heldout)
    return Score(log_likelihood / float(num_counts), int(num_counts))


def total_log_likelihood(theta: FactorsNK, beta: FactorsMK, heldout: HeldOutCounts) -> float:
    """Σ_nm y_nm log(s r_nm) - s r_nm - log y_nm! over all cells, in nats; s is the `rate_scale`.

    `heldout` lists the nonzero y_nm, which need not be whole numbers.
    """
    log_rates = np.log(heldout.rate_scale * _rates(theta, beta, heldout))
    total = heldout.rate_scale * _sum_of_all_rates(theta, beta)
    return float(_terms(heldout, log_rates).sum() - total)


def log_likelihood_of_rows(theta: FactorsNK, beta: FactorsMK, heldout: HeldOutCounts) -> np.ndarray:
    """The contribution of each row to `total_log_likelihood`, in nats; float64 of shape (N,)."""
    log_rates = np.log(heldout.rate_scale * _rates(theta, beta, heldout))
    of_nonzeros = np.bincount(heldout.rows, _terms(heldout, log_rates), len(theta))
    totals = np.asarray(theta, float) @ np.asarray(beta).sum(axis=0, dtype=float)
    return of_nonzeros - heldout.rate_scale * totals


def cells(theta: FactorsNK, beta: FactorsMK, split: Split, heldout: HeldOutCounts) -> Score:
    """The mean of log Poisson(y_nm | r_nm) over the held-out cells, zeros and nonzeros alike."""
    del split
    rates = _rates(theta, beta, heldout)
    log_likelihood = (_terms(heldout, np.log(rates)) - rates).mean()
    return Score(float(log_likelihood), heldout.counts.size)


def entries(
    theta: FactorsNK,
    beta: FactorsMK,
    split: Split,
    heldout: HeldOutCounts,
    at_zeros: float | None = None,
) -> Score:
    """The log-likelihood of a random sample of all cells, per nonzero of the sample.

    mean over held-out nonzeros of log Poisson(y_nm | r_nm)
        - (their share of all nonzeros) (Σ_nm r_nm over the zeros) / (number of held-out nonzeros)

    Rows and columns without a training nonzero are left out of the mean. `at_zeros` is the sum of
    the rates over the zeros, if it is already known.
    """
    rates = _rates(theta, beta, heldout)
    seen = split.is_seen(heldout)
    of_nonzeros = (_terms(heldout, np.log(rates)) - rates)[seen].mean()
    if at_zeros is None:
        at_zeros = sum_at_zeros(theta, beta, split)
    num_nonzeros = sum(part.rows.size for part in _parts(split))
    return Score(float(of_nonzeros - at_zeros / num_nonzeros), int(seen.sum()))


def sum_at_zeros(theta: FactorsNK, beta: FactorsMK, split: Split) -> float:
    """Σ r_nm over the cells that are zero in all parts."""
    at_nonzeros = (_rates(theta, beta, part).sum() for part in _parts(split))
    return _sum_of_all_rates(theta, beta) - float(sum(at_nonzeros))


def _parts(split: Split) -> list[HeldOutCounts]:
    train = HeldOutCounts(rows_of(split.train), split.train.indices, split.train.data, 1.0)
    return [part for part in (train, split.valid, split.test) if part is not None]


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


def _sum_of_all_rates(theta: FactorsNK, beta: FactorsMK) -> float:
    sum_theta, sum_beta = (np.asarray(table).sum(axis=0, dtype=float) for table in (theta, beta))
    return float(sum_theta @ sum_beta)
