"""The commands that answer from a run, from flags to exit status."""

import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.command import ROOT, call, run, start
from tests.fitted_runs import names
from tests.test_train_factors import experiment
from vigamma import (
    PoissonFactorization,
    SyntheticFactors,
    answer_new_rows,
    check_sparse_counts,
    recommend,
    run_experiment,
)
from vigamma.data.files import LoadedCounts
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.diagnostics.residuals import factor_moments
from vigamma.runs import train
from vigamma.runs.fitted import load_run
from vigamma.runs.loading import load_run_data

BEST = "step 3 of 24, the best by validation"

SCRIPTS = ("evaluate", "recommend", "topics", "similar", "export", "generate")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with names."""
    path, load = tmp_path_factory.mktemp("runs") / "named", SyntheticFactors.load

    def with_names(self):
        return LoadedCounts(load(self).counts, None, names("user", 90), names("film", 70))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyntheticFactors, "load", with_names)
        patch.setattr(train._Run, "_draw", lambda *_: [])
        run_experiment(experiment(model=PoissonFactorization(num_factors=3, row_shape=0.3)), path)
    return path


@pytest.fixture
def answer(workdir, capsys):
    """(script, flags) -> (status, out, err) with that run."""
    return lambda script, *flags: call(capsys, script, "--workdir", workdir, *flags)


def test_scores_are_printed(answer, workdir):
    status, out, err = answer("evaluate.py", "--at=3,7")
    assert (status, err) == (0, "")
    assert out.startswith(f"{workdir}, {BEST}\nTest: ")
    assert [w for w in ("NDCG@3", "Recall@7", "MAP", "perplexity") if w not in out] == []


def test_the_best_by_validation_answers_unless_another_step_is_asked_for(answer, workdir):
    def score(step):
        run = load_run(workdir, pytest.fail, step)
        fit, q = load_run_data(run), run.factors.q
        theta, beta = (factor_moments(q[side]).mean for side in ("rows", "columns"))
        return heldout_log_likelihood(theta, beta, fit.split, fit.split.valid).log_likelihood

    assert score("best") > max(map(score, (8, 16, 24)))
    for step, shown in ((None, BEST), ("best", BEST), ("newest", "step 24"), ("8", "step 8")):
        flags = () if step is None else (f"--step={step}",)
        assert answer("evaluate.py", *flags)[1].startswith(f"{workdir}, {shown}\n")


def test_recommendations_are_printed(answer, workdir):
    status, out, err = answer("recommend.py", "--user=user 4, é", "--user=user 7, é", "--top=3")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{workdir}, {BEST}; 90 % intervals of 10,000 draws, seed 0"
    assert "too narrow" in lines[1]
    assert [lines[3], lines[9]] == ["user 4, é", "user 7, é"]
    run = load_run(workdir)
    table = recommend(run, ["user 4, é", "user 7, é"], seen=load_run_data(run).counts, top=3)
    shown = [line for line in lines if "film" in line]
    for line, expected in zip(shown, table.itertuples(), strict=True):
        assert line.split()[0] == str(expected.rank)
        assert expected.item in line
        assert float(line.split()[-4]) == pytest.approx(expected.rate, rel=1e-3, abs=1e-4)


def test_recommendations_are_written(answer, workdir, tmp_path):
    path = workdir / "recommendations.csv"
    written = answer("recommend.py", "--all_users", "--top=5")
    assert written == (0, f"written: {path}, 450 recommendations\n", "")
    run = load_run(workdir)
    seen = load_run_data(run).counts
    expected = recommend(run, run.factors.row_names.tolist(), seen=seen, top=5, draws=0)
    pd.testing.assert_frame_equal(pd.read_csv(path), expected, rtol=1e-6)
    users, output = tmp_path / "users.txt", tmp_path / "some.csv"
    users.write_text("user 4, é\nuser 7, é\n", encoding="utf-8")
    flags = (f"--users={users}", f"--output={output}", "--include_seen", "--top=70")
    written = answer("recommend.py", *flags)
    assert written == (0, f"written: {output}, 140 recommendations\n", "")
    assert pd.read_csv(output)["user"].unique().tolist() == ["user 4, é", "user 7, é"]


def test_somebody_new_is_recommended_to(answer, tmp_path):
    path = tmp_path / "somebody.txt"
    path.write_text("film 1, é\t2\nfilm 2, é\t1\nfilm 99, é\t1\n", encoding="utf-8")
    status, out, err = answer("recommend.py", f"--counts={path}")
    taken = f"{path} is taken for a list of the counts of one row"
    assert status == 0
    said = err.splitlines()[:2]  # how far it is may follow
    assert said == [taken, "passed over: 1 unknown: 'film 99, é'"]
    assert out.splitlines()[3] == "somebody"
    assert out.count("film") == 20
    assert "film 1, é" not in out
    assert (
        "film 1, é" in answer("recommend.py", f"--counts={path}", "--include_seen", "--top=70")[1]
    )


def test_many_new_rows_are_answered_by_one_command(answer, workdir, tmp_path):
    """The same numbers as one by one, from a matrix with its columns in another order."""
    run, films = load_run(workdir), names("film", 70)
    counts = np.random.default_rng(0).poisson(0.3, (25, 70))
    sp.save_npz(tmp_path / "new.npz", sp.csr_array(counts[:, ::-1]))
    (tmp_path / "columns.txt").write_text("\n".join(films[::-1]), encoding="utf-8")
    paths = [tmp_path / f"{name}.csv" for name in ("recommendations", "factors", "scores")]
    flags = (f"--counts={tmp_path / 'new.npz'}", "--top=5")
    status, out, err = answer("recommend.py", *flags, *map("--{0.stem}={0}".format, paths[1:]))
    default = workdir / "recommendations_new.csv"
    assert status == 0
    assert out.splitlines() == [
        f"written: {default}, 125 recommendations",
        f"written: {paths[1]}, 25 rows",
        f"written: {paths[2]}, 25 scores",
    ]
    taken = "is taken for a matrix of SciPy: 25 rows, columns by their names"
    assert err.splitlines()[0].endswith(taken)  # how far it is may follow
    written = [pd.read_csv(path, dtype={"user": str}) for path in (default, *paths[1:])]
    for n in range(25):
        one = check_sparse_counts(counts[[n]])
        (alone,) = answer_new_rows(run, one, [str(n)], top=5)
        own = written[0][written[0].user == str(n)].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone.recommendations, rtol=1e-5)
        for table, expected in zip(written[1:], alone[1:], strict=True):
            found, wanted = (t.drop(columns="name").to_numpy(float) for t in (table, expected))
            np.testing.assert_allclose(found[n], wanted[0], rtol=1e-5)
    written = answer("recommend.py", *flags, f"--output={paths[0]}", "--include_seen")[1]
    assert written == f"written: {paths[0]}, 125 recommendations\n"
    assert paths[0].read_text() != default.read_text()


def test_topics_and_neighbours_are_printed(answer, workdir, tmp_path):
    status, out, err = answer("topics.py", "--top=4", "--interval=0.5")
    assert (status, err) == (0, "")
    assert out.startswith(f"{workdir}, {BEST}: 3 factors; 50 % intervals\n")
    assert (out.count("Factor "), out.count("film")) == (3, 3 * 2 * 4)
    written = answer("topics.py", "--top=4", f"--output={tmp_path / 'topics.csv'}")
    assert written == (0, f"written: {tmp_path / 'topics.csv'}, 24 lines\n", "")
    status, out, err = answer("similar.py", "--column=film 6, é", "--top=2")
    assert (status, err) == (0, "")
    assert out.startswith(f"{workdir}, {BEST}: columns similar to film 6, é\n")
    assert out.count("film") == 3
    assert answer("similar.py", "--row=user 6, é", "--top=2")[1].count("user") == 3


@pytest.mark.slow
def test_a_posterior_and_rows_drawn_from_it_are_written_with_names(answer, tmp_path):
    paths = [tmp_path / f"factors.{side}.csv" for side in ("rows", "columns")]
    written = answer("export.py", f"--output={tmp_path / 'factors.csv'}")
    assert written == (0, f"written: {paths[0]} and {paths[1]}\n", "")
    assert pd.read_csv(paths[1])["name"].tolist() == names("film", 70).tolist()
    status, _, err = answer("generate.py", "--num=4", f"--output={tmp_path / 'new'}")
    assert (status, err) == (0, "")
    with np.load(tmp_path / "new.npz", allow_pickle=False) as file:
        assert file["column_names"].tolist() == names("film", 70).tolist()
        assert file["counts"].shape == (4, 70)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("recommend.py", "--user=user 4 é"), 1, "there is no user 'user 4 é' among 90; the near"),
        (("recommend.py",), 2, "flags user=[], users=None, all_users=False, counts=None: exactly"),
        (("recommend.py", "--counts=nothing.txt"), 1, "there is no file nothing.txt"),
        (("recommend.py", "--user=a", "--scores=a.csv"), 2, "flags counts=None, factors=None, sco"),
        (
            ("recommend.py", "--counts=a", "--scores=a.csv", "--factors=a.csv"),
            2,
            "flags output=None, fact",
        ),
        (("topics.py", "--interval=1"), 2, "flag --interval=1.0: must be between 0 and 1"),
        (("evaluate.py", "--at=5,x"), 2, "flag --at=['5', 'x']: must be whole numbers above 0"),
        (
            ("evaluate.py", "--data_path=nothing.npz"),
            1,
            "SyntheticFactors, the data of the run, ha",
        ),
        (("similar.py",), 2, "flags column=None, row=None: Exactly one"),
        (("similar.py", "--row=film 3, é"), 1, "there is no row 'film 3, é' among 90"),
        (("export.py", "--output=a.txt"), 2, "flag --output=a.txt: must end with .npz, .csv"),
        (("export.py", "--output=/dev/null/a.npz"), 1, "[Errno 17] File exists"),
        (("generate.py", "--num=0"), 2, "flag --num=0: 0 is not a positive integer"),
        (("generate.py", "--output=/dev/null/a"), 1, "[Errno 17] File exists"),
        (("topics.py", "--step=last"), 2, "flag --step=last: must be best, newest or a whole"),
        (("evaluate.py", "--step=7"), 1, "step 7 is not in "),
    ],
)
def test_what_cannot_be_answered_is_one_line(answer, flags, status, message):
    found, out, err = answer(*flags)
    assert (found, out) == (status, "")
    assert err.startswith(f"error: {message}"), err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_process_ends_with_the_status(workdir, tmp_path):
    good = start("similar.py", "--workdir", workdir, "--column=film 6, é")
    bad = start("similar.py", "--workdir", tmp_path, "--column=film 6, é")
    (out, err), (no_out, line) = (process.communicate(timeout=300) for process in (good, bad))
    assert (good.returncode, err, out.count("film")) == (0, "", 11)
    assert (bad.returncode, no_out) == (1, "")
    assert line == f"error: there is no checkpoint in {tmp_path}\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_begins_with_an_example(script):
    path = ROOT / "vigamma" / "commands" / f"{script}.py"
    docstring = path.read_text(encoding="utf-8").split('"""')[1]
    assert f"vigamma {script} --workdir checkpoints/" in docstring


@pytest.fixture
def sampled(workdir, tmp_path):
    """A copy of that run, without samples yet, and the flags of few of them."""
    flags = ("--num_chains=2", "--burn_in=4", "--thin=2")
    return shutil.copytree(workdir, tmp_path / "sampled"), flags


@pytest.mark.slow
def test_a_run_is_sampled_and_answers_by_its_samples(sampled):
    folder, flags = sampled
    user = "--user=user 3, é"
    status, before, err = run("recommend.py", "--workdir", folder, user)
    assert (status, err) == (0, "")
    assert "mean-field intervals are too narrow" in before
    status, out, err = run("sample.py", "--workdir", folder, *flags, "--num_sweeps=14")
    assert (status, err) == (0, "")
    assert "Posterior samples: 10 draws of 2 chains, 14 sweeps each" in out
    files = "summary.json, metrics.jsonl, checkpoints, 1 figure in figures/"
    assert out.endswith(f"written: {folder / 'samples'}: {files}\n")
    status, after, err = run("recommend.py", "--workdir", folder, user)
    assert (status, err) == (0, "")
    assert "90 % intervals of 10 posterior samples" in after
    assert "too narrow" not in after
    status, variational, _ = run(
        "recommend.py", "--workdir", folder, user, "--intervals=variational"
    )
    assert (status, variational) == (0, before)
    (folder / "one.txt").write_text("film 1, é\t3\nfilm 9, é\t1\n", encoding="utf-8")
    new = ("recommend.py", "--workdir", folder, f"--counts={folder / 'one.txt'}")
    status, out, _ = run(*new)
    assert status == 0
    assert "90 % intervals of 10 posterior samples" in out
    assert "too narrow" in run(*new, "--intervals=variational")[1]
    many = ("recommend.py", "--workdir", folder, "--all_users", "--top=3")
    tables = {}
    for kind in ("variational", "sampled"):
        output = folder / f"{kind}.csv"
        assert run(*many, f"--output={output}", f"--intervals={kind}")[0] == 0
        tables[kind] = pd.read_csv(output)
    assert (tables["sampled"].user == tables["variational"].user).all()
    own = tables["sampled"][tables["sampled"].user == "user 3, é"]
    listed = run("recommend.py", "--workdir", folder, user, "--top=3")[1]
    assert all(f"{rate:.4g}"[:4] in listed for rate in own.rate)
    status, topics, err = run("topics.py", "--workdir", folder)
    assert (status, err) == (0, "")
    assert "90 % intervals of 10 posterior samples" in topics
    assert "too narrow" not in topics
    status, topics, _ = run("topics.py", "--workdir", folder, "--intervals=variational")
    assert "mean-field intervals are too narrow" in topics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--thin=3"], "config.inference.thin must divide burn_in (4), got 3"),
        (["--num_sweeps=4"], "has completed 6 steps already"),
        (["--seed=1"], "seed: 0 → 1"),
        (["--num_chains=0"], "flag --num_chains=0: "),
        (["--workdir=nowhere"], "nowhere"),
    ],
)
def test_samples_that_cannot_be_are_refused_in_a_line(sampled, flags, message):
    folder, few = sampled
    arguments = ("sample.py", "--workdir", folder, *few, "--num_sweeps=6")
    if message.startswith(("has", "seed")):
        assert run(*arguments)[0] == 0
    status, _, err = run(*arguments, *flags)
    assert status != 0
    assert message in err
    assert "Traceback" not in err


def test_recommendations_by_samples_need_some(sampled):
    folder, _ = sampled
    status, _, err = run(
        "recommend.py", "--workdir", folder, "--user=user 3, é", "--intervals=sampled"
    )
    assert status == 1
    assert "the run has no posterior samples" in err
