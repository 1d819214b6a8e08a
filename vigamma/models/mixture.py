"""Rates under an equally weighted mixture of posteriors, one from each start.

Under the mixture of q_1, ..., q_S the mean of a rate is the mean of its S means, which is an inner
product of the concatenated factors,

    E[r_nm] = 1/S Σ_s Σ_k E_s[θ_nk] E_s[β_mk]

so that functions of tables (N, K) and (M, K) also work for the mixture, with tables (N, S K) and
(M, S K). The variance includes that between the starts: it is the mean of E_s[r²] minus E[r]².

Averaging over optima of the ELBO is an ensemble (Lakshminarayanan, Pritzel & Blundell 2017, "Simple
and scalable predictive uncertainty estimation using deep ensembles", NeurIPS).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vigamma.models.factor_model import FactorModel, Posterior
from vigamma.random.keys import key_of_seed


def mixture_means(
    tables: Sequence[tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "M K"]]],
) -> tuple[Float[np.ndarray, "N S*K"], Float[np.ndarray, "M S*K"]]:
    """The concatenated mean factors of a mixture, those of rows divided by S.

    `tables` holds e_n E_s[θ_nk] and E_s[β_mk] of each start.
    """
    if len(tables) == 1:
        return tables[0]
    theta, beta = (np.concatenate(side, axis=1) for side in zip(*tables, strict=True))
    theta /= np.asarray(len(tables), theta.dtype)
    return theta, beta


def mean_probabilities(
    of_starts: Sequence[Float[np.ndarray, " M"] | None],
) -> Float[np.ndarray, " M"] | None:
    """The mean of E_s[p_m] over starts; None for Poisson counts.

    The mixture of negative binomials is replaced by the one of the mean rates and probabilities.
    """
    known = [probabilities for probabilities in of_starts if probabilities is not None]
    return np.mean(known, axis=0) if known else None


def mixture_moments(
    means: Float[np.ndarray, "S E"], deviations: Float[np.ndarray, "S E"]
) -> tuple[Float[np.ndarray, " E"], Float[np.ndarray, " E"]]:
    """The means and standard deviations of rates under a mixture, from those of each component."""
    mean = means.mean(axis=0)
    spread = (means - mean) ** 2
    return mean, np.sqrt((deviations**2 + spread).mean(axis=0))


def generate_mixture(
    seed: int, posteriors: Sequence[Posterior], num_rows: int, model: FactorModel
) -> tuple[np.ndarray, np.ndarray]:
    """Rates and counts of rows, each drawn by `model.generate_rows` from a random start."""
    key = key_of_seed(seed)
    drawn = [model.generate_rows(key, jax.tree.map(jnp.asarray, q), num_rows) for q in posteriors]
    chosen = [np.random.default_rng([seed, row]).integers(len(drawn)) for row in range(num_rows)]
    parts = zip(*drawn, strict=True)
    theta_nm, counts_nm = (np.stack(part)[chosen, np.arange(num_rows)] for part in parts)
    return theta_nm, counts_nm
