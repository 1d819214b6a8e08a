"""The Gamma-Poisson model: independent columns of counts, each with its own rate.

x_nm ~ Poisson(θ_m),   θ_m ~ Gamma(a_m, b_m).

It is conjugate: the posterior is Gamma(a_m + Σ_n x_nm, b_m + N). The rows enter only through the
column sums and their number, so that the cost does not depend on the number of rows.
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
      log_multinomial: log p(x | S) = Σ_m (log S_m! - Σ_n log x_nm! - S_m log N), in nats. It does
        not depend on the rates.
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

    Likelihoods are those of the column sums, S_m ~ Poisson(N θ_m), plus log p(x | S). The terms
    Σ_n x_nm log θ_m and Σ_n log x_nm! would be larger than the result, and cancel.

    Attributes:
      prior: the Gamma prior of the M rates.
    """

    prior: Gamma

    def log_joint(self, log_theta: Float[Array, " M"], batch: CountStatistics) -> Float[Array, ""]:
        """log p(x, θ) = log p(θ) + Σ_nm log Poisson(x_nm | θ_m), in nats.

        It is accurate also where θ underflows. The density is that of θ, not of `log_theta`.
        """
        return self.log_joint_of_each(log_theta, batch).sum() + batch.log_multinomial

    def log_joint_of_each(
        self, log_theta: Float[Array, " M"], batch: CountStatistics
    ) -> Float[Array, " M"]:
        """log p(θ_m) + log Poisson(S_m | N θ_m) of each column, in nats."""
        of_sums = _log_sums(batch, jnp.exp(log_theta), log_theta)
        return self.prior.log_prob_from_log(log_theta) + of_sums

    def expected_log_likelihood(self, q: Gamma, batch: CountStatistics) -> Float[Array, ""]:
        """E_q[log p(x | θ)] in nats.

        It is log p(x | θ) at θ = E[θ], minus Σ_m S_m (log E[θ_m] - E[log θ_m]).
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

        It is computed in float64 if the model and the statistics hold NumPy float64, as `build`
        returns them; otherwise in float32, where a value of 1e8 nats has a rounding error of 8.
        """
        with own_precision(self, batch):
            of_sum = NegativeBinomial(self.prior.concentration, self.prior.rate / batch.num_rows)
            return of_sum.log_prob(batch.column_sums).sum() + batch.log_multinomial

    def posterior_predictive(self, q: Gamma) -> NegativeBinomial:
        """The predictive distribution of a new row of counts, with θ ~ q integrated out."""
        return NegativeBinomial(q.concentration, q.rate)

    @staticmethod
    def generate(key: Key, q: Gamma, num_rows: int) -> DrawnRows:
        """Draws new rows: θ ~ q, then x ~ Poisson(θ), independently for every row.

        Row i depends on (key, i) only.
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
    """A `GammaPoisson` model whose prior has the weight of `weight` rows equal to a typical row.

    The prior is Gamma(shape w·x₀, rate w): its mean is x₀, and it has the weight of w rows of data.
    x₀ is the known typical row, and at least `floor`: where that row is exactly 0, as in the always
    blank pixels of the digits, the prior would be improper otherwise.

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
        """The model and its statistics, in NumPy float64; raises ValueError for invalid data."""
        _check_knowledge(data)
        mean = np.maximum(data.knowledge, self.floor)
        prior = Gamma(self.weight * mean, np.full_like(mean, self.weight))
        prior.validate("prior")
        return GammaPoisson(prior), CountStatistics.of(data.counts)


def _check_knowledge(data: KnowledgeAndCounts) -> None:
    """Raises ValueError for a wrong shape or a negative mean; `Gamma.validate` checks the rest."""
    wanted = np.shape(data.counts)[1:]
    if np.shape(data.knowledge) != wanted:
        shape = np.shape(data.knowledge)
        raise ValueError(f"knowledge must have a number for each column, {wanted}, got {shape}")
    if (bad := np.flatnonzero(np.asarray(data.knowledge) < 0)).size:
        value = data.knowledge[bad[0]]
        raise ValueError(f"knowledge must be ≥ 0, but it is {value} at column {bad[0]}")
