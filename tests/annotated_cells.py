"""Simulated cells of three types, in AnnData."""

from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

NUM_CELLS, NUM_GENES, NUM_FACTORS = 90, 30, 3
TYPES = np.array(["B", "NK", "T"])


class Cells(NamedTuple):
    """Cells with their true factors.

    Attributes:
      adata: counts in `layers["counts"]` and log-normalized in X, and the type of each cell.
      amounts: θ_nk B_k; shape (N, K).
      shares: β_mk / B_k; shape (M, K).
    """

    adata: anndata.AnnData
    amounts: np.ndarray
    shares: np.ndarray


def simulated_cells(seed: int = 0) -> Cells:
    """Cells with most counts from the factor of their type; factors differ in their weights."""
    rng = np.random.default_rng(seed)
    types = np.repeat(np.arange(3), [15, 30, 45])
    amounts = rng.gamma(0.5, 8.0, (NUM_CELLS, NUM_FACTORS))
    amounts[np.arange(NUM_CELLS), types] += rng.gamma(8.0, 15.0, NUM_CELLS)
    shares = rng.dirichlet(np.full(NUM_GENES, 0.3), NUM_FACTORS).T
    counts = rng.poisson(amounts @ shares.T).astype(np.float32)
    adata = anndata.AnnData(
        sp.csr_matrix(np.log1p(100 * counts / counts.sum(axis=1, keepdims=True))),
        obs=pd.DataFrame({"type": pd.Categorical(TYPES[types])}, _names("cell", NUM_CELLS)),
        var=pd.DataFrame(index=_names("gene", NUM_GENES)),
    )
    adata.layers["counts"] = sp.csr_matrix(counts)
    return Cells(adata, amounts, shares)


def _names(prefix: str, size: int) -> list[str]:
    return [f"{prefix} {i}" for i in range(size)]
