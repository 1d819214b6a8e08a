"""The split-half score of new rows: each half of their columns is predicted from the other."""

from collections.abc import Sequence

import jax
import numpy as np
from scipy.sparse import csr_array

from vigamma.counts.sparse import rows_of
from vigamma.data.heldout import HeldOutCounts
from vigamma.diagnostics.predictive import log_likelihood_of_rows
from vigamma.inference.fold_in import fold_in
from vigamma.models.factor_model import PROBABILITIES, FactorModel, Posterior
from vigamma.models.mixture import mean_probabilities, mixture_means


def split_half_log_likelihoods(
    starts: Sequence[tuple[FactorModel, Posterior]],
    counts: csr_array,
    exposures: np.ndarray | None = None,
) -> np.ndarray:
    """The split-half log-likelihood of each row, in nats; float64 of shape (N,).

    Σ_m log p(x_nm | r_nm),   r_nm = e_n Σ_k E[θ_nk | the half without m] E[β_mk]

    The halves are random, but depend on the number of columns only. Exposures are given, not
    inferred. With several starts, r_nm is the mean over them.

    Args:
      starts: for each start, the model and the posterior of the columns, without padding; M is at
        least 2.
      counts: canonical counts of new rows, which need not be whole numbers; shape (N, M).
      exposures: e_n; shape (N,); by default 1.
    """
    order = np.random.default_rng(0).permutation(counts.shape[1])
    halves = np.sort(order[::2]), np.sort(order[1::2])
    total = np.zeros(counts.shape[0])
    for seen, unseen in (halves, halves[::-1]):
        tables, probabilities = [], []
        for model, q in starts:
            here, there = (
                jax.tree.map(lambda leaf, index=index: leaf[index], q) for index in (seen, unseen)
            )
            rows = fold_in(model, here, counts[:, seen], exposures)["rows"]
            theta = np.asarray(rows.mean)
            if exposures is not None:
                theta = theta * np.asarray(exposures, theta.dtype)[:, None]
            tables.append((theta, np.asarray(there["columns"].mean)))
            found = there.get(PROBABILITIES)
            probabilities.append(None if found is None else np.asarray(found.mean))
        part = counts[:, unseen]
        heldout = HeldOutCounts(rows_of(part), part.indices, part.data.astype(np.float32), 1.0)
        means, p = mixture_means(tables), mean_probabilities(probabilities)
        total += log_likelihood_of_rows(*means, heldout, p)
    return total
