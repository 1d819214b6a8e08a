"""Recommendations against dense sorts and Monte Carlo."""

import jax
import numpy as np
import pandas as pd
import pytest

from tests.fitted_runs import NUM_COLUMNS, NUM_ROWS, random_run
from vigamma import Gamma, UnknownNameError, recommend, recommend_all, recommend_new
from vigamma.answers.recommendation import moments_of_rates, recommend_folded
from vigamma.counts.sparse import check_sparse_counts
from vigamma.inference.fold_in import fold_in

RUN = random_run()
USERS = ["row 7, é", "row 2, é"]


def seen_items():
    """Counts of a third of the items; row 2 has counted all but five."""
    counts = np.random.default_rng(0).poisson(0.4, (NUM_ROWS, NUM_COLUMNS))
    counts[2] = 1
    counts[2, [3, 9, 10, 20, 29]] = 0
    return check_sparse_counts(counts)


def draws(rows: Gamma, columns: Gamma, n: int, m: int, size: int) -> np.ndarray:
    """Rates of a row and a column, drawn from q by NumPy."""
    rng = np.random.default_rng(99)
    parts = [
        rng.gamma(q.concentration[i], 1 / q.rate[i], (size, q.rate.shape[1]))
        for q, i in ((rows, n), (columns, m))
    ]
    return np.prod(parts, axis=0).sum(axis=1)


def test_items_are_the_best_that_were_not_seen():
    q, seen = RUN.factors.q, seen_items()
    table = recommend(RUN, USERS, seen=seen, top=8, draws=0)
    assert table.columns.tolist() == ["user", "rank", "item", "rate", "sd", "low", "high"]
    rates = q["rows"].mean.astype(float) @ q["columns"].mean.astype(float).T
    for user, n, size in zip(USERS, (7, 2), (8, 5), strict=True):
        own = table[table.user == user]
        left = np.where(seen.toarray()[n] > 0, -np.inf, rates[n])
        expected = np.argsort(-left)[:size]
        assert own["item"].tolist() == [f"column {m}, é" for m in expected]
        assert own["rank"].tolist() == list(range(1, size + 1))
        np.testing.assert_allclose(own["rate"], rates[n][expected], rtol=1e-6)
    everything = recommend(RUN, USERS, top=100, draws=0)
    assert len(everything) == 2 * NUM_COLUMNS


def test_moments_are_those_of_draws():
    q, size = RUN.factors.q, 200_000
    for n, m in ((0, 0), (5, 17), (11, 29)):
        rates = draws(q["rows"], q["columns"], n, m, size)
        pick = [
            Gamma(g.concentration[[i]], g.rate[[i]]) for g, i in ((q["rows"], n), (q["columns"], m))
        ]
        (mean,), (deviation,) = moments_of_rates(*pick)
        assert abs(rates.mean() - mean) < 4 * rates.std() / np.sqrt(size)
        squares = (rates - mean) ** 2
        assert abs(squares.mean() - deviation**2) < 4 * squares.std() / np.sqrt(size)


def largest_error(run, table, interval: float, size: int) -> float:
    """Of the probabilities of both tails of row 7's intervals, by draws of each rate."""
    q, errors = run.factors.q, []
    for line in table.itertuples():
        m = int(line.item.split()[1].rstrip(","))
        rates = draws(q["rows"], q["columns"], 7, m, size)
        tails = np.array([(rates < line.low).mean(), (rates > line.high).mean()])
        errors.append(np.abs(tails - (1 - interval) / 2).max())
    return max(errors)


@pytest.mark.parametrize("interval", [0.5, 0.9])
def test_intervals_of_draws_hold_the_probability_they_promise(interval):
    """Within 4 standard errors of both samples."""
    size, num_draws, tail = 100_000, 10_000, (1 - interval) / 2
    error = 4 * np.sqrt(tail * (1 - tail) * (1 / size + 1 / num_draws))
    table = recommend(RUN, USERS[:1], top=5, interval=interval, draws=num_draws, seed=3)
    assert largest_error(RUN, table, interval, size) < error


def test_intervals_of_gammas_are_close_where_rates_are_known_to_a_third():
    """And not where a rate is as uncertain as it is large."""
    q = {n: g.replace(concentration=10 * g.concentration) for n, g in RUN.factors.q.items()}
    sure = RUN._replace(factors=RUN.factors._replace(q=q))
    table = recommend(sure, USERS[:1], top=5, draws=0)
    assert (table["sd"] / table["rate"]).between(0.2, 0.4).all()
    assert largest_error(sure, table, 0.9, 100_000) < 0.012
    unsure = recommend(RUN, USERS[:1], top=5, draws=0)
    assert largest_error(RUN, unsure, 0.9, 100_000) > 0.02


def test_the_answer_for_a_user_does_not_depend_on_the_others():
    together = recommend(RUN, USERS, top=3, draws=100)
    alone = recommend(RUN, USERS[1:], top=3, draws=100)
    pd.testing.assert_frame_equal(together[3:].reset_index(drop=True), alone)
    other = recommend(RUN, USERS[1:], top=3, draws=100, seed=1)
    assert (other["low"] != alone["low"]).all()


def test_blocks_together_are_all_users(monkeypatch):
    monkeypatch.setattr("vigamma.diagnostics.ranking._CELLS_AT_ONCE", 5 * NUM_COLUMNS)
    seen = seen_items()
    blocks = list(recommend_all(RUN, seen=seen, top=4))
    assert [block.user.nunique() for block in blocks] == [5, 5, 2]
    names = RUN.factors.row_names.tolist()
    whole = recommend(RUN, names, seen=seen, top=4, draws=0)
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), whole)
    some = pd.concat(recommend_all(RUN, USERS, seen=seen, top=4), ignore_index=True)
    pd.testing.assert_frame_equal(some, recommend(RUN, USERS, seen=seen, top=4, draws=0))


@pytest.mark.parametrize("kind", ["flat", "hierarchical"])
def test_new_users_have_the_factors_of_fold_in(kind):
    run, counts = random_run(kind), seen_items()[[4, 6]]
    exposures = np.array([0.5, 2.0])
    columns = run.factors.q["columns"]
    rows = fold_in(run.factors.model, run.factors.q, counts, exposures)["rows"]
    rates = rows.mean.astype(float) @ columns.mean.astype(float).T
    for include_seen in (False, True):
        table = recommend_new(
            run, counts, ["a", "b"], exposures=exposures, include_seen=include_seen, top=6, draws=0
        )
        for user, of_user, own in zip("ab", rates, counts.toarray(), strict=True):
            left = np.where((own > 0) & (not include_seen), -np.inf, of_user)
            expected = np.argsort(-left)[:6]
            items = table["item"][table.user == user]
            assert items.tolist() == [f"column {m}, é" for m in expected]
            found = table["rate"][table.user == user]
            np.testing.assert_allclose(found, of_user[expected], rtol=1e-6)


def test_every_user_has_draws_of_their_own():
    """Also of the same factors; somebody new has not those of a row of the run."""
    q = RUN.factors.q
    alike = q | {"rows": jax.tree.map(lambda leaf: leaf[[7] * NUM_ROWS], q["rows"])}
    run = RUN._replace(factors=RUN.factors._replace(q=alike))
    options = {"top": 2, "interval": 0.9, "draws": 50, "seed": 0}
    old = [table.low.to_numpy() for _, table in recommend(run, USERS, **options).groupby("user")]
    new = {"rows": jax.tree.map(lambda leaf: leaf[:NUM_ROWS], alike["rows"])}
    everybody = [*old]
    for first in (0, NUM_ROWS):
        names = [f"{first} {n}" for n in range(NUM_ROWS)]
        table = recommend_folded(run, [new], names, seen=None, first=first, **options)
        everybody += [own.low.to_numpy() for _, own in table.groupby("user")]
    lows = np.array(everybody)
    assert lows.shape == (2 + 2 * NUM_ROWS, 2)
    assert all(np.unique(column).size == len(lows) for column in lows.T)
    other = recommend(run, USERS, **options | {"seed": 1}).low
    assert not np.isin(other, lows).any()


def test_what_cannot_be_is_refused():
    with pytest.raises(UnknownNameError, match="there is no user 'row 77, é' among 12"):
        recommend(RUN, ["row 77, é"])
    with pytest.raises(UnknownNameError, match="there is no user 'x'"):
        list(recommend_all(RUN, ["x"]))
    for wrong in ({"top": 0}, {"interval": 1.0}, {"draws": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match="top must be at least 1"):
            recommend(RUN, USERS, **wrong)


def test_every_start_has_draws_however_few_there_are():
    several = RUN._replace(others=tuple(random_run(seed=s).factors for s in (1, 2)))
    table = recommend(several, USERS, top=2, draws=1)
    assert (table["low"] > 0).all()
    assert (table["low"] < table["high"]).all()
