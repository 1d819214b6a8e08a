"""The models that factorizations are built from."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import Gamma, HierarchicalPoissonFactorization, PoissonFactorization
from vigamma.models.poisson_factorization import prior_mean
from vigamma.typing import default_float

KINDS = (PoissonFactorization, HierarchicalPoissonFactorization)
COUNTS = csr_array(np.random.default_rng(0).poisson(3.0, (20, 30)))


def test_the_prior_expects_as_many_counts_as_there_are():
    mean = prior_mean(COUNTS, np.ones(20), 0, 5)
    np.testing.assert_allclose(5 * mean**2, COUNTS.sum() / 600, rtol=1e-12)


def test_the_mean_count_is_over_observed_cells_and_exposures():
    exposures = np.arange(1.0, 21)
    mean = prior_mean(COUNTS, exposures, 150, 5)
    observed = 0.75 * exposures.sum() * 30
    np.testing.assert_allclose(5 * mean**2 * observed, COUNTS.sum(), rtol=1e-12)


def test_a_flat_model_has_the_shapes_asked_for_and_one_mean():
    config = PoissonFactorization(num_factors=4, row_shape=3.0, column_shape=0.2)
    model = config.build(COUNTS, np.ones(20), 0)
    mean = prior_mean(COUNTS, np.ones(20), 0, 4)
    for prior, shape in ((model.row_prior, 3.0), (model.column_prior, 0.2)):
        assert prior.concentration == default_float(shape)
        np.testing.assert_allclose(prior.concentration / prior.rate, mean, rtol=1e-6)
        assert {leaf.dtype for leaf in dataclasses.astuple(prior)} == {jnp.result_type(float)}


def test_a_hierarchical_model_has_rates_of_the_same_mean():
    config = HierarchicalPoissonFactorization(
        num_factors=4, row_shape=3.0, column_shape=0.2, rate_shape=0.7
    )
    model = config.build(COUNTS, np.ones(20), 0)
    mean = prior_mean(COUNTS, np.ones(20), 0, 4)
    for prior, shape in ((model.row_prior, 3.0), (model.column_prior, 0.2)):
        assert prior.concentration == default_float(shape)
        assert isinstance(prior.rate, Gamma)
        assert prior.rate.concentration == default_float(0.7)
        np.testing.assert_allclose(shape / prior.rate.mean, mean, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_factors", 0, "num_factors must be at least 1, got 0"),
        ("row_shape", 0.0, "row_shape must be finite and at least 0.01, got 0.0"),
        ("row_shape", 0.0099, "row_shape must be finite and at least 0.01, got 0.0099"),
        ("row_shape", float("inf"), "row_shape must be finite"),
        ("column_shape", float("nan"), "column_shape must be finite .* got nan"),
        ("column_shape", -1.0, "column_shape must be finite .* got -1.0"),
    ],
)
def test_fields_out_of_range_are_refused(kind, field, value, message):
    config = kind(**{field: value})
    kind(num_factors=1, row_shape=0.01, column_shape=0.01).validate()
    for refuse in (config.validate, lambda: config.build(COUNTS, np.ones(20), 0)):
        with pytest.raises(ValueError, match=message):
            refuse()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_shape_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=f"rate_shape must be positive and finite, got {value}"):
        HierarchicalPoissonFactorization(rate_shape=value).validate()


@pytest.mark.parametrize(
    ("num_factors", "shape"), [(1, 1.0), (6, 1.0), (12, 0.5), (20, 0.3), (50, 0.12), (500, 0.05)]
)
def test_the_default_shape_of_rows_falls_with_the_number_of_factors(num_factors, shape):
    for kind in (PoissonFactorization, HierarchicalPoissonFactorization):
        model = kind(num_factors=num_factors)
        built = model.build(COUNTS, np.ones(COUNTS.shape[0]), 0)
        assert built.row_prior.concentration == default_float(shape)
        named = kind(num_factors=num_factors, row_shape=0.7)
        built = named.build(COUNTS, np.ones(COUNTS.shape[0]), 0)
        assert built.row_prior.concentration == default_float(0.7)
