"""Gamma draws z ~ Gamma(concentration, rate 1) that are exact, differentiable in the concentration, and fast."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from vigamma.random.implicit import log_shape_gradient
from vigamma.random.rejection import standard_gamma


def gamma(
    key: jax.Array,
    concentration: ArrayLike,
    sample_shape: Sequence[int] = (),
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Draws z ~ Gamma(concentration, 1), with density z^(a - 1) e^(-z) / Gamma(a) at shape a = concentration."""
    return _gamma(*_prepare(key, concentration, sample_shape, dtype))


def log_gamma(
    key: jax.Array,
    concentration: ArrayLike,
    sample_shape: Sequence[int] = (),
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Draws log z for z ~ Gamma(concentration, 1)."""
    return _log_gamma(*_prepare(key, concentration, sample_shape, dtype))


def _prepare(key, concentration, sample_shape, dtype) -> tuple[jax.Array, jax.Array]:
    """The key's two words and the concentration, repeated to the shape of the draws."""
    dtype = dtype or jnp.result_type(float, concentration)
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"Gamma draws are float32 or float64, not {dtype}.")
    concentration = jnp.asarray(concentration, dtype)
    shape = (*sample_shape, *concentration.shape)
    if math.prod(shape) >= 2**32:
        raise ValueError(
            f"One key makes fewer than 2^32 draws, not {math.prod(shape)} (shape {shape})."
        )
    return jax.random.bits(key, (2,), jnp.uint32), jnp.broadcast_to(concentration, shape)


@jax.jit
@jax.custom_jvp
def _gamma(key: jax.Array, a: jax.Array) -> jax.Array:
    z, log_boost = standard_gamma(key, a)
    return jnp.maximum(z * jnp.exp(log_boost), jnp.finfo(a.dtype).tiny)


@jax.jit
@jax.custom_jvp
def _log_gamma(key: jax.Array, a: jax.Array) -> jax.Array:
    z, log_boost = standard_gamma(key, a)
    return jnp.log(z) + log_boost


@_gamma.__wrapped__.defjvp
def _gamma_jvp(primals, tangents):
    (key, a), (_, a_dot) = primals, tangents
    z = _gamma(key, a)
    return z, z * log_shape_gradient(a, jnp.log(z / (a + 1))) / a * a_dot


@_log_gamma.__wrapped__.defjvp
def _log_gamma_jvp(primals, tangents):
    (key, a), (_, a_dot) = primals, tangents
    log_z = _log_gamma(key, a)
    return log_z, log_shape_gradient(a, log_z - jnp.log1p(a)) / a * a_dot
