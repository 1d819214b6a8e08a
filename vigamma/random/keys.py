"""Keys of every kind as Threefry keys, which all draws are made from.

The bits of the other kinds that JAX has, "rbg" and "unsafe_rbg", depend under `vmap` on the other
keys, and so on the number of devices; and Poisson draws of JAX take Threefry keys only.
"""

import jax
import jax.numpy as jnp

from vigamma.random.forks import check_not_forked

_THREEFRY = "threefry2x32"


def key_of_seed(seed: int) -> jax.Array:
    """The Threefry key of a seed, whatever kind of keys is JAX's default."""
    check_not_forked()
    return jax.random.key(seed, impl=_THREEFRY)


def threefry_key(key: jax.Array) -> jax.Array:
    """A Threefry key that is a function of `key` alone: itself, if it is one.

    Args:
      key: one key of any kind, or its words in an array, as `jax.random.PRNGKey` returns them.
    """
    check_not_forked()
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(key) if is_typed else key
    threefry = jax.random.wrap_key_data(words[:2], impl=_THREEFRY)
    for word in words[2:]:
        threefry = jax.random.fold_in(threefry, word)
    return threefry
