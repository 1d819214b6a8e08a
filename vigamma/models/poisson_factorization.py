"""Poisson factorization with fixed priors, and how its model is built from counts."""

from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from vigamma.models.factor_model import FactorModel
from vigamma.models.factor_priors import FixedRatePrior
from vigamma.typing import default_float, spec

SMALLEST_SHAPE = 0.01

_ROW_SHAPES = 6.0
"""The sum over components of the shapes of a row. Of shapes from 0.05 to 1 and K from 10 to 100 on
texts, ratings, cells and digits, whether entries or counts are held out, the best shape falls with
K: 0.3 to 0.5, 0.1 to 0.3, 0.05 to 0.1 and 0.05 for K of 10, 20, 50 and 100."""


class _Factors(Protocol):
    num_factors: int
    row_shape: float | None
    column_shape: float


@spec
class PoissonFactorization:
    """x_nm ~ Poisson(e_n Σ_k θ_nk β_mk),   θ_nk ~ Gamma(a, a/s),   β_mk ~ Gamma(c, c/s).

    The prior mean s of all factors is not a choice: K s² is the mean of the training counts over
    all observed cells, so that the prior expects as many counts as there are.

    Attributes:
      num_factors: K.
      row_shape: a > 0; smaller is sparser. None for 6 / K, from 0.05 to 1: the more components
        there are, the smaller the share of them that a row has.
      column_shape: c > 0.
      row_sum_exposures: whether e_n is the sum of the counts of row n over its mean (library size,
        document length), rather than 1.
    """

    num_factors: int = 20
    row_shape: float | None = None
    column_shape: float = 0.3
    row_sum_exposures: bool = False

    def validate(self) -> None:
        """Raises ValueError for a number of factors or a shape that is not positive."""
        validate_factors(self)

    def build(self, counts: csr_array, exposures: np.ndarray, num_missing: int) -> FactorModel:
        """The model of these counts, its priors in NumPy, of JAX's default float type.

        Args:
          counts: canonical counts of shape (N, M).
          exposures: e_n; shape (N,).
          num_missing: the number of cells that were not observed.
        """
        mean = prior_mean(counts, exposures, num_missing, self.num_factors)
        row_prior, column_prior = (
            FixedRatePrior(default_float(shape), default_float(shape / mean))
            for shape in (row_shape_of(self), self.column_shape)
        )
        return FactorModel(row_prior, column_prior)


def validate_factors(model: _Factors) -> None:
    """Raises ValueError for a number of factors or a shape that is not positive and finite."""
    if model.num_factors < 1:
        raise ValueError(f"num_factors must be at least 1, got {model.num_factors}")
    for name, value in (("row_shape", row_shape_of(model)), ("column_shape", model.column_shape)):
        if not (np.isfinite(value) and value >= SMALLEST_SHAPE):
            raise ValueError(f"{name} must be finite and at least {SMALLEST_SHAPE}, got {value}")


def row_shape_of(model: _Factors) -> float:
    """a: `row_shape`, or what stands for None."""
    if model.row_shape is not None:
        return model.row_shape
    return min(max(_ROW_SHAPES / model.num_factors, 0.05), 1.0)


def prior_mean(
    counts: csr_array, exposures: np.ndarray, num_missing: int, num_factors: int
) -> float:
    """The s with K s² = Σ x_nm / Σ e_n, both sums over the observed cells."""
    num_cells = exposures.sum(dtype=float) * counts.shape[1]
    observed = num_cells * (1 - num_missing / (counts.shape[0] * counts.shape[1]))
    return float(np.sqrt(counts.sum(dtype=float) / observed / num_factors))
