"""Passes over all batches without steps: the distribution of a family, and its ELBO."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vigamma.contracts import Family
from vigamma.data.layout.minibatches import Minibatch, Minibatches
from vigamma.devices.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import RowParam
from vigamma.models.factor_model import Posterior
from vigamma.typing import Array, Key, PyTree

_ESTIMATES = 100
"""At least this many are averaged, for a tenth of the standard error of a single estimate."""


def distribution_of_family(
    q: nnx.Module, batches: Minibatches, row_latents: tuple[str, ...], mesh: Mesh
) -> Posterior:
    """The distribution of a family over all batches; latents of rows have the shape (B, J, ...)."""
    program = _distribution_program(mesh, row_latents)
    found = [program(q, batch) for batch in _on_devices(batches, mesh)]

    def in_batches(name: str) -> Gamma:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *(part[name] for part in found))

    return {n: in_batches(n) if n in row_latents else found[0][n] for n in found[0]}


def elbo_of_family(state: Any, q: nnx.Module) -> tuple[float, float]:
    """A Monte Carlo estimate of the ELBO of q from all batches, and its standard error, in nats.

    The PRNG keys differ from those of all steps.

    Args:
      state: a `TrainState` whose algorithm defines `estimate`, as `GradientAscent` does.
      q: the family.
    """
    algorithm, batches = state.algorithm, state.data
    arrays, program = state.arrays.replace(q=q), _estimate_program(algorithm, state.mesh)
    key = jax.random.fold_in(jax.random.fold_in(arrays.key, arrays.step), 1)
    rounds = max(-(-_ESTIMATES // batches.num_batches), 2)
    keys = jax.random.split(key, (batches.num_batches, rounds))
    of_batches = np.array(
        [
            jax.device_get(program(arrays, batch, keys[j]))  # waits: programs must not overlap
            for j, batch in enumerate(_on_devices(batches, state.mesh))
        ],
        np.float64,
    )
    error = np.sqrt(of_batches.var(axis=1, ddof=1).sum() / rounds) / len(of_batches)
    return float(of_batches.mean()), float(error)


def shardings_of_params(tree: PyTree, mesh: Mesh) -> PyTree:
    """Where its leaves live: those of `RowParam`s are spread over the devices."""

    def of(leaf: Any) -> PyTree:
        where = by_rows(mesh) if isinstance(leaf, RowParam) else replicated(mesh)
        return jax.tree.map(lambda _: where, leaf)

    return jax.tree.map(of, tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def _on_devices(batches: Minibatches, mesh: Mesh) -> Iterator[PyTree]:
    for j in range(batches.num_batches):
        batch = batches.at(j)
        yield place(batch, batch.shardings(mesh))


@lru_cache
def _distribution_program(mesh: Mesh, row_latents: tuple[str, ...]) -> Callable[..., Posterior]:
    """(family, batch) -> its distribution; latents of rows are sharded over the devices."""

    def of_batch(q: Family, batch: Minibatch) -> Posterior:
        names = jax.eval_shape(lambda: q.distribution(batch))
        outputs = {name: (by_rows if name in row_latents else replicated)(mesh) for name in names}
        inputs = shardings_of_params(q, mesh), batch.shardings(mesh)
        program = on_every_device(lambda q, batch: q.distribution(batch), mesh, inputs, outputs)
        return program(q, batch)

    return jax.jit(of_batch)


@lru_cache
def _estimate_program(algorithm: Any, mesh: Mesh) -> Callable[..., Array]:
    """(state, batch, keys) -> an estimate of the ELBO from each key."""

    def local(state: PyTree, batch: Minibatch, keys: Array) -> Array:
        def estimate(state: PyTree, key: Key) -> tuple[PyTree, Array]:
            found = algorithm.estimate(state.model, state.q, batch, key, ACROSS_DEVICES)
            return state, found[0]

        return jax.lax.scan(estimate, state, keys)[1]

    def estimates(state: PyTree, batch: Minibatch, keys: Array) -> Array:
        whole = replicated(mesh)
        inputs = algorithm.shardings(state, mesh), batch.shardings(mesh), whole
        return on_every_device(local, mesh, inputs, outputs=whole)(state, batch, keys)

    return jax.jit(estimates)
