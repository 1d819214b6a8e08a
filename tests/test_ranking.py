"""The order of columns by rate, against a sort of everything."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma.diagnostics import ranking
from vigamma.diagnostics.ranking import highest, ranks_of, rate_blocks


def tables(seed: int, *, with_ties: bool):
    """θ (37, 3), β (23, 3), and a pattern that leaves out about a third, and all of row 5."""
    rng = np.random.default_rng(seed)
    theta, beta = (rng.gamma(0.7, size=(size, 3)).astype(np.float32) for size in (37, 23))
    if with_ties:
        theta, beta = np.ceil(theta), np.ceil(2 * beta)
    left_out = rng.random((37, 23)) < 0.3
    left_out[5] = True
    return theta, beta, left_out


def dense_order(theta, beta, left_out) -> list[list[int]]:
    rates = (theta.astype(float) @ beta.T.astype(float)).astype(np.float32)
    return [
        sorted(np.flatnonzero(~out).tolist(), key=lambda m, row=row: (-row[m], m))
        for row, out in zip(rates, left_out, strict=True)
    ]


@pytest.mark.parametrize("with_ties", [False, True])
@pytest.mark.parametrize("top", [1, 7, 23, 40])
def test_highest_is_the_head_of_a_sort(monkeypatch, with_ties, top):
    monkeypatch.setattr(ranking, "_CELLS_AT_ONCE", 100)
    theta, beta, left_out = tables(0, with_ties=with_ties)
    order, done = dense_order(theta, beta, left_out), 0
    for block, rates in rate_blocks(theta, beta, csr_array(left_out)):
        assert block.start == done
        done = block.stop
        rows, ranks, columns = highest(rates, top)
        for n in range(len(rates)):
            expected = order[block.start + n][:top]
            assert columns[rows == n].tolist() == expected
            assert ranks[rows == n].tolist() == list(range(len(expected)))
    assert done == 37


@pytest.mark.parametrize("with_ties", [False, True])
def test_ranks_are_places_in_a_sort(with_ties):
    theta, beta, left_out = tables(1, with_ties=with_ties)
    ((_, rates),) = rate_blocks(theta, beta, csr_array(left_out))
    rows, columns = np.nonzero(~left_out)
    order = dense_order(theta, beta, left_out)
    expected = [order[n].index(m) + 1 for n, m in zip(rows, columns, strict=True)]
    assert ranks_of(rates, rows, columns).tolist() == expected
    assert (5 in rows) is False
    has_ties = any(np.unique(r[~o]).size < (~o).sum() for r, o in zip(rates, left_out, strict=True))
    assert has_ties == with_ties


def test_columns_that_are_alike_tie_wherever_they_stand():
    rng = np.random.default_rng(2)
    theta, beta = rng.gamma(1.0, size=(50, 7)), rng.gamma(1.0, size=(101, 7))
    beta[[3, 40, 100]] = beta[17]
    ((_, rates),) = rate_blocks(theta.astype(np.float32), beta.astype(np.float32))
    assert (rates[:, [3, 40, 100]] == rates[:, [17]]).all()


def test_rates_are_summed_in_float64_and_rounded_once():
    rng = np.random.default_rng(3)
    theta, beta = (rng.gamma(1.0, size=(size, 50)).astype(np.float32) for size in (20, 30))
    ((_, rates),) = rate_blocks(theta, beta)
    assert rates.dtype == np.float32
    exact = (theta[:, None].astype(float) * beta.astype(float)).sum(axis=2)
    np.testing.assert_array_equal(rates, exact.astype(np.float32))
