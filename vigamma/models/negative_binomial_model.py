"""Negative-binomial factorization: counts that vary more than Poisson counts of the same means.

x_nm ~ NB(r_nm, p_m),   r_nm = λ_nm (1-p_m) / p_m,   λ_nm = e_n Σ_k θ_nk β_mk,   p_m ~ Beta(a, b)

with the probability mass Γ(x + r) / (Γ(r) x!) p^x (1-p)^r, of mean λ and variance λ / (1-p). So
factors and their priors mean what they mean in `factor_model`, of which this is the limit p → 0.
With the numbers of tables l_nm of a Chinese restaurant of x_nm customers and concentration r_nm,
split among the components, the conditionals of the factors are Gammas (Zhou & Carin 2015, "Negative
binomial process count and mixture modeling"; Zhou 2018, "Nonparametric Bayesian negative binomial
factor analysis"). Summed out of the bound, with r̃_nm = e_n Σ_k exp(E[log θ_nk] + E[log β_mk] +
E[log((1-p_m) / p_m)]) and κ_m = E[-log(1-p_m) (1-p_m) / p_m], they leave

ELBO = Σ_nm [log(Γ(x_nm + r̃_nm) / Γ(r̃_nm)) - log x_nm!] + Σ_nm x_nm E[log p_m]
       - Σ_nm κ_m E[λ_nm] - KL(q(θ) ‖ p(θ)) - KL(q(β) ‖ p(β)) - KL(q(p) ‖ p(p))

in which the first sum is over nonzeros only, since a zero contributes -κ λ.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from vigamma.data.layout.count_rows import CountRows
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.families.negative_binomial import NegativeBinomial
from vigamma.models.factor_model import (
    PROBABILITIES,
    ColumnTable,
    FactorModel,
    FactorStatistics,
    IsColumn,
    Posterior,
    mean_log_weights,
    observed_exposure,
)
from vigamma.models.factor_priors import Prior, means_of
from vigamma.models.kernels import (
    negative_binomial_terms,
    split_counts,
    sum_of_products,
    sum_over_entries,
    sum_over_factors,
    sums_of_counts,
)
from vigamma.models.probabilities import (
    HIGHEST,
    LOWEST,
    mean_exposures,
    updated_probabilities,
)
from vigamma.typing import Array, Key

START = 0.5, 2.0
"""The shapes of the p_m at the start: a mean of 0.2. Fits of the ten digits that start at prior
means of 0.02 to 0.05 end up to 0.03 nats a held-out cell lower."""


class NegativeBinomialFactorModel(FactorModel):
    """x_nm ~ NB of mean e_n Σ_k θ_nk β_mk and of variance 1 / (1 - p_m) times the mean.

    Attributes:
      probability_prior: the prior of the p_m.
    """

    probability_prior: Beta

    kind_of_counts: ClassVar[str] = "negative binomials"

    @staticmethod
    def entry_terms(counts: Array, rates: Array, is_entry: Array) -> tuple[Array, Array]:
        """The terms of an entry; see `models.kernels.EntryTerms`."""
        return negative_binomial_terms(counts, rates, is_entry)

    def initial(self, perturbations: tuple[np.ndarray, np.ndarray]) -> Posterior:
        """As in `FactorModel`, with p_m ~ `START`, whatever the prior is."""
        dtype, num_columns = self.probability_prior.concentration1.dtype, len(perturbations[1])
        shapes = (np.full(num_columns, shape, dtype) for shape in START)
        return super().initial(perturbations) | {PROBABILITIES: Beta(*shapes)}

    @staticmethod
    def row_weights(rows: Gamma, exposures: Array) -> tuple[Array, Array]:
        """e_n exp(E[log θ_nk]), and the shifts -log e_n; 0 for padding."""
        return exposures[:, None] * mean_log_weights(rows), _shifts(exposures)

    @staticmethod
    def table(q: Posterior, is_column: IsColumn) -> ColumnTable:
        """The table: its weights, products with those of rows, add up to r̃, its means to κ λ."""
        probabilities = q[PROBABILITIES]
        log_odds = probabilities.mean_log_complement - probabilities.mean_log
        weights = mean_log_weights(q["columns"]) * jnp.exp(log_odds)[:, None]
        means = means_of(q["columns"]) * probabilities.mean_exposure[:, None]
        total = jnp.where(is_column[:, None], means, 0.0).sum(axis=0, keepdims=True)
        return ColumnTable(weights, jnp.zeros_like(log_odds), means, total)

    def statistics(self, q: Posterior, table: ColumnTable, batch: CountRows) -> FactorStatistics:
        """The statistics of the rows in `batch`: shares are numbers of tables; and Σ_n x_nm."""
        found = super().statistics(q, table, batch)
        counts = sums_of_counts(batch.by_column, len(found.shares), found.shares.dtype)
        return found.replace(counts=counts)

    def with_global_conditionals(self, q: Posterior, statistics: FactorStatistics) -> Posterior:
        """q with the columns updated to their complete conditionals, then their probabilities.

        β_mk: Gamma(c + Σ_n E[l_nmk], rate + κ_m Σ_n e_n E[θ_nk]), and then the rates, if random;
        p_m by `updated_probabilities`.
        """
        exposure = observed_exposure(statistics)
        old = q[PROBABILITIES]
        own = self.with_columns_given(q, statistics.shares, exposure * old.mean_exposure[:, None])
        expected = sum_of_products(means_of(own["columns"]), exposure)
        tables = sum_over_factors(statistics.shares)
        assert statistics.counts is not None, "the statistics are of another model"
        new = updated_probabilities(
            old, self.probability_prior, statistics.counts, tables, expected
        )
        return own | {PROBABILITIES: new}

    def global_elbo(
        self, q: Posterior, table: ColumnTable, statistics: FactorStatistics, is_column: IsColumn
    ) -> Float[Array, ""]:
        """The part of the ELBO of q that belongs to the columns, in nats."""
        probabilities = q[PROBABILITIES]
        of_column = statistics.counts * probabilities.mean_log
        of_column -= probabilities.kl_divergence(self.probability_prior)
        of_column = jnp.where(is_column, of_column, 0.0).sum()
        return of_column + super().global_elbo(q, table, statistics, is_column)

    def log_joint(self, log_latents: dict[str, Array], batch: CountRows) -> Float[Array, ""]:
        """log p(x, θ, β, p, ...) in nats; log_latents[PROBABILITIES] are the log p_m.

        As in `FactorModel`, a density of the latents, with the numbers of tables summed out.
        """
        log_theta, log_beta = log_latents["rows"], log_latents["columns"]
        log_p = log_latents[PROBABILITIES]
        p = jnp.clip(jnp.exp(log_p), LOWEST, HIGHEST)  # which changes nothing but extremes
        odds, exposure = (1 - p) / p, mean_exposures(p)
        row_prior: Prior
        column_prior: Prior
        row_prior, column_prior = self.row_prior, self.column_prior
        log_prior = column_prior.log_prob(log_beta, log_latents.get("column_rates")).sum()
        log_prior += self.probability_prior.log_prob_from_log(log_p).sum()
        if not len(log_theta):
            return log_prior
        theta = batch.exposures[:, None] * jnp.exp(log_theta)
        beta, is_column = jnp.exp(log_beta), batch.is_column[: len(log_beta)]
        _, fit = split_counts(beta * odds[:, None], theta, batch.by_column, self.entry_terms)
        counts = sums_of_counts(batch.by_column, len(beta), beta.dtype)
        seen = theta.sum(axis=0, keepdims=True)
        if batch.missing_by_column is not None:
            seen = seen - sum_over_entries(theta, batch.missing_by_column, len(beta))
        of_columns = counts * jnp.log(p) - exposure * sum_of_products(beta, seen)
        constants = batch.log_constants + batch.row_sums * _shifts(batch.exposures)
        is_row = batch.exposures > 0
        of_rows = row_prior.log_prob(log_theta, log_latents.get("row_rates"))
        log_prior += jnp.where(is_row, of_rows, 0).sum()
        return fit + constants.sum() + jnp.where(is_column, of_columns, 0).sum() + log_prior

    @staticmethod
    def draw_counts(key: Key, means: Float[Array, " M"], q: Posterior) -> Integer[Array, " M"]:
        """Draws p_m ~ q, then int32 counts of the columns, given their means."""
        key_counts, key_probabilities = jax.random.split(key)
        return negative_binomials(key_counts, means, q[PROBABILITIES].sample(key_probabilities))

    def generate_prior(
        self, key: Key, num_rows: int, num_columns: int, num_factors: int
    ) -> tuple[Array, Array, Array]:
        """Draws θ (N, K), β (M, K) and int32 counts (N, M) from the prior, with exposures of 1."""
        keys = jax.random.split(key, 3)
        theta_nk, beta_mk, _ = super().generate_prior(keys[0], num_rows, num_columns, num_factors)
        p_m = self.probability_prior.sample(keys[1], (num_columns,))
        means = theta_nk @ beta_mk.T
        p_nm = jnp.broadcast_to(p_m, means.shape)
        return theta_nk, beta_mk, negative_binomials(keys[2], means, p_nm)


def _shifts(exposures: Array) -> Array:
    """-log e_n; 0 for padding."""
    return -jnp.log(jnp.where(exposures > 0, exposures, 1.0))


def negative_binomials(key: Key, means: Array, probabilities: Array) -> Array:
    """Draws int32 counts of these means, and variances of means / (1 - p); all of one shape."""
    odds = (1 - probabilities) / probabilities
    return NegativeBinomial(means * odds, odds).sample(key)
