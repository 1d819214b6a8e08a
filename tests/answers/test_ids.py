"""Answers by names of a file, of what the counts call by ids; both can be asked for."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.command import call
from tests.test_train_factors import experiment
from vigamma import (
    CheckpointError,
    PoissonFactorization,
    SparseCounts,
    load_run,
    load_run_data,
    read_new_rows,
    recommend,
    run_experiment,
    similar,
)

NUM_USERS, NUM_MOVIES = 30, 20
IDS = [str(7 * m + 1) for m in range(NUM_MOVIES)]
TITLES = [f"Film, The ({1950 + m})" for m in range(NUM_MOVIES)]
TITLES[3], TITLES[4] = "8", 'Say "A"'  # 8 is the id of another film


def write_counts(path, seed: int, num_users: int = NUM_USERS) -> np.ndarray:
    counts = np.random.default_rng(seed).poisson(0.5, (num_users, NUM_MOVIES))
    counts[0], counts[:, 0] = 1, 1
    lines = [f"{u + 40},{IDS[m]},{counts[u, m]}" for u, m in np.argwhere(counts)]
    path.write_text("user,item,count\n" + "\n".join(lines) + "\n")
    return counts


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    write_counts(folder / "counts.csv", 0)
    pd.DataFrame({"id": IDS, "title": TITLES}).to_csv(folder / "movies.csv", index=False)
    users = [f"{u + 40},user no. {u + 40}" for u in range(NUM_USERS)]
    (folder / "users.csv").write_text("\n".join(users))
    paths = {name: str(folder / f"{name}.csv") for name in ("counts", "users", "movies")}
    data = SparseCounts(
        path=paths["counts"], row_names=paths["users"], column_names=paths["movies"]
    )
    model = PoissonFactorization(num_factors=3)
    run_experiment(experiment(data=data, model=model, num_steps=6), folder / "run")
    return folder / "run"


def test_answers_have_names_and_take_names_or_ids(workdir, capsys):
    run = load_run(workdir)
    assert run.factors.column_names.tolist() == TITLES
    assert run.factors.column_ids.tolist() == IDS
    stored = json.loads((workdir / "names.json").read_text())
    assert (stored["columns"], stored["column_ids"]) == (TITLES, IDS)
    assert (stored["rows"][2], stored["row_ids"][2]) == ("user no. 42", "42")
    tables = [recommend(run, [user], draws=0) for user in ("42", "user no. 42")]
    pd.testing.assert_frame_equal(*tables)
    assert set(tables[0].user) == {"user no. 42"}
    assert set(tables[0].item) == set(TITLES)
    for flag in ("--user=42,user no. 43", "--user=user no. 42,43"):
        status, out, err = call(capsys, "recommend.py", "--workdir", workdir, flag)
        assert (status, err) == (0, "")
        assert {"user no. 42", "user no. 43"} < set(out.splitlines())
    status, _, err = call(capsys, "recommend.py", "--workdir", workdir, "--user=142")
    assert (status, err.startswith("error: there is no user '142' among 30")) == (1, True)
    for script, flags in {"topics": ("--top=9",), "similar": ("--column=1",)}.items():
        assert "Film, The" in call(capsys, f"{script}.py", "--workdir", workdir, *flags)[1]
    written = call(capsys, "report.py", "--workdir", workdir)
    assert written[0] == 0
    assert "Film, The (1950)" in (workdir / "report.html").read_text(encoding="utf-8")
    assert call(capsys, "export.py", "--workdir", workdir, f"--output={workdir / 'a.csv'}")[0] == 0
    assert pd.read_csv(workdir / "a.columns.csv", dtype=str)["name"].tolist() == TITLES


def test_a_name_holds_before_an_id(workdir, capsys):
    run = load_run(workdir)
    assert "8" not in similar(run, "8", top=99).name.tolist()
    assert TITLES[1] in similar(run, "8", top=99).name.tolist()  # whose id is 8
    out = call(capsys, "similar.py", "--workdir", workdir, f"--column={IDS[2]}")[1]
    assert out.splitlines()[0].endswith(f"columns similar to {TITLES[2]}")


def test_new_rows_come_with_ids_or_names_of_items(workdir, tmp_path, monkeypatch):
    """The ids are those of the run: files of names are not read again, and need not be there."""
    run = load_run(workdir)
    counts = write_counts(tmp_path / "new.csv", 1, 5)
    new = read_new_rows(run, tmp_path / "new.csv")
    np.testing.assert_array_equal(new.counts.toarray(), counts)
    assert new.row_names.tolist() == ["40", "41", "42", "43", "44"]
    order = np.random.default_rng(0).permutation(NUM_MOVIES)
    for names in (IDS, [*TITLES[:3], IDS[3], *TITLES[4:]]):
        sp.save_npz(tmp_path / "new.npz", sp.csr_array(counts[:, order]))
        (tmp_path / "columns.txt").write_text("\n".join(names[i] for i in order))
        new = read_new_rows(run, tmp_path / "new.npz")
        np.testing.assert_array_equal(new.counts.toarray(), counts)
    (tmp_path / "me.csv").write_text('8,2\n15,3\n"Film, The (1955)",1\n"Say ""A""",4\nDune,1\n')
    new = read_new_rows(run, tmp_path / "me.csv")
    assert new.is_list
    assert new.counts.toarray()[0].tolist() == [0, 2, 3, 0, 4, 1] + [0] * 14
    assert new.notes[1] == "passed over: 1 unknown: 'Dune'"


def test_counts_of_an_id_and_of_its_name_are_summed(workdir, tmp_path):
    sp.save_npz(tmp_path / "new.npz", sp.csr_array([[200, 100]]))
    (tmp_path / "columns.txt").write_text(f"{IDS[2]}\n{TITLES[2]}\n")
    assert read_new_rows(load_run(workdir), tmp_path / "new.npz").counts.toarray()[0, 2] == 300


def test_data_are_loaded_again_without_their_files_of_names(workdir, tmp_path):
    run, stored = load_run(workdir), json.loads((workdir / "names.json").read_text())
    for name in ("movies", "users"):
        (workdir.parent / f"{name}.csv").rename(tmp_path / f"{name}.csv")
    try:
        assert load_run_data(run).names == stored
        (tmp_path / "moved.csv").write_text((workdir.parent / "counts.csv").read_text())
        assert load_run_data(run, str(tmp_path / "moved.csv")).names == stored
        (tmp_path / "moved.csv").write_text(
            (workdir.parent / "counts.csv").read_text().replace("\n41,", "\n99,")
        )
        with pytest.raises(CheckpointError, match="no longer those that the run was fitted to"):
            load_run_data(run, str(tmp_path / "moved.csv"))
    finally:
        for name in ("movies", "users"):
            (tmp_path / f"{name}.csv").rename(workdir.parent / f"{name}.csv")
