"""The factorizations of each likelihood of counts, by the names that users choose from."""

import dataclasses
from typing import Any

from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.negative_binomial_factorization import (
    HierarchicalNegativeBinomialFactorization,
    NegativeBinomialFactorization,
)
from vigamma.models.poisson_factorization import PoissonFactorization

Factorization = PoissonFactorization | HierarchicalPoissonFactorization
"""Those of negative binomials are subclasses."""

LIKELIHOODS: dict[str, tuple[type[Factorization], ...]] = {
    "poisson": (PoissonFactorization, HierarchicalPoissonFactorization),
    "negative_binomial": (NegativeBinomialFactorization, HierarchicalNegativeBinomialFactorization),
}
"""The flat and the hierarchical model of each likelihood."""


def factorization(
    *, hierarchical: bool, likelihood: str, rate_shape: float, **options: Any
) -> Factorization:
    """The model of these choices.

    Args:
      hierarchical: whether rows and columns have rate latents.
      likelihood: one of `LIKELIHOODS`.
      rate_shape: the shape of the prior of the rates, if hierarchical.
      options: fields that the flat model has, too.

    Raises:
      ValueError: for an unknown likelihood.
    """
    model: Factorization = PoissonFactorization(**options)
    if hierarchical:
        model = HierarchicalPoissonFactorization(**options, rate_shape=float(rate_shape))
    return with_likelihood(model, likelihood)


def with_likelihood(model: Factorization, likelihood: str) -> Factorization:
    """The model with another likelihood of the counts, and the same factors and priors.

    Fields that only the new model has are at their defaults; a `row_shape` of None remains None,
    for which each likelihood has a default of its own.

    Args:
      model: the model.
      likelihood: one of `LIKELIHOODS`.

    Raises:
      ValueError: for an unknown likelihood, and for a model of a class of one's own.
    """
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {tuple(LIKELIHOODS)}, got {likelihood!r}")
    if likelihood == model.likelihood:
        return model
    siblings = LIKELIHOODS[model.likelihood]
    if type(model) not in siblings:
        raise ValueError(f"{type(model).__name__} has the likelihood {model.likelihood} only")
    kind = LIKELIHOODS[likelihood][siblings.index(type(model))]
    names = [{field.name for field in dataclasses.fields(of)} for of in (model, kind)]
    return kind(**{name: getattr(model, name) for name in set.intersection(*names)})
