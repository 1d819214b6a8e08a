"""A check that all numbers of a step are finite."""

import jax
import jax.numpy as jnp

from vigamma.devices.mesh import ALONE, Collectives
from vigamma.typing import Array, PyTree


def all_finite(tree: PyTree, devices: Collectives = ALONE) -> dict[str, Array]:
    """Whether each leaf of floats is finite on all devices, as a dict by path.

    The sum of a leaf is tested: it is finite if and only if all elements are, unless values near
    the largest float overflow.
    """
    sums = {
        jax.tree_util.keystr(path, simple=True, separator=" "): leaf.sum()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    return {name: jnp.isfinite(total) for name, total in devices.total(sums).items()}
