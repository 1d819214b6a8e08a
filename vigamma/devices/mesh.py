"""The device mesh: one axis, over which Monte Carlo samples or rows of data are sharded.

Only this module names the axis. Random keys depend on the index of a sample, never on that of a
device, so that the draws are the same for any number of devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vigamma.errors import RunError, first_line
from vigamma.random.forks import check_not_forked
from vigamma.typing import Array, PyTree

_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over `devices`, by default all devices of all processes.

    Raises RunError if the platform that JAX is configured to use has no devices, and in a process
    that was forked after JAX had started.
    """
    devices = _all_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def start_devices() -> None:
    """Starts JAX; raises RunError if the devices that it is configured to use do not exist."""
    _all_devices()


def _all_devices() -> list[jax.Device]:
    check_not_forked()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter if a plugin is missing
        chosen = jax.config.jax_platforms or ""  # type: ignore[attr-defined]
        raise RunError(
            f"JAX cannot start with JAX_PLATFORMS={chosen} "
            f"({first_line(error)}); without JAX_PLATFORMS it takes the devices that there are"
        ) from error


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that replicates an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding that splits an axis of an array evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(*axis * (None,), _AXIS))


def on_every_device(
    function: Callable[..., Any], mesh: Mesh, inputs: PyTree = None, outputs: PyTree = None
) -> Callable[..., Any]:
    """Returns a function that runs `function` on every device, on its shards of the arguments.

    Inside `function`, use `ACROSS_DEVICES` to combine values of devices or to get the device index.

    Args:
      function: takes and returns the shards of one device.
      mesh: the devices.
      inputs: the shardings of the arguments, `replicated` or `by_rows`, as a prefix of their tuple;
        by default all are replicated.
      outputs: the shardings of the results, likewise.
    """

    def specs(shardings: PyTree) -> PyTree:
        shardings = replicated(mesh) if shardings is None else shardings
        return jax.tree.map(lambda sharding: sharding.spec, shardings)

    return jax.shard_map(
        function, mesh=mesh, in_specs=specs(inputs), out_specs=specs(outputs), check_vma=False
    )


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Places arrays, which are equal on all processes, on devices by `shardings`, a pytree prefix.

    NumPy arrays are converted to types of JAX. Arrays that already have their sharding are not
    copied.
    """
    shardings = jax.tree.broadcast(shardings, tree)

    def put(leaf: Any, sharding: NamedSharding) -> Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        leaf = np.asarray(leaf)
        leaf = leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(put, tree, shardings)


def in_default_float(tree: PyTree) -> PyTree:
    """Converts arrays to JAX arrays of the default float type, float32 unless x64 is enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), tree)


def _reduced(reduce: Callable[..., Array], tree: PyTree) -> PyTree:
    """Reduces all leaves over the devices in a single operation."""
    flat, unravel = ravel_pytree(tree)
    return unravel(reduce(flat, _AXIS))


class Collectives(NamedTuple):
    """Collective operations that combine the shards of several devices.

    Attributes:
      total: the sum over devices of every leaf of a tree, in a single all-reduce.
      mean: the mean over devices, likewise.
      gather: the whole array, on every device, from shards of its leading axis.
      scatter_total: this device's shard, along the leading axis, of the sum over devices.
      index: the index of this device, from 0.
      size: the number of devices.
    """

    total: Callable[[PyTree], PyTree]
    mean: Callable[[PyTree], PyTree]
    gather: Callable[[Array], Array]
    scatter_total: Callable[[Array], Array]
    index: Callable[[], Array | int]  # type: ignore[assignment]  # overrides tuple.index
    size: Callable[[], int]

    def numbers(self, size: int) -> Array:
        """The numbers, over all devices, of the `size` rows or columns of this device."""
        return self.index() * size + jnp.arange(size, dtype=jnp.int32)


ALONE = Collectives(*4 * (lambda tree: tree,), index=lambda: 0, size=lambda: 1)
"""The collectives of a single device, which do nothing."""

ACROSS_DEVICES = Collectives(
    total=lambda tree: _reduced(jax.lax.psum, tree),
    mean=lambda tree: _reduced(jax.lax.pmean, tree),
    gather=lambda part: jax.lax.all_gather(part, _AXIS, tiled=True),
    scatter_total=lambda whole: jax.lax.psum_scatter(whole, _AXIS, tiled=True),
    index=lambda: jax.lax.axis_index(_AXIS),
    size=lambda: jax.lax.axis_size(_AXIS),
)
"""For use inside `on_every_device`, on leading axes that the number of devices divides."""


def check_divisible(num_samples: int, num_devices: int, name: str) -> None:
    """Raises ValueError unless the number of samples is a multiple of that of devices."""
    if num_samples % num_devices:
        raise ValueError(
            f"{name} must be divisible by the number of devices ({num_devices}), got {num_samples}"
        )
