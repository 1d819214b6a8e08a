"""Draws of the auxiliary counts of factorizations: how each count splits among components.

Given the factors, z_nm ~ Multinomial(x_nm, p_nm) with p_nmk = θ_nk β_mk / r_nm and the rate
r_nm = Σ_k θ_nk β_mk (Cemgil 2009, sec. 3; Zhou, Hannah, Dunson & Carin 2012). Only the sums over
entries are formed, never an array of entries × components. The draws are exact: an entry with a
small count is one categorical draw per unit, by inversion; a large one is K - 1 conditional
binomials. The random numbers of an entry depend on the key, its row and its column alone.

If counts are negative binomials of shapes r_nm / odds_m, it is not the x_nm units but the l_nm
tables of a Chinese restaurant that split: unit j = 0, 1, ... opens a table with the probability
r / (r + j odds) (Zhou & Carin 2015, sec. 3.3). One uniform decides on this and on the component.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int32

from vigamma.data.layout.count_entries import CountEntries, EntryBlocks
from vigamma.models.kernels import LANES, gather, padded
from vigamma.random.bits import Words, threefry2x32, uniform
from vigamma.typing import Array, Key


class Allocation(NamedTuple):
    """Auxiliary counts, summed.

    Attributes:
      rows: Σ_m z_nmk.
      columns: Σ_n z_nmk over the rows of this device.
      fit: Σ_nm x_nm log(r_nm / x_nm), in nats.
    """

    rows: Int32[Array, "N K"]
    columns: Int32[Array, "M K"]
    fit: Float[Array, ""]


_Sums = tuple[Array, Array, Array]


def allocate_counts(
    theta_nk: Float[Array, "N K"],
    beta_mk: Float[Array, "M K"],
    entries: CountEntries,
    key: Key,
    first_row: Array | int = 0,
    odds: Float[Array, " M"] | None = None,
) -> Allocation:
    """Draws the auxiliary counts given the factors, and sums them.

    Args:
      theta_nk: factors of the rows of this device, in [1e-29, 1e29].
      beta_mk: factors of all columns, likewise.
      entries: the counts of these rows.
      key: a Threefry key.
      first_row: the number, among all rows, of the first row of this device.
      odds: p_m / (1 - p_m) of negative binomials, whose tables are split; None of Poisson counts.

    Raises:
      ValueError: if a table of factors, padded to whole vector registers, has 2^31 numbers or more.
    """
    num_factors = theta_nk.shape[1]
    theta, beta = padded(theta_nk), padded(beta_mk)
    if max(theta.size, beta.size) >= 2**31:
        raise ValueError("posterior samples need fewer than 2^31 factors on each device")
    words = tuple(jax.random.bits(key, (2,), jnp.uint32))  # keys of units are near one another
    sums = jnp.zeros(theta.size, jnp.int32), jnp.zeros(beta.size, jnp.int32)
    fits = jnp.zeros(entries.small.counts.shape[1], theta.dtype)

    def uniforms(block: EntryBlocks) -> _Uniforms:
        cell = (block.rows + first_row).astype(jnp.uint32), block.columns.astype(jnp.uint32)
        crowding = None if odds is None else odds[block.columns] / entries.exposures[block.rows]
        return _Uniforms(words, cell, crowding)

    def add_small(sums: _Sums, block: EntryBlocks) -> tuple[_Sums, None]:
        return _with_units(sums, block, theta, beta, uniforms(block)), None

    def add_large(sums: _Sums, block: EntryBlocks) -> tuple[_Sums, None]:
        return _with_binomials(sums, block, theta_nk, beta_mk, uniforms(block)), None

    rows, columns, fits = jax.lax.scan(add_small, (*sums, fits), entries.small)[0]
    rows = rows.reshape(theta.shape)[:, :num_factors]
    columns = columns.reshape(beta.shape)[:, :num_factors]
    fit = fits.sum()
    if entries.large.counts.size:
        fits = jnp.zeros(entries.large.counts.shape[1], theta.dtype)
        rows, columns, fits = jax.lax.scan(add_large, (rows, columns, fits), entries.large)[0]
        fit = fit + fits.sum()
    return Allocation(rows, columns, fit)


class _Uniforms(NamedTuple):
    """The random numbers of the units of a block of entries.

    Attributes:
      key: of all units.
      cell: the row, over all devices, and the column of each entry.
      crowding: the odds over the exposure of each entry; None of Poisson counts.
    """

    key: Words
    cell: Words
    crowding: Array | None

    def level(self, unit: Array, rates: Array) -> Array:
        """u r, or u (r + j crowding) for unit j: it opens no table where that is r or more."""
        of_unit = self.key[0], self.key[1] ^ unit.astype(jnp.uint32)
        most = 1 - jnp.finfo(rates.dtype).epsneg
        drawn = jnp.minimum(uniform(of_unit, self.cell, rates.dtype), most)
        if self.crowding is None:
            return drawn * rates
        return drawn * (rates + unit.astype(rates.dtype) * self.crowding)


def _with_units(
    sums: _Sums, block: EntryBlocks, theta: Array, beta: Array, uniforms: _Uniforms
) -> _Sums:
    """Adds a block of small counts to the sums, unit after unit.

    A unit falls to the first component k with Σ_{j ≤ k} w_j > u r, where w_j = θ_nj β_mj and u is
    uniform. The search goes over groups of `LANES` components first, then within one of them. A
    unit whose level is r or more falls to none.
    """
    rows, columns = block.rows, block.columns.astype(jnp.int32)
    counts = block.counts.astype(jnp.int32)
    num_groups = theta.shape[1] // LANES
    weights = gather(theta, rows) * gather(beta, columns)
    up_to_group = jnp.repeat(jnp.triu(jnp.ones((num_groups,) * 2, theta.dtype)), LANES, axis=0)
    cumulative = jnp.einsum("sj,jg->sg", weights, up_to_group, precision="highest")
    cumulative = jax.lax.optimization_barrier(cumulative).T  # as a product, it takes twice the time
    rates = cumulative[-1]

    def add_unit(unit: Array, carry: _Sums) -> _Sums:
        of_rows, of_columns, level = carry
        is_above = cumulative[:-1] <= level[None]
        group = is_above.sum(axis=0, dtype=jnp.int32)
        below = jnp.where(is_above, cumulative[:-1], 0).max(axis=0, initial=0)
        within = (_group(theta, rows, group) * _group(beta, columns, group)).T
        partial = [within[0]]
        for weight in within[1:]:
            partial.append(partial[-1] + weight)
        is_drawn = unit < counts
        if uniforms.crowding is not None:
            is_drawn &= level < rates
        # Rounding must not push the level beyond the last component that has a weight.
        largest = partial[-1] * (1 - 4 * jnp.finfo(theta.dtype).epsneg)
        level = jnp.minimum(level - below, largest)
        lane = sum((sum_ <= level).astype(jnp.int32) for sum_ in partial[:-1])
        component = LANES * group + lane
        one = is_drawn.astype(jnp.int32)
        # The level is carried, as it is computed anew for each use within an iteration.
        return (
            _with_added(of_rows, rows * theta.shape[1] + component, one),
            _with_added(of_columns, columns * theta.shape[1] + component, one),
            uniforms.level(unit + 1, rates),
        )

    of_rows, of_columns, _ = jax.lax.fori_loop(
        0, counts.max(), add_unit, (*sums[:2], uniforms.level(jnp.int32(0), rates))
    )
    return of_rows, of_columns, sums[2] + _fit(counts, rates)


def _with_binomials(
    sums: _Sums, block: EntryBlocks, theta: Array, beta: Array, uniforms: _Uniforms
) -> _Sums:
    """Adds a block of large counts, or their tables if there is a crowding, to the sums.

    z_k | z_1, ..., z_(k-1) ~ Binomial(x - Σ_{j < k} z_j, w_k / Σ_{j ≥ k} w_j).
    """
    rows, columns = block.rows, block.columns.astype(jnp.int32)
    weights = theta[rows] * beta[columns]
    rest = jnp.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    words = threefry2x32(uniforms.key, uniforms.cell)
    keys = jax.random.wrap_key_data(jnp.stack(words, axis=1), impl="threefry2x32")

    def split_off(left: Array, of_component: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        k, weight, rest = of_component
        probability = jnp.where(weight < rest, weight / rest, 1.0)
        own = jax.vmap(lambda key, n, p: jax.random.binomial(jax.random.fold_in(key, k), n, p))(
            keys, left.astype(theta.dtype), probability
        )
        own = jnp.where(weight < rest, own.astype(jnp.int32), left)
        return left - own, own

    components = jnp.arange(theta.shape[1]), weights.T, rest.T
    units = block.counts
    if uniforms.crowding is not None:
        units = _tables(units, rest[:, 0], uniforms)
    _, drawn = jax.lax.scan(split_off, units, components)
    of_rows, of_columns, fits = sums
    return (
        of_rows.at[rows].add(drawn.T),
        of_columns.at[columns].add(drawn.T),
        fits + _fit(block.counts, rest[:, 0]),
    )


def _tables(counts: Array, rates: Array, uniforms: _Uniforms) -> Array:
    """The numbers of tables; the first unit always opens one."""

    def add_unit(unit: Array, tables: Array) -> Array:
        is_open = uniforms.level(unit, rates) < rates
        return tables + ((unit < counts) & is_open).astype(jnp.int32)

    return jax.lax.fori_loop(1, counts.max(), add_unit, jnp.minimum(counts, 1))


def _with_added(table: Array, index: Array, values: Array) -> Array:
    return table.at[index].add(values, mode="promise_in_bounds")


def _group(table: Array, rows: Array, group: Array) -> Array:
    """table[row, LANES * group : LANES * (group + 1)] for each row; shape (S, LANES)."""
    numbers = jax.lax.GatherDimensionNumbers((1,), (0,), (0, 1))
    starts = jnp.stack([rows, LANES * group], axis=1)
    return jax.lax.gather(table, starts, numbers, (1, LANES), mode="promise_in_bounds")


def _fit(counts: Array, rates: Array) -> Array:
    """x log(r / x), 0 where x is."""
    is_entry = counts > 0
    ratios = jnp.where(is_entry, rates / jnp.maximum(counts, 1).astype(rates.dtype), 1)
    return counts.astype(rates.dtype) * jnp.log(ratios)
