"""The negative binomial distribution: a Poisson with a Gamma-distributed rate."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from vigamma.families.floats import as_floats, product_minus
from vigamma.families.gamma import Gamma
from vigamma.families.poisson import Poisson
from vigamma.special import deviance, log_gamma_defect, log_minus_digamma
from vigamma.typing import Array, Key, Leaf, Record

_Arguments = tuple[Array, Array, Array]


class NegativeBinomial(Record):
    """x ~ Poisson(θ), θ ~ Gamma(shape a = `concentration`, rate b = `rate`), with θ integrated out.

    p(x) = Γ(a + x) / (Γ(a) x!) · (b / (1 + b))^a · (1 / (1 + b))^x,   x = 0, 1, 2, ...
    """

    concentration: Float[Leaf, "*shape"]
    rate: Float[Leaf, "*shape"]

    @property
    def mean(self) -> Array:
        """E[x] = a / b."""
        return Gamma(self.concentration, self.rate).mean

    @property
    def variance(self) -> Array:
        """Var[x] = a / b + a / b²."""
        gamma = Gamma(self.concentration, self.rate)
        return gamma.mean + gamma.variance

    def log_prob(self, count: Array) -> Array:
        """log p(count) in nats, elementwise, and its derivatives in a and b.

            d/da = ψ(a + x) - ψ(a) + log(b / (1 + b)),   d/db = (a / b - x) / (1 + b)

        It is -inf for a count that is negative, infinite or not whole, and NaN for a NaN count or
        parameters that are not positive and finite. Counts of any dtype are converted to the floats
        of the parameters. At any size the error is a few roundings of the result and of log a and
        log x: the formula is a sum of deviances, which do not cancel, and of Stirling's series
        (Loader 2000, "Fast and accurate computation of binomial probabilities").
        """
        return jax.jit(_log_prob)(*as_floats(count, self.concentration, self.rate))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws int32 counts, from Poissons with rates drawn first; raises as `Poisson.sample`."""
        key_rate, key_count = jax.random.split(key)
        theta = Gamma(self.concentration, self.rate).sample(key_rate, sample_shape)
        return Poisson(theta).sample(key_count)


@jax.custom_jvp
def _log_prob(count: Array, a: Array, b: Array) -> Array:
    is_count = (count >= 0) & (count == jnp.floor(count)) & (count < jnp.inf)
    x = jnp.where(is_count & (count > 0), count, 1)
    excess, p, q = _excess(x, a, b)
    total = a + x
    shapes = log_gamma_defect(a) - log_gamma_defect(total) + log_gamma_defect(x) - jnp.log(x)
    of_shape = deviance(a, excess, _log_quotient(total, a) + jnp.log(p))
    of_count = deviance(x, -excess, _log_quotient(total, x) + jnp.log(q))
    at_zero = -a * jnp.log1p(1 / b)
    log_mass = jnp.where(count == 0, at_zero, shapes - of_shape - of_count)
    is_valid = (a > 0) & (a < jnp.inf) & (b > 0) & (b < jnp.inf) & ~jnp.isnan(count)
    return jnp.where(is_valid, jnp.where(is_count, log_mass, -jnp.inf), jnp.nan)


@_log_prob.defjvp
def _log_prob_jvp(primals: _Arguments, tangents: _Arguments) -> tuple[Array, Array]:
    (count, a, b), (_, a_dot, b_dot) = primals, tangents
    log_prob = _log_prob(count, a, b)
    x = jnp.where(jnp.isfinite(log_prob), count, 0)
    excess, p, _ = _excess(x, a, b)
    total = a + x
    near = jnp.abs(excess) < 0.5 * a
    log_ratio = jnp.where(
        near,
        jnp.log1p(jnp.where(near, excess, 0) / a),
        _log_quotient(total, a) + jnp.log(p),
    )
    by_a = log_minus_digamma(a) - log_minus_digamma(total) + log_ratio
    by_a, by_b = (
        jnp.where(jnp.isnan(log_prob), jnp.nan, jnp.where(jnp.isneginf(log_prob), 0, slope))
        for slope in (by_a, -excess / b)
    )
    return log_prob, by_a * a_dot + by_b * b_dot


def _excess(x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """x - (a + x) q = (a + x) p - a = (x b - a) / (1 + b), and p = b / (1 + b), q = 1 / (1 + b).

    Numerator and denominator are scaled by a power of two, so that x b does not overflow.
    """
    exponent_bits = 8 if b.dtype == jnp.float32 else 11
    power = jax.lax.reduce_precision(jax.lax.stop_gradient(1 + b), exponent_bits, 0)
    unit = 1 / power
    scaled = b * unit
    denominator = scaled + unit
    excess = product_minus(x, scaled, a * unit) / denominator
    return excess, scaled / denominator, unit / denominator


def _log_quotient(p: Array, q: Array) -> Array:
    """log(p / q), also where the quotient over- or underflows."""
    return 2 * jnp.log(jnp.sqrt(p) / jnp.sqrt(q))
