"""What a person may look at after a step."""

import jax
import jax.numpy as jnp
import numpy as np

from vigamma.mesh import ALONE, Collectives
from vigamma.typing import Array, PyTree, Record


class StepInfo(Record):
    """What a person may look at after a step.

    Attributes:
      elbo: the ELBO, or its estimate, before the update, in nats; a scalar.
      finite: whether all values are finite, of the ELBO, of gradients, and of all that the next
        step starts from; a dict of booleans.
    """

    elbo: Array
    finite: dict[str, Array]

    def late_change(self, num_steps: int) -> float:
        """By how much the ELBO may have risen in the second half of a run, in nats.

        A run whose learning rate fades looks calm at its end, wherever that is: what has converged
        did not change much before, either. Where this is more than the accuracy that is wanted, the
        rate faded while the run was still on its way, and it takes a longer schedule, or natural
        gradients. It is less than 1e-6 of the ELBO where float32 can say no more.

        Args:
          num_steps: how many steps were taken, at least 20; the leaves, in NumPy or JAX, may be
            longer.

        Returns:
          |d| + 2 s, where d is the mean of the last tenth of the estimates less that of the tenth
          after the middle, and s the standard error of this difference.

        Raises:
          ValueError: for less than 20 steps.
        """
        if num_steps < 20:
            raise ValueError(f"a trend needs at least 20 steps, got {num_steps}")
        elbo, tenth, middle = np.asarray(self.elbo, np.float64), num_steps // 10, num_steps // 2
        early, late = elbo[middle : middle + tenth], elbo[num_steps - tenth : num_steps]
        error = np.sqrt((early.var(ddof=1) + late.var(ddof=1)) / tenth)
        return float(abs(late.mean() - early.mean()) + 2 * error)

    def first_not_finite(self, num_steps: int) -> tuple[int, str] | None:
        """The first of several steps with NaN or infinity, and where; None if there is none.

        Args:
          num_steps: how many steps were taken; the leaves, in NumPy, may be longer.
        """
        bad = {name: ~np.asarray(finite)[:num_steps] for name, finite in self.finite.items()}
        steps = np.flatnonzero(np.any(list(bad.values()), axis=0))
        if not steps.size:
            return None
        first = int(steps[0])
        return first, ", ".join(name for name, where in bad.items() if where[first])


def all_finite(tree: PyTree, devices: Collectives = ALONE) -> dict[str, Array]:
    """Whether each leaf of floats is finite, in its parts on all devices, by its path.

    A sum is finite if and only if all terms are, short of values near the largest float.
    """
    sums = {
        jax.tree_util.keystr(path, simple=True, separator=" "): leaf.sum()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    return {name: jnp.isfinite(total) for name, total in devices.total(sums).items()}
