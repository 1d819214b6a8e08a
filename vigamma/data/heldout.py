"""Protocols that hold out counts from training, to score a fit on them."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy.sparse import csr_array

from vigamma.counts.sparse import canonical_counts, from_cells, rows_of
from vigamma.data.files import Parts
from vigamma.typing import spec

MOST_CELLS = 2 * 10**8
"""The most cells to hold out: each takes 12 bytes when listed, and more while drawn."""

_BLOCK = 2**22  # bounds the memory for the int64 draws of NumPy
_VALID_ENTRIES = 0.05  # not 0, because long fits of `entries` overfit
_TRAIN, _VALID, _TEST = range(3)


class HeldOutCounts(NamedTuple):
    """Held-out counts and their cells, ordered by row, then column.

    Attributes:
      rows: the rows of the cells.
      columns: the columns of the cells.
      counts: the held-out counts.
      rate_scale: the Poisson rate of the held-out counts divided by that of the training counts.
    """

    rows: Int32[np.ndarray, " E"]
    columns: Int32[np.ndarray, " E"]
    counts: Float32[np.ndarray, " E"]
    rate_scale: float


class Split(NamedTuple):
    """Training counts, and held-out counts to score the fit.

    Attributes:
      protocol: the name of the protocol that made the split.
      train: canonical training counts of shape (N, M).
      missing: uint8 ones at the unobserved cells, whose zeros are not data, of shape (N, M); None
        if every cell of `train` is observed or is treated as such.
      valid: the validation counts, for choices during training, or None.
      test: the test counts, for the final score, or None.
    """

    protocol: str
    train: csr_array
    missing: csr_array | None
    valid: HeldOutCounts | None
    test: HeldOutCounts | None

    def is_seen(self, heldout: HeldOutCounts) -> Bool[np.ndarray, " E"]:
        """Whether the row and the column of each held-out cell both have a training nonzero."""
        row_seen = np.diff(self.train.indptr) > 0
        column_seen = np.bincount(self.train.indices, minlength=self.train.shape[1]) > 0
        return row_seen[heldout.rows] & column_seen[heldout.columns]


@spec
class HeldOut:
    """Holds out a random part of the counts, which depends only on the counts and the seed.

    Attributes:
      protocol: `thinning`, `cells` or `entries`; see the functions of these names in this module.
      test_fraction: the fraction held out for the test; with 0 there is no test part.
      valid_fraction: the fraction held out for validation; with 0 there is no validation part. None
        means 0.05 for `entries`, where long fits overfit, and 0 otherwise.
      seed: the seed of the split, at least 0.
    """

    protocol: str = "thinning"
    test_fraction: float = 0.2
    valid_fraction: float | None = None
    seed: int = 0

    def validate(self) -> None:
        """Raises ValueError for an unknown protocol, and for fractions or a seed out of range."""
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be {', '.join(PROTOCOLS)}, got {self.protocol!r}")
        for name, fraction in self._fractions.items():
            if not 0 <= fraction < 1:
                raise ValueError(f"{name} must be at least 0, below 1, got {fraction}")
        if not sum(self._fractions.values()) < 1:
            raise ValueError("test_fraction and valid_fraction must leave something to train on")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")

    @property
    def holds_out_validation(self) -> bool:
        """Whether the split has a validation part."""
        return self._fractions["valid_fraction"] > 0

    @property
    def _fractions(self) -> dict[str, float]:
        valid = self.valid_fraction
        if valid is None:
            valid = _VALID_ENTRIES if self.protocol == "entries" else 0.0
        return {"valid_fraction": valid, "test_fraction": self.test_fraction}

    def split(self, data: Any) -> Split:
        """Splits `data.counts`; for `entries`, a published split in `data.parts` is used as it is.

        Args:
          data: the loaded counts, `contracts.SparseData`.

        Raises:
          ValueError: for fields out of range, and if a fraction holds out nothing, more than
            `MOST_CELLS` cells, or every nonzero.
        """
        if self.protocol == "entries" and data.parts is not None:
            return _published(data.parts)
        rng = np.random.default_rng([self.seed, 1])  # sources draw from default_rng(seed)
        split = PROTOCOLS[self.protocol](data.counts, **self._fractions, rng=rng)
        for name, part in (("valid_fraction", split.valid), ("test_fraction", split.test)):
            if (getattr(self, name) or 0) > 0 and part is None:
                raise ValueError(f"{name} = {getattr(self, name)} holds out nothing; raise it")
        return split


def thinning(
    counts: csr_array, valid_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Split:
    """Splits every count x at random; the parts of a Poisson count are independent Poisson counts.

    (train, valid, test) ~ Multinomial(x, (1 - v - t, v, t)). If x ~ Poisson(λ), then train ~
    Poisson((1 - v - t) λ) and, independently of it, test ~ Poisson(t λ). So the `rate_scale` of the
    test part is t / (1 - v - t). The held-out parts list their nonzeros.

    Source: Neufeld, Gao, Popp, Battle & Witten (2023), "Inference after latent variable estimation
    for single-cell RNA sequencing data", Biostatistics.
    """
    test = _binomial(counts.data, test_fraction, rng)
    rest = counts.data - test
    valid = _binomial(rest, valid_fraction / (1 - test_fraction), rng)
    train_fraction = 1 - valid_fraction - test_fraction
    return Split(
        protocol="thinning",
        train=_training(_with_values(counts, rest - valid)),
        missing=None,
        valid=_nonzeros(_with_values(counts, valid), valid_fraction / train_fraction),
        test=_nonzeros(_with_values(counts, test), test_fraction / train_fraction),
    )


def cells(
    counts: csr_array, valid_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Split:
    """Holds out ⌊fraction · N · M⌋ cells, zeros and nonzeros alike, drawn without replacement.

    They are 0 in `train` and 1 in `missing`; the held-out parts list all of them.

    Raises:
      ValueError: for more than `MOST_CELLS` cells.
    """
    num_cells = math.prod(counts.shape)
    sizes = _sizes(num_cells, valid_fraction, test_fraction)
    if sum(sizes) > MOST_CELLS:
        raise ValueError(
            f"{sum(sizes):,} of {num_cells:,} cells would be held out, more than {MOST_CELLS:,}; "
            "choose a smaller fraction"
        )
    drawn = _distinct_cells(num_cells, sum(sizes), rng)
    labels = _labels(drawn.size, sizes, rng)  # surplus draws get the label _TRAIN
    valid, test = (_pattern(drawn[labels == label], counts.shape) for label in (_VALID, _TEST))
    missing = valid + test
    return Split(
        protocol="cells",
        train=_training(counts - counts.multiply(missing)),
        missing=missing,
        valid=_all_cells(counts, valid),
        test=_all_cells(counts, test),
    )


def entries(
    counts: csr_array, valid_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Split:
    """Holds out ⌊fraction · E⌋ of the E nonzeros, which training sees as zeros.

    This is the usual protocol in the literature on recommender systems. The held-out parts list
    their nonzeros.
    """
    labels = _labels(counts.nnz, _sizes(counts.nnz, valid_fraction, test_fraction), rng)
    train, valid, test = (
        _with_values(counts, counts.data * (labels == label)) for label in (_TRAIN, _VALID, _TEST)
    )
    return Split(
        protocol="entries",
        train=_training(train),
        missing=None,
        valid=_nonzeros(valid, rate_scale=1.0),
        test=_nonzeros(test, rate_scale=1.0),
    )


PROTOCOLS = {"thinning": thinning, "cells": cells, "entries": entries}
"""The protocols by the values of `HeldOut.protocol`."""


def _published(parts: Parts) -> Split:
    return Split(
        protocol="entries",
        train=parts.train,
        missing=None,
        valid=None if parts.valid is None else _nonzeros(parts.valid, rate_scale=1.0),
        test=_nonzeros(parts.test, rate_scale=1.0),
    )


def _training(counts: csr_array) -> csr_array:
    return canonical_counts(counts, "training counts")


def _with_values(counts: csr_array, values: np.ndarray) -> csr_array:
    return csr_array((values, counts.indices, counts.indptr), shape=counts.shape)


def _nonzeros(counts: csr_array, rate_scale: float) -> HeldOutCounts | None:
    """Lists the nonzeros of `counts`, which may store zeros; None if there are none."""
    held = counts.data > 0
    if not held.any():
        return None
    values = counts.data[held].astype(np.float32)
    return HeldOutCounts(rows_of(counts)[held], counts.indices[held], values, rate_scale)


def _all_cells(counts: csr_array, pattern: csr_array) -> HeldOutCounts | None:
    """Lists the counts, zeros included, at the ones of a pattern; None if it is empty."""
    if not pattern.nnz:
        return None
    one_more = pattern.astype(np.int32) + counts.multiply(pattern)
    values = (one_more.data - 1).astype(np.float32)
    return HeldOutCounts(rows_of(pattern), pattern.indices, values, rate_scale=1.0)


def _pattern(cells: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return from_cells(cells, np.ones(cells.size, np.uint8), shape)


def _sizes(total: int, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    return math.floor(valid_fraction * total), math.floor(test_fraction * total)


def _labels(size: int, sizes: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """`size` labels in random order: `sizes` of them are _VALID and _TEST, the others _TRAIN."""
    num_valid, num_test = sizes
    labels = np.full(size, _TRAIN, np.uint8)
    labels[:num_valid] = _VALID
    labels[num_valid : num_valid + num_test] = _TEST
    rng.shuffle(labels)
    return labels


def _distinct_cells(num_cells: int, at_least: int, rng: np.random.Generator) -> np.ndarray:
    """Draws `at_least` distinct cells or more: n draws hit about C (1 - exp(-n / C)) of C cells."""
    num_draws = -num_cells * math.log1p(-at_least / num_cells) + 5 * math.sqrt(at_least) + 10
    while True:
        draws = np.sort(rng.integers(num_cells, size=math.ceil(num_draws)))
        is_new = np.append(True, draws[1:] != draws[:-1])
        if is_new.sum() >= at_least:
            return draws[is_new]


def _binomial(counts: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Draws Binomial(counts, probability) in the type of `counts`, block by block."""
    drawn = np.empty_like(counts)
    for start in range(0, counts.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        drawn[block] = rng.binomial(counts[block], probability)
    return drawn
