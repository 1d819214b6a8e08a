"""Where a grid grows: beyond the edge at which its best candidate stands."""

import dataclasses

import pytest

from vigamma import HierarchicalNegativeBinomialFactorization, PoissonFactorization, model_grid
from vigamma.runs.grid_edges import beyond

MODEL = PoissonFactorization(num_factors=10, row_shape=0.3, column_shape=0.3)


@pytest.mark.parametrize(
    ("values", "best", "new"),
    [
        ([0.1, 0.3, 1.0], 1.0, 3.333),
        ([0.1, 0.3, 1.0], 0.1, 0.033),
        ([0.1, 0.3, 1.0], 0.3, None),
        ([1.0, 0.1, 0.3], 2.0, 6.667),
        ([0.02, 0.1], 0.02, 0.01),
        ([0.01, 0.1], 0.01, None),
        ([0.1], 0.1, None),
        ([], 0.3, None),
    ],
)
@pytest.mark.parametrize("name", ["row_shape", "column_shape"])
def test_shapes_grow_by_the_last_ratio(name, values, best, new):
    tried = [dataclasses.replace(MODEL, **{name: value}) for value in values]
    winner = dataclasses.replace(MODEL, **{name: best})
    expected = [] if new is None else [dataclasses.replace(MODEL, **{name: new})]
    assert beyond(winner, tried) == expected


@pytest.mark.parametrize(
    ("values", "best", "new"),
    [([20, 50], 50, 125), ([20, 50], 20, 8), ([1, 2], 1, None), ([2, 3], 2, 1),
     ([90, 200], 200, 256), ([5, 300], 300, None), ([20, 50], 30, None), ([20, 50], 60, 150)],
)  # fmt: skip
def test_numbers_of_factors_are_whole_at_least_one_and_at_most_256(values, best, new):
    tried = model_grid(MODEL, num_factors=values)
    winner = dataclasses.replace(MODEL, num_factors=best)
    expected = [] if new is None else [dataclasses.replace(MODEL, num_factors=new)]
    assert beyond(winner, tried) == expected


def test_a_corner_grows_on_both_sides_one_at_a_time():
    tried = model_grid(MODEL, row_shapes=[0.1, 1.0], num_factors=[4, 8])
    winner = dataclasses.replace(MODEL, row_shape=1.0, num_factors=4)
    assert beyond(winner, tried) == [
        dataclasses.replace(winner, row_shape=10.0),
        dataclasses.replace(winner, num_factors=2),
    ]


def test_default_shapes_and_those_of_another_likelihood_are_no_grid():
    model = PoissonFactorization(num_factors=20)
    tried = model_grid(model, num_factors=[20, 50])
    (more,) = beyond(tried[1], tried)
    assert (more.num_factors, more.row_shape) == (125, None)
    other = HierarchicalNegativeBinomialFactorization(num_factors=20, row_shape=0.5)
    assert beyond(other, [other, *model_grid(MODEL, row_shapes=[0.1, 0.2])]) == []
