"""Bounds of the log evidence of small factorizations, by annealed importance sampling.

Importance weights of a Markov chain that moves from the variational posterior q, whose constant is
known, to the posterior p are unbiased for the evidence (Neal 2001), and those of one that moves
from an exact draw of p back to q are unbiased for its inverse (Grosse, Ghahramani & Adams 2015):

E[w] = p(x),  E[1 / w'] = 1 / p(x);   so   E[log w] ≤ log p(x) ≤ E[log w'].

The path consists of models that Gibbs sweeps can draw from. With c_nm = Σ_k E_q[θ_nk] E_q[β_mk],

f_t(θ, β) = q(θ, β)^(1-t) p(θ, β)^t Π_nm Poisson(x_nm; e_n (t Σ_k θ_nk β_mk + (1 - t) c_nm))

is q, but for a constant, at t = 0, and p(x, θ, β) at t = 1. Between them it is a factorization with
2 K components, of which K are fixed, and its complete conditionals are Gammas.

p(x, θ, β) does not depend on the order of the components, but q does. Where chains stay in the
order of q, weights are of the region R of the latents whose components match those of q: it has
1 / K! of the evidence. The weights of reverse chains that start in R have E[1 / w'] = P / p(x),
where P is the probability that a forward chain ends in R, so that their bound is too high by
-log P.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float
from scipy.sparse import csr_array

from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_entries import CountEntries, lay_out_entries
from vigamma.diagnostics.recovery import matched_factors
from vigamma.families.gamma import Gamma
from vigamma.families.poisson import Poisson
from vigamma.models.allocation import allocate_counts
from vigamma.models.factor_gibbs import LARGEST, SMALLEST, Latents, draw_starts
from vigamma.models.factor_model import FactorModel, Posterior, check_poisson
from vigamma.models.factor_priors import Prior
from vigamma.random.keys import threefry_key
from vigamma.typing import Array, Key, Record


class EvidenceBounds(NamedTuple):
    """Stochastic bounds of log p(x), in nats.

    Attributes:
      lower: the larger of log(Σ_s w_s / S) over all orders of the components, and over those of
        q; exceeds log p(x) + d with probability below 2 e^-d.
      upper: -log(Σ_s (1 / w'_s) / S), which is below log p(x) - d with probability below e^-d, if
        the draws that the chains started at are exact.
      forward: log w_s of the chains from q to the posterior, over all orders.
      reverse: log w'_s of the chains from the posterior to q.
      matched: the share of the forward chains that ended with components in the order of q. Reverse
        chains start in that order if it is above 1/2, in random orders otherwise.
    """

    lower: float
    upper: float
    forward: Float[np.ndarray, " S"]
    reverse: Float[np.ndarray, " S"]
    matched: float


class _Path(Record):
    """The models between q and the posterior.

    Attributes:
      model: the priors.
      q: the variational posterior.
      entries: the counts, as they are split among components.
      counts: x_nm, of all cells.
      scales: e_n in observed cells, 0 in others.
    """

    model: FactorModel
    q: Posterior
    entries: CountEntries
    counts: Float[Array, "N M"]
    scales: Float[Array, "N M"]

    @property
    def background(self) -> Float[Array, "N M"]:
        """c_nm."""
        return self.q["rows"].mean @ self.q["columns"].mean.T

    def _prior(self, side: str) -> Prior:
        return getattr(self.model, f"{side}_prior")

    def log_ratio(self, latents: Latents, t: Array, other: Array) -> Float[Array, ""]:
        """log f_other - log f_t, in nats; small differences are not lost in large terms."""
        difference = latents["rows"] @ latents["columns"].T - self.background
        rates = self.background + t * difference
        change = (other - t) * difference
        is_seen = self.counts > 0
        of_counts = jnp.where(is_seen, self.counts * jnp.log1p(change / rates), 0).sum()
        logs = {name: jnp.log(values) for name, values in latents.items()}
        of_q = sum(self.q[name].log_prob_from_log(logs[name]).sum() for name in logs)
        of_prior = sum(
            self._prior(side).log_prob(logs[f"{side}s"], logs.get(f"{side}_rates")).sum()
            for side in ("row", "column")
        )
        return of_counts - (self.scales * change).sum() + (other - t) * (of_prior - of_q)

    def sweep(self, latents: Latents, t: Array, key: Key, is_reverse: bool) -> Latents:
        """A Gibbs sweep that leaves f_t invariant, or the same sweep in reverse order."""
        keys = jax.random.split(key, 5)
        own, fixed = t * latents["rows"], (1 - t) * self.q["rows"].mean
        theta = jnp.concatenate([own, fixed], axis=1)
        beta = jnp.concatenate([latents["columns"], self.q["columns"].mean], axis=1)
        theta = jnp.clip(theta, SMALLEST, LARGEST)
        split = allocate_counts(theta, beta, self.entries, keys[0])
        num_factors = own.shape[1]
        updates = [
            partial(self._factors, "row", split.rows[:, :num_factors], t, keys[1]),
            partial(self._rates, "row", t, keys[2]),
            partial(self._factors, "column", split.columns[:, :num_factors], t, keys[3]),
            partial(self._rates, "column", t, keys[4]),
        ]
        for update in reversed(updates) if is_reverse else updates:
            latents = latents | update(latents)
        return latents

    def _factors(self, side: str, counts: Array, t: Array, key: Key, latents: Latents) -> Latents:
        """A draw of the factors of a side, given those of the other, z, and their own rates."""
        if side == "row":
            exposure = self.scales @ latents["columns"]
        else:
            exposure = self.scales.T @ latents["rows"]
        rates = latents.get(f"{side}_rates")
        given = self._prior(side).factors_given(jnp.zeros_like(exposure), exposure, rates)
        between = _between(self.q[f"{side}s"], given, t)
        shares = counts.astype(exposure.dtype)
        return {f"{side}s": _draw(key, Gamma(between.concentration + shares, between.rate))}

    def _rates(self, side: str, t: Array, key: Key, latents: Latents) -> Latents:
        """A draw of the rates of a side given its factors, if the model has them."""
        factors, name = latents[f"{side}s"], f"{side}_rates"
        given = self._prior(side).rates_given(factors.sum(axis=1), factors.shape[1])
        return {} if given is None else {name: _draw(key, _between(self.q[name], given, t))}


def log_evidence_bounds(
    model: FactorModel,
    q: Posterior,
    counts: csr_array,
    draws: Latents,
    *,
    key: Key,
    exposures: Float[np.ndarray, " N"] | None = None,
    missing: csr_array | None = None,
    num_steps: int = 2000,
    num_chains: int = 16,
) -> EvidenceBounds:
    """Bounds log p(x) from below and above.

    Both get closer with more steps; the gap of the ELBO of q is between `lower` and `upper` minus
    the ELBO. Cells are dense arrays here, so that a step takes time and memory of N M, not of the
    nonzeros.

    Args:
      model: the priors.
      q: the variational posterior of all latents, of shapes (N, K) and (M, K), without padding.
      counts: canonical counts x_nm; shape (N, M).
      draws: of the posterior, with a leading axis, in any order of the components: the latents
        that the counts were simulated with, which are one exact draw, or those of long chains. The
        upper bound is as good as they are.
      key: of all random numbers.
      exposures: e_n; by default 1.
      missing: a pattern of ones at the unobserved cells, or None.
      num_steps: T; a chain makes T - 1 Gibbs sweeps, at t = 1 - (1 - i / T)².
      num_chains: S, in each direction.

    Raises:
      ValueError: if there are no steps, chains or draws, or if they have other latents than q; and
        for a model of other counts than Poisson counts.
    """
    check_poisson(model, "bounds of the evidence")
    for name, value in (("num_steps", num_steps), ("num_chains", num_chains)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if sorted(draws) != sorted(q) or not len(draws["rows"]):
        raise ValueError(f"draws must be of {sorted(q)}, at least one, got {sorted(draws)}")
    path = _path(model, q, counts, exposures, missing)
    key, reference = threefry_key(key), np.asarray(path.q["columns"].mean)
    keys = jax.random.split(key, (2, num_chains))
    log_constant = _log_likelihood_of_background(path)
    log_orders = math.lgamma(reference.shape[1] + 1)

    seed = jax.random.key_data(key).tolist()
    starts = draw_starts(path.q, seed, num_chains)
    last, log_w = _run(path, starts, keys[0], num_steps, is_reverse=False)
    forward = log_constant + np.asarray(log_w, np.float64)
    is_matched = np.array([_is_in_order(beta, reference) for beta in np.asarray(last["columns"])])
    of_one_order = np.where(is_matched, forward + log_orders, -np.inf)

    ends = [
        {name: np.asarray(drawn[i % len(drawn)]) for name, drawn in draws.items()}
        for i in range(num_chains)
    ]
    in_order = is_matched.mean() > 0.5
    if in_order:
        orders = [matched_factors(end["columns"], reference) for end in ends]
    else:
        rng = np.random.default_rng([*seed, num_chains])
        orders = [rng.permutation(reference.shape[1]) for _ in ends]
    ends = [_reordered(end, order) for end, order in zip(ends, orders, strict=True)]
    _, log_w = _run(path, _stacked(ends), keys[1], num_steps, is_reverse=True)
    reverse = log_constant + np.asarray(log_w, np.float64) + (log_orders if in_order else 0)
    return EvidenceBounds(
        lower=max(_log_mean(forward), _log_mean(of_one_order)),
        upper=-_log_mean(-reverse),
        forward=forward,
        reverse=reverse,
        matched=float(is_matched.mean()),
    )


def _path(
    model: FactorModel,
    q: Posterior,
    counts: csr_array,
    exposures: np.ndarray | None,
    missing: csr_array | None,
) -> _Path:
    dtype = jnp.result_type(float)
    exposures = np.ones(counts.shape[0]) if exposures is None else exposures
    scales = np.broadcast_to(exposures[:, None], counts.shape).astype(dtype)
    if missing is not None:
        scales = np.where(missing.toarray() > 0, 0, scales)
    slots = block_slots(q["rows"].rate.shape[1])
    entries = lay_out_entries(counts, exposures, None, num_shards=1, block_slots=slots)
    model, q = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (model, q))
    return _Path(model, q, entries, jnp.asarray(counts.toarray(), dtype), jnp.asarray(scales))


def _log_likelihood_of_background(path: _Path) -> float:
    """log f_0 - log q."""
    of_cells = Poisson(path.scales * path.background).log_prob(path.counts)
    return float(np.where(path.scales > 0, of_cells, 0).sum(dtype=np.float64))


@partial(jax.jit, static_argnames="is_reverse")
def _run(
    path: _Path, starts: Latents, keys: Array, num_steps: Array | int, *, is_reverse: bool
) -> tuple[Latents, Float[Array, " S"]]:
    """The last states of chains, and log f_1 - log f_0 along them, whichever way they go."""

    def chain(of_chain: tuple[Latents, Array]) -> tuple[Latents, Array]:
        start, key = of_chain

        def change(latents: Latents, i: Array | int) -> Array:
            """log f_t at level i minus that at level i - 1."""
            return path.log_ratio(latents, _level((i - 1) / num_steps), _level(i / num_steps))

        def step(number: Array, carry: tuple[Latents, Array]) -> tuple[Latents, Array]:
            latents, log_weight = carry
            i = num_steps - number if is_reverse else number
            log_weight += change(latents, i + 1 if is_reverse else i)
            key_of_step = jax.random.fold_in(key, number)
            return path.sweep(latents, _level(i / num_steps), key_of_step, is_reverse), log_weight

        zero = jnp.zeros((), start["rows"].dtype)
        last, log_weight = jax.lax.fori_loop(1, num_steps, step, (start, zero))
        return last, log_weight + change(last, 1 if is_reverse else num_steps)

    return jax.lax.map(chain, (starts, keys))


def _level(share: Array | float) -> Array:
    """t after this share of the steps; smaller steps near 1, where weights change most."""
    return jnp.asarray(1 - (1 - share) ** 2, jnp.result_type(float))


def _between(q: Gamma, given: Gamma, t: Array) -> Gamma:
    """The Gamma in proportion to q^(1-t) given^t."""
    return jax.tree.map(lambda a, b: (1 - t) * a + t * b, q, given)


def _draw(key: Key, distribution: Gamma) -> Array:
    return jnp.clip(distribution.sample(key), SMALLEST, LARGEST)


def _reordered(latents: Latents, order: np.ndarray) -> Latents:
    return latents | {name: latents[name][:, order] for name in ("rows", "columns")}


def _is_in_order(beta: np.ndarray, reference: np.ndarray) -> bool:
    return bool((matched_factors(beta, reference) == np.arange(reference.shape[1])).all())


def _stacked(latents: list[Latents]) -> Latents:
    dtype = jnp.result_type(float)
    return jax.tree.map(lambda *leaves: np.stack(leaves).astype(dtype), *latents)


def _log_mean(log_values: np.ndarray) -> float:
    return float(scipy.special.logsumexp(log_values) - math.log(log_values.size))
