"""The Gamma distribution: densities, moments, divergences and draws, accurate in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float
from numpy.typing import ArrayLike

from vigamma import random
from vigamma.families.floats import as_floats, check_positive, own_floats, product_minus
from vigamma.random.forks import check_not_forked
from vigamma.special import (
    expm1_minus,
    log_gamma_defect,
    log_minus_digamma,
    log_ratio,
    same_mean_kl,
)
from vigamma.typing import Array, Key, Leaf, Record


class Gamma(Record):
    """Independent Gamma distributions, of shape a = `concentration` and rate b = `rate`.

        p(x) = b^a x^(a-1) e^(-b x) / Γ(a),   x > 0

    Both parameters are positive. NumPyro, TFP and Distrax use the same two names;
    `scipy.stats.gamma` and `jax.scipy.stats.gamma` take the scale 1 / b instead. All methods are
    elementwise and in nats, with a relative error below 1e-4 in float32 for shapes and rates from
    1e-4 to 1e6 (for logarithms: below 1e-4 of max(1, |value|)). If a parameter is not positive and
    finite, densities and quantiles are NaN, and for such a shape draws are NaN; `validate` rejects
    such parameters. Integers, lists and half-precision floats are converted to JAX's default float.
    """

    concentration: Float[Leaf, "*shape"]
    rate: Float[Leaf, "*shape"]

    def validate(self, name: str = "Gamma") -> None:
        """Raises ValueError unless all parameters are positive and finite; not under `jit`."""
        check_positive(self, ("concentration", "rate"), name)

    @property
    def mean(self) -> Float[Array, "*shape"]:
        """E[x] = a / b; a NumPy array if both parameters are."""
        a, b = own_floats(self.concentration, self.rate)
        return a / b

    @property
    def variance(self) -> Float[Array, "*shape"]:
        """Var[x] = a / b²; a NumPy array if both parameters are."""
        a, b = own_floats(self.concentration, self.rate)
        return a / b / b

    @property
    def mean_log(self) -> Float[Array, "*shape"]:
        """E[log x] = ψ(a) - log b, computed as log(a / b) - (log a - ψ(a))."""
        a, b = as_floats(self.concentration, self.rate)
        return log_ratio(a, b) - log_minus_digamma(a)

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats; the limit at 0 and infinity, -inf for x < 0, and NaN for NaN."""
        a, b, x = as_floats(self.concentration, self.rate, x)
        is_inside = (x > 0) & (x < jnp.inf)
        safe = jnp.where(is_inside, x, 1)
        log_density = _log_density(a, b, product_minus(b, safe, a), jnp.log(safe))
        return _with_edges(a, b, is_inside, log_density, x)

    def log_prob_from_log(self, log_x: Array) -> Array:
        """log p(x) in nats, as a function of log x: accurate also where x underflows.

        This is the density of x, not that of log x (which would add log x).
        """
        a, b, log_x = as_floats(self.concentration, self.rate, log_x)
        is_inside = jnp.isfinite(log_x)
        safe = jnp.where(is_inside, log_x, 0)
        log_density = _log_density(a, b, b * jnp.exp(safe) - a, safe)
        return _with_edges(a, b, is_inside, log_density, jnp.exp(log_x))

    @property
    def entropy(self) -> Float[Array, "*shape"]:
        """-E[log p(x)] = a - log b + log Γ(a) + (1 - a) ψ(a), in nats."""
        a, _ = as_floats(self.concentration, self.rate)
        return self.mean_log + a * log_minus_digamma(a) - log_gamma_defect(a)

    def kl_divergence(self, other: "Gamma") -> Array:
        """KL(self ‖ other) in nats, elementwise, never negative.

            (a - c) ψ(a) - log Γ(a) + log Γ(c) + c log(b / d) + a (d / b - 1)
              = c (e^x - 1 - x) + KL between the same shapes at one mean,   x = log(a d / (b c))

        for self = Gamma(a, b) and other = Gamma(c, d). The second form splits the divergence into
        a part for the means and a part for the shapes. Both are ≥ 0, so that there is no
        cancellation.
        """
        a, b, c, d = as_floats(self.concentration, self.rate, other.concentration, other.rate)
        log_mean_ratio = log_ratio(a, c) + log_ratio(d, b)
        return c * expm1_minus(log_mean_ratio) + same_mean_kl(a, c)

    def quantile(self, probability: ArrayLike) -> Array:
        """The x with P(X ≤ x) = `probability` in [0, 1], which broadcasts with the parameters.

        It calls SciPy's float64 inverse of the regularized incomplete Gamma function on the host,
        so that it works under `jit` and `vmap`, but has no gradient.
        """
        check_not_forked()
        a, b, p = as_floats(self.concentration, self.rate, probability)
        shape = jnp.broadcast_shapes(a.shape, b.shape, p.shape)
        return jax.pure_callback(
            _host_quantile,
            jax.ShapeDtypeStruct(shape, a.dtype),
            *(jnp.broadcast_to(value, shape) for value in (a, b, p)),
            vmap_method="broadcast_all",
        )

    @property
    def log_mean(self) -> Float[Array, "*shape"]:
        """log E[x] = log(a / b)."""
        return log_ratio(*as_floats(self.concentration, self.rate))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws x; shape `sample_shape + concentration.shape`; differentiable in a and b."""
        a, b = as_floats(self.concentration, self.rate)
        draws = random.gamma(key, a, sample_shape)
        return draws / jnp.broadcast_to(b, draws.shape)

    def log_sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws log x: finite for every shape ≥ 1e-4, even where x itself underflows."""
        a, b = as_floats(self.concentration, self.rate)
        draws = random.log_gamma(key, a, sample_shape)
        return draws - jnp.broadcast_to(jnp.log(b), draws.shape)


def _log_density(a: Array, b: Array, excess: Array, log_x: Array) -> Array:
    """log p = -log x - a (e^w - 1 - w) + (a log a - a - log Γ(a)),  w = log(b x / a).

    `excess` is b x - a.
    """
    part = excess / a
    near = jnp.abs(part) < 0.5
    w_near = jnp.log1p(jnp.where(near, part, 0.0))
    w = jnp.where(near, w_near, log_x + jnp.log(b) - jnp.log(a))
    return log_gamma_defect(a) - log_x - a * expm1_minus(w)


def _with_edges(a: Array, b: Array, is_inside: Array, log_density: Array, x: Array) -> Array:
    """`log_density` at finite x > 0; its limits elsewhere, and NaN for invalid parameters."""
    at_zero = jnp.where(a < 1, jnp.inf, jnp.where(a == 1, jnp.log(b), -jnp.inf))
    on_edge = jnp.where(x == 0, at_zero, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))
    is_valid = (a > 0) & (a < jnp.inf) & (b > 0) & (b < jnp.inf)
    return jnp.where(is_valid, jnp.where(is_inside, log_density, on_edge), jnp.nan)


def _host_quantile(a: np.ndarray, b: np.ndarray, probability: np.ndarray) -> np.ndarray:
    shape, rate, probability = (np.asarray(value, np.float64) for value in (a, b, probability))
    rate = np.where((rate > 0) & (rate < np.inf), rate, np.nan)
    return (scipy.special.gammaincinv(shape, probability) / rate).astype(a.dtype)
