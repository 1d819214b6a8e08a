"""Draws on meshes with explicit axes, JAX's default, on which shardings are part of types."""

from collections.abc import Callable

import jax


def drawn_like(
    parameters: jax.Array, draw: Callable[..., jax.Array], *others: jax.Array
) -> jax.Array:
    """draw(parameters, *others), of the shape and the sharding of the parameters.

    Retries gather from wherever they are wanted, for which types of shardings have no rule: the
    axes are left to the compiler meanwhile. The draws are the same on any mesh.
    """
    sharding = jax.typeof(parameters).sharding
    if not sharding.mesh.explicit_axes:
        return draw(parameters, *others)
    return jax.sharding.auto_axes(draw, out_sharding=sharding)(parameters, *others)
