"""The fewest factors that serve: which numbers are tried, and which is chosen."""

import math

import numpy as np
import pytest

from vigamma.runs.num_factors import fewest_factors, standard_error


class Scores:
    """Scores that rise up to a number of factors and fall slowly then; ties within a tolerance."""

    def __init__(self, best: int, fall: float = 0.001, tolerance: float = 0.01):
        self.best, self.fall, self.tolerance, self.tried = best, fall, tolerance, []

    def score(self, k: int) -> float:
        self.tried.append(k)
        return -abs(math.log(k / self.best)) * (self.fall if k > self.best else 1.0)

    def is_as_good(self, fewer: int, more: int) -> bool:
        return self.score(more) - self.score(fewer) <= self.tolerance


@pytest.mark.parametrize("fall", [0.001, 0.05])
@pytest.mark.parametrize("best", [*range(1, 18), 24, 31, 40, 64, 100, 128, 200, 256])
def test_the_best_is_found_and_never_much_more(best, fall):
    scores = Scores(best, fall)
    found = fewest_factors(scores.score, scores.is_as_good)
    assert best <= found <= max(best + best / 7, best)
    assert max(scores.tried) <= max(256, 8)
    assert sum(set(scores.tried)) <= 12 * best + 40


def test_more_factors_that_are_as_good_are_not_chosen():
    scores = Scores(best=5, fall=-0.003)  # it rises on and on, by less than the tolerance
    assert fewest_factors(scores.score, scores.is_as_good) == 5
    assert scores.score(256) > scores.score(5)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 11])
def test_at_most_so_many_are_tried(most):
    scores = Scores(best=100)
    assert fewest_factors(scores.score, scores.is_as_good, most) == most
    assert max(scores.tried) == most


def test_counts_without_structure_have_one_factor():
    assert fewest_factors(lambda k: -k / 1e6, lambda fewer, more: True) == 1


def test_the_error_is_that_of_a_sum_over_rows():
    rng = np.random.default_rng(0)
    sums = rng.normal(3.0, 2.0, (4000, 50)).sum(axis=1)
    found = np.mean([standard_error(rng.normal(3.0, 2.0, 50)) for _ in range(400)])
    assert found == pytest.approx(sums.std(), rel=0.05)
    assert standard_error(np.full(9, 3.0)) == 0.0
    assert standard_error(np.ones(1)) == 0.0
