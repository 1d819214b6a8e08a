"""The integrand of the ELBO, log p(x, θ) - log q(θ), for all data or for a batch of rows.

Several devices share either the samples or the rows. Each device has its own samples and all of the
data; or it has its own rows of a `Minibatch`, and all devices have the same samples of the latents
that the rows share. In both cases the ELBO is the mean over devices; for this, a row of a batch has
a weight of J times the number of devices.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vigamma.contracts import Model
from vigamma.data.layout.minibatches import Minibatch, row_latents_of
from vigamma.devices.mesh import ALONE, Collectives, check_divisible
from vigamma.families import joint
from vigamma.families.joint import Joint, LogLatents
from vigamma.families.mean_field import RowParam
from vigamma.typing import Array, Key, PyTree


def log_sample(q: Joint, key: Key, model: Model, batch: PyTree) -> LogLatents:
    """One draw of the logarithms of all latents; a row's depend on the key and its index only."""
    if not isinstance(batch, Minibatch):
        return joint.log_sample(q, key)
    return joint.log_sample(q, key, dict.fromkeys(row_latents_of(model), batch.rows))


def log_joint(model: Model, log_latents: LogLatents, batch: PyTree) -> Array:
    """log p(x, θ) in nats, or its estimate from a batch of rows; a scalar."""
    if not isinstance(batch, Minibatch):
        return model.log_joint(log_latents, batch)
    return batch.log_joint(model, log_latents)  # type: ignore[arg-type]  # of rows, by name


def log_prob(
    q: Joint, log_latents: LogLatents, model: Model, batch: PyTree, weight: Array | float = 1.0
) -> Array:
    """log q(θ) in nats; a scalar. Real rows have the weight `weight`, and padding has none."""
    if not isinstance(batch, Minibatch):
        return joint.log_prob(q, log_latents)
    weights = jnp.where(batch.is_row, weight, 0.0)
    return joint.log_prob(q, log_latents, dict.fromkeys(row_latents_of(model), weights))


def weight_of_rows(batch: PyTree) -> Array | float:
    """The weight of each row of a batch: how many rows of the data it represents."""
    return batch.weight if isinstance(batch, Minibatch) else 1.0


def mean_over_devices(tree: PyTree, devices: Collectives) -> PyTree:
    """The mean of every leaf over devices, in a single all-reduce.

    Parameters of rows are sharded, and left as they are.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_row_param)
    shared = iter(devices.mean([leaf for leaf in leaves if not _is_row_param(leaf)]))
    return jax.tree.unflatten(
        structure, [leaf if _is_row_param(leaf) else next(shared) for leaf in leaves]
    )


def over(tree: PyTree, size: int) -> PyTree:
    """The tree with the parameters of rows divided by `size`."""

    def divided(leaf: Any) -> Any:
        return jax.tree.map(lambda value: value / size, leaf) if _is_row_param(leaf) else leaf

    return jax.tree.map(divided, tree, is_leaf=_is_row_param)


def _is_row_param(leaf: Any) -> bool:
    return isinstance(leaf, RowParam)


def local_sample_keys(key: Key, num_samples: int, devices: Collectives = ALONE) -> Array:
    """The keys of this device's share of `num_samples` Monte Carlo samples.

    Sample s has the key fold_in(key, s), whichever device draws it. Raises ValueError unless the
    number of devices divides `num_samples`.
    """
    check_divisible(num_samples, devices.size(), "num_samples")
    num_local = num_samples // devices.size()
    samples = devices.index() * num_local + jnp.arange(num_local, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, samples)
