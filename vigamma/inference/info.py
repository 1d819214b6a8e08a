"""What a person may look at after a step."""

import jax
import jax.numpy as jnp

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


def all_finite(tree: PyTree) -> dict[str, Array]:
    """Whether each leaf is finite, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=" "): jnp.isfinite(leaf).all()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
