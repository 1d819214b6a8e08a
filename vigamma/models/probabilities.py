"""The update of the probabilities of negative binomials, given the expected numbers of tables.

A count x ~ NB(r, p) of mean λ has r = λ (1-p) / p. Given its number of tables l, the likelihood of
p is proportional to

    p^(x-l) (1-p)^l e^(-λ κ(p)),     κ(p) = -log(1-p) (1-p) / p

(Zhou & Carin 2015). Without κ, which is near 1 - p/2, the conditional of p would be a Beta. It is
approximated by the Beta that has the mode and the curvature of the density of the log-odds of p.
Where the bound would be lower than with the old Beta, this is kept, so that no update lowers it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from vigamma.families.beta import Beta
from vigamma.special import expm1_minus
from vigamma.typing import Array

LOWEST, HIGHEST = 1e-12, 1 - 1e-6
"""The range of values. Below, counts are Poisson counts; above, 1 - p is no precise float32."""

_NEWTON_STEPS = 3
_LONGEST_STEP = 2.0  # of the log-odds
_LEAST_CURVATURE = 0.2  # relative to that without κ


def mean_exposures(p: Array) -> Array:
    """κ(p) = -log(1-p) (1-p) / p, so that λ κ is minus the log probability of a count of 0."""
    return -jnp.log1p(-p) * (1 - p) / p


def updated_probabilities(
    old: Beta,
    prior: Beta,
    counts: Float[Array, " M"],
    tables: Float[Array, " M"],
    expected: Float[Array, " M"],
) -> Beta:
    """The distributions of the p_m; see the module.

    Args:
      old: the distributions before.
      prior: the prior, Beta with scalar shapes.
      counts: Σ_n x_nm.
      tables: Σ_n E[l_nm].
      expected: Σ_n E[λ_nm], over the observed cells.
    """
    tables = jnp.minimum(tables, counts)  # after rounding
    a = prior.concentration1 + counts - tables
    total = prior.concentration1 + prior.concentration0 + counts

    def bound(q: Beta) -> Array:
        of_counts = (counts - tables) * q.mean_log + tables * q.mean_log_complement
        return of_counts - expected * q.mean_exposure - q.kl_divergence(prior)

    def newton(_: int, log_odds: Array) -> Array:
        slope, curvature, spread = log_odds_derivatives(log_odds, a, total, expected)
        curvature = jnp.maximum(curvature, _LEAST_CURVATURE * total * spread)
        return log_odds + jnp.clip(slope / curvature, -_LONGEST_STEP, _LONGEST_STEP)

    start = jnp.log(old.concentration1 / old.concentration0)
    log_odds = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, start)
    _, curvature, spread = log_odds_derivatives(log_odds, a, total, expected)
    size = jnp.maximum(curvature / spread, _LEAST_CURVATURE * total)
    new = Beta(size * jax.nn.sigmoid(log_odds), size * jax.nn.sigmoid(-log_odds))
    is_better = bound(new) > bound(old)

    def kept(_: int, q: Beta) -> Beta:
        return jax.tree.map(lambda own, other: jnp.where(is_better, own, other), new, q)

    # XLA repeats the work for every use of its result, but not that for the operands of a loop.
    return jax.lax.fori_loop(0, 2, kept, old)


def log_odds_derivatives(
    log_odds: Array, a: Array, total: Array, expected: Array
) -> tuple[Array, Array, Array]:
    """The slope of the log density of the log-odds, minus its curvature, and p (1 - p).

    The log density is a log p + (total - a) log(1 - p) - expected κ, and with the odds φ

        -dκ/dlog φ = log(1 + φ) / φ - 1 / (1 + φ) =: g,     dg/dlog φ = p (1 - p) - g.
    """
    p, complement = jax.nn.sigmoid(log_odds), jax.nn.sigmoid(-log_odds)
    spread = p * complement
    g = expm1_minus(jnp.log(complement)) * complement / p
    return a - total * p + expected * g, total * spread - expected * (spread - g), spread
