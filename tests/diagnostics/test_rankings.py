"""Rankings of held-out columns, against scikit-learn and plain loops over dense rows."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from tests.diagnostics.test_predictive import NUM_COLUMNS, NUM_ROWS, dense, split, tables
from vigamma.counts.sparse import check_sparse_counts
from vigamma.diagnostics import ranking
from vigamma.diagnostics.rankings import heldout_rankings

AT = (1, 5, 20, 200)
PROTOCOLS = ("thinning", "cells", "entries")


def dense_rankings(name: str, whole, dropped=False):
    """For each row with something to find: its rates, what is relevant, what is a candidate."""
    rates = tables()[2].astype(np.float32)
    parts = {"train": whole.train.toarray(), "valid": dense(whole.valid), "test": dense(whole.test)}
    wanted = parts.pop(name) > 0
    known = np.logical_or(*(part > 0 for part in parts.values())) | np.bool_(dropped)
    for row in range(NUM_ROWS):
        candidates = ~known[row]
        relevant = wanted[row] & candidates
        if relevant.any():
            yield rates[row][candidates], relevant[candidates]


@pytest.mark.parametrize("name", ["valid", "test"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_measures_are_those_of_dense_rows(monkeypatch, protocol, name):
    monkeypatch.setattr(ranking, "_CELLS_AT_ONCE", 8 * NUM_COLUMNS)
    theta, beta, _ = tables()
    whole = split(protocol)
    found = heldout_rankings(theta, beta, whole, getattr(whole, name), AT)
    rows = list(dense_rankings(name, whole))
    assert found.num_rows == len(rows)
    assert [measures.k for measures in found.at] == list(AT)
    expected = np.mean([label_ranking_average_precision_score([r], [s]) for s, r in rows])
    np.testing.assert_allclose(found.mean_average_precision, expected, rtol=1e-12)
    for k, _, precision, ndcg in found.at:
        hits = [relevant[np.argsort(-rates)[:k]].sum() for rates, relevant in rows]
        recalls = [h / relevant.sum() for h, (_, relevant) in zip(hits, rows, strict=True)]
        np.testing.assert_allclose(precision, np.mean(hits) / k, rtol=1e-12)
        np.testing.assert_allclose(found.at[AT.index(k)].recall, np.mean(recalls), rtol=1e-12)
        reference = np.mean([ndcg_score([r], [s], k=k) for s, r in rows])
        np.testing.assert_allclose(ndcg, reference, rtol=1e-12)


def test_rows_with_nothing_to_find_are_left_out():
    theta, beta, _ = tables()
    whole = split("entries")
    test = whole.test
    kept = test.rows >= 40
    fewer = test._replace(
        rows=test.rows[kept], columns=test.columns[kept], counts=test.counts[kept]
    )
    found = heldout_rankings(theta, beta, whole._replace(test=fewer), fewer)
    assert found.num_rows == np.unique(fewer.rows).size < np.unique(test.rows).size
    known = check_sparse_counts(np.ones((NUM_ROWS, NUM_COLUMNS)))
    assert heldout_rankings(theta, beta, whole._replace(train=known), test) is None


def test_dropped_cells_are_no_candidates():
    theta, beta, rates = tables()
    whole = split("entries")
    dropped = csr_array(np.random.default_rng(0).uniform(size=rates.shape) < 0.3)
    found = heldout_rankings(theta, beta, whole, whole.test, (5,), dropped=dropped)
    rows = list(dense_rankings("test", whole, dropped.toarray()))
    hits = [relevant[np.argsort(-rates)[:5]].sum() for rates, relevant in rows]
    assert found.num_rows == len(rows)
    assert found.at[0].precision == pytest.approx(np.mean(hits) / 5)


def test_columns_of_equal_rates_rank_in_their_order():
    """All rates are equal: the rank of a column is the number of candidates up to it."""
    theta, beta = np.ones((NUM_ROWS, 1), np.float32), np.ones((NUM_COLUMNS, 1), np.float32)
    whole = split("entries")
    found = heldout_rankings(theta, beta, whole, whole.test, at=(10,))
    hits = [relevant[:10].sum() for _, relevant in dense_rankings("test", whole)]
    assert found.at[0].precision == pytest.approx(np.mean(hits) / 10)
    assert 0 < found.at[0].precision < 1
