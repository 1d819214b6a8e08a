"""How a fit uses its factors: which are idle, and which are nearly equal."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.sparse.csgraph import connected_components

from vigamma.typing import FactorsMK, FactorsNK

_IDLE_SHARE = 0.01
"""A factor with a smaller share of all expected counts is idle; with more than ten factors, one
with less than a tenth of an equal share 1/K."""

_SAME = 0.95
"""Profiles of a larger Bhattacharyya coefficient are nearly equal. On 20 Newsgroups and digits the
largest between factors that differ is 0.80 to 0.94; where simulated types of cells were split among
too many factors it is 0.996. The cosine of the profiles themselves does not tell: with words that
all topics share it is up to 0.97."""


class FactorUse(NamedTuple):
    """How the K factors of a fit are used.

    Attributes:
      idle: the factors that take hardly any counts, in ascending order.
      near_duplicates: pairs of other factors whose columns have nearly equal shares.
      num_distinct: how many factors are left if idle ones are left out and near-duplicates merged.
    """

    idle: list[int]
    near_duplicates: list[tuple[int, int]]
    num_distinct: int


def factor_use(theta: FactorsNK, beta: FactorsMK) -> FactorUse:
    """The use of the factors, in time O((N + M K) K).

    Factor k has the share Σ_n θ_nk Σ_m β_mk of all expected counts. With the shares φ_mk of the
    columns in a factor, the Bhattacharyya coefficient of two factors is Σ_m √(φ_mk φ_mj), 1 if they
    are equal (Bhattacharyya 1943).

    Args:
      theta: e_n E[θ_nk].
      beta: E[β_mk].
    """
    totals = np.asarray(beta).sum(axis=0, dtype=float)
    weights = np.asarray(theta).sum(axis=0, dtype=float) * totals
    shares = weights / weights.sum()
    is_idle = shares < min(_IDLE_SHARE, 0.1 / shares.size)
    roots = np.sqrt(np.asarray(beta) / totals)
    is_same = (roots.T @ roots > _SAME) & _pairs(~is_idle)
    num_idle = int(is_idle.sum())
    return FactorUse(
        idle=np.flatnonzero(is_idle).tolist(),
        near_duplicates=[(int(k), int(j)) for k, j in zip(*np.nonzero(is_same), strict=True)],
        num_distinct=connected_components(is_same, directed=False)[0] - num_idle,
    )


def _pairs(is_used: np.ndarray) -> Bool[np.ndarray, "K K"]:
    """Whether both factors are used, for each pair k < j."""
    return np.triu(np.outer(is_used, is_used), k=1)
