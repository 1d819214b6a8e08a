"""Groups of similar rows, from which the components of a factorization are initialized.

The rows of sparse counts are embedded by a regularized correspondence analysis of the square roots
of the counts, and the embeddings are clustered by spherical k-means:

    A_nm = (√x_nm - s_n t_m / Σ s) / √((s_n + 5 s̄) (t_m + 5 t̄)) ≈ U diag(σ) Vᵀ,     row n at σ U_n

where s and t are the sums of rows and columns of √x, and s̄ and t̄ their means. The singular vectors
are found by randomized subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4). Without
the square root a few large counts, and without the regularization a few small rows, would dominate
single directions.
"""

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

_MOST_NONZEROS = 2 * 10**6
_REGULARIZATION = 5.0  # the 5 in A_nm
_MORE_DIRECTIONS = 10  # the oversampling of the randomized subspace iteration
_NUM_ITERATIONS = 3
_NUM_TRIES = 5
_MOST_TRIED = 10_000


def group_rows(
    rng: np.random.Generator, counts: csr_array, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divides rows into groups, some of which may stay empty.

    Args:
      rng: samples rows if there are more than 2 million nonzeros, and the initial centers.
      counts: canonical counts of shape (N, M).
      num_groups: K.

    Returns:
      the indices of the rows that were used, in random order, and the group of each of them.
    """
    rows = _some_rows(rng, counts)
    # More threads are not faster, and wait for each other for seconds if cores are busy.
    with threadpool_limits(1, "blas"):
        places = _places(rng, counts[rows], num_groups)
        return rows, _spherical_k_means(rng, places, num_groups)


def _some_rows(rng: np.random.Generator, counts: csr_array) -> np.ndarray:
    """Random nonempty rows, which without the last have fewer than 2 million nonzeros."""
    order = rng.permutation(counts.shape[0])
    sizes = np.diff(counts.indptr)[order]
    return order[(np.cumsum(sizes) - sizes < _MOST_NONZEROS) & (sizes > 0)]


def _places(rng: np.random.Generator, counts: csr_array, num_groups: int) -> np.ndarray:
    """σ U_n of every row; shape (N, at most K)."""
    matrix = csr_array(
        (np.sqrt(counts.data, dtype=np.float32), counts.indices, counts.indptr), shape=counts.shape
    )
    sums = matrix.sum(axis=1), matrix.sum(axis=0)
    by_row, by_column = (1 / np.sqrt(s + np.float32(_REGULARIZATION) * s.mean()) for s in sums)
    matrix.data *= np.repeat(by_row, np.diff(matrix.indptr)) * by_column[matrix.indices]
    by_chance = by_row * sums[0] / sums[0].sum(), by_column * sums[1]

    def of_rows(of_columns: np.ndarray) -> np.ndarray:
        return matrix @ of_columns - np.outer(by_chance[0], by_chance[1] @ of_columns)

    def of_columns(of_rows: np.ndarray) -> np.ndarray:
        return matrix.T @ of_rows - np.outer(by_chance[1], by_chance[0] @ of_rows)

    rank = min(num_groups + _MORE_DIRECTIONS, *matrix.shape)
    found = of_rows(rng.standard_normal((matrix.shape[1], rank), np.float32))
    for _ in range(_NUM_ITERATIONS):
        found = of_rows(of_columns(_orthonormal(found)))
    basis = _orthonormal(found)
    projected = of_columns(basis)
    squares, rotation = np.linalg.eigh(projected.T @ projected)
    return (basis @ rotation * np.sqrt(np.maximum(squares, 0)))[:, ::-1][:, :num_groups]


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.qr(vectors)[0]


def _spherical_k_means(rng: np.random.Generator, places: np.ndarray, num_groups: int) -> np.ndarray:
    """The group of each row, by the direction of its embedding, weighted by the length.

    The best of several tries on at most 10,000 rows is continued: the one with the highest
    Σ length · cosine. Initial centers are drawn as in k-means++ (Arthur & Vassilvitskii 2007).
    """
    lengths = np.linalg.norm(places, axis=1)
    directions = places / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    some = directions[:_MOST_TRIED], lengths[:_MOST_TRIED]

    def closeness(centers: np.ndarray) -> float:
        return float(some[1] @ (some[0] @ centers.T).max(axis=1))

    tries = (_first_centers(rng, *some, num_groups) for _ in range(_NUM_TRIES))
    best = max((_updated(first, *some) for first in tries), key=closeness)
    if len(directions) > _MOST_TRIED:
        best = _updated(best, directions, lengths, num_updates=2)
    return (directions @ best.T).argmax(axis=1)


def _updated(
    centers: np.ndarray, directions: np.ndarray, lengths: np.ndarray, num_updates: int = 20
) -> np.ndarray:
    """The centers after k-means updates: each moves to the direction of the sum of its group."""
    shape = len(centers), len(directions)
    for _ in range(num_updates):
        groups = (directions @ centers.T).argmax(axis=1)
        sums = csr_array((lengths, (groups, np.arange(shape[1]))), shape) @ directions
        sizes = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1), centers)
    return centers


def _first_centers(
    rng: np.random.Generator, directions: np.ndarray, lengths: np.ndarray, num_groups: int
) -> np.ndarray:
    centers = np.zeros((num_groups, directions.shape[1]), np.float32)
    distances = np.full(len(directions), 2.0)
    for center in centers:
        odds = lengths * np.maximum(distances, 0)
        if odds.any():
            center[:] = directions[rng.choice(len(directions), p=odds / odds.sum())]
        distances = np.minimum(distances, 1 - directions @ center)
    return centers
