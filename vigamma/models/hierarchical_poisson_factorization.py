"""Poisson factorization with random activities of rows and popularities of columns."""

from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from vigamma.families.gamma import Gamma
from vigamma.models.factor_model import FactorModel
from vigamma.models.factor_priors import RandomRatePrior
from vigamma.models.poisson_factorization import prior_mean, row_shape_of, validate_factors
from vigamma.typing import default_float, spec


@spec
class HierarchicalPoissonFactorization:
    """θ_nk ~ Gamma(a, ξ_n), ξ_n ~ Gamma(r, r s/a), and likewise β_mk ~ Gamma(c, η_m).

    x_nm ~ Poisson(e_n Σ_k θ_nk β_mk) (Gopalan, Hofman & Blei 2015). ξ_n is the inverse of the
    activity of row n, η_m that of the popularity of column m. Their prior means are a/s and c/s,
    with the same s as in `PoissonFactorization`: K s² is the mean of the training counts.

    Attributes:
      num_factors: K.
      row_shape: a > 0, or None, as in `PoissonFactorization`.
      column_shape: c > 0.
      rate_shape: r > 0; with a smaller r, activities and popularities vary more.
      row_sum_exposures: as in `PoissonFactorization`.
    """

    num_factors: int = 20
    row_shape: float | None = None
    column_shape: float = 0.3
    rate_shape: float = 0.3
    row_sum_exposures: bool = False

    likelihood: ClassVar[str] = "poisson"

    def validate(self) -> None:
        """Raises ValueError for a number of factors or a shape out of range."""
        validate_factors(self)
        if not (np.isfinite(self.rate_shape) and self.rate_shape > 0):
            raise ValueError(f"rate_shape must be positive and finite, got {self.rate_shape}")

    def build(self, counts: csr_array, exposures: np.ndarray, num_missing: int) -> FactorModel:
        """The model of these counts; the arguments are those of `PoissonFactorization.build`."""
        mean = prior_mean(counts, exposures, num_missing, self.num_factors)

        def prior(shape: float) -> RandomRatePrior:
            rate = Gamma(*map(default_float, (self.rate_shape, self.rate_shape * mean / shape)))
            return RandomRatePrior(default_float(shape), rate)

        return FactorModel(prior(row_shape_of(self)), prior(self.column_shape))
