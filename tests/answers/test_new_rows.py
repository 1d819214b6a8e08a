"""Answers for many new rows, against the same rows one by one."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.fitted_runs import NUM_COLUMNS, names, random_run
from vigamma import ConfigError, SparseCounts, answer_new_rows, read_new_rows, recommend_new
from vigamma.answers import new_rows
from vigamma.counts.sparse import canonical_numbers
from vigamma.inference.fold_in import fold_in
from vigamma.inference.split_half import split_half_log_likelihoods

RUN = random_run()
COLUMNS = names("column", NUM_COLUMNS)


def new_counts(num_rows: int = 40) -> np.ndarray:
    """Counts of new rows, of which number 3 is empty."""
    counts = np.random.default_rng(5).poisson(0.7, (num_rows, NUM_COLUMNS))
    counts[3:4] = 0
    return counts


def run_with(**rules):
    """The run, as if its counts had been read by these rules."""
    data = SparseCounts(path="old.npz", **rules)
    return RUN._replace(config=dataclasses.replace(RUN.config, data=data))


def whole(blocks) -> list[pd.DataFrame]:
    """The recommendations, factors and scores of all blocks."""
    return [pd.concat(tables, ignore_index=True) for tables in zip(*blocks, strict=True)]


def write_npz(folder, counts, column_names=None):
    path = folder / "new.npz"
    sp.save_npz(path, sp.csr_array(counts))
    if column_names is not None:
        (folder / "columns.txt").write_text("\n".join(column_names), encoding="utf-8")
    return path


def write_triplets(folder, counts, column_names, header=""):
    path = folder / "new.tsv"
    lines = [f"r{n}\t{column_names[m]}\t{counts[n, m]}\n" for n, m in np.argwhere(counts)]
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["flat", "hierarchical"])
def test_rows_have_the_same_answers_together_and_one_by_one(kind, monkeypatch):
    monkeypatch.setattr(new_rows, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(new_rows, "_LATENTS_AT_ONCE", 3 * 16)
    run, counts = random_run(kind), canonical_numbers(new_counts())
    users, exposures = [f"u{n}" for n in range(40)], np.linspace(0.0, 2.0, 40)
    exposures[0] = 0.3
    blocks = list(answer_new_rows(run, counts, users, exposures=exposures, top=4))
    assert [len(block.factors) for block in blocks] == [7, 7, 2, 7, 7, 2, 7, 1]
    together = whole(blocks)
    alone = [
        answer_new_rows(run, counts[[n]], users[n : n + 1], exposures=exposures[[n]], top=4)
        for n in range(40)
    ]
    for table, expected in zip(together, whole([next(one) for one in alone]), strict=True):
        pd.testing.assert_frame_equal(table, expected, rtol=1e-5)
    few = recommend_new(run, counts, users, exposures=exposures, top=4, draws=0)
    pd.testing.assert_frame_equal(together[0], few, rtol=1e-5)
    assert together[0]["rate"].std() > 0.1 * together[0]["rate"].mean()  # rows do differ


def test_factors_are_those_of_fold_in_and_rows_of_exposure_0_have_the_prior():
    counts, exposures = canonical_numbers(new_counts()), np.ones(40)
    exposures[3] = 0
    q = fold_in(RUN.factors.model, RUN.factors.q, counts, exposures)
    (_, factors, scores) = whole(answer_new_rows(RUN, counts, list("x" * 40), exposures=exposures))
    np.testing.assert_allclose(factors[["mean_1", "mean_2", "mean_3"]], q["rows"].mean, rtol=1e-6)
    deviations = np.sqrt(q["rows"].variance)
    np.testing.assert_allclose(factors[["sd_1", "sd_2", "sd_3"]], deviations, rtol=1e-6)
    np.testing.assert_allclose(factors["rate_mean"], q["row_rates"].mean, rtol=1e-6)
    prior = RUN.factors.model.row_prior.initial(1, 3)[0].mean
    np.testing.assert_allclose(factors.loc[3, ["mean_1", "mean_2", "mean_3"]].tolist(), prior[0])
    assert np.isfinite(factors.drop(columns="name").to_numpy()).all()
    assert scores["log_likelihood"][3] == 0
    assert scores["counts"].tolist() == new_counts().sum(axis=1).tolist()


def test_scores_are_of_each_half_from_the_other():
    """By dense log-probabilities of one row, and their sum is that of the estimator."""
    counts, exposures = canonical_numbers(new_counts()), np.linspace(0.5, 2, 40)
    model, columns = RUN.factors.model, RUN.factors.q["columns"]
    order = np.random.default_rng(0).permutation(NUM_COLUMNS)
    expected = np.zeros(40)
    for seen in (np.sort(order[::2]), np.sort(order[1::2])):
        half = type(columns)(columns.concentration[seen], columns.rate[seen])
        theta = fold_in(model, {"columns": half}, counts[:, seen], exposures)["rows"].mean
        rates = exposures[:, None] * (theta.astype(float) @ columns.mean.T)
        for m in set(range(NUM_COLUMNS)) - set(seen.tolist()):
            x = new_counts()[:, m]
            factorials = [np.log(np.arange(1, y + 1)).sum() for y in x]
            expected += x * np.log(rates[:, m]) - rates[:, m] - factorials
    starts = [(model, {"columns": columns})]
    scores = split_half_log_likelihoods(starts, counts, exposures)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    plain = split_half_log_likelihoods(starts, counts)
    assert np.abs(plain - scores).max() > 0.1
    total = plain.sum()
    assert plain.sum() == pytest.approx(total)
    assert whole(answer_new_rows(RUN, counts, ["x"] * 40))[2]["log_likelihood"].sum() == (
        pytest.approx(total)
    )


def test_draws_and_seen_items_are_a_rows_own(monkeypatch):
    counts, users = canonical_numbers(new_counts(9)), [f"u{n}" for n in range(9)]
    options = {"top": NUM_COLUMNS, "draws": 50, "include_seen": True}
    expected = recommend_new(RUN, counts, users, **options)
    monkeypatch.setattr(new_rows, "_ROWS_AT_ONCE", 4)
    blocks = list(answer_new_rows(RUN, counts, users, with_scores=False, **options))
    assert [block.scores for block in blocks] == [None] * 3
    table = pd.concat([block.recommendations for block in blocks], ignore_index=True)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-5)
    unseen = pd.concat([b.recommendations for b in answer_new_rows(RUN, counts, users, top=99)])
    assert len(unseen) == 9 * NUM_COLUMNS - counts.nnz < len(table)


def test_a_matrix_without_names_is_read_by_numbers(tmp_path):
    new = read_new_rows(RUN, path := write_npz(tmp_path, new_counts()))
    np.testing.assert_array_equal(new.counts.toarray(), new_counts())
    assert new.row_names.tolist() == [str(n) for n in range(40)]
    taken = f"{path} is taken for a matrix of SciPy: 40 rows, columns by their numbers"
    assert new.notes == (taken, "rows without a count of the columns of the run: 1")
    assert not new.is_list


def test_columns_are_matched_by_name_in_any_order(tmp_path):
    order = np.random.default_rng(1).permutation(NUM_COLUMNS)
    counts = np.concatenate([new_counts()[:, order], np.full((40, 2), 9)], axis=1)
    column_names = [*COLUMNS[order], "Dune", "Solaris"]
    new = read_new_rows(RUN, write_npz(tmp_path, counts, column_names))
    np.testing.assert_array_equal(new.counts.toarray(), new_counts())
    assert new.counts.has_sorted_indices
    assert new.counts.dtype == np.uint8
    assert new.notes[0].endswith("columns by their names")
    assert "passed over: 2 unknown: 'Dune', 'Solaris'; 80 entries" in new.notes


def test_triplets_may_lack_columns_and_rows_keep_their_names(tmp_path):
    counts = new_counts()
    counts[:, 4:] = 0
    counts[3, 0] = 1
    counts = counts[counts.any(axis=1)]
    header = "user\titem\tcount\n"
    new = read_new_rows(RUN, write_triplets(tmp_path, counts, COLUMNS, header))
    rows = [f"r{n}" for n in range(len(counts))]
    order = [new.row_names.tolist().index(name) for name in rows]
    np.testing.assert_array_equal(new.counts.toarray()[order], counts)
    assert new.counts.shape[1] == NUM_COLUMNS
    assert "a table with a row, a column and a count a line" in new.notes[0]


def test_single_cells_of_anndata_are_read_by_layer(tmp_path):
    anndata = pytest.importorskip("anndata")
    frames = (pd.DataFrame(index=[f"cell {n}" for n in range(40)]), pd.DataFrame(index=COLUMNS))
    data = anndata.AnnData(sp.csr_matrix(new_counts() / 2.0), *frames)
    data.layers["counts"] = sp.csr_matrix(new_counts())
    data[:, ::-1].write_h5ad(path := tmp_path / "new.h5ad")
    new = read_new_rows(run_with(layer="counts"), path)
    np.testing.assert_array_equal(new.counts.toarray(), new_counts())
    assert new.row_names[7] == "cell 7"
    with pytest.raises(ConfigError, match="whole numbers"):
        read_new_rows(RUN, path)
    plain = read_new_rows(run_with(layer="counts"), write_npz(tmp_path, new_counts()))
    assert plain.counts.sum() == new.counts.sum()


def test_bags_of_words_may_lack_the_last_terms(tmp_path):
    path = tmp_path / "new.ldac"
    path.write_text("2 0:3 4:1\n0\n1 1:2\n")
    new = read_new_rows(RUN, path)
    assert new.counts.shape == (3, NUM_COLUMNS)
    assert new.counts.toarray()[[0, 0, 2], [0, 4, 1]].tolist() == [3, 1, 2]
    path.write_text(f"1 {NUM_COLUMNS}:3\n")
    with pytest.raises(ConfigError, match="has 31 columns without names, but the run has 30"):
        read_new_rows(RUN, path)


def test_the_rules_of_the_run_hold_for_new_counts(tmp_path):
    run, counts = run_with(at_least=2.0, binary=True), new_counts()
    new = read_new_rows(run, write_npz(tmp_path, counts))
    np.testing.assert_array_equal(new.counts.toarray(), counts >= 2)
    dropped = np.count_nonzero(counts == 1)
    assert f"entries below 2, dropped: {dropped}" in new.notes[1]
    assert f"(binary): {np.count_nonzero(counts >= 2)}" in new.notes[2]
    listed = tmp_path / "mine.txt"
    listed.write_text(f"{COLUMNS[5]}\t4.5\n{COLUMNS[6]}\t1.5\n", encoding="utf-8")
    new = read_new_rows(run, listed)
    assert new.is_list
    assert new.counts.toarray().nonzero()[1].tolist() == [5]
    assert new.counts.sum() == 1
    assert new.notes[1].endswith("entries below 2, dropped: 1")


@pytest.mark.parametrize("kind", ["list", "triplets", "npz"])
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"rounding": "nearest"}, [6, 4, 0]),
        ({"rounding": "nearest", "duplicates": "max"}, [4, 4, 0]),
        ({"rounding": "nearest", "duplicates": "last"}, [2, 4, 0]),
        ({"rounding": "nearest", "duplicates": "last", "at_least": 3.0}, [0, 4, 0]),
        ({"duplicates": "last", "at_least": 1.0, "binary": True}, [1, 1, 0]),
    ],
)
def test_every_rule_holds_in_every_form_of_new_counts(tmp_path, kind, rules, expected):
    """Twice the first column, 4 then 1.8; 4.4 in the second; 0.3 in the third."""
    columns, values = [0, 0, 1, 2], [4, 1.8, 4.4, 0.3]
    if kind == "npz":
        matrix = sp.coo_array((values, ([0] * 4, columns)), shape=(1, NUM_COLUMNS))
        path = tmp_path / "new.npz"
        sp.save_npz(path, matrix)
    else:
        path, row = tmp_path / "new.tsv", "" if kind == "list" else "ann\t"
        pairs = zip(columns, values, strict=True)
        lines = [f"{row}{COLUMNS[m]}\t{value}\n" for m, value in pairs]
        path.write_text("".join(lines), encoding="utf-8")
    new = read_new_rows(run_with(**rules), path)
    assert new.is_list == (kind == "list")
    assert new.counts.toarray()[0, :3].tolist() == expected
    assert any("entries that repeat a cell" in note for note in new.notes)


@pytest.mark.parametrize("text", ["{0}\t2.5\n", "ann\t{0}\t-1\n", "ann\t{0}\t3e7\n"])
def test_an_error_names_the_rules_of_the_run_and_no_flag_that_is_not_there(tmp_path, text):
    path = tmp_path / "new.tsv"
    path.write_text(text.format(COLUMNS[0]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the rules of the run hold .* rounding=none") as error:
        read_new_rows(run_with(), path)
    assert "--config" not in str(error.value)


def test_what_does_not_fit_the_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has 29 columns without names, but the run has 30"):
        read_new_rows(RUN, write_npz(tmp_path, new_counts()[:, 1:]))
    with pytest.raises(ConfigError, match="no column that is a column of the run; 30 unknown"):
        read_new_rows(RUN, write_npz(tmp_path, new_counts(), [f"x{m}" for m in range(30)]))
    twice = [*COLUMNS[:28], COLUMNS[0], COLUMNS[1]]
    with pytest.raises(ConfigError, match="2 names are of several columns, there or in the run"):
        read_new_rows(RUN, write_npz(tmp_path, new_counts(), twice))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_new_rows(RUN, tmp_path / "nothing.npz")
    with pytest.raises(ConfigError, match="a score needs two columns or more"):
        next(answer_new_rows(RUN, new_counts()[:, :1], ["x"]))
    (tmp_path / "new.npz").write_bytes(b"PK\x03\x04 but cut")
    with pytest.raises(ConfigError, match="is cut short or damaged"):
        read_new_rows(RUN, tmp_path / "new.npz")


def test_names_that_come_twice_in_the_run_may_come_in_the_same_order(tmp_path):
    twice = np.concatenate([COLUMNS[:28], COLUMNS[:2]])
    run = RUN._replace(factors=RUN.factors._replace(column_names=twice))
    new = read_new_rows(run, write_npz(tmp_path, new_counts(), twice))
    np.testing.assert_array_equal(new.counts.toarray(), new_counts())
    with pytest.raises(ConfigError, match="2 names are of several columns"):
        read_new_rows(run, write_npz(tmp_path, new_counts()[:, 1:], twice[1:]))


def test_names_that_the_run_does_not_have_may_come_twice(tmp_path):
    counts = np.concatenate([np.full((40, 2), 9), new_counts()], axis=1)
    new = read_new_rows(RUN, write_npz(tmp_path, counts, ["Dune", "Dune", *COLUMNS]))
    np.testing.assert_array_equal(new.counts.toarray(), new_counts())
    assert "passed over: 1 unknown: 'Dune'; 80 entries" in new.notes


def test_new_counts_may_come_in_parts(tmp_path):
    """Of files that have none of the options of the run."""
    counts = new_counts()
    for name, part in (("train", counts * (counts < 2)), ("test", counts * (counts > 1))):
        sp.save_npz(tmp_path / f"{name}.npz", sp.csr_array(part))
    new = read_new_rows(run_with(layer="counts", encoding="latin-1"), tmp_path)
    np.testing.assert_array_equal(new.counts.toarray(), counts)


def test_rows_without_any_count_are_answered():
    counts = canonical_numbers(np.zeros((2, NUM_COLUMNS)))
    recommendations, factors, scores = whole(answer_new_rows(RUN, counts, ["a", "b"], top=3))
    assert recommendations["user"].tolist() == ["a"] * 3 + ["b"] * 3
    assert np.isfinite(recommendations[["rate", "low", "high"]]).all(axis=None)
    assert (factors.loc[0, "mean_1":] == factors.loc[1, "mean_1":]).all()
    assert (scores["log_likelihood"] < 0).all()


def test_layouts_of_the_run_hold_for_files_that_have_them(tmp_path):
    """Columns, orientation and encoding; lists, and files of other kinds, have none of them."""
    counts = new_counts(6)
    run = run_with(columns="item,user,n", transpose=True, encoding="latin-1")
    lines = [f"{counts[n, m]}\tr{n}\t{COLUMNS[m]}\n" for n, m in np.argwhere(counts)]
    path = tmp_path / "new.csv"
    for encoding in ("latin-1", "utf-8"):
        path.write_text("n\tuser\titem\n" + "".join(lines), encoding=encoding)
        new = read_new_rows(run, path)
        filled = counts[counts.any(axis=1)]
        np.testing.assert_array_equal(new.counts.toarray(), filled)
    path.write_text(f"{COLUMNS[4]}\t3\n", encoding="latin-1")
    new = read_new_rows(run, path)
    assert new.is_list
    assert new.counts.nonzero()[1].tolist() == [4]
    new = read_new_rows(run, write_npz(tmp_path, counts.T))
    np.testing.assert_array_equal(new.counts.toarray(), counts)


@pytest.mark.parametrize("transpose", [False, True])
def test_a_table_of_new_rows_and_columns_is_read_as_a_matrix(tmp_path, transpose):
    counts = new_counts(8)
    table = pd.DataFrame(counts, [f"r{n}" for n in range(8)], COLUMNS)
    (table.T if transpose else table).to_csv(path := tmp_path / "new.csv", index_label="name")
    new = read_new_rows(run_with(transpose=transpose), path)
    np.testing.assert_array_equal(new.counts.toarray(), counts)
    assert new.row_names.tolist() == table.index.tolist()
    assert "is taken for a matrix of" in new.notes[1]


@pytest.mark.parametrize("header", ["", "item\tuser\n"])
def test_pairs_of_a_transposed_run_are_no_list(tmp_path, header):
    path = tmp_path / "new.tsv"
    path.write_text(f"{header}{COLUMNS[2]}\tann\n{COLUMNS[3]}\tbob\n", encoding="utf-8")
    new = read_new_rows(run_with(transpose=True), path)
    assert new.row_names.tolist() == ["ann", "bob"]
    assert new.counts.nonzero()[1].tolist() == [2, 3]
