"""Several processes that run one program together."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vigamma.errors import RunError
from vigamma.typing import Array, PyTree

_FAILED = np.iinfo(np.int32).min


def is_of_processes(error: Exception) -> bool:
    """Whether JAX failed while several processes were at work together, as when one has died."""
    return isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1


def largest_of_processes(value: int) -> int:
    """The largest `value` among all processes, on all of them; every process must call it."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def on_first_process(work: Callable[[], int]) -> int:
    """What `work` returns on the first process, on all of them; every process must call it.

    Raises:
      RunError: on the others, if `work` raised; the first one raises that error itself.
    """
    outcome, error = _FAILED, None
    if jax.process_index() == 0:
        try:
            outcome = work()
        except Exception as caught:  # raised below, when the others know
            error = caught
    outcome = largest_of_processes(outcome)
    if error is not None:
        raise error
    if outcome == _FAILED:
        raise RunError("the first process could not go on, and says why")
    return outcome


def whole(leaf: Array) -> np.ndarray:
    """An array, wherever its parts are, in NumPy; every process must call it."""
    return np.asarray(gathered(leaf))


def gathered(tree: PyTree) -> PyTree:
    """The leaves that are spread over processes whole, in NumPy; every process must call it.

    The other leaves, of which every process has all it needs, stay as they are.
    """

    def gather(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.tree.map(gather, tree)
