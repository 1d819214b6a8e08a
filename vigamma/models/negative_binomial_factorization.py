"""Negative-binomial factorization with fixed priors, and its hierarchical form."""

from typing import ClassVar, Protocol

import numpy as np
from scipy.sparse import csr_array

from vigamma.families.beta import Beta
from vigamma.models.factor_model import FactorModel
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel
from vigamma.models.poisson_factorization import PoissonFactorization
from vigamma.typing import default_float, spec

_SMALLEST_SHAPE, _LARGEST_SHAPE = 0.1, 1e4
_ROW_SHAPES = 3.0
"""The default of K a, half of that of Poisson counts: the same counts tell less of a row."""

_FAILURE_SHAPE = 2.0  # at least, by default


class _Probabilities(Protocol):
    num_factors: int
    column_shape: float
    success_shape: float
    failure_shape: float | None


@spec
class NegativeBinomialFactorization(PoissonFactorization):
    """x_nm ~ NB of mean λ_nm = e_n Σ_k θ_nk β_mk and variance λ_nm / (1 - p_m),  p_m ~ Beta(a, b).

    The factors and their priors are those of `PoissonFactorization`, but for the default of
    `row_shape`, 3 / K. See `models.negative_binomial_model`. Where cells have thousands of counts,
    their tables say little of p_m, and it converges slowly.

    Attributes:
      success_shape: a, in [0.1, 10000].
      failure_shape: b, likewise; the prior mean of p_m is a / (a + b). By default it is 2, or
        K c > 2 with the shape c of the prior of columns. Otherwise the posterior of a column with
        no or hardly any counts may have a p_m near 1, as if large counts came once in a long time,
        in place of a small mean.
    """

    success_shape: float = 0.5
    failure_shape: float | None = None

    likelihood: ClassVar[str] = "negative_binomial"
    default_row_shapes: ClassVar[float] = _ROW_SHAPES

    def validate(self) -> None:
        """Raises ValueError for a number of factors or a shape out of range."""
        super().validate()
        _validate_probabilities(self)

    def build(
        self, counts: csr_array, exposures: np.ndarray, num_missing: int
    ) -> NegativeBinomialFactorModel:
        """The model of these counts; the arguments are those of `PoissonFactorization.build`."""
        return _with_probabilities(super().build(counts, exposures, num_missing), self)


@spec
class HierarchicalNegativeBinomialFactorization(HierarchicalPoissonFactorization):
    """`NegativeBinomialFactorization` with random activities of rows and popularities of columns.

    The factors and their priors are those of `HierarchicalPoissonFactorization`, but for the
    default of `row_shape`, 3 / K.

    Attributes:
      success_shape: a, as in `NegativeBinomialFactorization`.
      failure_shape: b, likewise, as is its default.
    """

    success_shape: float = 0.5
    failure_shape: float | None = None

    likelihood: ClassVar[str] = "negative_binomial"
    default_row_shapes: ClassVar[float] = _ROW_SHAPES

    def validate(self) -> None:
        """Raises ValueError for a number of factors or a shape out of range."""
        super().validate()
        _validate_probabilities(self)

    def build(
        self, counts: csr_array, exposures: np.ndarray, num_missing: int
    ) -> NegativeBinomialFactorModel:
        """The model of these counts; the arguments are those of `PoissonFactorization.build`."""
        return _with_probabilities(super().build(counts, exposures, num_missing), self)


def _with_probabilities(model: FactorModel, of: _Probabilities) -> NegativeBinomialFactorModel:
    prior = Beta(default_float(of.success_shape), default_float(_failure_shape_of(of)))
    return NegativeBinomialFactorModel(
        row_prior=model.row_prior, column_prior=model.column_prior, probability_prior=prior
    )


def _failure_shape_of(model: _Probabilities) -> float:
    """b: `failure_shape`, or its default if that is None."""
    if model.failure_shape is not None:
        return model.failure_shape
    return max(_FAILURE_SHAPE, model.num_factors * model.column_shape)


def _validate_probabilities(model: _Probabilities) -> None:
    values = {"success_shape": model.success_shape, "failure_shape": _failure_shape_of(model)}
    for name, value in values.items():
        if not _SMALLEST_SHAPE <= value <= _LARGEST_SHAPE:
            raise ValueError(
                f"{name} must be in [{_SMALLEST_SHAPE:g}, {_LARGEST_SHAPE:g}], got {value}"
            )
