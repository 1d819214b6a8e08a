"""The Gamma-Poisson model: independent columns of counts, each with a rate of its own.

x_nm ~ Poisson(θ_m),   θ_m ~ Gamma(a_m, b_m).

Conjugate: the posterior is Gamma(a_m + Σ_n x_nm, b_m + N). The rows enter only through the column
sums and their number, so nothing here costs more for more rows.
"""

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy.special import gammaln

from vigamma.data.counts import check_counts
from vigamma.data.digits import KnowledgeAndCounts
from vigamma.families.gamma import Gamma
from vigamma.families.negative_binomial import NegativeBinomial
from vigamma.families.poisson import Poisson
from vigamma.typing import Array, Key, record, spec


@record
class CountStatistics:
    """Sufficient statistics of a matrix of counts with N rows and M columns.

    Attributes:
      column_sums: Σ_n x_nm; shape (M,).
      num_rows: N; a scalar.
      log_factorials: Σ_nm log x_nm!, a constant of the data, in nats; a scalar.
    """

    column_sums: Array
    num_rows: Array
    log_factorials: Array

    @classmethod
    def of(cls, counts: np.ndarray) -> Self:
        """Computes the statistics on the host, in float64; raises as `check_counts` does."""
        counts = check_counts(counts)
        return cls(
            column_sums=counts.sum(axis=0),
            num_rows=np.float64(counts.shape[0]),
            log_factorials=scipy.special.gammaln(counts + 1).sum(),
        )


@record
class GammaPoisson:
    """Counts with independent Poisson columns under a Gamma prior.

    Attributes:
      prior: the Gamma prior of the M rates.
    """

    prior: Gamma

    def log_joint(self, log_theta: Array, batch: CountStatistics) -> Array:
        """log p(x, θ) = log p(θ) + Σ_nm log Poisson(x_nm | θ_m), in nats; a scalar.

        Args:
          log_theta: log θ, shape (M,): exact also where θ underflows. The density is that of θ.
          batch: the statistics of the counts.
        """
        log_prior = self.prior.log_prob_from_log(log_theta).sum()
        return log_prior + self._log_likelihood(log_theta, jnp.exp(log_theta), batch)

    def expected_log_likelihood(self, q: Gamma, batch: CountStatistics) -> Array:
        """E_q[log p(x | θ)] in nats; a scalar."""
        return self._log_likelihood(q.mean_log, q.mean, batch)

    def _log_likelihood(self, log_theta: Array, theta: Array, batch: CountStatistics) -> Array:
        """Σ_m (Σ_n x_nm) log θ_m - N θ_m, less Σ_nm log x_nm!: linear in (log θ, θ)."""
        per_column = batch.column_sums * log_theta - batch.num_rows * theta
        return per_column.sum() - batch.log_factorials

    def exact_posterior(self, batch: CountStatistics) -> Gamma:
        """p(θ | x) = Gamma(a + Σ_n x_n, b + N)."""
        return Gamma(self.prior.concentration + batch.column_sums, self.prior.rate + batch.num_rows)

    def log_evidence(self, batch: CountStatistics) -> Array:
        """log p(x) in nats; a scalar.

        Σ_m [log Γ(a + S_m) - log Γ(a) + a log b - (a + S_m) log(b + N)] - Σ_nm log x_nm!
        with the column sums S_m.
        """
        a, b, posterior = self.prior.concentration, self.prior.rate, self.exact_posterior(batch)
        log_gammas = gammaln(posterior.concentration) - gammaln(a)
        log_rates = a * jnp.log(b) - posterior.concentration * jnp.log(posterior.rate)
        return (log_gammas + log_rates).sum() - batch.log_factorials

    def posterior_predictive(self, q: Gamma) -> NegativeBinomial:
        """The distribution of one more row of counts, under θ ~ q integrated out."""
        return NegativeBinomial(q.concentration, q.rate)

    @staticmethod
    def generate(key: Key, q: Gamma, num_rows: int) -> tuple[Array, Array]:
        """Draws new rows: θ ~ q, then x ~ Poisson(θ), afresh for every row.

        Row i is a function of (key, i) alone.

        Returns:
          θ and the int32 counts x; both of shape (num_rows, M).
        """

        def row(index: Array) -> tuple[Array, Array]:
            key_theta, key_counts = jax.random.split(jax.random.fold_in(key, index))
            theta_m = q.sample(key_theta)
            return theta_m, Poisson(theta_m).sample(key_counts)

        return jax.vmap(row)(jnp.arange(num_rows))


@spec
class DomainKnowledge:
    """A `GammaPoisson` model whose prior is worth `weight` rows equal to a known typical row.

    The prior is Gamma(shape w·x₀, rate w): its mean is x₀, and it counts as much as w rows of
    data. x₀ is the domain knowledge, floored at `floor`: where the knowledge is an exact 0, as in
    the always blank pixels of the digits, the prior would not be proper without it.

    Attributes:
      weight: w, in rows ("pseudo-images"); > 0.
      floor: the smallest prior mean of a column, in counts per row; > 0.
    """

    weight: float = 2.0
    floor: float = 0.1

    def validate(self) -> None:
        """Raises ValueError for a weight or floor that is not positive and finite."""
        for name in ("weight", "floor"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")

    def build(self, data: KnowledgeAndCounts) -> tuple[GammaPoisson, CountStatistics]:
        """The model and the statistics of its data, in NumPy float64; ValueError if one is bad."""
        self.validate()
        _check_knowledge(data)
        mean = np.maximum(data.knowledge, self.floor)
        prior = Gamma(self.weight * mean, np.full_like(mean, self.weight))
        prior.validate("prior")
        return GammaPoisson(prior), CountStatistics.of(data.counts)


def _check_knowledge(data: KnowledgeAndCounts) -> None:
    """NaN and infinity are left to the prior, which cannot have them."""
    wanted = np.shape(data.counts)[1:]
    if np.shape(data.knowledge) != wanted:
        shape = np.shape(data.knowledge)
        raise ValueError(f"knowledge must have a number for each column, {wanted}, got {shape}")
    if (bad := np.flatnonzero(np.asarray(data.knowledge) < 0)).size:
        value = data.knowledge[bad[0]]
        raise ValueError(f"knowledge must be ≥ 0, but it is {value} at column {bad[0]}")
