"""The Poisson distribution of counts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vigamma.families.floats import as_floats, own_floats
from vigamma.random.explicit_axes import drawn_like
from vigamma.random.keys import threefry_key
from vigamma.special import deviance, log_gamma_defect
from vigamma.typing import Array, Key, Leaf, Record

LARGEST_SAMPLED_RATE = 2e9
"""Draws with a larger rate may exceed the largest int32."""

_LARGE_RATE = 2.0**16  # above it `_large_counts` draws, with an error below 3e-5
_Arguments = tuple[Array, Array]


class Poisson(Record):
    """Independent Poisson distributions: p(x) = rate^x e^(-rate) / x!,  x = 0, 1, 2, ...

    Its `rate` is the expected count, finite and at least 0; it is unrelated to the rate of a Gamma.
    """

    rate: Float[Leaf, "*shape"]

    @property
    def mean(self) -> Array:
        """E[x] = rate."""
        return own_floats(self.rate)[0]

    @property
    def variance(self) -> Array:
        """Var[x] = rate."""
        return self.mean

    def log_prob(self, count: Array) -> Array:
        """log p(count) in nats, elementwise, and its derivative in the rate, count / rate - 1.

        It is -inf for a count that is negative, infinite or not whole, and NaN for a NaN count or a
        rate that is negative, infinite or NaN. At a rate of 0, a count of 0 has probability 1.
        Counts of any dtype are converted to the floats of the rate. At any size the error is a few
        roundings of the result (Loader 2000, "Fast and accurate computation of binomial
        probabilities").
        """
        return jax.jit(_log_prob)(*as_floats(count, self.rate))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws int32 counts; shape `sample_shape + rate.shape`.

        Raises:
          ValueError: for a rate that is not in [0, 2e9]. Under `jit`, where nothing can be raised,
            the draw is -1.
        """
        key, (rate,) = threefry_key(key), as_floats(self.rate)
        counts = drawn_like(jnp.broadcast_to(rate, (*sample_shape, *rate.shape)), _draw, key)
        if not isinstance(counts, jax.core.Tracer):
            _check_drawable(rate)
        return counts


def log_poisson(count: Array, rate: Array, log_rate: Array) -> Array:
    """log p(count) in nats, for a whole count ≥ 0 and a rate > 0, also where the rate underflows.

    As a function of the log-rate, on which both `rate` and `log_rate` depend, its derivative is
    count - rate.
    """
    x = jnp.where(count > 0, count, 1)
    log_x = jnp.log(x)
    log_mass = log_gamma_defect(x) - log_x - deviance(x, rate - x, log_rate - log_x)
    return jnp.where(count > 0, log_mass, -rate)


@jax.custom_jvp
def _log_prob(count: Array, rate: Array) -> Array:
    positive = jnp.where(rate > 0, rate, 1)
    at_rate = log_poisson(count, positive, jnp.log(positive))
    log_mass = jnp.where(rate > 0, at_rate, jnp.where(count == 0, 0, -jnp.inf))
    is_count = (count >= 0) & (count == jnp.floor(count)) & (count < jnp.inf)
    log_mass = jnp.where(is_count | jnp.isnan(count), log_mass, -jnp.inf)
    is_valid = (rate >= 0) & (rate < jnp.inf) & ~jnp.isnan(count)
    return jnp.where(is_valid, log_mass, jnp.nan)


@_log_prob.defjvp
def _log_prob_jvp(primals: _Arguments, tangents: _Arguments) -> _Arguments:
    (count, rate), (_, rate_dot) = primals, tangents
    log_prob = _log_prob(count, rate)
    is_inside = (rate > 0) & (count > 0)
    safe = jnp.where(is_inside, rate, 1)
    difference = count - safe
    slope = jnp.where(jnp.abs(difference) < 0.5 * safe, difference / safe, count / safe - 1)
    on_edge = jnp.where(count == 0, -1, jnp.inf)
    slope = jnp.where(is_inside, slope, on_edge)
    slope = jnp.where(jnp.isneginf(log_prob) & (rate > 0), 0, slope)
    return log_prob, jnp.where(jnp.isnan(log_prob), jnp.nan, slope) * rate_dot


@jax.jit
def _draw(rate: Array, key: Key) -> Array:
    is_large = rate > _LARGE_RATE
    small = jax.random.poisson(key, jnp.where(is_large, 0, rate), dtype=jnp.int32)
    normal = jax.random.normal(jax.random.fold_in(key, 1), rate.shape, rate.dtype)
    counts = jnp.where(is_large, _large_counts(jnp.where(is_large, rate, 1), normal), small)
    return jnp.where((rate >= 0) & (rate <= LARGEST_SAMPLED_RATE), counts, -1)


def _large_counts(rate: Array, normal: Array) -> Array:
    """Draws with large rates from standard normals, by the expansion of the quantile function.

        λ + √λ z + (z² - 1) / 6 + (z - z³) / (72 √λ),   rounded to whole numbers

    (Cornish & Fisher 1938). For rates of at least 2^16 and |z| ≤ 5 the truncation error is below
    3e-5 counts. The rejection sampler of `jax.random.poisson` suffers from cancellation there: at a
    rate of 1e8 its float32 draws have 1.5 times the variance.
    """
    root, whole = jnp.sqrt(rate), jnp.floor(rate)
    correction = (normal**2 - 1) / 6 + (normal - normal**3) / (72 * root)
    rest = (rate - whole) + root * normal + correction
    return whole.astype(jnp.int32) + jnp.round(rest).astype(jnp.int32)


def _check_drawable(rate: Array) -> None:
    """Raises ValueError for a rate outside [0, `LARGEST_SAMPLED_RATE`]."""
    if not rate.is_fully_addressable:
        return
    rates = np.asarray(rate)
    good = (rates >= 0) & (rates <= LARGEST_SAMPLED_RATE)
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError(
            f"counts can be drawn of Poisson rates from 0 to {LARGEST_SAMPLED_RATE:g}, but one is "
            f"{rates[index]} at index {index}"
        )
