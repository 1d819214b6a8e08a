"""Communication between the processes that run one program."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vigamma.errors import RunError
from vigamma.typing import Array, PyTree

_FAILED = np.iinfo(np.int32).min  # loses to any result of another process in a maximum


def is_of_processes(error: Exception) -> bool:
    """Whether an error of JAX occurred with several processes, for example because one died."""
    return isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1


def largest_of_processes(value: int) -> int:
    """The maximum of `value` over all processes; every process must call it."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def on_first_process(work: Callable[[], int]) -> int:
    """Runs `work` on the first process and returns its result on all; every process must call it.

    Raises:
      RunError: on the other processes, if `work` raised; the first one raises that error itself.
    """
    outcome, error = _FAILED, None
    if jax.process_index() == 0:
        try:
            outcome = work()
        except Exception as caught:  # raised below, after informing the others
            error = caught
    outcome = largest_of_processes(outcome)
    if error is not None:
        raise error
    if outcome == _FAILED:
        raise RunError("the first process could not go on, and says why")
    return outcome


def whole(leaf: Array) -> np.ndarray:
    """Gathers an array from all devices into NumPy; every process must call it."""
    return np.asarray(gathered(leaf))


def gathered(tree: PyTree) -> PyTree:
    """Gathers the leaves that are sharded over processes into NumPy; every process must call it.

    Other leaves, which every process can read in full, are not changed.
    """

    def gather(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.tree.map(gather, tree)
