"""Counts like those of single cells, of known types: what a number of factors is chosen for."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array


class Cells(NamedTuple):
    """Simulated cells.

    Attributes:
      counts: of shape (num_cells, num_genes).
      types: the type of each cell.
    """

    counts: csr_array
    types: np.ndarray


def simulated_cells(
    num_cells: int = 1500,
    num_genes: int = 1800,
    num_types: int = 5,
    num_markers: int = 120,
    mean_count: float = 1.0,
    seed: int = 0,
) -> Cells:
    """Cells of types that share a background of all genes, and have markers of their own.

    x_nm ~ Poisson(s_n p_tm), where s_n is log-normal with σ = 0.5, so that row sums vary more than
    Poisson's; p_t is a log-normal background, raised eightfold at the markers of type t, lowered to
    a hundredth at those of other types, and scaled to the mean count.
    """
    rng = np.random.default_rng(seed)
    types = rng.integers(num_types, size=num_cells)
    background = rng.lognormal(0.0, 1.0, num_genes)
    markers = rng.permutation(num_genes)[: num_types * num_markers].reshape(num_types, -1)
    profiles = np.tile(background, (num_types, 1))
    profiles[:, markers.ravel()] *= 0.01
    for profile, own in zip(profiles, markers, strict=True):
        profile[own] *= 800.0
    profiles /= profiles.mean(axis=1, keepdims=True)
    sizes = rng.lognormal(-0.125, 0.5, num_cells)
    counts = rng.poisson(mean_count * sizes[:, None] * profiles[types])
    return Cells(csr_array(counts), types)
