import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from tests.fitted_runs import NUM_COLUMNS, NUM_ROWS, random_run, scaled
from vigamma import UnknownNameError, similar

RUN = random_run()


@pytest.mark.parametrize(
    ("side", "other", "size"), [("column", "row", NUM_COLUMNS), ("row", "column", NUM_ROWS)]
)
def test_neighbours_are_those_of_the_expected_counts_by_factor(side, other, size):
    q = RUN.factors.q
    counts = q[f"{side}s"].mean.astype(float) * q[f"{other}s"].mean.mean(axis=0)
    cosines = cosine_similarity(counts)[5]
    order = np.argsort(-cosines)
    order = order[order != 5]
    for top in (4, 1000):
        table = similar(RUN, f"{side} 5, é", side, top)
        assert table["name"].tolist() == [f"{side} {i}, é" for i in order[:top]]
        assert table["rank"].tolist() == list(range(1, min(top, size - 1) + 1))
        np.testing.assert_allclose(table["cosine"], cosines[order[:top]], rtol=1e-6)
    unscaled = cosine_similarity(q[f"{side}s"].mean)[5]
    assert np.abs(unscaled - cosines).max() > 0.01


def test_the_scale_of_a_factor_does_not_matter():
    again = similar(scaled(RUN, np.array([0.01, 1.0, 30.0])), "column 5, é", top=30)
    table = similar(RUN, "column 5, é", top=30)
    assert again["name"].tolist() == table["name"].tolist()
    np.testing.assert_allclose(again["cosine"], table["cosine"], rtol=1e-5)


def test_columns_that_are_alike_come_in_their_order():
    q = RUN.factors.q["columns"]
    alike = q.replace(concentration=q.concentration.copy(), rate=q.rate.copy())
    for m in (3, 8, 21):
        alike.concentration[m], alike.rate[m] = q.concentration[5], q.rate[5] * (m + 1)
    factors = RUN.factors._replace(q=RUN.factors.q | {"columns": alike})
    table = similar(RUN._replace(factors=factors), "column 8, é", top=3)
    assert table["name"].tolist() == [f"column {m}, é" for m in (3, 5, 21)]


def test_what_cannot_be_is_refused():
    with pytest.raises(UnknownNameError, match="there is no column 'row 5, é'"):
        similar(RUN, "row 5, é")
    with pytest.raises(ValueError, match="side column or row, got 10 and 'factor'"):
        similar(RUN, "row 5, é", "factor")
    with pytest.raises(ValueError, match="top must be at least 1, side column or row, got 0 and"):
        similar(RUN, "column 5, é", top=0)
