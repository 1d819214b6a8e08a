"""Groups of rows: planted ones are found, and any matrix has some."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma.counts.sparse import check_sparse_counts
from vigamma.models import starts as row_groups
from vigamma.models.starts import group_rows


def planted(rng, num_rows: int = 900, num_columns: int = 300, num_groups: int = 6):
    """Poisson counts, 15 a row on average, of rows and columns of very different sizes."""
    kinds = rng.integers(num_groups, size=num_rows)
    profiles = rng.gamma(0.3, 1.0, (num_groups, num_columns)) * rng.gamma(0.5, 1.0, num_columns)
    profiles /= profiles.sum(axis=1, keepdims=True)
    sizes = rng.gamma(1.0, 15.0, num_rows) + 3
    return kinds, check_sparse_counts(rng.poisson(sizes[:, None] * profiles[kinds]))


def purity(kinds: np.ndarray, groups: np.ndarray) -> float:
    """The share of rows whose kind is the most frequent one of their group."""
    table = np.zeros((groups.max() + 1, kinds.max() + 1))
    np.add.at(table, (groups, kinds), 1)
    return table.max(axis=1).sum() / kinds.size


@pytest.mark.parametrize("seed", range(3))
def test_planted_groups_are_found(seed):
    rng = np.random.default_rng(seed)
    kinds, counts = planted(rng)
    rows, groups = group_rows(rng, counts, 6)
    assert purity(kinds[rows], groups) > 0.75
    assert purity(kinds[rows], rng.permutation(groups)) < 0.4  # what chance would do


def test_the_same_generator_gives_the_same_groups():
    _, counts = planted(np.random.default_rng(0))
    first, again, other = (group_rows(np.random.default_rng(s), counts, 6) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).any()


def test_some_rows_stand_for_many(monkeypatch):
    _, counts = planted(np.random.default_rng(0))
    monkeypatch.setattr(row_groups, "_MOST_NONZEROS", 1000)
    rows, groups = group_rows(np.random.default_rng(1), counts, 6)
    assert 1000 <= counts[rows].nnz < 1000 + 300
    assert np.unique(rows).size == rows.size == groups.size < 300


@pytest.mark.parametrize(
    "counts",
    [
        [[3]],
        [[1, 2, 3]],
        [[1], [0], [4]],
        np.ones((5, 5), int),
        [[0, 0], [7, 1]],
        np.full((4, 3), 10**6),
        np.eye(7, dtype=int),
    ],
    ids=["cell", "row", "column", "alike", "empty row", "large", "diagonal"],
)
@pytest.mark.parametrize("num_groups", [1, 3, 20])
def test_any_counts_have_groups(counts, num_groups):
    counts = check_sparse_counts(counts)
    rows, groups = group_rows(np.random.default_rng(0), counts, num_groups)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(np.diff(counts.indptr)))
    assert groups.min() >= 0
    assert groups.max() < num_groups


def test_a_few_bursts_do_not_make_groups_of_their_own():
    rng = np.random.default_rng(0)
    kinds, counts = planted(rng)
    burst = csr_array((np.array([400, 400]), ([5, 17], [2, 9])), shape=counts.shape)
    rows, groups = group_rows(rng, check_sparse_counts(counts + burst), 6)
    assert np.bincount(groups).min() > 20
    assert purity(kinds[rows], groups) > 0.75


def test_first_centers_are_all_directions_that_there_are():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        directions = np.eye(5)[rng.permutation(np.repeat(np.arange(5), 20))]
        centers = row_groups._first_centers(rng, directions, np.ones(100), 5)
        np.testing.assert_array_equal(centers.sum(axis=0), np.ones(5))


def test_places_count_in_proportion_to_their_lengths():
    (center,) = row_groups._updated(np.ones((1, 2)), np.eye(2), np.array([3.0, 4.0]))
    np.testing.assert_allclose(center, [0.6, 0.8])


def test_the_closest_of_several_tries_goes_on(monkeypatch):
    def closeness(seed: int) -> float:
        places = np.random.default_rng(seed).standard_normal((60, 4), np.float32)
        groups = row_groups._spherical_k_means(np.random.default_rng(seed), places, 6)
        return sum(np.linalg.norm(places[groups == k].sum(axis=0)) for k in range(6))

    several = [closeness(seed) for seed in range(5)]
    monkeypatch.setattr(row_groups, "_NUM_TRIES", 1)
    assert sum(several) > 1.01 * sum(map(closeness, range(5)))
