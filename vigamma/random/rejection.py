"""Gamma draws by vectorized rejection: exact for every shape, and for any number of rejections.

Marsaglia & Tsang (2000), "A simple method for generating gamma variables", for a shape a >= 1:

    d = a - 1/3,  c = 1 / (3 sqrt d),  y = c eps,  z = d (1 + y)^3  with eps ~ N(0, 1),
    kept if 1 + y > 0 and U < exp h,  h = eps^2 / 2 + d - z + d log(z / d) = 3 d (log(1 + y) - y + y^2 / 2 - y^3 / 3),

which keeps at least 95 % of the proposals. A shape a < 1 is boosted from a + 1: z_a = z_{a+1} U^{1/a}.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vigamma.random.bits import boost_uniform, normal_and_uniform

_LANE = 32  # consecutive elements that share one lane of retries: the bits of a word
_REJECTED = jnp.inf  # stands for a draw that is still to come


def _log_acceptance(eps: jax.Array, y: jax.Array, d: jax.Array) -> jax.Array:
    """h above; its Taylor series where |y| < 1/4, since there (large shapes, above all) the terms cancel."""
    num_terms = 10 if eps.dtype == jnp.float32 else 24
    series = jnp.zeros_like(y)
    for power in reversed(range(4, 4 + num_terms)):
        series = series * y - (-1) ** power / power
    direct = 3 * d * (jnp.log(1 + y) - y * (1 - y * (1 / 2 - y / 3)))
    return jnp.where(jnp.abs(y) < 1 / 4, (eps * y) ** 2 * series / 3, direct)


def _propose(key, index: jax.Array, round: jax.Array, a: jax.Array) -> jax.Array:
    """One proposal for each element: a draw with shape a, or a + 1 if a < 1; `_REJECTED` if not kept; NaN if a is invalid."""
    eps, uniform = normal_and_uniform(key, index, round, a.dtype)
    d = jnp.where(a < 1, a + 1, a) - 1 / 3
    y = eps * lax.rsqrt(9 * d)
    kept = (y > -1) & (uniform < jnp.exp(_log_acceptance(eps, y, d)))
    draw = jnp.where(kept, d * (1 + y) ** 3, _REJECTED)
    return jnp.where((a > 0) & (a < jnp.inf), draw, jnp.nan)


def _retry(keys: jax.Array, a: jax.Array, draws: jax.Array) -> jax.Array:
    """Replaces every `_REJECTED` of draws (rows, length) by new proposals, one element per lane at a time, until none is left."""
    size, length = a.size, a.shape[1]
    lanes = -(-size // _LANE)
    lane = jnp.arange(lanes, dtype=jnp.uint32)
    flat_a, flat_draws = a.ravel(), draws.ravel()
    bits = (
        jnp.pad(flat_draws == _REJECTED, (0, lanes * _LANE - size))
        .reshape(lanes, _LANE)
        .astype(jnp.uint32)
    )
    pending = jnp.sum(
        bits << lax.broadcasted_iota(jnp.uint32, (1, _LANE), 1), axis=1, dtype=jnp.uint32
    )

    def propose_again(state):
        draws, pending, round = state
        lowest = pending & -pending
        element = lane * _LANE + lax.population_count(lowest - 1)
        element = jnp.where(
            pending == 0, size + lane, element
        )  # out of bounds: reads anything, writes nothing
        row, index = element // length, element % length
        proposal = _propose((keys[row, 0], keys[row, 1]), index, round, flat_a[element])
        draws = draws.at[element].set(proposal, mode="drop", unique_indices=True)
        kept = proposal != _REJECTED
        return draws, jnp.where(kept, pending ^ lowest, pending), jnp.where(kept, 1, round + 1)

    start = (flat_draws, pending, jnp.ones_like(pending))
    return lax.while_loop(lambda state: jnp.any(state[1] != 0), propose_again, start)[0].reshape(
        a.shape
    )


def _log_boost(key, index: jax.Array, a: jax.Array) -> jax.Array:
    """log(U) / a where a < 1 and 0 elsewhere; skipped if no shape needs it."""
    small = a < 1
    return lax.cond(
        jnp.any(small),
        lambda: jnp.where(small, jnp.log(boost_uniform(key, index, a.dtype)) / a, 0),
        lambda: jnp.zeros_like(a),
    )


@custom_vmap
def standard_gamma(key: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws (z, log_boost), so that z exp(log_boost) ~ Gamma(a, 1), for key words (*batch, 2) and shapes a (*batch, *event).

    The draw of an element depends on its key, its position in the event and its shape only. Under `vmap` the mapped axis
    joins the batch, and the retries run over all of it at once.
    """
    rows, length = math.prod(a.shape[: key.ndim - 1]), math.prod(a.shape[key.ndim - 1 :])
    keys, flat_a = key.reshape(rows, 2), a.reshape(rows, length)
    words, index = (keys[:, :1], keys[:, 1:]), lax.broadcasted_iota(jnp.uint32, (1, length), 1)
    draws = _retry(keys, flat_a, _propose(words, index, jnp.uint32(0), flat_a))
    return draws.reshape(a.shape), _log_boost(words, index, flat_a).reshape(a.shape)


@standard_gamma.def_vmap
def _vmap_rule(axis_size: int, in_batched: list[bool], *arguments: jax.Array):
    batched = (
        x if is_batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        for x, is_batched in zip(arguments, in_batched, strict=True)
    )
    # Without the barrier XLA's simplifier runs in circles on a broadcast key.
    return standard_gamma(*lax.optimization_barrier(tuple(batched))), (True, True)
