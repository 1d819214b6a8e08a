"""Floating-point numbers: their dtype and sign, and products without rounding errors."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_floats(*values: Any) -> tuple[jax.Array, ...]:
    """The values as arrays of one float dtype: the widest of theirs, and at least float32.

    Integers, booleans, Python numbers and lists become JAX's default float unless another value is
    wider; half-precision floats become float32. This also works under strict dtype promotion.
    """
    arrays = [
        value if hasattr(value, "dtype") or np.isscalar(value) else np.asarray(value)
        for value in values
    ]
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(1.0, *arrays)
    if dtype.itemsize < 4:
        dtype = jnp.dtype(jnp.float32)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def own_floats(*values: Any) -> tuple[Any, ...]:
    """The values unchanged if all are NumPy float32 or float64; otherwise `as_floats` of them."""
    is_numpy = all(isinstance(value, np.ndarray | np.generic) for value in values)
    if is_numpy and all(value.dtype in (np.float32, np.float64) for value in values):
        return values
    return as_floats(*values)


def own_precision(*trees: Any) -> contextlib.AbstractContextManager[Any]:
    """A context that enables float64 if all arrays are NumPy float64; otherwise it has no effect.

    JAX would round such arrays to float32 unless `jax_enable_x64` is set.
    """
    leaves = jax.tree.leaves(trees)
    is_exact = all(isinstance(x, np.ndarray | np.generic) and x.dtype == np.float64 for x in leaves)
    return jax.enable_x64(True) if is_exact else contextlib.nullcontext()


def product_minus(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """x y - z with a small relative error, also where x y and z are nearly equal.

    Each factor is split into two halves of its bits, whose products are exact (Dekker 1971, "A
    floating-point technique for extending the available precision").
    """
    (x_high, x_low), (y_high, y_low) = _halves(x), _halves(y)
    return (x_high * y_high - z) + (x_high * y_low + x_low * y_high) + x_low * y_low


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(high, low) with x = high + low, each with half of the bits; `low` carries derivatives."""
    exponent_bits, mantissa_bits = (8, 11) if x.dtype == jnp.float32 else (11, 25)
    high = jax.lax.reduce_precision(jax.lax.stop_gradient(x), exponent_bits, mantissa_bits)
    return high, x - high


def check_positive(distribution: Any, fields: Sequence[str], name: str) -> None:
    """Raises ValueError unless these parameters are positive and finite; not under `jit`."""
    for field in fields:
        if isinstance(getattr(distribution, field), jax.core.Tracer):
            continue
        value = np.asarray(getattr(distribution, field))
        bad = ~(np.isfinite(value) & (value > 0))
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name}.{field} must be positive and finite, but it is {value[index]} at "
                f"index {index} ({bad.sum()} of {value.size} such elements)"
            )
