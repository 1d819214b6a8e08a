"""The best posterior so far on validation counts: the validation schedule, and what is kept."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vigamma.devices.mesh import by_rows, replicated
from vigamma.typing import Array, PyTree, Record

_LOOKS_APART = 8  # see `next_look`
_LEAST_PATIENCE = 10
"""In sweeps. The patience grows to half the steps of the best, as a dip may precede a new peak."""


class Best(Record):
    """The posterior with the highest validation log-likelihood so far.

    Attributes:
      model: the model at that step; its priors may have changed since.
      q: the posterior approximation at that step.
      step: the number of steps completed by then; 0 before the first validation.
      log_likelihood: the log-likelihood of the validation counts, in nats.
      elbo: the ELBO at that step, in nats; None if the algorithm does not compute it.
    """

    model: PyTree
    q: PyTree
    step: Array
    log_likelihood: Array
    elbo: Array | None = None


def nothing_yet(model: PyTree, q: PyTree, elbo: Array | None = None) -> Best:
    """The `Best` before the first validation, with a log-likelihood of -inf."""
    lowest = jnp.asarray(-jnp.inf, jnp.result_type(float))
    return Best(model=model, q=q, step=jnp.uint32(0), log_likelihood=lowest, elbo=elbo)


def next_look(step: int, steps_per_sweep: int = 1) -> int:
    """The next step after which the validation counts are scored.

    The first is the last step of the first sweep. From then on, the interval is one step or an
    eighth of all steps so far, whichever is more: coordinate ascent validates after each of its
    first 16 sweeps, and 9 times from there to sweep 50.
    """
    look = steps_per_sweep
    while look <= step:
        look += max(1, look // _LOOKS_APART)
    return look


def noted(state: Any, log_likelihood: float) -> tuple[Any, bool]:
    """The state with its `best` updated, and whether the log-likelihood is the highest so far.

    Args:
      state: has `model`, `q`, `step`, `best`, and an `elbo` if its best has one.
      log_likelihood: that of the validation counts, in nats; NaN is never the highest.
    """
    best = state.best
    value = jnp.where(True, log_likelihood, best.log_likelihood).astype(best.log_likelihood.dtype)
    if not value > best.log_likelihood:  # both as stored: float32 may have rounded the best down
        return state, False
    elbo = None if best.elbo is None else state.elbo
    new = Best(model=state.model, q=state.q, step=state.step, log_likelihood=value, elbo=elbo)
    return state.replace(best=jax.tree.map(jnp.copy, new)), True  # as steps donate their buffers


def is_past(state: Any, steps_per_sweep: int = 1) -> Array:
    """Whether the best is at least ten sweeps, and at least half of its own steps, ago."""
    patience = jnp.maximum(_LEAST_PATIENCE * steps_per_sweep, state.best.step // 2)
    return state.step - state.best.step >= patience


def shardings_of(state: Any, mesh: Mesh, *spread: str) -> PyTree:
    """The shardings of a state: the fields `spread` by their leading axes, others replicated.

    Args:
      state: a record; the result is a record of the same type, a tree prefix of it.
      mesh: the device mesh.
      spread: the names of sharded fields, of the state and of its `best`.
    """

    def placed(name: str, value: Any) -> PyTree:
        if name == "best" and value is not None:
            return shardings_of(value, mesh, *spread)
        return None if value is None else (by_rows if name in spread else replicated)(mesh)

    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return type(state)(**{name: placed(name, value) for name, value in fields.items()})
