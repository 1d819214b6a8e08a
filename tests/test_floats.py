"""Of which type results are."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigamma.families.floats import own_floats, own_precision, product_minus


@pytest.mark.parametrize(
    ("trees", "dtype"),
    [
        (({"a": np.ones(2)}, np.float64(3)), jnp.float64),
        ((np.ones(2), np.float32(3)), jnp.float32),
        ((np.ones(2, np.float32),), jnp.float32),
        ((np.ones(2), jnp.ones(2)), jnp.float32),
    ],
)
def test_only_what_is_all_float64_of_numpy_is_computed_in_float64(trees, dtype):
    with own_precision(*trees):
        assert jnp.asarray(1.0).dtype == dtype
    assert jnp.asarray(1.0).dtype == jnp.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_of_numpy_stay_in_numpy_and_half_precision_does_not(dtype):
    values = np.ones(2, dtype), dtype(3)
    assert all(own is value for own, value in zip(own_floats(*values), values, strict=True))
    for wider in own_floats(values[0], np.float16(3)):
        assert isinstance(wider, jax.Array)
        assert wider.dtype == jnp.float32


def test_what_a_product_loses_by_rounding_is_the_difference_from_it():
    x, y = (1 + np.random.default_rng(0).random((2, 50))).astype(np.float32)
    lost = [float(Fraction(*p) * Fraction(*q) - Fraction(*r)) for p, q, r in ratios_of(x, y, x * y)]
    assert np.count_nonzero(lost) > 40
    np.testing.assert_array_equal(product_minus(*map(jnp.asarray, (x, y, x * y))), lost)


def ratios_of(*arrays):
    """The whole numbers whose quotients the elements are."""
    return zip(*([value.as_integer_ratio() for value in array] for array in arrays), strict=True)
