"""Factors that a fit does not need: idle ones, and near duplicates of heavier ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_ALIKE_FROM = 0.85
"""Two factors with a cosine of at least this are near duplicates.

The largest of factors that differ is 0.46 to 0.58 on 20 Newsgroups (K = 20 and 50), 0.38 to 0.48 on
docstrings (12 and 30), and 0.73 on digits (20); where five simulated types of cells were split
among 20 factors it is 0.84 to 0.92.
"""


def idle_below(num_factors: int) -> float:
    """The share of all expected counts below which a factor is idle.

    It is a tenth of an equal share 1/K, and at most 1 %.
    """
    return min(0.01, 0.1 / num_factors)


class Duplicate(NamedTuple):
    """A factor with nearly the same columns as a heavier one.

    Attributes:
      factor: its index k.
      original: the index of the heavier factor that is most like it.
      cosine: their likeness; see `redundant_factors`.
    """

    factor: int
    original: int
    cosine: float


class RedundantFactors(NamedTuple):
    """The factors that a fit does not need, by their indices, the heaviest first.

    Attributes:
      idle: the factors with a share below `idle_below`.
      duplicates: the others that are nearly like a heavier one.
    """

    idle: tuple[int, ...]
    duplicates: tuple[Duplicate, ...]

    @property
    def number(self) -> int:
        """How many there are of both."""
        return len(self.idle) + len(self.duplicates)


def redundant_factors(
    theta: Float[np.ndarray, "N K"], beta: Float[np.ndarray, "M K"]
) -> RedundantFactors:
    """Finds idle factors, and near duplicates among the others.

    The share of factor k is w_k / Σ_j w_j, with w_k = Σ_n θ_nk Σ_m β_mk. The likeness of two is the
    cosine of their columns in the metric of chi-square, in which columns that are common to all
    factors, such as "the" in English, make none alike:

        Σ_m β_mk β_mj / π_m / (‖β_k‖ ‖β_j‖),    ‖β_k‖² = Σ_m β_mk² / π_m,

    where π_m is the share of column m in the expected counts. It depends on no scale of β.

    Args:
      theta: e_n E[θ_nk].
      beta: E[β_mk]; a column of zeros counts nothing.
    """
    theta, beta = np.asarray(theta, float), np.asarray(beta, float)
    row_sums = theta.sum(axis=0)
    weights, expected = row_sums * beta.sum(axis=0), beta @ row_sums
    order = np.argsort(-weights, kind="stable")
    is_idle = weights[order] < idle_below(weights.size) * weights.sum()
    used = order[~is_idle]
    scaled = beta[expected > 0][:, used] / np.sqrt(expected[expected > 0])[:, None]
    directions = scaled / np.linalg.norm(scaled, axis=0)
    cosines = np.tril(directions.T @ directions, -1)
    found = tuple(
        Duplicate(int(used[i]), int(used[j]), min(float(cosines[i, j]), 1.0))
        for i, j in enumerate(cosines.argmax(axis=1))
        if cosines[i, j] >= _ALIKE_FROM
    )
    return RedundantFactors(tuple(order[is_idle].tolist()), found)
