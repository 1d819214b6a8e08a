"""The Beta distribution of probabilities, as the posterior of those of negative binomials."""

import jax.numpy as jnp
from jaxtyping import Float

from vigamma import random
from vigamma.families.floats import as_floats, check_positive, own_floats
from vigamma.special import digamma_slope, log_gamma_defect, log_minus_digamma, log_ratio
from vigamma.typing import Array, Key, Leaf, Record


class Beta(Record):
    """Independent Beta distributions of shapes a = `concentration1` and b = `concentration0`.

        π(p) = p^(a-1) (1-p)^(b-1) / B(a, b),   0 < p < 1

    Both parameters are positive; NumPyro and TFP use the same two names. All methods are
    elementwise and in nats.
    """

    concentration1: Float[Leaf, "*shape"]
    concentration0: Float[Leaf, "*shape"]

    def validate(self, name: str = "Beta") -> None:
        """Raises ValueError unless all parameters are positive and finite; not under `jit`."""
        check_positive(self, ("concentration1", "concentration0"), name)

    @property
    def mean(self) -> Float[Array, "*shape"]:
        """E[p] = a / (a + b); a NumPy array if both parameters are."""
        a, b = own_floats(self.concentration1, self.concentration0)
        return a / (a + b)

    @property
    def variance(self) -> Float[Array, "*shape"]:
        """Var[p] = a b / ((a + b)² (a + b + 1)); a NumPy array if both parameters are."""
        a, b = own_floats(self.concentration1, self.concentration0)
        return a / (a + b) * (b / (a + b)) / (a + b + 1)

    @property
    def mean_log(self) -> Float[Array, "*shape"]:
        """E[log p] = ψ(a) - ψ(a + b)."""
        a, b = as_floats(self.concentration1, self.concentration0)
        return _mean_log(a, b)

    @property
    def mean_log_complement(self) -> Float[Array, "*shape"]:
        """E[log(1 - p)] = ψ(b) - ψ(a + b)."""
        a, b = as_floats(self.concentration1, self.concentration0)
        return _mean_log(b, a)

    @property
    def mean_exposure(self) -> Float[Array, "*shape"]:
        """E[-log(1 - p) (1 - p) / p] = b (ψ(a + b) - ψ(b + 1)) / (a - 1), in (0, 1).

        -r log(1 - p) is minus the log probability that a negative binomial of shape r is 0; for
        r = λ (1 - p) / p, of mean λ, it is λ times a number below 1, of which this is the mean.
        The identity follows from p^(a-2) (1-p)^b, again a Beta density but for a constant, and
        holds for all a > 0 (for a ≤ 1 by analytic continuation).
        """
        a, b = as_floats(self.concentration1, self.concentration0)
        return b * digamma_slope(b + 1, a - 1)

    def kl_divergence(self, other: "Beta") -> Array:
        """KL(self ‖ other) in nats, elementwise.

            log B(c, d) - log B(a, b) + (a - c) E[log p] + (b - d) E[log(1 - p)]

        for other = Beta(c, d); terms of the size of a and b are cancelled beforehand.
        """
        a, b = as_floats(self.concentration1, self.concentration0)
        c, d = as_floats(other.concentration1, other.concentration0)
        negative_entropy = _log_normalizer(c, d)
        for sign, shape in ((1, a), (1, b), (-1, a + b)):
            negative_entropy += sign * (log_gamma_defect(shape) - shape * log_minus_digamma(shape))
        return negative_entropy - c * _mean_log(a, b) - d * _mean_log(b, a)

    def log_prob(self, p: Array) -> Array:
        """log π(p) in nats, for 0 < p < 1."""
        a, b, p = as_floats(self.concentration1, self.concentration0, p)
        return (a - 1) * jnp.log(p) + (b - 1) * jnp.log1p(-p) - _log_normalizer(a, b)

    def log_prob_from_log(self, log_p: Array) -> Array:
        """log π(p) in nats, as a function of log p < 0; the density of p, not that of log p."""
        a, b, log_p = as_floats(self.concentration1, self.concentration0, log_p)
        return (a - 1) * log_p + (b - 1) * jnp.log(-jnp.expm1(log_p)) - _log_normalizer(a, b)

    @property
    def log_mean(self) -> Float[Array, "*shape"]:
        """log E[p]."""
        a, b = as_floats(self.concentration1, self.concentration0)
        return log_ratio(a, a + b, -b)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws p; shape `sample_shape + concentration1.shape`."""
        return jnp.exp(self.log_sample(key, sample_shape))

    def log_sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws log p, differentiable in the parameters, by `vigamma.random.log_beta`."""
        a, b = as_floats(self.concentration1, self.concentration0)
        shape = (*sample_shape, *jnp.broadcast_shapes(a.shape, b.shape))
        return random.log_beta(key, a, b, shape)[0]


def _mean_log(a: Array, b: Array) -> Array:
    """ψ(a) - ψ(a + b)."""
    return log_ratio(a, a + b, -b) - log_minus_digamma(a) + log_minus_digamma(a + b)


def _log_normalizer(a: Array, b: Array) -> Array:
    """log B(a, b) = log Γ(a) + log Γ(b) - log Γ(a + b)."""
    of_shapes = log_gamma_defect(a + b) - log_gamma_defect(a) - log_gamma_defect(b)
    return of_shapes + a * log_ratio(a, a + b, -b) + b * log_ratio(b, a + b, -a)
