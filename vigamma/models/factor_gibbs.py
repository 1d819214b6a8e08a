"""Gibbs sampling of factorizations: exact draws from every complete conditional in turn.

With the auxiliary counts z_nm ~ Multinomial(x_nm, θ_nk β_mk / r_nm), all conditionals are Gamma:

    θ_nk ~ Gamma(a + Σ_m z_nmk, rate + e_n Σ_m β_mk)       β_mk ~ Gamma(c + Σ_n z_nmk, ...)

and so are those of random rates (Zhou, Hannah, Dunson & Carin 2012; Gopalan, Hofman & Blei 2015).
Sums over m and n are over observed cells. Rows are sharded over devices, and each device draws its
own columns. Every draw depends on the key and the number of its row or column alone, so that any
number of devices draws the same.

In each sweep, three rows and columns of four, chosen anew, take a step of `random.reflection` in
place of a draw, in those factors whose conditional has a shape of at least 1. The conditionals stay
invariant, and a rate of 20 Newsgroups with 20 components moves as far in half the sweeps.

If counts are negative binomials, a sweep begins with the probabilities p_m given the factors, see
`probability_draws`. Then numbers of tables take the place of counts, and the exposures of columns
are multiplied by κ(p_m), in all conditionals (Zhou & Carin 2015).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vigamma.data.layout.blocks import SparseBlocks
from vigamma.data.layout.count_entries import CountEntries
from vigamma.data.layout.count_rows import ROW_MULTIPLE
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.models.allocation import allocate_counts
from vigamma.models.factor_model import PROBABILITIES, FactorModel, Posterior
from vigamma.models.factor_priors import Prior
from vigamma.models.kernels import (
    elementwise,
    sum_of_products,
    sum_over_entries,
    sum_over_factors,
)
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel
from vigamma.models.probabilities import HIGHEST, LOWEST, mean_exposures
from vigamma.models.probability_draws import draw_probabilities
from vigamma.random import gamma
from vigamma.random.bits import uniform
from vigamma.random.reflection import SMALLEST_SHAPE, reflected_gamma
from vigamma.typing import Array, Key

Latents = dict[str, Any]
"""Values of the latents by name, as in `models.factor_model.Posterior`: "rows" (N, K) of this
device, "columns" (M, K) of its columns, and the rates, (N,) and (M,), and the
"column_probabilities" (M,), where the model has them."""

SMALLEST, LARGEST = 1e-29, 1e29
"""The range of the kernels. A factor of 1e-29 adds nothing to a rate, in float32 or float64."""

_REFLECTED = 0.75
"""The part of rows whose factors are reflected. At 1, and with large counts, a chain would move to
and fro between two values of each factor."""

_ROW = 0xFFFFFFFF  # a counter that no component reaches


def draw_start(q: Posterior, seed: Sequence[int], inflation: float) -> Latents:
    """Draws from a product of Gammas and Betas with their variances inflated, in NumPy.

    Args:
      q: the distributions.
      seed: of `numpy.random.default_rng`.
      inflation: the factor by which the variances are multiplied, if small; the means stay.
    """
    rng, drawn = np.random.default_rng(seed), {}
    for name in sorted(q):
        if isinstance(q[name], Beta):
            shapes = [np.asarray(leaf) / inflation for leaf in jax.tree.leaves(q[name])]
            values = np.clip(rng.beta(*shapes), LOWEST, HIGHEST)
            drawn[name] = values.astype(q[name].concentration1.dtype)
            continue
        concentration, rate = np.asarray(q[name].concentration), np.asarray(q[name].rate)
        values = rng.standard_gamma(concentration / inflation) / (rate / inflation)
        drawn[name] = np.clip(values, SMALLEST, LARGEST).astype(rate.dtype)
    return drawn


def draw_starts(
    q: Posterior, seed: Sequence[int], num_chains: int, inflation: float = 1.0
) -> Latents:
    """Draws of `draw_start`, a seed [*seed, c] for chain c, with a leading axis of chains."""
    starts = [draw_start(q, [*seed, chain], inflation) for chain in range(num_chains)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *starts)


def gibbs_sweep(
    model: FactorModel,
    latents: Latents,
    entries: CountEntries,
    key: Key,
    devices: Collectives = ALONE,
) -> tuple[Latents, Float[Array, ""]]:
    """Draws all latents once: probabilities, auxiliary counts, rows and columns with their rates.

    Args:
      model: the priors.
      latents: the current values.
      entries: the counts of the rows of this device.
      key: a Threefry key.
      devices: the collectives, if there are several devices.

    Returns:
      the new values, and log p(x, latents) in nats at the values before the sweep, but after the
      probabilities were drawn, over the observed cells, and the real rows and columns, of all
      devices.
    """
    keys = jax.random.split(key, 4)
    theta, beta = latents["rows"], devices.gather(latents["columns"])
    first_row = devices.index() * len(theta)
    is_row, is_column = entries.exposures > 0, entries.own_columns(devices)
    log_prior = jnp.where(is_row, _log_prior("row", model.row_prior, latents), 0).sum()
    log_prior += jnp.where(is_column, _log_prior("column", model.column_prior, latents), 0).sum()
    probabilities, of_counts = _probabilities(model, latents, beta, entries, keys[3], devices)
    p = devices.gather(probabilities[PROBABILITIES]) if probabilities else None
    split = allocate_counts(theta, beta, entries, keys[0], first_row, _odds(p))

    exposed = _exposed(beta, p)
    total = jnp.where(entries.is_column[:, None], exposed, 0).sum(axis=0, keepdims=True)
    if entries.missing_by_row is not None:
        missing = _missing_share(exposed, total, entries.missing_by_row, len(theta))
        total = total * _observed_share(missing, total.dtype)
    seen = entries.exposures[:, None] * total
    expected = sum_over_factors(jnp.broadcast_to(seen, theta.shape) * theta).sum()
    log_joint = split.fit + entries.log_constants.sum() - expected + log_prior
    log_joint = devices.total(log_joint) + of_counts
    rows = _side("row", model.row_prior, split.rows, seen, latents, keys[1], devices)

    seen = _exposure_of_columns(rows["rows"], entries, len(beta), devices)
    if probabilities:
        seen = _exposed(seen, probabilities[PROBABILITIES])
    counts = devices.scatter_total(split.columns)
    columns = _side("column", model.column_prior, counts, seen, latents, keys[2], devices)
    return rows | columns | probabilities, log_joint


def row_sweep(
    model: FactorModel, rows: Latents, columns: Latents, entries: CountEntries, key: Key
) -> Latents:
    """Draws the latents of rows once given those of the columns, on a single device.

    Args:
      model: the priors.
      rows: their current values, "rows" (N, K) and, if the model has them, "row_rates" (N,).
      columns: "columns" (M, K) and, if the model has them, "column_probabilities" (M,), without
        padding.
      entries: the counts, without missing cells.
      key: a Threefry key.
    """
    keys = jax.random.split(key)
    beta, p = columns["columns"], columns.get(PROBABILITIES)
    counts = allocate_counts(rows["rows"], beta, entries, keys[0], odds=_odds(p)).rows
    exposure = entries.exposures[:, None] * _exposed(beta, p).sum(axis=0, keepdims=True)
    return _side("row", model.row_prior, counts, exposure, rows, keys[1], ALONE)


def _probabilities(
    model: FactorModel,
    latents: Latents,
    beta: Array,
    entries: CountEntries,
    key: Key,
    devices: Collectives,
) -> tuple[Latents, Array | float]:
    """The new p_m, if the model has them, and what they add to the log joint of all devices.

    This is all of log p(x, latents) that log Poisson probabilities of means κ λ lack.
    """
    if not isinstance(model, NegativeBinomialFactorModel):
        return {}, 0.0
    prior = model.probability_prior
    seen = _exposure_of_columns(latents["rows"], entries, len(beta), devices)
    expected = sum_of_products(latents["columns"], seen)
    theta = entries.exposures[:, None] * latents["rows"]
    p, log_rising = draw_probabilities(
        latents[PROBABILITIES], prior, theta, beta, expected, entries, key, devices
    )
    of_columns = entries.column_sums * jnp.log1p(-p) + prior.log_prob(p)
    of_columns = jnp.where(entries.own_columns(devices), of_columns, 0).sum()
    return {PROBABILITIES: p}, log_rising + devices.total(of_columns)


def _odds(p: Array | None) -> Array | None:
    return None if p is None else p / (1 - p)


def _exposed(table: Array, p: Array | None) -> Array:
    """The table of columns times κ(p_m)."""
    return table if p is None else table * mean_exposures(p)[:, None]


def _exposure_of_columns(
    theta: Array, entries: CountEntries, num_columns: int, devices: Collectives
) -> Array:
    """Σ_n e_n θ_nk over the rows in which each own column was observed; (1, K) or (M, K)."""
    exposed = entries.exposures[:, None] * theta
    seen = _total_over_rows(exposed, devices)[None]
    if entries.missing_by_column is None:
        return seen
    missing = _missing_share(exposed, seen, entries.missing_by_column, num_columns)
    return seen * _observed_share(devices.scatter_total(missing), seen.dtype)


def _log_prior(side: str, prior: Prior, latents: Latents) -> Float[Array, " N"]:
    """The log density of the factors of each row or column, and of its rate, in nats."""
    factors = latents[f"{side}s"]
    log_sums = sum_over_factors(elementwise(jnp.log, factors))
    sums, rates = sum_over_factors(factors), latents.get(f"{side}_rates")
    return prior.log_prob_from_sums(sums, log_sums, factors.shape[1], rates)


def _total_over_rows(table: Array, devices: Collectives) -> Array:
    """Σ_n table_nk over the rows of all devices, bitwise equal for 1, 2, 4, ... 64 devices.

    A sum of floats depends on its order. Rows are summed in 64 groups of consecutive rows, of which
    each device has some, and then the groups.
    """
    size = devices.size()
    num_groups = 1 if ROW_MULTIPLE % size else ROW_MULTIPLE // size
    of_groups = table.reshape(num_groups, -1, table.shape[1]).sum(axis=1)
    of_groups = jax.lax.optimization_barrier(of_groups)  # so that XLA keeps two sums
    return devices.gather(of_groups).sum(axis=0)


def _missing_share(table: Array, total: Array, blocks: SparseBlocks, size: int) -> Array:
    """The sums of the factors of missing cells, as shares of the `total` of each component.

    They are integers, in units of 2^-30 (2^-62 in float64), so that they do not depend on the order
    in which devices add them. In float32 a unit is less than the rounding of the total.
    """
    unit, dtype = _unit(table.dtype)
    # Without the barrier XLA divides on some numbers of devices, and multiplies on others.
    scale = jax.lax.optimization_barrier(1 / (total * unit))
    shares = jnp.round(table * scale).astype(dtype)
    return sum_over_entries(shares, blocks, size)


def _observed_share(missing: Array, dtype: Any) -> Array:
    """One minus the sums of `_missing_share`."""
    unit, of_shares = _unit(dtype)
    whole = jnp.asarray(round(1 / unit), of_shares)
    return jnp.maximum(whole - missing, 0).astype(dtype) * unit


def _unit(dtype: Any) -> tuple[float, Any]:
    """The unit of shares for this type of factors, and the type of their integers."""
    return (2.0**-30, jnp.int32) if dtype == jnp.float32 else (2.0**-62, jnp.int64)


def _side(
    side: str,
    prior: Prior,
    counts: Array,
    exposure: Array,
    latents: Latents,
    key: Key,
    devices: Collectives,
) -> Latents:
    """Draws the factors of rows or columns, then their rates."""
    keys = jax.random.split(key, 3)
    old = latents[f"{side}s"]
    rates = latents.get(f"{side}_rates")
    conditional = prior.factors_given(counts.astype(old.dtype), exposure, rates)
    drawn = _draw(keys[0], conditional, devices)
    factors = _reflected(keys[1], old, drawn, conditional, devices)
    new_rates = prior.rates_given(sum_over_factors(factors), counts.shape[1])
    new = {f"{side}s": factors}
    if new_rates is not None:
        new[f"{side}_rates"] = _draw(keys[2], new_rates, devices)
    return new


def _draw(key: Key, distribution: Gamma, devices: Collectives) -> Array:
    """Draws with a key for each row of the leading axis, numbered over all devices."""
    index = devices.numbers(len(distribution.rate))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    standard = jax.vmap(gamma)(keys, distribution.concentration)
    return jnp.clip(standard / distribution.rate, SMALLEST, LARGEST)


def _reflected(
    key: Key, old: Array, drawn: Array, conditional: Gamma, devices: Collectives
) -> Array:
    """The draws, or where a row is to be reflected and shapes allow it, steps from old values."""
    words = tuple(jax.random.bits(key, (2,), jnp.uint32))
    row = devices.numbers(len(old)).astype(jnp.uint32)
    is_reflected = uniform(words, (row, jnp.uint32(_ROW)), old.dtype) <= _REFLECTED

    def step(*cells: Array) -> Array:
        old, drawn, a, rate, row, component, is_reflected = cells
        own = uniform(words, (row, component), old.dtype)
        standard = reflected_gamma(old * rate, jnp.maximum(a, SMALLEST_SHAPE), own)
        reflected = jnp.clip(standard / rate, SMALLEST, LARGEST)
        return jnp.where(is_reflected & (a >= SMALLEST_SHAPE), reflected, drawn)

    component = jnp.arange(old.shape[1], dtype=jnp.uint32)
    tables = old, drawn, conditional.concentration, conditional.rate
    of_rows = row[:, None], component, is_reflected[:, None]
    return elementwise(step, *tables, *(jnp.broadcast_to(x, old.shape) for x in of_rows))
