"""Rates of a mixture of posteriors, one from each start, all with the same weight.

Under the mixture of q_1, ..., q_S the mean of a rate is the mean of its S means: an inner product
of all their factors, side by side,

    E[r_nm] = 1/S Σ_s Σ_k E_s[θ_nk] E_s[β_mk]

so whatever takes tables of (N, K) and (M, K) takes the mixture, as tables of (N, S K) and (M, S K).
The variance has the spread between the starts in it: the mean of E_s[r²], less E[r]².

Averaging over optima of the ELBO is an ensemble (Lakshminarayanan, Pritzel & Blundell 2017, "Simple
and scalable predictive uncertainty estimation using deep ensembles", NeurIPS).
"""

from collections.abc import Sequence

import numpy as np


def mixture_means(tables: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean factors of a mixture, side by side.

    Args:
      tables: e_n E_s[θ_nk] and E_s[β_mk] of each start; shapes (N, K) and (M, K).

    Returns:
      arrays of shape (N, S K), divided by S, and (M, S K), whose product has the mean rates.
    """
    if len(tables) == 1:
        return tables[0]
    theta, beta = (np.concatenate(side, axis=1) for side in zip(*tables, strict=True))
    theta /= np.asarray(len(tables), theta.dtype)
    return theta, beta


def mixture_moments(means: np.ndarray, deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means and the standard deviations of rates under a mixture.

    Args:
      means: of each rate under each posterior; shape (S, E).
      deviations: likewise.
    """
    mean = means.mean(axis=0)
    spread = (means - mean) ** 2
    return mean, np.sqrt((deviations**2 + spread).mean(axis=0))
