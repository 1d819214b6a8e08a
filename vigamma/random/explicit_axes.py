"""Draws on meshes with explicit axes, JAX's default, where shardings are part of array types."""

from collections.abc import Callable

import jax


def drawn_like(
    parameters: jax.Array, draw: Callable[..., jax.Array], *others: jax.Array
) -> jax.Array:
    """draw(parameters, *others), with the shape and the sharding of the parameters.

    The retries of rejection sampling gather from arbitrary positions, which explicit sharding does
    not support: inside `draw` the axes are left to the compiler. The draws are the same on any
    mesh.
    """
    sharding = jax.typeof(parameters).sharding
    if not sharding.mesh.explicit_axes:
        return draw(parameters, *others)
    return jax.sharding.auto_axes(draw, out_sharding=sharding)(parameters, *others)
