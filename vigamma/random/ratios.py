"""Beta and Dirichlet draws, as ratios of Gammas in log space.

For independent z_k ~ Gamma(α_k, 1) the shares x_k = z_k / Σ_j z_j have the Dirichlet distribution,
and those of two Gammas the Beta (Devroye 1986, "Non-uniform random variate generation", ch. XI.4).
Logarithms are taken relative to the largest z_m, whose share is computed from those of the others,

    log x_k = r_k - log(1 + Σ_{j≠m} e^(r_j)),   r_k = log z_k - log z_m,

so that log x_k, and its derivatives, keep their relative precision where x_k is close to 1.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from vigamma.random.draws import log_gamma
from vigamma.random.keys import threefry_key


def beta(
    key: jax.Array,
    a: ArrayLike,
    b: ArrayLike,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Draws x ~ Beta(a, b), differentiably; the arguments are those of `jax.random.beta`.

        p(x) = x^(a-1) (1-x)^(b-1) / B(a, b),   0 < x < 1

    Draws are exact: x = y / (y + z) of Gammas y and z of shapes a and b, by `log_gamma`. Their
    derivatives in a and b are pathwise, those of y and z at fixed quantiles,

        dx/da = x (1-x) d log y / da,   dx/db = -x (1-x) d log z / db,

    with the accuracy of `gamma`. Keys, `vmap`, devices: as for `gamma`, too.

    Args:
      key: one random key, typed or raw, of any implementation.
      a: shapes a > 0, which broadcast with b. Where a or b is 0, negative, infinite or NaN, the
        draw and its gradient are NaN.
      b: shapes b > 0.
      shape: the shape of the result, to which a and b broadcast; by default their common shape.
      dtype: float32 or float64; by default that of a and b, or JAX's default float if these are
        integers.

    Returns:
      x, of the given shape. It is 0 or 1 where it is rounded so, as nine tenths are at shapes of
      1e-3: use `log_beta` there.

    Raises:
      TypeError: dtype is neither float32 nor float64.
      ValueError: a or b does not broadcast to shape.
    """
    return _beta(threefry_key(key), *_broadcastable("a and b", (a, b), shape, dtype))


def log_beta(
    key: jax.Array,
    a: ArrayLike,
    b: ArrayLike,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Draws log x and log(1-x) for x ~ Beta(a, b), each exact also where x or 1-x underflows.

    Both are finite for all shapes from 1e-36 up. The draws, arguments and errors are those of
    `beta`, and the derivatives are

        d log x / da = (1-x) d log y / da,      d log x / db = -(1-x) d log z / db
        d log(1-x) / da = -x d log y / da,      d log(1-x) / db = x d log z / db.

    Returns:
      log x and log(1-x), each of the given shape.
    """
    return _log_beta(threefry_key(key), *_broadcastable("a and b", (a, b), shape, dtype))


def dirichlet(
    key: jax.Array,
    alpha: ArrayLike,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Draws x ~ Dirichlet(α), differentiably; the arguments are those of `jax.random.dirichlet`.

        p(x) = Γ(Σ_k α_k) Π_k x_k^(α_k-1) / Γ(α_k),   x_k > 0,   Σ_k x_k = 1

    Draws are exact: x_k = z_k / Σ_j z_j of Gammas z_k of shapes α_k, by `log_gamma`. Their
    derivatives in α are pathwise, those of z at fixed quantiles,

        dx_j / dα_k = x_j (δ_jk - x_k) d log z_k / dα_k,

    with the accuracy of `gamma`. Keys, `vmap`, devices: as for `gamma`, too.

    Args:
      key: one random key, typed or raw, of any implementation.
      alpha: α > 0, of shape (..., K), with the classes on the last axis. Where a class is 0,
        negative, infinite or NaN, all classes of that draw and their gradients are NaN.
      shape: the shape of the result without its last axis, to which that of alpha broadcasts; by
        default that of alpha.
      dtype: float32 or float64; by default that of alpha, or JAX's default float if that is an
        integer.

    Returns:
      x, of shape (*shape, K). A class is 0 or 1 where it is rounded so: use `log_dirichlet` there.

    Raises:
      TypeError: dtype is neither float32 nor float64.
      ValueError: alpha has no axis, or does not broadcast to shape.
    """
    return _dirichlet(threefry_key(key), *_of_classes(alpha, shape, dtype))


def log_dirichlet(
    key: jax.Array,
    alpha: ArrayLike,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Draws log x for x ~ Dirichlet(α), exact also where a class is close to 0 or to 1.

    It is finite for all α from 1e-36 up. The draws, arguments and errors are those of `dirichlet`,
    and the derivatives are

        d log x_j / dα_k = (δ_jk - x_k) d log z_k / dα_k.

    Returns:
      log x, of shape (*shape, K).
    """
    return _log_dirichlet(threefry_key(key), *_of_classes(alpha, shape, dtype))


def _broadcastable(
    name: str,
    parameters: Sequence[ArrayLike],
    shape: Sequence[int] | None,
    dtype: DTypeLike | None,
) -> tuple[tuple[jax.Array, ...], tuple[int, ...]]:
    """The parameters as arrays of one dtype, and the shape to which they broadcast."""
    arrays = [jnp.asarray(parameter, dtype) for parameter in parameters]
    shapes = [array.shape for array in arrays]
    try:
        wanted = np.broadcast_shapes(*shapes) if shape is None else tuple(shape)
        fits = np.broadcast_shapes(wanted, *shapes) == wanted
    except ValueError:
        fits = False
    if not fits:
        of_shapes = " and ".join(map(str, shapes))
        target = "each other" if shape is None else f"shape {tuple(shape)}"
        raise ValueError(f"{name} of shape {of_shapes} cannot be broadcast to {target}")
    common = jnp.result_type(*arrays)
    return tuple(array.astype(common) for array in arrays), wanted


def _of_classes(
    alpha: ArrayLike, shape: Sequence[int] | None, dtype: DTypeLike | None
) -> tuple[jax.Array, tuple[int, ...]]:
    """The α as an array, and the shape of their draws."""
    if np.ndim(alpha) == 0:
        raise ValueError("alpha must have an axis of classes, its last, and is a single number")
    num_classes = np.shape(alpha)[-1:]
    wanted = None if shape is None else (*shape, *num_classes)
    (array,), of_draws = _broadcastable("alpha", (alpha,), wanted, dtype)
    return array, of_draws


@functools.partial(jax.jit, static_argnames="shape")
def _log_beta(
    key: jax.Array, shapes: tuple[jax.Array, jax.Array], shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    log_y, log_z = (
        log_gamma(key, jnp.broadcast_to(a, shape))
        for key, a in zip(jax.random.split(key), shapes, strict=True)
    )
    return -jax.nn.softplus(log_z - log_y), -jax.nn.softplus(log_y - log_z)


@functools.partial(jax.jit, static_argnames="shape")
def _beta(key: jax.Array, shapes: tuple[jax.Array, jax.Array], shape: tuple[int, ...]) -> jax.Array:
    return jnp.exp(_log_beta(key, shapes, shape)[0])


@functools.partial(jax.jit, static_argnames="shape")
def _log_dirichlet(key: jax.Array, alpha: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    log_ratio, others = _to_largest(log_gamma(key, jnp.broadcast_to(alpha, shape)))
    return log_ratio - jnp.log1p(others)


@functools.partial(jax.jit, static_argnames="shape")
def _dirichlet(key: jax.Array, alpha: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    log_ratio, others = _to_largest(log_gamma(key, jnp.broadcast_to(alpha, shape)))
    return jnp.exp(log_ratio) / (1 + others)


def _to_largest(log_z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """r_k = log z_k - log z_m for the largest z_m of the last axis, and Σ_{j≠m} e^(r_j)."""
    classes = lax.broadcasted_iota(jnp.int32, log_z.shape, log_z.ndim - 1)
    is_largest = classes == lax.argmax(log_z, log_z.ndim - 1, jnp.int32)[..., None]
    log_largest = jnp.where(is_largest, log_z, 0).sum(axis=-1, keepdims=True)
    log_ratio = log_z - log_largest
    others = jnp.where(is_largest, 0, jnp.exp(log_ratio)).sum(axis=-1, keepdims=True)
    return log_ratio, others
