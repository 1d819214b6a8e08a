"""What a user's own lines of the file hold is seen, whatever the rules let count."""

import numpy as np
import pandas as pd
import pytest

from tests.command import call
from tests.runs.test_sampling import CHAINS
from tests.slow import slow_after
from tests.test_train_factors import experiment
from vigamma import (
    HeldOut,
    PoissonFactorization,
    SparseCounts,
    answer_new_rows,
    evaluate,
    load_run,
    load_run_data,
    read_new_rows,
    recommend,
    recommend_new,
    run_experiment,
    sample,
)

NUM_USERS, NUM_ITEMS = 1000, 60
RULES = {
    "half stars": {"at_least": 3.5, "binary": True},
    "threshold": {"at_least": 3.0, "rounding": "nearest"},
    "binary": {"binary": True},
    "as they are": {"rounding": "nearest"},
}


def write_ratings(path, seed: int, num_users: int = NUM_USERS) -> pd.DataFrame:
    """Ratings of half stars, 0 included; popular items are disliked as often as others."""
    rng = np.random.default_rng(seed)
    chances = 0.6 * np.exp(-np.arange(NUM_ITEMS) / 12) + 0.05
    users, items = np.nonzero(rng.uniform(size=(num_users, NUM_ITEMS)) < chances)
    stars = rng.integers(0, 11, users.size) / 2
    table = pd.DataFrame({"user": users + 1, "item": items + 100, "rating": stars})
    table.to_csv(path, index=False)
    return table


def fitted(folder, rules: dict, heldout: HeldOut | None = None):
    path = folder / "ratings.csv"
    table = write_ratings(path, 0)
    config = experiment(
        data=SparseCounts(path=str(path), **rules),
        heldout=heldout or HeldOut(),
        model=PoissonFactorization(num_factors=3),
        num_steps=6,
    )
    run_experiment(config, folder / "run")
    return table, folder / "run"


def num_seen(recommended: pd.DataFrame, table: pd.DataFrame) -> int:
    """The number of recommended items that the user's own lines hold."""
    own = set(zip(table.user.astype(str), table.item.astype(str), strict=True))
    pairs = zip(recommended.user.astype(str), recommended.item.astype(str), strict=True)
    return sum(pair in own for pair in pairs)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("rules", slow_after(2, RULES.values()), ids=RULES)
def test_no_user_is_recommended_what_the_file_says_they_had(tmp_path, capsys, rules):
    table, workdir = fitted(tmp_path, rules)
    run = load_run(workdir)
    assert load_run_data(run).seen.nnz == len(table)
    for flags in (("--all_users",), ("--user=1,2,3,7", "--draws=10")):
        output = tmp_path / "all.csv"
        status, *_ = call(
            capsys, "recommend.py", "--workdir", workdir, *flags, f"--output={output}"
        )
        recommended = pd.read_csv(output)
        assert (status, num_seen(recommended, table)) == (0, 0)
    assert len(recommended) > 40
    flags = ("--all_users", "--include_seen", f"--output={output}", "--top=60")
    assert call(capsys, "recommend.py", "--workdir", workdir, *flags)[0] == 0
    assert num_seen(pd.read_csv(output), table) == len(table)


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_nor_by_samples(tmp_path):
    table, workdir = fitted(tmp_path, RULES["half stars"])
    sample(workdir, CHAINS, num_sweeps=8)
    run = load_run(workdir)
    users = run.factors.row_names.tolist()
    found = recommend(run, users, seen=load_run_data(run).seen, top=60, intervals="sampled")
    assert num_seen(found, table) == 0
    assert len(found) == NUM_USERS * NUM_ITEMS - len(table)
    new = write_ratings(tmp_path / "new.csv", 1, num_users=30)
    rows = read_new_rows(run, tmp_path / "new.csv")
    names = rows.row_names.tolist()
    for seen, expected in ((rows.seen, 0), (None, (new.rating < 3.5).sum())):
        found = recommend_new(run, rows.counts, names, seen=seen, top=60, intervals="sampled")
        assert num_seen(found, new) == expected


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("rules", slow_after(2, RULES.values()), ids=RULES)
def test_somebody_new_has_seen_what_their_file_holds(tmp_path, capsys, rules):
    _, workdir = fitted(tmp_path, rules)
    new = write_ratings(tmp_path / "new.csv", 1)
    new = new.sample(frac=1, random_state=0)  # as lines of a file stand in any order
    new = pd.concat([new, pd.DataFrame({"user": [5], "item": ["unknown"], "rating": [1.0]})])
    new.to_csv(tmp_path / "new.csv", index=False)
    one = new[new.user == 5]
    one[["item", "rating"]].to_csv(tmp_path / "5.csv", index=False)
    for name, table in {"new": new, "5": one}.items():
        output = tmp_path / "out.csv"
        flags = (f"--counts={tmp_path / name}.csv", f"--output={output}", "--top=60")
        assert call(capsys, "recommend.py", "--workdir", workdir, *flags)[0] == 0
        found = pd.read_csv(output)
        assert num_seen(found, table) == 0
        assert len(found) == NUM_ITEMS * table.user.nunique() - len(table) + 1
        assert call(capsys, "recommend.py", "--workdir", workdir, *flags, "--include_seen")[0] == 0
        assert len(pd.read_csv(output)) == NUM_ITEMS * table.user.nunique()
    run, rows = load_run(workdir), read_new_rows(load_run(workdir), tmp_path / "new.csv")
    answers = answer_new_rows(run, rows.counts, rows.row_names.tolist(), seen=rows.seen, top=60)
    assert num_seen(pd.concat([block.recommendations for block in answers]), new) == 0


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("protocol", ["entries", "thinning", "cells"])
def test_rankings_have_no_candidates_that_the_file_holds(tmp_path, protocol):
    """All test items of a row come first, if everything else is listed but for one."""
    _, workdir = fitted(tmp_path, RULES["half stars"], HeldOut(protocol=protocol))
    run = load_run(workdir)
    data = load_run_data(run)
    found = evaluate(run, data, at=(20,)).fitted.rankings
    data.dropped = None
    assert evaluate(run, data, at=(20,)).fitted.rankings.at[0].recall < found.at[0].recall
    all_others = np.ones(data.counts.shape) - (data.counts.toarray() > 0)
    data.dropped = type(data.counts)(all_others.astype(bool))
    assert evaluate(run, data, at=(20,)).fitted.rankings.at[0].recall == 1
