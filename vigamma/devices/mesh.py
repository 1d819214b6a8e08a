"""The device mesh: one axis, over which Monte Carlo samples or rows of data are spread.

Nothing outside this module names the axis. Keys are folded in by sample index, never by device
index, so that any number of devices draws the same numbers.
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

    Raises RunError where there are none of the kind that JAX is told to use, and in a process that
    was forked after JAX had started.
    """
    devices = _all_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def start_devices() -> None:
    """Starts JAX; raises RunError where the devices that it is told to use do not exist."""
    _all_devices()


def _all_devices() -> list[jax.Device]:
    check_not_forked()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a plugin is not installed
        chosen = jax.config.jax_platforms or ""  # type: ignore[attr-defined]
        raise RunError(
            f"JAX cannot start with JAX_PLATFORMS={chosen} "
            f"({first_line(error)}); without JAX_PLATFORMS it takes the devices that there are"
        ) from error


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that keeps a whole copy of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The sharding that spreads the leading axis of an array evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def on_every_device(
    function: Callable[..., Any], mesh: Mesh, inputs: PyTree = None, outputs: PyTree = None
) -> Callable[..., Any]:
    """Runs `function` on every device, each with its own part of what is spread over them.

    Inside it, `ACROSS_DEVICES` is what differs between devices, or combines them.

    Args:
      function: takes and returns arrays as one device sees them.
      mesh: the devices.
      inputs: the shardings of the arguments, `replicated` or `by_rows`; a prefix of their tuple. By
        default all are replicated.
      outputs: the shardings of the results, likewise.
    """

    def specs(shardings: PyTree) -> PyTree:
        shardings = replicated(mesh) if shardings is None else shardings
        return jax.tree.map(lambda sharding: sharding.spec, shardings)

    return jax.shard_map(
        function, mesh=mesh, in_specs=specs(inputs), out_specs=specs(outputs), check_vma=False
    )


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Arrays, equal on all processes, where `shardings`, a prefix, wants their parts.

    Those of NumPy are of the types that JAX has; those that are there already are not copied.
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
    """NumPy arrays as JAX arrays of the default float type, float32 unless x64 is enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), tree)


def _reduced(reduce: Callable[..., Array], tree: PyTree) -> PyTree:
    """Every leaf, reduced over the devices in a single operation."""
    flat, unravel = ravel_pytree(tree)
    return unravel(reduce(flat, _AXIS))


class Collectives(NamedTuple):
    """How the parts of a sum or a table that lie on several devices come together.

    Attributes:
      total: the sum over devices of every leaf of a tree, in a single all-reduce.
      mean: their mean, likewise.
      gather: a whole array, on every device, of the parts of its leading axis.
      scatter_total: each device's part, along the leading axis, of the sum over devices.
      index: which device this is, from 0.
      size: how many there are.
    """

    total: Callable[[PyTree], PyTree]
    mean: Callable[[PyTree], PyTree]
    gather: Callable[[Array], Array]
    scatter_total: Callable[[Array], Array]
    index: Callable[[], Array | int]  # type: ignore[assignment]  # hides that of a tuple
    size: Callable[[], int]


ALONE = Collectives(*4 * (lambda tree: tree,), index=lambda: 0, size=lambda: 1)
"""On one device there is nothing to do."""

ACROSS_DEVICES = Collectives(
    total=lambda tree: _reduced(jax.lax.psum, tree),
    mean=lambda tree: _reduced(jax.lax.pmean, tree),
    gather=lambda part: jax.lax.all_gather(part, _AXIS, tiled=True),
    scatter_total=lambda whole: jax.lax.psum_scatter(whole, _AXIS, tiled=True),
    index=lambda: jax.lax.axis_index(_AXIS),
    size=lambda: jax.lax.axis_size(_AXIS),
)
"""Inside `on_every_device`, with leading axes that the number of devices divides."""


def check_divisible(num_samples: int, num_devices: int, name: str) -> None:
    """Raises ValueError unless the samples can be spread evenly over the devices."""
    if num_samples % num_devices:
        raise ValueError(
            f"{name} must be divisible by the number of devices ({num_devices}), got {num_samples}"
        )
