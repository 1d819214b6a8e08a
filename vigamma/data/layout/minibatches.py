"""Minibatches of rows, for the steps of stochastic and black-box inference.

Rows are divided into J fixed batches; each is used once per epoch. Each of several devices holds a
shard of every batch.
"""

import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vigamma.data.layout.count_rows import ROW_MULTIPLE, batch_at, lay_out_batches
from vigamma.devices.mesh import by_rows, replicated
from vigamma.typing import Array, Leaf, PyTree, Record


class Minibatch(Record):
    """One of J batches of rows, or its shard on one device.

    Attributes:
      data: the data for the model: `CountRows`, which mark their padding, or a pytree of arrays
        with a leading axis of B rows. These rows are in groups, of which at most the last row is
        padding, a copy of another row.
      rows: the indices of the rows; shape (B,).
      is_row: whether a row is real, not padding; shape (B,).
      index: the index of the batch; a scalar.
      weight: J, the number of rows that each row represents; a scalar.
      group_size: the number of rows in a group.
    """

    data: PyTree
    rows: Leaf
    is_row: Leaf
    index: Leaf
    weight: Leaf
    group_size: int = struct.field(pytree_node=False)

    def shardings(self, mesh: Mesh) -> Self:
        """The shardings: rows are sharded over the devices."""
        spread, whole = by_rows(mesh), replicated(mesh)
        data = self.data.shardings(mesh) if hasattr(self.data, "shardings") else spread
        return self.replace(data=data, rows=spread, is_row=spread, index=whole, weight=whole)

    def log_joint(self, model: Any, log_latents: dict[str, Array]) -> Array:
        """An unbiased estimate of log p(x, θ, β) from these rows, in nats; a scalar.

            log p(∅, β) + J [log p(x_B, θ_B, β) - log p(∅, β)]

        The only assumption is that rows are independent given the latents β that do not belong to
        single rows. Then log p(x_B, θ_B, β) is the prior log p(∅, β) plus a sum over the rows of
        the batch B.

        Args:
          model: has `log_joint` and, if it has row latents, their names in `row_latents`.
          log_latents: a draw, by name; row latents are those of the rows of this batch.
        """
        own = {name: log_latents[name] for name in row_latents_of(model)}
        nothing = model.log_joint(log_latents | _rows_of(own, slice(0)), self._no_rows())
        if hasattr(self.data, "without_rows"):
            return nothing + self.weight * (model.log_joint(log_latents, self.data) - nothing)

        def of_group(own: PyTree, data: PyTree, last_is_row: Array) -> Array:
            def of(chosen: slice) -> Array:
                latents = log_latents | _rows_of(own, chosen)
                return model.log_joint(latents, _rows_of(data, chosen)) - nothing

            return of(slice(-1)) + jnp.where(last_is_row, of(slice(-1, None)), 0)

        own, data = jax.tree.map(
            lambda leaf: leaf.reshape(-1, self.group_size, *leaf.shape[1:]), (own, self.data)
        )
        last_is_row = self.is_row.reshape(-1, self.group_size)[:, -1]
        return nothing + self.weight * jax.vmap(of_group)(own, data, last_is_row).sum()

    def _no_rows(self) -> PyTree:
        if hasattr(self.data, "without_rows"):
            return self.data.without_rows()
        return _rows_of(self.data, slice(0))


def row_latents_of(model: Any) -> tuple[str, ...]:
    """The names of the latents that belong to single rows, if the model has any."""
    return tuple(getattr(model, "row_latents", ()))


def _rows_of(tree: PyTree, chosen: slice) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[chosen], tree)


class Minibatches:
    """All minibatches, on the host.

    Attributes:
      num_batches: J.
      num_rows: N, without padding.
    """

    def __init__(
        self, batches: PyTree, rows: np.ndarray, num_rows: int, seed: int, group_size: int = 1
    ):
        """Stores batches that are already laid out.

        Args:
          batches: a pytree whose leaves have a leading axis of size J.
          rows: the indices of the rows, N or more for padding; shape (J, B).
          num_rows: N.
          seed: the seed of the order of the batches.
          group_size: as for `Minibatch`.
        """
        self._group_size = group_size
        self._batches, self._rows, self._seed = batches, rows, seed
        self.num_batches, self.num_rows = len(rows), num_rows

    @classmethod
    def of_counts(
        cls,
        counts: csr_array,
        exposures: np.ndarray,
        missing: csr_array | None,
        *,
        num_batches: int,
        num_shards: int,
        block_slots: int,
        seed: int,
    ) -> Self:
        """Batches of sparse counts; arguments as for `lay_out_batches`."""
        layout = {"num_batches": num_batches, "num_shards": num_shards, "block_slots": block_slots}
        batches = lay_out_batches(counts, exposures, missing, **layout)
        size = batches.exposures.shape[1]
        rows = np.arange(num_batches)[:, None] + num_batches * np.arange(size)
        return cls(batches, rows, counts.shape[0], seed)

    @classmethod
    def of_arrays(cls, data: PyTree, *, num_batches: int, num_shards: int, seed: int) -> Self:
        """Batches of a pytree of arrays with a leading axis of N rows.

        Row j + J (g + G i) is the i-th of group g in batch j. There are G = 64 groups, so that the
        layout is equal for 1, 2, 4, ... 64 devices. Only the last row of a group may be padding.

        Raises:
          ValueError: if there are no arrays, if they differ in length, or if there are too few
            rows.
        """
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
        if len(lengths) != 1 or lengths == {()}:
            found = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(data))
            raise ValueError(
                f"the data must be arrays with one number of rows, got {found or 'none'}"
            )
        (num_rows,) = lengths.pop()
        if num_rows < num_batches:
            raise ValueError(f"{num_rows} rows do not fill {num_batches} batches")
        num_groups = math.lcm(ROW_MULTIPLE, num_shards)
        size = -(-num_rows // (num_batches * num_groups))
        group, place = np.divmod(np.arange(num_groups * size), size)
        rows = np.arange(num_batches)[:, None] + num_batches * (group + num_groups * place)
        chosen = np.where(rows < num_rows, rows, 0)
        batches = jax.tree.map(lambda leaf: _as_jax_takes_it(np.asarray(leaf))[chosen], data)
        return cls(batches, rows, num_rows, seed, size)

    def batch_of(self, step: int) -> int:
        """The index of the batch after `step` completed steps; each occurs once per epoch."""
        epoch, position = divmod(step, self.num_batches)
        order = np.random.default_rng([self._seed, epoch]).permutation(self.num_batches)
        return int(order[position])

    def at(self, index: int) -> Minibatch:
        """One of the batches, as NumPy views."""
        rows = self._rows[index]
        return Minibatch(
            data=batch_at(self._batches, index),
            rows=rows.astype(np.uint32),
            is_row=rows < self.num_rows,
            index=np.int32(index),
            weight=jnp.result_type(float).type(self.num_batches),
            group_size=self._group_size,
        )

    def in_order(self, stored: np.ndarray) -> np.ndarray:
        """Reorders stored values of all rows, (B, J, ...), to the order of the rows, (N, ...)."""
        rows = self._rows.T
        is_row = rows < self.num_rows
        found = np.empty_like(stored, shape=(self.num_rows, *stored.shape[2:]))
        found[rows[is_row]] = stored[is_row]
        return found

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Reorders values of all rows, (N, ...), to the order of storage, (B J, ...).

        Padding rows copy row 0.
        """
        rows = self._rows.T.ravel()
        return np.asarray(values)[np.where(rows < self.num_rows, rows, 0)]


def _as_jax_takes_it(values: np.ndarray) -> np.ndarray:
    """Converts to JAX's default types; raises ValueError for integers that do not fit."""
    if values.dtype.kind == "f":
        return values.astype(jnp.result_type(float))
    if values.dtype.kind in "iu":
        kept = values.astype(jnp.result_type(int))
        if not np.array_equal(kept, values):
            raise ValueError(f"whole numbers must fit into {kept.dtype}, got {values.max()}")
        return kept
    if values.dtype.kind != "b":
        raise ValueError(f"data must be numbers, got {values.dtype}")
    return values
