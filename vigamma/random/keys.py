"""Conversion of all kinds of PRNG keys to Threefry keys, which all draws use.

Under `vmap`, the bits of the other implementations of JAX ("rbg" and "unsafe_rbg") depend on the
other keys, and so on the number of devices; and `jax.random.poisson` takes Threefry keys only.
"""

import jax
import jax.numpy as jnp

from vigamma.random.forks import check_not_forked

_THREEFRY = "threefry2x32"


def key_of_seed(seed: int) -> jax.Array:
    """The Threefry key of a seed, whichever key implementation is JAX's default."""
    check_not_forked()
    return jax.random.key(seed, impl=_THREEFRY)


def threefry_key(key: jax.Array) -> jax.Array:
    """The Threefry key derived from `key`, which is `key` itself if it is a Threefry key.

    Args:
      key: one key of any implementation, typed or raw, as `jax.random.PRNGKey` returns it.
    """
    check_not_forked()
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(key) if is_typed else key
    threefry = jax.random.wrap_key_data(words[:2], impl=_THREEFRY)
    for word in words[2:]:
        threefry = jax.random.fold_in(threefry, word)
    return threefry
