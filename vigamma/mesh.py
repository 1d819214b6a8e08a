"""The device mesh: one axis, over which Monte Carlo samples or rows of data are spread.

Nothing outside this module names the axis. Keys are folded in by sample index, never by device
index, so that any number of devices draws the same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vigamma.typing import Array, Key, PyTree

_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over `devices`, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that keeps a whole copy of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies every array of `tree`, equal on all processes, to all devices of the mesh."""
    return jax.jit(lambda leaves: leaves, out_shardings=replicated(mesh))(tree)


def on_every_device(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Runs `function` on every device with replicated arguments and results.

    Inside it, `local_sample_keys` and `mean_over_devices` are what differs between devices.
    """
    spec = PartitionSpec()
    return jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)


def local_sample_keys(key: Key, num_samples: int) -> Array:
    """The keys of this device's share of `num_samples` Monte Carlo samples.

    Sample s has the key fold_in(key, s) on whichever device it falls. To be called inside
    `on_every_device`; `num_samples` is divisible by the number of devices (`check_divisible`).
    """
    num_local = num_samples // jax.lax.axis_size(_AXIS)
    samples = jax.lax.axis_index(_AXIS) * num_local + jnp.arange(num_local)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, samples)


def mean_over_devices(tree: PyTree) -> PyTree:
    """The mean over devices of every leaf, in a single all-reduce."""
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(flat, _AXIS))


def check_divisible(num_samples: int, mesh: Mesh, name: str) -> None:
    """Raises ValueError unless the samples can be spread evenly over the devices."""
    if num_samples % mesh.size:
        raise ValueError(
            f"{name} must be divisible by the number of devices ({mesh.size}), got {num_samples}"
        )


def largest_of_processes(value: int) -> int:
    """The largest `value` among all processes, on all of them; every process must call it."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())
