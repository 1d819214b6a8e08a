"""Counter-based random numbers: each element has its own 64 bits per attempt, on any device.

The bits are one evaluation of Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, 2011,
"Parallel random numbers: as easy as 1, 2, 3") at counter (index, attempt). It is implemented here,
rather than called from JAX, so that the compiler fuses it with the code that uses the bits.

Words are converted to floats with full *relative* precision near zero, so that tails reach as far
as 32 (64) bits allow: normals to 6.3 (9.1) standard deviations, uniforms down to 2^-64.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import UInt32

from vigamma.random.coefficients import NORMAL_QUANTILE

Words = tuple[UInt32[jax.Array, "..."], UInt32[jax.Array, "..."]]
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # the rotation constants of Threefry-2x32
_BOOST = 0xFFFFFFFF  # a counter that no attempt reaches


def threefry2x32(key: Words, counter: Words) -> Words:
    """Two uint32 words for each (key, counter) pair; the four arrays broadcast together."""
    schedule = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + schedule[(block + 1) % 3]
        y = y + schedule[(block + 2) % 3] + (block + 1)
    return x, y


def fraction(high: jax.Array, low: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
    """(high, low) as a binary fraction in (0, 1], rounded to `dtype`.

    Without a low word, the fraction is the midpoint of the interval of the high word.
    """
    low_bits = 0.5 if low is None else (low.astype(dtype) + 0.5) * 2.0**-32
    return (high.astype(dtype) + low_bits) * 2.0**-32


def uniform(key: Words, counter: Words, dtype: jnp.dtype) -> jax.Array:
    """A uniform (0, 1] for each (key, counter) pair, from one word in float32."""
    high, low = threefry2x32(key, counter)
    return fraction(high, low if dtype == jnp.float64 else None, dtype)


def _normal(high: jax.Array, low: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
    """Standard normal by inversion.

    The top bit is the sign, the others are the lower-tail probability in (0, 1/2].
    """
    probability = fraction(high & 0x7FFFFFFF, low, dtype)
    if dtype == jnp.float32:
        x = jnp.sqrt(-jnp.log(probability)) - 2
        quantile = jnp.full_like(x, NORMAL_QUANTILE[-1])
        for coefficient in reversed(NORMAL_QUANTILE[:-1]):
            quantile = quantile * x + coefficient
    else:
        quantile = -ndtri(probability)
    return jnp.where(high >> 31 == 1, -quantile, quantile)


def normal_and_uniform(
    key: Words, index: jax.Array, attempt: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
    """An independent standard normal and uniform (0, 1] for each (key, index, attempt)."""
    if dtype == jnp.float32:
        of_normal, of_uniform = threefry2x32(key, (index, attempt))
        return _normal(of_normal, None, dtype), fraction(of_uniform, None, dtype)
    normal_bits = threefry2x32(key, (index, 2 * attempt))
    uniform_bits = threefry2x32(key, (index, 2 * attempt + 1))
    return _normal(*normal_bits, dtype), fraction(*uniform_bits, dtype)


def boost_uniform(key: Words, index: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """A uniform (0, 1] for each (key, index), independent of every `normal_and_uniform`."""
    return fraction(*threefry2x32(key, (index, jnp.uint32(_BOOST))), dtype)
