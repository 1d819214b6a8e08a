"""The order of the factors in results: by weight, the heaviest first.

weight_k = Θ_k B_k / Σ_j Θ_j B_j,   Θ_k = Σ_n e_n E[θ_nk],   B_k = Σ_m E[β_mk]

is the share of factor k in all expected counts. It does not depend on how the scale of a factor is
divided between rows and columns.

A model is the same for every order of its factors. Algorithms keep the one of their start, so that
a run that is resumed goes on bit for bit; results are put in order where they are read. There,
factor number k, from 1, is at index k - 1 of every array.
"""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from vigamma.models.factor_model import Posterior, without_padding

_SIDES = "rows", "columns"


def result_of(
    q: Posterior,
    shape: tuple[int, int],
    *,
    is_balanced: bool,
    exposures: Float[np.ndarray, " N"] | None,
) -> Posterior:
    """The posterior of a result: `without_padding`, with its factors by weight.

    Factors of equal weights keep their order. Several starts have an order each.

    Args:
      q: a posterior as a fit stores it, or as its checkpoint holds it.
      shape: N and M.
      is_balanced: whether rows are stored in `balanced_order`.
      exposures: e_n, in the order of the counts; None if all are 1.
    """
    return by_weight(without_padding(q, shape, is_balanced), exposures)


def by_weight(q: Posterior, exposures: Float[np.ndarray, " N"] | None = None) -> Posterior:
    """The posterior with its factors by weight; in NumPy, without padding."""
    order = np.argsort(-factor_weights(q, exposures), kind="stable")
    ordered = partial(np.take, indices=order, axis=1)  # contiguous, unlike an index
    return q | {side: jax.tree.map(ordered, q[side]) for side in _SIDES}


def factor_weights(
    q: Posterior, exposures: Float[np.ndarray, " N"] | None = None
) -> Float[np.ndarray, " K"]:
    """The weights of the factors at the posterior means, float64.

    Args:
      q: a posterior in NumPy, without padding.
      exposures: e_n; None if all are 1.
    """
    theta, beta = (np.asarray(q[side].mean) for side in _SIDES)
    exposures = np.ones(len(theta)) if exposures is None else exposures
    of_rows = np.einsum("n,nk->k", exposures, theta, dtype=np.float64)
    return weights_of_sums(of_rows, beta.sum(axis=0, dtype=np.float64))


def weights_of_sums(
    of_rows: Float[np.ndarray, "*draws K"], of_columns: Float[np.ndarray, "*draws K"]
) -> Float[np.ndarray, "*draws K"]:
    """The weights of the factors of a posterior, or of each draw, from its Θ_k and B_k."""
    expected = of_rows * of_columns
    return expected / expected.sum(axis=-1, keepdims=True)
