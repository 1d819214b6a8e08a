"""The likelihoods of held-out counts given mean rates: Poisson, or negative binomial.

Both are the probability of zero, e^(-exposure λ - offset), times a factor that is 1 for a count of
zero, so that sums over all cells need the nonzeros and two sums only.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from vigamma.typing import AnyArray

Columns = np.ndarray | slice


class PoissonLikelihood(NamedTuple):
    """y ~ Poisson(s λ).

    Attributes:
      scale: s, the rate of held-out counts divided by that of training counts.
    """

    scale: float = 1.0

    def exposures(self, num_columns: int) -> Float[np.ndarray, " M"]:
        """s for every column."""
        return np.full(num_columns, self.scale)

    def log_factors(
        self, counts: np.ndarray, means: np.ndarray, columns: Columns, trained: np.ndarray
    ) -> np.ndarray:
        """y log(s λ) - log y! of cells."""
        del columns, trained
        return counts * np.log(self.scale * means) - gammaln(counts + 1)


class NegativeBinomialLikelihood(NamedTuple):
    """y ~ NB(ρ_m λ + x, p'_m), where x is what training counts have of the same cell.

    ρ_m = (1-p_m) / p_m. For cells that are held out as a whole, x is 0 and p'_m = p_m. With
    thinning both parts share a Gamma-distributed rate g ~ Gamma(ρ λ, ρ), as x ~ Poisson(g) and y ~
    Poisson(s g), so that g | x ~ Gamma(ρ λ + x, ρ + 1), and p'_m = s / (s + ρ_m + 1): given λ the
    parts of a negative binomial are not independent.

    Attributes:
      odds: ρ_m.
      probabilities: p'_m.
    """

    odds: Float[np.ndarray, " M"]
    probabilities: Float[np.ndarray, " M"]

    def exposures(self, num_columns: int) -> Float[np.ndarray, " M"]:
        """-ρ_m log(1 - p'_m) of the columns."""
        del num_columns
        return self.odds * self.offsets

    @property
    def offsets(self) -> Float[np.ndarray, " M"]:
        """-log(1 - p'_m) of the columns, for each training count x."""
        return -np.log1p(-self.probabilities)

    def log_factors(
        self, counts: np.ndarray, means: np.ndarray, columns: Columns, trained: np.ndarray
    ) -> np.ndarray:
        """log(Γ(ρ λ + x + y) / Γ(ρ λ + x)) - log y! + y log p' of cells."""
        shapes = self.odds[columns] * means + trained
        rising = gammaln(shapes + counts) - gammaln(shapes) - gammaln(counts + 1)
        return rising + counts * np.log(self.probabilities[columns])


Likelihood: TypeAlias = PoissonLikelihood | NegativeBinomialLikelihood


def likelihood_of(
    probabilities: Float[AnyArray, " M"] | None, scale: float, is_thinned: bool
) -> Likelihood:
    """The likelihood of held-out counts.

    Args:
      probabilities: p_m of the training counts; None for Poisson counts.
      scale: s, see `PoissonLikelihood`.
      is_thinned: whether training counts may have a part of the same cells.
    """
    if probabilities is None:
        return PoissonLikelihood(scale)
    p = np.asarray(probabilities, np.float64)
    odds = (1 - p) / p
    return NegativeBinomialLikelihood(odds, scale / (scale + odds + 1) if is_thinned else p)
