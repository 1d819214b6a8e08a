"""Gamma draws by vectorized rejection: exact for every shape and any number of rejections.

For a shape a ≥ 1 and d = a - 1/3, Marsaglia & Tsang (2000), "A simple method for generating gamma
variables", propose

    y = ε / (3 √d),   z = d (1 + y)³,   ε ~ N(0, 1),

and accept z, with U uniform in (0, 1], if 1 + y > 0 and U < e^h, where

    h = ε² / 2 + d - z + d log(z / d) = 3 d (log(1 + y) - y + y² / 2 - y³ / 3).

At least 95 % of the proposals are accepted. A draw with shape a < 1 is boosted from one with a + 1:

    z_a = z_(a+1) U^(1/a).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vigamma.random.bits import Words, boost_uniform, normal_and_uniform

_Retries = tuple[jax.Array, jax.Array, jax.Array]
_LANE = 32  # consecutive elements that share one lane of retries: the bits of a word
_REJECTED = jnp.inf  # marks an element whose proposals so far were all rejected


def _log_acceptance(y: jax.Array, d: jax.Array) -> jax.Array:
    """h of the module docstring; by its Taylor series for |y| < 1/4, where the terms cancel.

    Such small |y| are typical of large shapes.
    """
    num_terms = 10 if y.dtype == jnp.float32 else 24
    series = jnp.zeros_like(y)
    for power in reversed(range(4, 4 + num_terms)):
        series = series * y - (-1) ** power / power
    direct = jnp.log(1 + y) - y * (1 - y * (1 / 2 - y / 3))
    return 3 * (d * jnp.where(jnp.abs(y) < 1 / 4, (y * y) ** 2 * series, direct))


def _propose(key: Words, index: jax.Array, attempt: jax.Array, a: jax.Array) -> jax.Array:
    """One proposal per element: a draw with shape a, or a + 1 if a < 1.

    It is `_REJECTED` if rejected, and NaN for an invalid a.
    """
    eps, uniform = normal_and_uniform(key, index, attempt, a.dtype)
    d = jnp.where(a < 1, a + 1, a) - 1 / 3
    y = eps / (3 * jnp.sqrt(d))
    rejected = (y <= -1) | (jnp.exp(_log_acceptance(y, d)) / uniform <= 1)
    draw = jnp.where(rejected, _REJECTED, d * (1 + y) ** 3)
    return jnp.where((a > 0) & (a < jnp.inf), draw, jnp.nan)


def _retry(keys: jax.Array, a: jax.Array, draws: jax.Array) -> jax.Array:
    """Replaces each `_REJECTED` of draws by the first accepted one of attempts 1, 2, ...

    Each lane processes its rejected elements, the set bits of its word `pending`, one after the
    other.
    """
    size, length = a.size, a.size // max(len(keys), 1)
    lanes = -(-size // _LANE)
    lane = jnp.arange(lanes, dtype=jnp.uint32)
    flat_a, flat_draws = a.ravel(), draws.ravel()
    rejected = jnp.pad(flat_draws == _REJECTED, (0, lanes * _LANE - size)).reshape(lanes, _LANE)
    bits = rejected.astype(jnp.uint32) << lax.broadcasted_iota(jnp.uint32, (1, _LANE), 1)
    pending = jnp.sum(bits, axis=1, dtype=jnp.uint32)

    def propose_again(state: _Retries) -> _Retries:
        draws, pending, attempt = state
        lowest = pending & -pending
        element = lane * _LANE + lax.population_count(lowest - 1)
        # A lane that is done has an index out of bounds, so that its write is dropped.
        element = jnp.where(pending == 0, size + lane, element)
        row, index = element // length, element % length
        proposal = _propose((keys[row, 0], keys[row, 1]), index, attempt, flat_a[element])
        draws = draws.at[element].set(proposal, mode="drop", unique_indices=True)
        kept = proposal != _REJECTED
        return draws, jnp.where(kept, pending ^ lowest, pending), jnp.where(kept, 1, attempt + 1)

    start = (flat_draws, pending, jnp.ones_like(pending))
    done = lax.while_loop(lambda state: jnp.any(state[1] != 0), propose_again, start)
    return done[0].reshape(a.shape)


@custom_vmap
def standard_gamma(key: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws (z, log_boost) with z exp(log_boost) ~ Gamma(a, 1).

    The key words have the shape (*batch, 2), and a has the shape (*batch, *event). A draw depends
    on its key, its position in the event and its a only. Under `vmap` the mapped axis is added to
    the batch, so that one loop of retries serves all of it.
    """
    if a.size >= 2**31:
        raise ValueError(
            f"At most 2^31 - 1 Gamma draws can be made at once, not {a.size} (shape {a.shape})."
        )
    batch, event = a.shape[: key.ndim - 1], a.shape[key.ndim - 1 :]
    high, low = (key[..., word].reshape(batch + (1,) * len(event)) for word in range(2))
    index = jnp.arange(math.prod(event), dtype=jnp.uint32).reshape((1,) * len(batch) + event)
    draws = _retry(key.reshape(-1, 2), a, _propose((high, low), index, jnp.uint32(0), a))
    return draws, jnp.where(a < 1, jnp.log(boost_uniform((high, low), index, a.dtype)) / a, 0)


@standard_gamma.def_vmap
def _vmap_rule(
    axis_size: int, in_batched: list[bool], *arguments: jax.Array
) -> tuple[Words, tuple[bool, bool]]:
    batched = (
        x if is_batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        for x, is_batched in zip(arguments, in_batched, strict=True)
    )
    # Without the barrier XLA's simplifier gets into a loop on a broadcast key.
    return standard_gamma(*lax.optimization_barrier(tuple(batched))), (True, True)
