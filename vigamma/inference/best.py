"""The best posterior so far, by validation counts: when they are looked at, and what is kept."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vigamma.devices.mesh import by_rows, replicated
from vigamma.typing import Array, PyTree, Record

_LOOKS_APART = 8
_LEAST_PATIENCE = 10
"""Sweeps; half of those to the best if that is more, as a higher peak may follow after a dip."""


class Best(Record):
    """The posterior with the highest log-likelihood of validation counts that was looked at.

    Attributes:
      model: the model then; its priors may have moved since.
      q: the posterior approximation then.
      step: the number of steps completed then; 0 before the first look.
      log_likelihood: of the validation counts, in nats.
      elbo: the ELBO then, in nats; None where an algorithm does not know it.
    """

    model: PyTree
    q: PyTree
    step: Array
    log_likelihood: Array
    elbo: Array | None = None


def nothing_yet(model: PyTree, q: PyTree, elbo: Array | None = None) -> Best:
    """What is kept before the first look: worse than anything."""
    lowest = jnp.asarray(-jnp.inf, jnp.result_type(float))
    return Best(model=model, q=q, step=jnp.uint32(0), log_likelihood=lowest, elbo=elbo)


def next_look(step: int, steps_per_sweep: int = 1) -> int:
    """The next step after which validation counts are looked at.

    The first time after a sweep; then after every step, or an eighth of all steps so far, whatever
    is more: after each of the first 16 sweeps of coordinate ascent, and 9 times from there to 50.
    """
    look = steps_per_sweep
    while look <= step:
        look += max(1, look // _LOOKS_APART)
    return look


def noted(state: Any, log_likelihood: float) -> tuple[Any, bool]:
    """The state that has noted the log-likelihood of the validation counts, and whether it rose.

    Args:
      state: with `model`, `q`, `step`, `best`, and an `elbo` if its best has one.
      log_likelihood: in nats; NaN is worse than anything.
    """
    best = state.best
    value = jnp.where(True, log_likelihood, best.log_likelihood).astype(best.log_likelihood.dtype)
    if not value > best.log_likelihood:  # as it is kept: float32 may have rounded the best down
        return state, False
    elbo = None if best.elbo is None else state.elbo
    new = Best(model=state.model, q=state.q, step=state.step, log_likelihood=value, elbo=elbo)
    return state.replace(best=jax.tree.map(jnp.copy, new)), True  # steps use up what they take


def is_past(state: Any, steps_per_sweep: int = 1) -> Array:
    """Whether the log-likelihood has not risen for ten sweeps, and half of those before."""
    patience = jnp.maximum(_LEAST_PATIENCE * steps_per_sweep, state.best.step // 2)
    return state.step - state.best.step >= patience


def shardings_of(state: Any, mesh: Mesh, *spread: str) -> PyTree:
    """Where the parts of a state live: the fields `spread` by their leading axes over devices.

    Args:
      state: a record; what is returned is one too, a prefix of it.
      mesh: the devices.
      spread: names of fields, of the state and of its `best`.
    """

    def placed(name: str, value: Any) -> PyTree:
        if name == "best" and value is not None:
            return shardings_of(value, mesh, *spread)
        return None if value is None else (by_rows if name in spread else replicated)(mesh)

    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return type(state)(**{name: placed(name, value) for name, value in fields.items()})
