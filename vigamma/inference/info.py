"""What a person may look at after a step."""

import jax
import jax.numpy as jnp

from vigamma.mesh import ALONE, Collectives
from vigamma.typing import Array, PyTree, record


@record
class StepInfo:
    """What a person may look at after a step.

    Attributes:
      elbo: the ELBO, or its estimate, before the update, in nats; a scalar.
      finite: whether all values are finite, of the ELBO, of gradients, and of parameters after the
        update; a dict of booleans.
    """

    elbo: Array
    finite: dict[str, Array]


def all_finite(tree: PyTree, devices: Collectives = ALONE) -> dict[str, Array]:
    """Whether each leaf is finite, in its parts on all devices, by its path.

    A sum is finite if and only if all terms are, short of values near the largest float.
    """
    sums = {
        jax.tree_util.keystr(path, simple=True, separator=" "): leaf.sum()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    return {name: jnp.isfinite(total) for name, total in devices.total(sums).items()}
