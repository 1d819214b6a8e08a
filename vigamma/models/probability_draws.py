"""Draws of the probabilities of negative binomials given the factors, with tables summed out.

For counts x_nm ~ NB of mean λ_nm and shape r_nm = λ_nm e^-φ, where φ are the log-odds of p_m, the
log density of φ is up to a constant

    Σ_n Σ_{0<j<x_nm} log(1 + j / r_nm) + Σ_n x_nm log(1-p) - κ(p) Σ_n λ_nm + a log p + b log(1-p)

with κ(p) = -log(1-p) (1-p) / p and p_m ~ Beta(a, b). A step of Metropolis-Hastings samples it. The
proposal is a normal distribution around a step of Newton's method, with the curvature as precision
(Qi & Minka 2002, "Hessian-based Markov chain Monte-Carlo algorithms"), or, for some columns, the
prior, as the tail towards p = 0 is long where counts may be Poisson counts. The slope and the
curvature of the double sum are Σ_n (x_nm - E[l_nm]) and Σ_n Var[l_nm] of the numbers of tables of
`negative_binomial_model`: given these numbers, p_m would move by small steps where counts are
large. Sums over entries are sums of integers, so that any number of devices draws the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from vigamma.data.layout.count_entries import CountEntries, EntryBlocks
from vigamma.devices.mesh import Collectives
from vigamma.families.beta import Beta
from vigamma.models.kernels import gather, padded, sum_over_factors
from vigamma.models.probabilities import HIGHEST, LOWEST, log_odds_derivatives, mean_exposures
from vigamma.random import gamma
from vigamma.random.bits import normal_and_uniform, uniform
from vigamma.special import rising_terms
from vigamma.typing import Array, Key

_FROM_PRIOR = 1 / 3
"""The part of columns whose proposal is a draw from the prior, chosen anew in each step."""

_LONGEST_STEP = 1.5  # of a proposal, in its standard deviations: a longer one has no way back
_LEAST_PRECISION = 0.2  # of a proposal
_LEAST_MOVE = 1e-3  # for the unit of differences, which must exceed the rounding of their terms
_SMALLEST_SHAPE = 1e-30


class _Columns(NamedTuple):
    """What the densities of the columns of this device depend on, besides entries.

    Attributes:
      counts: Σ_n x_nm.
      expected: Σ_n λ_nm.
      prior: of p_m.
    """

    counts: Float[Array, " M"]
    expected: Float[Array, " M"]
    prior: Beta


class _Entries(NamedTuple):
    """Entries, of which only those with counts of 2 or more matter: from block `first` on.

    Attributes:
      blocks: all entries.
      first: the first block that matters.
      means: λ_nm.
      terms: Σ_{0<j<x_nm} log(1 + j / r_nm); 0 where there is nothing to add.
    """

    blocks: EntryBlocks
    first: Array
    means: Float[Array, "T S"]
    terms: Float[Array, "T S"]


class _Sums(NamedTuple):
    """Sums over the entries of each column of this device.

    Attributes:
      sharing: Σ_n (x_nm - E[l_nm]).
      variance: Σ_n Var[l_nm].
      gain: Σ_n of the differences of the terms from those before.
    """

    sharing: Float[Array, " M"]
    variance: Float[Array, " M"]
    gain: Float[Array, " M"]


def draw_probabilities(
    p: Float[Array, " M"],
    prior: Beta,
    theta: Float[Array, "N K"],
    beta: Float[Array, "L K"],
    expected: Float[Array, " M"],
    entries: CountEntries,
    key: Key,
    devices: Collectives,
) -> tuple[Float[Array, " M"], Float[Array, ""]]:
    """A step of Metropolis-Hastings for the p_m of the columns of this device.

    Args:
      p: the current values, in [`LOWEST`, `HIGHEST`].
      prior: Beta with scalar shapes.
      theta: e_n θ_nk of the rows of this device.
      beta: β_mk of the columns of all devices.
      expected: Σ_n λ_nm over observed cells.
      entries: the counts of the rows of this device.
      key: a Threefry key.
      devices: the collectives.

    Returns:
      the new values, and Σ_nm Σ_{0<j<x_nm} log(1 + j / r_nm) at them in nats, over all devices.
    """
    columns = _Columns(entries.column_sums, expected, prior)
    words = tuple(jax.random.bits(key, (2,), jnp.uint32))
    index = devices.numbers(len(p)).astype(jnp.uint32)
    normal, level = normal_and_uniform(words, index, jnp.uint32(0), p.dtype)
    is_from_prior = uniform(words, (index, jnp.uint32(2)), p.dtype) < _FROM_PRIOR
    from_prior = _log_odds_of_prior(prior, jax.random.fold_in(key, 1), index, p.dtype)
    of_sizes = [
        _with_means(blocks, padded(theta), padded(beta))
        for blocks in (entries.small, entries.large)
        if blocks.counts.size
    ]

    old = jnp.log(p) - jnp.log1p(-p)
    of_sizes, sums = _summed(of_sizes, old, jnp.zeros_like(p), columns, devices)
    log_rising = devices.total(sum(of_size.terms.sum() for of_size in of_sizes))
    center, precision = _proposal(old, sums, columns)
    from_newton = center + normal * jax.lax.rsqrt(precision)
    drawn = jax.nn.sigmoid(jnp.where(is_from_prior, from_prior, from_newton))
    is_inside = (drawn >= LOWEST) & (drawn <= HIGHEST)
    drawn = jnp.where(is_inside, drawn, p)

    new = jnp.log(drawn) - jnp.log1p(-drawn)
    _, sums = _summed(of_sizes, new, new - old, columns, devices)
    center_back, precision_back = _proposal(new, sums, columns)
    of_likelihood, of_prior = _differences(old, new, columns)
    of_proposal = 0.5 * jnp.log(precision_back / precision)
    of_proposal -= 0.5 * precision_back * (old - center_back) ** 2
    of_proposal += 0.5 * precision * (new - center) ** 2
    log_ratio = sums.gain + of_likelihood + jnp.where(is_from_prior, 0, of_prior + of_proposal)
    is_taken = is_inside & (jnp.log(level) < log_ratio)
    gain = devices.total(jnp.where(is_taken, sums.gain, 0).sum())
    return jnp.where(is_taken, drawn, p), log_rising + gain


def _with_means(blocks: EntryBlocks, theta: Array, beta: Array) -> _Entries:
    """The entries and their means."""
    is_needed = blocks.counts.max(axis=1) > 1
    first = jnp.where(is_needed.any(), jnp.argmax(is_needed), len(is_needed))

    def add(i: Array, means: Array) -> Array:
        of_block = gather(theta, blocks.rows[i]) * gather(beta, blocks.columns[i].astype(jnp.int32))
        return means.at[i].set(sum_over_factors(of_block))

    nothing = jnp.zeros(blocks.counts.shape, theta.dtype)
    means = jax.lax.fori_loop(first, len(is_needed), add, nothing)
    return _Entries(blocks, first, means, nothing)


def _summed(
    of_sizes: list[_Entries], log_odds: Array, moves: Array, columns: _Columns, devices: Collectives
) -> tuple[list[_Entries], _Sums]:
    """The entries with their terms at the log-odds of own columns, and sums over the entries.

    `moves` are the differences from the log-odds of the terms before.
    """
    most, dtype = (2.0**30, jnp.int32) if log_odds.dtype == jnp.float32 else (2.0**61, jnp.int64)
    # No sum exceeds the counts of the column or, of differences, this times the move.
    unit = jnp.maximum(columns.counts, 1) / most
    units = (unit, unit, unit * jnp.maximum(jnp.abs(moves), _LEAST_MOVE))
    scales = [1 / devices.gather(own) for own in units]
    odds = jnp.exp(devices.gather(log_odds))
    sums, found = (jnp.zeros(odds.shape, dtype),) * 3, []
    for blocks, first, means, before in of_sizes:

        def add(
            i: Array,
            carry: tuple[tuple[Array, ...], Array],
            blocks: EntryBlocks = blocks,
            means: Array = means,
            before: Array = before,
        ) -> tuple[tuple[Array, ...], Array]:
            sums, terms = carry
            column, x = blocks.columns[i].astype(jnp.int32), blocks.counts[i].astype(means.dtype)
            is_needed = x > 1
            of_block = _terms(jnp.where(is_needed, x, 2), means[i] / odds[column])
            sharing, variance, own = (jnp.where(is_needed, part, 0) for part in of_block)
            added = tuple(
                sum_.at[column].add(jnp.round(part * scale[column]).astype(dtype))
                for sum_, part, scale in zip(
                    sums, (sharing, variance, own - before[i]), scales, strict=True
                )
            )
            return added, terms.at[i].set(own)

        sums, terms = jax.lax.fori_loop(first, len(means), add, (sums, jnp.zeros_like(means)))
        found.append(_Entries(blocks, first, means, terms))
    totals = map(devices.scatter_total, sums)
    return found, _Sums(*(t.astype(u.dtype) * u for t, u in zip(totals, units, strict=True)))


def _terms(x: Array, r: Array) -> tuple[Array, Array, Array]:
    """x - E[l], Var[l] and Σ_{0<j<x} log(1 + j / r), for x ≥ 2.

    The variance Σ_j f(j), f(j) = r j / (r + j)², is the integral of f from 1/2 to x - 1/2 less a
    correction (the formula of Euler and Maclaurin for midpoints), within a few percent.
    """
    r = jnp.maximum(r, _SMALLEST_SHAPE)
    weights, log_rising = rising_terms(x, r)
    low, high = r + 0.5, r + x - 0.5
    variance = r * (jnp.log1p((x - 1) / low) - r / low * ((x - 1) / high))
    variance -= r / 24 * ((r - x + 0.5) / high / high**2 - (r - 0.5) / low / low**2)
    return x - r * weights, jnp.clip(variance, 0, 0.25 * x), log_rising + x * jnp.log(x / r)


def _proposal(log_odds: Array, sums: _Sums, columns: _Columns) -> tuple[Array, Array]:
    """The mean and the precision of the proposal."""
    prior = columns.prior
    slope, curvature, _ = log_odds_derivatives(
        log_odds,
        prior.concentration1 + sums.sharing,
        prior.concentration1 + prior.concentration0 + columns.counts,
        columns.expected,
    )
    precision = jnp.maximum(jnp.abs(curvature - sums.variance), _LEAST_PRECISION)
    longest = _LONGEST_STEP * jax.lax.rsqrt(precision)
    return log_odds + jnp.clip(slope / precision, -longest, longest), precision


def _log_odds_of_prior(prior: Beta, key: Key, index: Array, dtype: jnp.dtype) -> Array:
    """Draws of the log-odds, as logarithms of ratios of Gammas; a key for each index."""
    keys = jax.vmap(jax.random.split)(jax.vmap(jax.random.fold_in, (None, 0))(key, index))
    shapes = jnp.stack([prior.concentration1, prior.concentration0]).astype(dtype)
    drawn = jax.vmap(jax.vmap(gamma))(keys, jnp.broadcast_to(shapes, keys.shape))
    return jnp.log(drawn[:, 0]) - jnp.log(drawn[:, 1])


def _differences(old: Array, new: Array, columns: _Columns) -> tuple[Array, Array]:
    """The differences of the log density: of its likelihood without the double sum, of its prior.

    In nats, and without cancellation.
    """
    a, b = columns.prior.concentration1, columns.prior.concentration0
    p, move = jax.nn.sigmoid(old), new - old
    of_log = jnp.log1p(p * jnp.expm1(move))  # log(1 - p) less its new value
    near = jnp.clip(move, -0.5, 0.5)
    of_near = of_log * jnp.exp(-new) + mean_exposures(p) * jnp.expm1(-near)
    of_far = mean_exposures(jax.nn.sigmoid(new)) - mean_exposures(p)
    of_exposure = jnp.where(near == move, of_near, of_far)
    of_likelihood = -columns.counts * of_log - columns.expected * of_exposure
    return of_likelihood, a * move - (a + b) * of_log
