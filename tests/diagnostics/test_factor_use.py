"""Which factors are idle, nearly equal, or neither."""

import numpy as np
import pytest

from vigamma.diagnostics.factor_use import factor_use


def profiles(num_factors: int, seed: int = 0) -> np.ndarray:
    """Columns of factors that differ; shape (M, K)."""
    return np.random.default_rng(seed).dirichlet(np.full(300, 0.3), num_factors).T


def theta(*shares: float) -> np.ndarray:
    """Rows with these shares of their counts; all profiles sum to 1."""
    return np.random.default_rng(1).gamma(2.0, 1.0, (50, 1)) * np.array(shares)


def test_factors_that_differ_and_are_used_are_all_distinct():
    assert factor_use(theta(0.5, 0.3, 0.2), profiles(3)) == ([], [], 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_are_merged_however_they_are_scaled_and_however_many(dtype):
    beta = profiles(3)[:, [0, 1, 0, 2, 0]] * np.array([1.0, 1.0, 1e3, 1.0, 1e-3])
    noise = np.random.default_rng(2).uniform(0.8, 1.2, beta.shape)
    shares = np.full(5, 0.2) / np.array([1.0, 1.0, 1e3, 1.0, 1e-3])
    use = factor_use(theta(*shares).astype(dtype), (beta * noise).astype(dtype))
    assert use == ([], [(0, 2), (0, 4), (2, 4)], 3)


def test_chains_of_near_duplicates_are_one_factor():
    """The ends differ by more than those that are near each other."""
    first, last = profiles(2).T
    beta = np.stack([(1 - w) * first + w * last for w in (0.05, 0.2, 0.5, 0.8, 0.95)], axis=1)
    use = factor_use(theta(*np.full(5, 0.2)), beta)
    assert (0, 4) not in use.near_duplicates
    assert use.num_distinct == 1


def test_profiles_that_share_their_largest_columns_are_no_duplicates():
    """As words that every topic has: their cosine is that of equal ones."""
    beta = 0.3 * profiles(2)
    beta[:4] += 0.7 / 4
    cosine = np.prod(beta, axis=1).sum() / np.prod(np.linalg.norm(beta, axis=0))
    assert cosine > 0.95
    assert factor_use(theta(0.5, 0.5), beta).near_duplicates == []


@pytest.mark.parametrize(
    ("num_factors", "share", "is_idle"),
    [(5, 0.011, False), (5, 0.009, True), (10, 0.009, True), (50, 0.0021, False),
     (50, 0.0019, True)],
)  # fmt: skip
def test_a_factor_without_a_hundredth_or_a_tenth_of_an_equal_share_is_idle(
    num_factors, share, is_idle
):
    shares = np.full(num_factors, (1 - share) / (num_factors - 1))
    shares[1] = share
    use = factor_use(theta(*shares), profiles(num_factors))
    assert use == ([1] if is_idle else [], [], num_factors - is_idle)


def test_idle_factors_are_equal_to_each_other_and_no_duplicates():
    beta = profiles(2)[:, [0, 1, 1, 1]]
    assert factor_use(theta(0.5, 0.49, 0.005, 0.005), beta) == ([2, 3], [], 2)


def test_a_single_factor_is_distinct():
    assert factor_use(theta(1.0), profiles(1)) == ([], [], 1)
