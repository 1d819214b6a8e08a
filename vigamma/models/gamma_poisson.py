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
from jaxtyping import Float

from vigamma.counts.dense import check_counts
from vigamma.data.digits import KnowledgeAndCounts
from vigamma.families.floats import own_precision
from vigamma.families.gamma import Gamma
from vigamma.families.negative_binomial import NegativeBinomial
from vigamma.families.poisson import Poisson, log_poisson
from vigamma.special import log_minus_digamma, log_ratio
from vigamma.typing import Array, DrawnRows, Key, Leaf, Record, spec


class CountStatistics(Record):
    """Sufficient statistics of a matrix of counts with N rows and M columns.

    Attributes:
      column_sums: S_m = Σ_n x_nm.
      num_rows: N.
      log_multinomial: log p(x | S) = Σ_m (log S_m! - Σ_n log x_nm! - S_m log N), in nats: how the
        sums fall to the rows does not depend on the rates. A constant of the data.
    """

    column_sums: Float[Leaf, " M"]
    num_rows: Float[Leaf, ""]
    log_multinomial: Float[Leaf, ""]

    @classmethod
    def of(cls, counts: np.ndarray) -> Self:
        """Computes the statistics on the host, in float64; raises as `check_counts` does."""
        counts = check_counts(counts)
        num_rows, sums = np.float64(counts.shape[0]), counts.sum(axis=0)
        log_factorials = scipy.special.gammaln(counts + 1).sum(axis=0)
        of_columns = scipy.special.gammaln(sums + 1) - log_factorials - sums * np.log(num_rows)
        return cls(column_sums=sums, num_rows=num_rows, log_multinomial=of_columns.sum())


class GammaPoisson(Record):
    """Counts with independent Poisson columns under a Gamma prior.

    All likelihoods are those of the column sums, S_m ~ Poisson(N θ_m), plus log p(x | S): no term
    is larger than the result, as Σ_n x_nm log θ_m and Σ_n log x_nm! would be.

    Attributes:
      prior: the Gamma prior of the M rates.
    """

    prior: Gamma

    def log_joint(self, log_theta: Float[Array, " M"], batch: CountStatistics) -> Float[Array, ""]:
        """log p(x, θ) = log p(θ) + Σ_nm log Poisson(x_nm | θ_m), in nats.

        It is exact also where θ underflows. The density is that of θ, not of `log_theta`.
        """
        log_prior = self.prior.log_prob_from_log(log_theta).sum()
        of_sums = _log_sums(batch, jnp.exp(log_theta), log_theta)
        return log_prior + of_sums.sum() + batch.log_multinomial

    def expected_log_likelihood(self, q: Gamma, batch: CountStatistics) -> Float[Array, ""]:
        """E_q[log p(x | θ)] in nats.

        That at θ = E[θ], less Σ_m S_m (log E[θ_m] - E[log θ_m]).
        """
        of_sums = _log_sums(batch, q.mean, log_ratio(q.concentration, q.rate))
        spread = batch.column_sums * log_minus_digamma(q.concentration)
        return (of_sums - spread).sum() + batch.log_multinomial

    def elbo(self, q: Gamma, batch: CountStatistics) -> Float[Array, ""]:
        """E_q[log p(x | θ)] - KL(q ‖ prior), in nats."""
        return self.expected_log_likelihood(q, batch) - q.kl_divergence(self.prior).sum()

    def exact_posterior(self, batch: CountStatistics) -> Gamma:
        """p(θ | x) = Gamma(a + Σ_n x_n, b + N)."""
        return Gamma(self.prior.concentration + batch.column_sums, self.prior.rate + batch.num_rows)

    def log_evidence(self, batch: CountStatistics) -> Float[Array, ""]:
        """log p(x) in nats.

        Σ_m log NegativeBinomial(S_m | a_m, b_m / N) + log p(x | S)

        Of a model and statistics in NumPy float64, as they are built, in float64; of float32 arrays
        in float32, in which a sum of 1e8 nats is known to 8.
        """
        with own_precision(self, batch):
            of_sum = NegativeBinomial(self.prior.concentration, self.prior.rate / batch.num_rows)
            return of_sum.log_prob(batch.column_sums).sum() + batch.log_multinomial

    def posterior_predictive(self, q: Gamma) -> NegativeBinomial:
        """The distribution of one more row of counts, under θ ~ q integrated out."""
        return NegativeBinomial(q.concentration, q.rate)

    @staticmethod
    def generate(key: Key, q: Gamma, num_rows: int) -> DrawnRows:
        """Draws new rows: θ ~ q, then x ~ Poisson(θ), afresh for every row.

        Row i is a function of (key, i) alone.
        """

        def row(index: Array) -> tuple[Array, Array]:
            key_theta, key_counts = jax.random.split(jax.random.fold_in(key, index))
            theta_m = q.sample(key_theta)
            return theta_m, Poisson(theta_m).sample(key_counts)

        return jax.vmap(row)(jnp.arange(num_rows))


def _log_sums(batch: CountStatistics, theta: Array, log_theta: Array) -> Float[Array, " M"]:
    """log Poisson(S_m | N θ_m) in nats."""
    log_rate = jnp.log(batch.num_rows) + log_theta
    return log_poisson(batch.column_sums, batch.num_rows * theta, log_rate)


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
