"""Summaries of factors against dense NumPy and SciPy."""

import numpy as np
import scipy.stats

from vigamma import Gamma
from vigamma.diagnostics.factor_columns import factor_in_mean_row, factor_summaries
from vigamma.models.factor_order import factor_weights

RNG = np.random.default_rng(0)
THETA = RNG.gamma(0.7, 1.0, (15, 3)) * [1.0, 4.0, 0.2]
COLUMNS = Gamma(RNG.gamma(2.0, 1.0, (30, 3)) + 0.1, RNG.gamma(3.0, 1.0, (30, 3)))
SHARES = factor_weights({"rows": Gamma(THETA, np.ones_like(THETA)), "columns": COLUMNS})


def test_every_factor_has_its_share_and_its_columns():
    beta = COLUMNS.concentration / COLUMNS.rate
    totals = beta.sum(axis=0)
    shares = THETA.sum(axis=0) * totals / (THETA.sum(axis=0) @ totals)
    phi, overall = beta / totals, beta @ THETA.sum(axis=0) / (THETA.sum(axis=0) @ totals)
    exact = scipy.stats.gamma(COLUMNS.concentration, scale=1 / COLUMNS.rate)
    found = factor_summaries(COLUMNS, SHARES, num_columns=5)
    assert [summary.index for summary in found] == [0, 1, 2]
    for summary in found:
        k = summary.index
        np.testing.assert_allclose(summary.share, shares[k])
        relevance = phi[:, k] * np.log(phi[:, k] / overall)
        for part, order in ((summary.heaviest, phi[:, k]), (summary.distinctive, relevance)):
            assert part.columns.tolist() == np.argsort(-order)[:5].tolist()
            np.testing.assert_allclose(part.mean, phi[part.columns, k])
            for end, tail in ((part.low, 0.05), (part.high, 0.95)):
                quantiles = exact.ppf(tail)[part.columns, k] / totals[k]
                np.testing.assert_allclose(end, quantiles, rtol=1e-5)


def test_the_marks_of_a_factor_are_neither_its_heaviest_nor_its_rarest_columns():
    """So that the test above can tell the relevance from its parts."""
    beta = COLUMNS.concentration / COLUMNS.rate
    phi = beta / beta.sum(axis=0)
    lift = phi / (phi @ (THETA.sum(axis=0) * beta.sum(axis=0)))[:, None]
    for summary in factor_summaries(COLUMNS, SHARES, num_columns=5):
        marks = summary.distinctive.columns.tolist()
        for other in (phi, lift):
            assert marks != np.argsort(-other[:, summary.index])[:5].tolist()


def test_no_more_columns_are_named_than_there_are():
    for summary in factor_summaries(COLUMNS, SHARES, num_columns=99):
        assert sorted(summary.heaviest.columns) == sorted(summary.distinctive.columns)
        assert sorted(summary.heaviest.columns) == list(range(30))


def test_of_many_columns_the_heaviest_come_in_order():
    beta = np.random.default_rng(1).gamma(2.0, 1.0, (2000, 3))
    columns = Gamma(beta, np.ones_like(beta))
    for summary in factor_summaries(columns, SHARES, num_columns=500):
        heaviest = np.argsort(-beta[:, summary.index])[:500]
        assert summary.heaviest.columns.tolist() == heaviest.tolist()


def test_a_factor_in_a_mean_row_is_its_columns_at_the_mean_of_its_rows():
    exact = scipy.stats.gamma(COLUMNS.concentration, scale=1 / COLUMNS.rate)
    scale = THETA[:, 1].mean()
    found = factor_in_mean_row(THETA, COLUMNS, 1)
    assert found.columns.tolist() == list(range(30))
    np.testing.assert_allclose(found.mean, scale * exact.mean()[:, 1])
    for end, tail in ((found.low, 0.05), (found.high, 0.95)):
        np.testing.assert_allclose(end, scale * exact.ppf(tail)[:, 1], rtol=1e-5)
