"""A Markov step for Gammas that moves to the other side of the center, instead of drawing anew.

Where Gibbs draws follow one another in small steps, as those of factors and auxiliary counts do,
a chain that overshoots each conditional moves in one direction for longer, and mixes twice as fast
(Adler 1981; Neal 1998). The cube root of a Gamma is nearly normal (Wilson & Hilferty 1931):

    y = (z / a)^(1/3),   m = 1 - 1 / (9 a),   r = y / m - 1.

The step proposes -r in place of r, and accepts with probability min(1, e^h), where

    h = log p(z') y'^2 / (p(z) y^2) = c (r + r³ / 3) - 2 (3 a - 1) (atanh r - r - r³ / 3),
    c = 2 / (9 a) - 2 / (243 a²),

so that Gamma(a, 1) stays invariant. At shapes above 1 at least 95 % are accepted.
"""

import jax
import jax.numpy as jnp

SMALLEST_SHAPE = 1.0
"""Below this shape the cube root is too far from normal."""


def reflected_gamma(z: jax.Array, concentration: jax.Array, uniform: jax.Array) -> jax.Array:
    """The value after a step from z, which is z itself where the proposal is rejected.

    Args:
      z: the values, z > 0.
      concentration: the shapes a ≥ 1/3, of the shape of z.
      uniform: independent uniform numbers in (0, 1], likewise.
    """
    a = concentration
    center = 1 - 1 / (9 * a)
    r = jnp.exp(jnp.log(z / a) / 3) / center - 1
    is_inside = jnp.abs(r) < 1
    r = jnp.where(is_inside, r, 0)
    odd = r * (1 + r * r / 3)
    log_ratio = (2 - 2 / (27 * a)) / (9 * a) * odd - 2 * (3 * a - 1) * _atanh_rest(r)
    is_accepted = is_inside & (uniform < jnp.exp(log_ratio))
    return jnp.where(is_accepted, a * (center * (1 - r)) ** 3, z)


def _atanh_rest(r: jax.Array) -> jax.Array:
    """atanh(r) - r - r³ / 3, by its series r⁵ / 5 + r⁷ / 7 + ... where |r| < 1/4."""
    num_terms = 6 if r.dtype == jnp.float32 else 13
    square = r * r
    series = jnp.zeros_like(r)
    for power in reversed(range(5, 5 + 2 * num_terms, 2)):
        series = series * square + 1 / power
    direct = jnp.log((1 + r) / (1 - r)) / 2 - r * (1 + square / 3)
    return jnp.where(jnp.abs(r) < 1 / 4, series * square * square * r, direct)
