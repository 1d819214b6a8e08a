"""Runs with several starts: each to its end, their rates mixed, in memory and read back."""

import dataclasses
import itertools
import json
import types

import numpy as np
import pytest

from tests import test_train_stochastic
from tests.command import call
from tests.test_train import hashes
from tests.test_train_factors import experiment
from vigamma import (
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    evaluate,
    export,
    load_run,
    load_run_data,
    recommend,
    recommend_new,
    run_experiment,
)
from vigamma.answers.generation import generate
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.models.mixture import mixture_means, mixture_moments
from vigamma.runs import fitted, train
from vigamma.runs.loading import load_fit
from vigamma.storage.checkpointing import Checkpointer, read_checkpoint
from vigamma.storage.workdir import folder_of_start

CONFIG = experiment(
    inference=CoordinateAscent(tolerance=0, stop_on_validation=True), num_steps=60, num_starts=3
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of three starts, by a clock that is looked at once a second."""
    path = tmp_path_factory.mktemp("starts") / "run"
    with pytest.MonkeyPatch.context() as patch:
        clock = types.SimpleNamespace(monotonic=itertools.count().__next__)
        patch.setattr(train, "time", clock)
        patch.setattr(train._Run, "_draw", lambda *_: [])
        run_experiment(CONFIG, path)
    return path


def summary_of(workdir):
    return json.loads((workdir / "summary.json").read_text())


def score_of(run, data, part="test"):
    table = run.mean_factors(data.exposures)
    return heldout_log_likelihood(*table, data.split, getattr(data.split, part)).log_likelihood


def alone(run, factors):
    return run._replace(factors=factors, others=())


@pytest.mark.slow
def test_the_summary_has_every_start_and_the_score_of_their_mixture(workdir):
    summary, run = summary_of(workdir), load_run(workdir, pytest.fail)
    data = load_run_data(run)
    assert len(run.starts) == len(summary["starts"]) == 3
    scores = [start["valid_log_likelihood"] for start in summary["starts"]]
    assert len(set(scores)) == 3
    assert summary["best_start"] == np.argmax(scores)
    assert summary["valid_log_likelihood"] == max(scores)
    mixed, best = score_of(run, data), score_of(alone(run, run.factors), data)
    assert summary["heldout_log_likelihood"] == pytest.approx(mixed, rel=1e-6)
    assert summary["heldout_log_likelihood_best_start"] == pytest.approx(best, rel=1e-6)
    singles = [score_of(alone(run, factors), data) for factors in run.starts]
    assert mixed > np.mean(singles)  # as the log-likelihood is concave in the rates
    found = [score_of(alone(run, factors), data, "valid") for factors in run.starts]
    assert found[0] == max(found) == pytest.approx(max(scores), rel=1e-5)
    num_sweeps = sum(start["sweeps"] for start in summary["starts"])
    assert summary["seconds_per_sweep"] == 3 / num_sweeps  # the steps of a start take a second
    assert run.which == f"3 starts, the best at step {run.step} of {run.last_step}, the best by " \
        "validation"  # fmt: skip


@pytest.mark.slow
def test_the_first_start_is_that_of_a_run_with_one(workdir, tmp_path, no_figures):
    one = dataclasses.replace(CONFIG, num_starts=1)
    run_experiment(one, tmp_path / "one")
    first = {k: v for k, v in hashes(workdir).items() if not k.startswith("starts")}
    assert hashes(tmp_path / "one") == first
    # ... which grows into the run of three
    run_experiment(CONFIG, tmp_path / "one")
    assert hashes(tmp_path / "one") == hashes(workdir)
    for index in (1, 2):
        assert hashes(folder_of_start(tmp_path / "one", index)) == hashes(
            folder_of_start(workdir, index)
        )


@pytest.mark.slow
def test_a_run_cut_in_any_start_and_resumed_is_bit_identical(workdir, tmp_path, no_figures):
    """Cut by an error in the second start, where the first is whole and the third not begun."""
    save, saved = Checkpointer.save, []

    def failing(self, step, arrays):
        save(self, step, arrays)
        saved.append((self._workdir.name, step))
        if saved[-1] == ("1", 8):
            raise CheckpointError("the disk is full")

    cut = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "save", failing)
        with pytest.raises(CheckpointError, match="the disk is full"):
            run_experiment(CONFIG, cut)
    warned = []
    partly = load_run(cut, warned.append)
    assert len(partly.starts) == 2
    assert warned == ["start 3 has no checkpoint yet, and is left out"]
    summary = run_experiment(CONFIG, cut).summary
    whole = summary_of(workdir)
    for name in ("elbo", "heldout_log_likelihood", "valid_log_likelihood", "starts", "best_start"):
        assert summary[name] == whole[name], name
    assert summary["resumed_from"] == whole["starts"][0]["sweeps"]  # where the first start was
    assert hashes(cut) == hashes(workdir)
    for index in (1, 2):
        assert hashes(folder_of_start(cut, index)) == hashes(folder_of_start(workdir, index))


@pytest.mark.slow
def test_a_folder_of_another_run_is_not_a_start(workdir, tmp_path, no_figures):
    run_experiment(dataclasses.replace(CONFIG, num_steps=3), tmp_path / "run")
    (tmp_path / "run" / "starts" / "1").rename(tmp_path / "run" / "starts" / "2 was 1")
    (tmp_path / "run" / "starts" / "2").rename(tmp_path / "run" / "starts" / "1")
    with pytest.raises(CheckpointError, match=r"starts.1 is not a start of the run in"):
        load_run(tmp_path / "run", lambda _: None)


@pytest.mark.slow
def test_a_start_of_another_seed_is_not_one_of_the_run(workdir, monkeypatch):
    def changed(folder, *rest):
        step, leaves, identity = read_checkpoint(folder, *rest)
        return step, leaves, identity | ({"seed": 7} if folder.name == "2" else {})

    monkeypatch.setattr(fitted, "read_checkpoint", changed)
    with pytest.raises(CheckpointError, match=r"starts.2 is not a start of the run in"):
        load_run(workdir)


def test_rates_and_intervals_are_those_of_the_mixture(workdir):
    run = load_run(workdir)
    users = ["3", "8"]
    mixed = recommend(run, users, top=5, draws=0)
    singles = [recommend(alone(run, start), users, top=70, draws=0) for start in run.starts]
    for line in mixed.itertuples():
        lines = [s[(s.user == line.user) & (s.item == line.item)].iloc[0] for s in singles]
        rates = np.array([single.rate for single in lines])
        assert line.rate == pytest.approx(rates.mean(), rel=1e-6)
        variances = np.array([single.sd for single in lines]) ** 2
        assert line.sd**2 == pytest.approx(variances.mean() + rates.var(), rel=1e-6)
    drawn = recommend(run, users, top=5, draws=60_000)
    for end in ("low", "high"):
        np.testing.assert_allclose(drawn[end], mixed[end], rtol=0.25)
    # Draws of all starts: the 90 % of each alone do not hold 90 % of the mixture.
    rows, columns = (
        [start.q[side] for start in run.starts] for side in ("rows", "columns")
    )  # fmt: skip
    rng, item = np.random.default_rng(1), int(drawn.item[0])
    draws = np.concatenate([
        (rng.standard_gamma(r.concentration[3], (60_000, 3)) / r.rate[3]
         * rng.standard_gamma(c.concentration[item], (60_000, 3)) / c.rate[item]).sum(axis=1)
        for r, c in zip(rows, columns, strict=True)
    ])  # fmt: skip
    low, high = np.quantile(draws, [0.05, 0.95])
    assert (drawn.low[0], drawn.high[0]) == pytest.approx((low, high), rel=0.03)


def test_somebody_new_is_folded_into_every_start(workdir):
    run = load_run(workdir)
    counts = load_run_data(run).counts[[4]]
    mixed = recommend_new(run, counts, draws=0, top=70)
    singles = [
        recommend_new(alone(run, start), counts, draws=0, top=70).set_index("item").rate
        for start in run.starts
    ]
    found = mixed.set_index("item").rate
    np.testing.assert_allclose(found, np.mean([s[found.index] for s in singles], axis=0), rtol=1e-6)


@pytest.mark.slow
def test_answers_use_all_starts_and_say_so(workdir, capsys, tmp_path):
    run = load_run(workdir)
    outcome = evaluate(run, load_run_data(run))
    score = summary_of(workdir)["heldout_log_likelihood"]
    assert outcome.fitted.log_likelihood == pytest.approx(score, rel=1e-6)
    status, out, _ = call(capsys, "evaluate.py", "--workdir", workdir)
    assert (status, out.splitlines()[0]) == (0, f"{workdir}, {run.which}")
    export(run, tmp_path / "q.npz")
    with np.load(tmp_path / "q.npz") as stored:
        for number, start in enumerate(run.starts):
            prefix = f"start_{number}_" if number else ""
            np.testing.assert_array_equal(stored[f"{prefix}rows_mean"], start.q["rows"].mean)
        assert "start_3_rows_mean" not in stored
    drawn = generate(workdir, 200, seed=0)
    assert drawn.counts.shape == (200, 70)
    np.testing.assert_array_equal(generate(workdir, 3, seed=0).counts, drawn.counts[:3])


def test_chains_of_draws_have_matching_factors(workdir, tmp_path):
    xarray = pytest.importorskip("xarray")
    run = load_run(workdir)
    export(run, tmp_path / "q.nc", draws=50)
    with xarray.open_dataset(tmp_path / "q.nc", group="posterior", engine="h5netcdf") as draws:
        assert dict(draws.sizes)["chain"] == 3
        beta = draws["beta"].mean("draw").to_numpy()
    norms = np.linalg.norm(beta, axis=1, keepdims=True)
    shapes = beta / norms
    for other in shapes[1:]:
        cosines = shapes[0].T @ other
        permutations = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        sums = [cosines[range(3), order].sum() for order in permutations]
        assert np.argmax(sums) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_minibatches_can_have_several_starts_too(tmp_path):
    config = test_train_stochastic.experiment(num_steps=8, num_starts=2)
    summary = run_experiment(config, tmp_path).summary
    run = load_run(tmp_path, pytest.fail)
    assert len(summary["starts"]) == len(run.starts) == 2
    assert not np.array_equal(run.starts[0].q["rows"].rate, run.starts[1].q["rows"].rate)


def test_a_conjugate_model_has_one_start():
    from configs import zero  # a namespace package of files

    config = dataclasses.replace(zero.get_config(), num_starts=2)
    with pytest.raises(ConfigError, match=r"num_starts must be 1 where all starts lead to"):
        load_fit(config)


def test_moments_of_a_mixture_are_those_of_its_draws():
    rng = np.random.default_rng(0)
    means, deviations = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[0.3, 1.0], [0.1, 2.0]])
    draws = np.concatenate(rng.normal(means, deviations, (200_000, 2, 2)))
    mean, deviation = mixture_moments(means, deviations)
    np.testing.assert_allclose(mean, draws.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(deviation, draws.std(axis=0), rtol=0.01)
    tables = [(rng.random((4, 2)), rng.random((3, 2))) for _ in range(5)]
    theta, beta = mixture_means(tables)
    np.testing.assert_allclose(theta @ beta.T, np.mean([t @ b.T for t, b in tables], axis=0))
