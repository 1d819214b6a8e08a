"""The priors of one side of a factorization: Gammas with a fixed rate, or a random rate per row.

All have the same methods. A side is a matrix of factors θ of shape (N, K), for the rows or the
columns of the counts. Its posterior is a Gamma of that shape and, if the rates are random, a Gamma
of shape (N,) for the rates.
"""

from typing import Any, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Bool, Float

from vigamma.families.gamma import Gamma
from vigamma.models.kernels import elementwise, sum_over_factors
from vigamma.special import inverse_digamma, power_divergence
from vigamma.typing import Array, Key, Leaf, Record

IsRow = Bool[Array, " N"]


class PriorStatistics(Record):
    """Sufficient statistics of the factors for learning their prior, additive over rows.

    Attributes:
      num_rows: N.
      num_latents: N K.
      mean: Σ_nk E[θ_nk].
      mean_log: Σ_nk E[log θ_nk] + E[log rate_n].
      rate: Σ_n E[rate_n].
      log_rate: Σ_n E[log rate_n].
    """

    num_rows: Float[Array, ""]
    num_latents: Float[Array, ""]
    mean: Float[Array, ""]
    mean_log: Float[Array, ""]
    rate: Float[Array, ""]
    log_rate: Float[Array, ""]


class FixedRatePrior(Record):
    """θ_nk ~ Gamma(shape, rate) with fixed parameters; the shape is the `concentration`."""

    concentration: Float[Leaf, ""]
    rate: Float[Leaf, ""]

    def initial(self, num_rows: int, num_factors: int) -> tuple[Gamma, None]:
        """The prior itself, as a posterior of N × K factors, in NumPy arrays."""
        return _filled(self, (num_rows, num_factors)), None

    def conditional(self, shares: Array, exposure: Array, rates: None) -> tuple[Gamma, None]:
        """The complete conditional of the factors: Gamma(shape + shares, rate + exposure).

        Args:
          shares: the expected counts of each factor; shape (N, K).
          exposure: the expected coefficient of each factor in the sum of the Poisson rates of its
            row; shape (N, K), or one that broadcasts to it.
          rates: None.
        """
        return self.factors_given(shares, exposure, rates), rates

    def factors_given(self, shares: Array, exposure: Array, rates: None) -> Gamma:
        """The conditional of the factors: Gamma(shape + shares, rate + exposure)."""
        del rates
        return _conditional(self.concentration, self.rate, shares, exposure)

    def rates_given(self, factor_sums: Float[Array, " N"], num_factors: int) -> None:
        """None: the rate is fixed."""
        del factor_sums, num_factors

    def kl_divergence(self, factors: Gamma, rates: None) -> Float[Array, " N"]:
        """KL(q ‖ prior) of each row, in nats."""
        del rates
        return _kl(factors, self.concentration, self.rate, jnp.log(self.rate))

    def statistics(self, factors: Gamma, rates: None, is_row: IsRow) -> PriorStatistics:
        """The statistics for `learned`, over the rows where `is_row` is True."""
        del rates
        ones = jnp.ones_like(is_row, self.rate.dtype)
        return _statistics(factors, ones * self.rate, ones * jnp.log(self.rate), is_row)

    def learned(self, statistics: PriorStatistics) -> Self:
        """The prior with the shape that maximizes the ELBO at this rate, then the best rate."""
        concentration = inverse_digamma(statistics.mean_log / statistics.num_latents)
        return type(self)(concentration, concentration * statistics.num_latents / statistics.mean)

    def log_prob(self, log_factors: Float[Array, "N K"], log_rates: None) -> Float[Array, " N"]:
        """log p(θ) in nats, at θ = exp(log_factors), as a density of θ."""
        del log_rates
        prior = Gamma(self.concentration, self.rate)
        return prior.log_prob_from_log(log_factors).sum(axis=1)

    def log_prob_from_sums(
        self, sums: Float[Array, " N"], log_sums: Float[Array, " N"], num_factors: int, rates: None
    ) -> Float[Array, " N"]:
        """log p(θ) in nats, from Σ_k θ_nk and Σ_k log θ_nk."""
        del rates
        return _log_prob_from_sums(self.concentration, self.rate, sums, log_sums, num_factors)

    def generate(self, key: Key, num_rows: int, num_factors: int) -> Float[Array, "N K"]:
        """Draws log θ."""
        return self.initial(num_rows, num_factors)[0].log_sample(key)


class RandomRatePrior(Record):
    """θ_nk ~ Gamma(shape, ξ_n),  ξ_n ~ Gamma(shape', rate') (Gopalan, Hofman & Blei 2015).

    ξ_n is small for a row with many counts: 1 / ξ_n is its *activity*, or a column's *popularity*.

    Attributes:
      concentration: the shape of the factors.
      rate: the distribution of the rates ξ_n; scalars.
    """

    concentration: Float[Leaf, ""]
    rate: Gamma

    def initial(self, num_rows: int, num_factors: int) -> tuple[Gamma, Gamma]:
        """The prior with rates at their mean: N × K factors and N rates, in NumPy arrays."""
        rate_concentration = self._rate_concentration(num_factors)
        rates = Gamma(rate_concentration, rate_concentration / self.rate.mean)
        factors = Gamma(self.concentration, self.rate.mean)
        return _filled(factors, (num_rows, num_factors)), _filled(rates, (num_rows,))

    def conditional(self, shares: Array, exposure: Array, rates: Gamma) -> tuple[Gamma, Gamma]:
        """The complete conditionals of the factors, and then of the rates given these.

        θ_nk: Gamma(shape + shares, E[ξ_n] + exposure)
        ξ_n:  Gamma(shape' + K shape, rate' + Σ_k E[θ_nk])
        """
        factors = self.factors_given(shares, exposure, rates.mean)
        return factors, self.rates_given(sum_over_factors(means_of(factors)), shares.shape[1])

    def factors_given(self, shares: Array, exposure: Array, rates: Float[Array, " N"]) -> Gamma:
        """The conditional of the factors at rates ξ_n: Gamma(shape + shares, ξ_n + exposure)."""
        return _conditional(self.concentration, rates[:, None], shares, exposure)

    def rates_given(self, factor_sums: Float[Array, " N"], num_factors: int) -> Gamma:
        """The conditional of the rates: Gamma(shape' + K shape, rate' + Σ_k θ_nk)."""
        concentration = jnp.full_like(factor_sums, self._rate_concentration(num_factors))
        return Gamma(concentration, self.rate.rate + factor_sums)

    def kl_divergence(self, factors: Gamma, rates: Gamma) -> Float[Array, " N"]:
        """KL(q ‖ prior) of each row and its rate, in nats."""
        prior = self.rate
        of_factors = _kl(factors, self.concentration, rates.mean, rates.mean_log)
        of_rates = power_divergence(rates.concentration, rates.rate, prior.concentration)
        of_prior = prior.concentration * jnp.log(prior.rate) - gammaln(prior.concentration)
        return of_factors + of_rates + prior.rate * rates.mean - of_prior

    def statistics(self, factors: Gamma, rates: Gamma, is_row: IsRow) -> PriorStatistics:
        """The statistics for `learned`, over the rows where `is_row` is True."""
        return _statistics(factors, rates.mean, rates.mean_log, is_row)

    def learned(self, statistics: PriorStatistics) -> Self:
        """The prior with the shapes that maximize the ELBO, then the best rate of the rates."""
        mean_rate, mean_log_rate = (
            total / statistics.num_rows for total in (statistics.rate, statistics.log_rate)
        )
        rate_concentration = inverse_digamma(jnp.log(self.rate.rate) + mean_log_rate)
        return type(self)(
            inverse_digamma(statistics.mean_log / statistics.num_latents),
            Gamma(rate_concentration, rate_concentration / mean_rate),
        )

    def log_prob(self, log_factors: Float[Array, "N K"], log_rates: Array) -> Float[Array, " N"]:
        """log p(θ, ξ) in nats, as a density of θ and ξ."""
        rate = jnp.exp(log_rates)[:, None]
        prior = Gamma(jnp.full_like(rate, self.concentration), rate)
        of_factors = prior.log_prob_from_log(log_factors).sum(axis=1)
        return of_factors + self.rate.log_prob_from_log(log_rates)

    def log_prob_from_sums(
        self, sums: Float[Array, " N"], log_sums: Float[Array, " N"], num_factors: int, rates: Array
    ) -> Float[Array, " N"]:
        """log p(θ, ξ) in nats, from Σ_k θ_nk, Σ_k log θ_nk and ξ_n."""
        of_factors = _log_prob_from_sums(self.concentration, rates, sums, log_sums, num_factors)
        return of_factors + self.rate.log_prob_from_log(jnp.log(rates))

    def generate(self, key: Key, num_rows: int, num_factors: int) -> Float[Array, "N K"]:
        """Draws log θ, with rates drawn first."""
        key_rates, key_factors = jax.random.split(key)
        log_rates = self.rate.log_sample(key_rates, (num_rows,))
        standard = Gamma(self.concentration, jnp.ones_like(self.concentration))
        return standard.log_sample(key_factors, (num_rows, num_factors)) - log_rates[:, None]

    def _rate_concentration(self, num_factors: int) -> Array:
        return self.rate.concentration + num_factors * self.concentration


Prior: TypeAlias = Any
"""A `FixedRatePrior`, whose rates are None, or a `RandomRatePrior`."""


def _filled(prior: Gamma | FixedRatePrior, shape: tuple[int, ...]) -> Gamma:
    return Gamma(*(np.full(shape, value) for value in (prior.concentration, prior.rate)))


def _conditional(concentration: Array, rate: Array, shares: Array, exposure: Array) -> Gamma:
    rate = rate + exposure
    return Gamma(concentration + shares, jnp.broadcast_to(rate, shares.shape))


def _log_prob_from_sums(
    concentration: Array, rate: Array, sums: Array, log_sums: Array, num_factors: int
) -> Array:
    of_each = concentration * jnp.log(rate) - gammaln(concentration)
    return num_factors * of_each + (concentration - 1) * log_sums - rate * sums


def _statistics(factors: Gamma, rate_n: Array, log_rate_n: Array, is_row: Array) -> PriorStatistics:
    def total(of_rows: Array) -> Array:
        return jnp.where(is_row, of_rows, 0.0).sum()

    num_factors = factors.mean.shape[1]
    num_rows = total(jnp.ones_like(rate_n))
    return PriorStatistics(
        num_rows=num_rows,
        num_latents=num_rows * num_factors,
        mean=total(factors.mean.sum(axis=1)),
        mean_log=total(factors.mean_log.sum(axis=1) + num_factors * log_rate_n),
        rate=total(rate_n),
        log_rate=total(log_rate_n),
    )


def _kl(q: Gamma, concentration: Array, mean_rate: Array, mean_log_rate: Array) -> Array:
    """Σ_k E_rate[KL(q_nk ‖ Gamma(c, rate_n))] in nats, from E[rate_n] and E[log rate_n]; (N,)."""
    num_factors = q.rate.shape[1]
    of_posterior = elementwise(
        lambda a, b: power_divergence(a, b, concentration), q.concentration, q.rate
    )
    of_prior = num_factors * (concentration * mean_log_rate - gammaln(concentration))
    return sum_over_factors(of_posterior) + mean_rate * sum_over_factors(means_of(q)) - of_prior


def means_of(factors: Gamma) -> Float[Array, "N K"]:
    """E[θ_nk], the same as `Gamma.mean`, but faster on CPUs."""
    return elementwise(jnp.divide, factors.concentration, factors.rate)
