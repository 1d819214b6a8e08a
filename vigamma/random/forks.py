"""Detection of forks: JAX's threads do not survive a fork, and it would wait for them forever."""

import os

from jax._src import xla_bridge  # no public function says whether JAX has started

from vigamma.errors import RunError

_forked_after_start = False


def check_not_forked() -> None:
    """Raises RunError in a process that was forked after JAX had started."""
    if _forked_after_start:
        raise RunError(
            "JAX had started before this process was forked, and cannot be used in it; start "
            'processes with multiprocessing.get_context("spawn") or joblib\'s loky'
        )


def _note() -> None:
    global _forked_after_start
    _forked_after_start = xla_bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
