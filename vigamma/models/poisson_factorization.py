"""Poisson factorization with fixed priors."""

from typing import ClassVar, Protocol

import numpy as np
from scipy.sparse import csr_array

from vigamma.models.factor_model import FactorModel
from vigamma.models.factor_priors import FixedRatePrior
from vigamma.typing import default_float, spec

SMALLEST_SHAPE = 0.01

_ROW_SHAPES = 6.0
"""The default of K a, the sum of the shapes of a row. On texts, ratings, cells and digits, with
entries or counts held out, the best of the shapes from 0.05 to 1 decreased with K: it was 0.3 to
0.5, 0.1 to 0.3, 0.05 to 0.1 and 0.05 for K of 10, 20, 50 and 100."""


class _Factors(Protocol):
    num_factors: int
    row_shape: float | None
    column_shape: float


@spec
class PoissonFactorization:
    """x_nm ~ Poisson(e_n Σ_k θ_nk β_mk),   θ_nk ~ Gamma(a, a/s),   β_mk ~ Gamma(c, c/s).

    The prior mean s of all factors is set from the data: K s² is the mean of the training counts
    over all observed cells, so that the total count expected under the prior is the observed one.

    Attributes:
      num_factors: K.
      row_shape: a ≥ 0.01; smaller is sparser. None for 6 / K, clipped to [0.05, 1]: with more
        components, a row uses a smaller share of them.
      column_shape: c ≥ 0.01.
      row_sum_exposures: whether e_n is the sum of the counts of row n over the mean sum (library
        size, document length), rather than 1.
    """

    num_factors: int = 20
    row_shape: float | None = None
    column_shape: float = 0.3
    row_sum_exposures: bool = False

    likelihood: ClassVar[str] = "poisson"

    def validate(self) -> None:
        """Raises ValueError for a number of factors or a shape out of range."""
        validate_factors(self)

    def build(self, counts: csr_array, exposures: np.ndarray, num_missing: int) -> FactorModel:
        """The model of these counts; its priors are NumPy scalars of JAX's default float dtype.

        Args:
          counts: canonical counts of shape (N, M).
          exposures: e_n; shape (N,).
          num_missing: the number of unobserved cells.
        """
        mean = prior_mean(counts, exposures, num_missing, self.num_factors)
        row_prior, column_prior = (
            FixedRatePrior(default_float(shape), default_float(shape / mean))
            for shape in (row_shape_of(self), self.column_shape)
        )
        return FactorModel(row_prior, column_prior)


def validate_factors(model: _Factors) -> None:
    """Raises ValueError for fewer than one factor, or a shape that is infinite or below 0.01."""
    if model.num_factors < 1:
        raise ValueError(f"num_factors must be at least 1, got {model.num_factors}")
    for name, value in (("row_shape", row_shape_of(model)), ("column_shape", model.column_shape)):
        if not (np.isfinite(value) and value >= SMALLEST_SHAPE):
            raise ValueError(f"{name} must be finite and at least {SMALLEST_SHAPE}, got {value}")


def row_shape_of(model: _Factors) -> float:
    """a: `row_shape`, or its default if that is None."""
    if model.row_shape is not None:
        return model.row_shape
    total = getattr(model, "default_row_shapes", _ROW_SHAPES)
    return min(max(total / model.num_factors, 0.05), 1.0)


def prior_mean(
    counts: csr_array, exposures: np.ndarray, num_missing: int, num_factors: int
) -> float:
    """The s with K s² = Σ x_nm / Σ e_n, both sums over the observed cells."""
    num_cells = exposures.sum(dtype=float) * counts.shape[1]
    observed = num_cells * (1 - num_missing / (counts.shape[0] * counts.shape[1]))
    return float(np.sqrt(counts.sum(dtype=float) / observed / num_factors))
