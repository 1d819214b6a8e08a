"""Posterior samples of a run: what is drawn, kept, resumed and refused."""

import dataclasses
import json
import re
import shutil
import sys

import jax
import numpy as np
import pytest
import xarray

from tests.slow import slow_after
from tests.test_train_factors import SYNTHETIC, experiment
from vigamma import (
    CheckpointError,
    ConfigError,
    Gibbs,
    HeldOut,
    HierarchicalPoissonFactorization,
    SyntheticFactors,
    export,
    load_run,
    load_run_data,
    load_samples,
    recommend,
    run_experiment,
    sample,
)
from vigamma.devices.mesh import make_mesh
from vigamma.runs import sampling, train
from vigamma.storage import draws
from vigamma.terminal.invocation import pip_install

CHAINS = Gibbs(num_chains=2, burn_in=4, thin=2, num_watched=6)
DATA = dataclasses.replace(SYNTHETIC, row_exponent=0.0, concentration=1.0, num_nonzeros=1500)
CONFIG = experiment(
    data=DATA,
    num_steps=12,
    heldout=HeldOut(protocol="cells", test_fraction=0.2),
    model=HierarchicalPoissonFactorization(num_factors=3, row_sum_exposures=True),
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The directory of a run of a hierarchical model, with exposures and missing cells."""
    workdir = tmp_path_factory.mktemp("fitted")
    run_experiment(CONFIG, workdir)
    return workdir


@pytest.fixture
def workdir(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def values(workdir) -> list[dict[str, np.ndarray]]:
    return [{name: np.array(a) for name, a in d.items()} for d in load_samples(workdir).draws]


@pytest.mark.slow
def test_draws_come_after_the_burn_in_and_every_second_sweep(workdir):
    outcome = sample(workdir, CHAINS, num_sweeps=11)
    folder = workdir / "samples" / "draws"
    assert draws.saved_draws(folder) == [6, 8, 10]
    samples = load_samples(workdir)
    num_rows, num_columns = load_run_data(load_run(workdir)).counts.shape
    assert samples.num_draws == 6
    assert samples.trace.shape == (2, 6, 19)
    assert {name: a.shape for name, a in samples.draws[0].items()} == {
        "rows": (2, num_rows, 3),
        "columns": (2, num_columns, 3),
        "row_rates": (2, num_rows),
        "column_rates": (2, num_columns),
    }
    assert outcome.summary["num_draws"] == 6
    assert json.loads((workdir / "samples" / "summary.json").read_text())["sweeps"] == 11
    assert (workdir / "samples" / "figures" / "traces.png").stat().st_size > 0
    lines = (workdir / "samples" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]).keys() == {"step", "log_joint", "seconds"}


@pytest.mark.slow
def test_samples_started_again_are_left_alone_unless_draws_are_gone(workdir, no_figures):
    first = sample(workdir, CHAINS, num_sweeps=11)
    again = sample(workdir, CHAINS, num_sweeps=11)
    assert (again.is_new, again.summary, again.table) == (False, first.summary, first.table)
    shutil.rmtree(workdir / "samples" / "draws" / "8")
    less = sample(workdir, CHAINS, num_sweeps=11)
    assert (less.is_new, less.summary["num_draws"]) == (True, 4)


@pytest.mark.slow
def test_the_run_says_that_its_intervals_are_sampled_while_it_is_at_their_start(
    workdir, no_figures
):
    sample(workdir, CHAINS, num_sweeps=6)
    outcome = run_experiment(CONFIG, workdir)
    assert (outcome.is_new, outcome.summary["intervals"]) == (True, "sampled")
    outcome = run_experiment(CONFIG, workdir)
    assert (outcome.is_new, outcome.summary["intervals"]) == (False, "sampled")
    damaged = shutil.copytree(workdir, workdir.parent / "damaged")
    (draw,) = (damaged / "samples" / "draws").rglob("rows.npy")
    draw.write_bytes(b"damaged")
    (damaged / "summary.json").unlink()
    assert run_experiment(CONFIG, damaged).summary["intervals"] == "mean-field"
    longer = dataclasses.replace(CONFIG, num_steps=13)
    outcome = run_experiment(longer, workdir)
    assert outcome.summary["intervals"] == "mean-field"
    assert "too narrow" in outcome.table


def test_traces_are_of_the_draws_in_the_order_of_the_counts(workdir):
    sample(workdir, CHAINS, num_sweeps=6)
    samples, data = load_samples(workdir), load_run_data(load_run(workdir))
    run = load_run(workdir)
    config = dataclasses.replace(CONFIG, inference=CHAINS, seed=0)
    fit = sampling.SamplingFit(config, run, data, workdir / "samples")
    rows, columns = fit.watched_cells()
    assert (data.split.train[rows[:3], columns[:3]] > 0).all()
    for chain in range(2):
        theta, beta = (samples.draws[0][side][chain].astype(float) for side in ("rows", "columns"))
        expected = np.concatenate([
            (theta[rows] * beta[columns]).sum(axis=1),
            theta[rows] @ beta.sum(axis=0),
            beta[columns] @ (data.exposures @ theta),
        ])  # fmt: skip
        np.testing.assert_allclose(samples.trace[chain, -1, :-1], expected, rtol=1e-4)


@pytest.mark.slow
def test_samples_are_of_the_posterior_and_not_of_where_chains_start(workdir):
    sample(workdir, Gibbs(num_chains=4, burn_in=100, thin=4), num_sweeps=200)
    samples, run = load_samples(workdir), load_run(workdir)
    data = load_run_data(run)
    train, theta = data.split.train, samples.taken("rows", np.arange(len(data.exposures)))
    beta = samples.taken("columns", np.arange(train.shape[1]))
    seen = 1 - data.split.missing.toarray()
    expected = np.einsum("n,dnk,dmk,nm->d", data.exposures, theta, beta, seen, optimize=True)
    assert abs(expected.mean() / train.sum() - 1) < 0.01
    assert expected.std() == pytest.approx(np.sqrt(train.sum()), rel=0.3)


@pytest.mark.parametrize("cut", slow_after(1, [6, 3, 9]))
def test_samples_that_go_on_are_those_that_were_never_cut(workdir, tmp_path, cut):
    whole = shutil.copytree(workdir, tmp_path / "whole")
    sample(whole, CHAINS, num_sweeps=12)
    sample(workdir, CHAINS, num_sweeps=cut)
    sample(workdir, CHAINS, num_sweeps=12)
    assert len(values(whole)) == 4
    jax.tree.map(np.testing.assert_array_equal, values(workdir), values(whole))
    np.testing.assert_array_equal(load_samples(workdir).trace, load_samples(whole).trace)


def test_draws_after_the_newest_checkpoint_are_drawn_again(workdir, tmp_path):
    """As after a kill: draws are saved more often than checkpoints."""
    sample(workdir, CHAINS, num_sweeps=12, save_every=4)
    whole = shutil.copytree(workdir, tmp_path / "whole")
    shutil.rmtree(workdir / "samples" / "12")
    (workdir / "samples" / "draws" / "10" / "rows.npy").unlink()
    sample(workdir, CHAINS, num_sweeps=12, save_every=4)
    jax.tree.map(np.testing.assert_array_equal, values(workdir), values(whole))


@pytest.mark.slow
def test_one_device_draws_the_same_as_four(workdir, tmp_path, monkeypatch):
    other = shutil.copytree(workdir, tmp_path / "other")
    sample(workdir, CHAINS, num_sweeps=8)
    monkeypatch.setattr(train, "make_mesh", lambda: make_mesh(jax.devices()[:1]))
    sample(other, CHAINS, num_sweeps=8)
    jax.tree.map(np.testing.assert_array_equal, values(workdir), values(other))


def test_other_chains_are_refused_in_the_same_folder(workdir):
    sample(workdir, CHAINS, num_sweeps=6)
    with pytest.raises(CheckpointError, match="num_chains"):
        sample(workdir, dataclasses.replace(CHAINS, num_chains=3), num_sweeps=6)
    with pytest.raises(CheckpointError, match="seed"):
        sample(workdir, CHAINS, num_sweeps=6, seed=1)
    with pytest.raises(ConfigError, match="has completed 6 steps already"):
        sample(workdir, CHAINS, num_sweeps=5)


@pytest.mark.slow
def test_samples_of_an_earlier_posterior_are_left_out(workdir):
    sample(workdir, CHAINS, num_sweeps=6)
    assert load_run(workdir).samples is not None
    run_experiment(dataclasses.replace(CONFIG, num_steps=15), workdir)
    with pytest.warns(UserWarning, match="not of this posterior.*left out"):
        assert load_run(workdir).samples is None
    with pytest.raises(CheckpointError, match="start_"):
        sample(workdir, CHAINS, num_sweeps=6)


def test_damaged_draws_are_left_out_with_a_line(workdir):
    sample(workdir, CHAINS, num_sweeps=8)
    path = workdir / "samples" / "draws" / "8" / "rows.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="draw of sweep 8 .* damaged: rows.npy"):
        assert load_run(workdir).samples is None


def test_draws_of_deleted_samples_do_not_survive(workdir):
    sample(workdir, CHAINS, num_sweeps=10)
    for path in (workdir / "samples").iterdir():
        if path.name != "draws":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    sample(workdir, CHAINS, num_sweeps=6, seed=1)
    assert draws.saved_draws(workdir / "samples" / "draws") == [6]


@pytest.mark.slow
def test_recommendations_use_the_samples(workdir):
    variational = recommend(load_run(workdir), ["3"], top=5)
    sample(workdir, Gibbs(num_chains=2, burn_in=20, thin=1), num_sweeps=70)
    run = load_run(workdir)
    table = recommend(run, ["3", "0"], top=5)
    theta, beta = run.samples.taken("rows", [3])[:, 0], run.samples.taken("columns", slice(None))
    rates = np.einsum("dk,dmk->dm", theta.astype(float), beta.astype(float))
    own = table[table.user == "3"]
    best = np.argsort(-rates.mean(axis=0))[:5]
    assert own["item"].tolist() == best.astype(str).tolist()
    np.testing.assert_allclose(own["rate"], rates.mean(axis=0)[best], rtol=1e-5)
    np.testing.assert_allclose(own["sd"], rates.std(axis=0, ddof=1)[best], rtol=1e-5)
    ends = np.quantile(rates[:, best], [0.05, 0.95], axis=0, method="weibull")
    np.testing.assert_allclose(own[["low", "high"]].to_numpy().T, ends, rtol=1e-5)
    again = recommend(run, ["3"], top=5, intervals="variational")
    assert again.equals(variational)
    with pytest.raises(ConfigError, match="has no posterior samples"):
        recommend(run._replace(samples=None), ["3"], intervals="sampled")


def test_arviz_gets_the_chains(workdir, tmp_path):
    sample(workdir, CHAINS, num_sweeps=10)
    run = load_run(workdir)
    (path,) = export(run, tmp_path / "draws.nc")
    with xarray.open_dataset(path, group="posterior", engine="h5netcdf") as found:
        assert found.attrs["draws"] == "sampled"
        for name, latent in {"theta": "rows", "beta": "columns", "row_rates": "row_rates"}.items():
            for chain, draw in ((0, 0), (1, 2)):
                expected = run.samples.draws[draw][latent][chain]
                np.testing.assert_array_equal(found[name][chain, draw], expected)


@pytest.mark.slow
def test_the_best_of_several_starts_is_sampled_where_that_is_asked_for(tmp_path):
    workdir = tmp_path / "starts"
    run_experiment(dataclasses.replace(CONFIG, num_starts=2), workdir)
    mixture = recommend(load_run(workdir), ["3"], top=3)
    sample(workdir, CHAINS, num_sweeps=8)
    run = load_run(workdir)
    assert recommend(run, ["3"], top=3).equals(mixture)
    table = recommend(run, ["3"], top=3, intervals="sampled")
    theta, beta = run.samples.taken("rows", [3])[:, 0], run.samples.taken("columns", slice(None))
    rates = np.einsum("dk,dmk->m", theta.astype(float), beta) / len(theta)
    np.testing.assert_allclose(table["rate"], np.sort(rates)[::-1][:3], rtol=1e-5)


def test_seen_items_are_left_out_of_sampled_recommendations(workdir):
    sample(workdir, CHAINS, num_sweeps=8)
    run = load_run(workdir)
    seen = load_run_data(run).counts
    table = recommend(run, ["3", "0"], seen=seen, top=seen.shape[1])
    for user in (3, 0):
        items = set(table[table.user == str(user)]["item"])
        assert items == {str(m) for m in np.flatnonzero(seen[[user]].toarray()[0] == 0)}


def test_without_arviz_nothing_is_sampled(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ConfigError, match=re.escape(pip_install("arviz"))):
        sample(workdir, CHAINS, num_sweeps=6)
    assert not (workdir / "samples").exists()


@pytest.mark.slow
def test_changed_data_are_refused(workdir, monkeypatch):
    load = SyntheticFactors.load
    monkeypatch.setattr(
        SyntheticFactors, "load", lambda self: load(dataclasses.replace(self, seed=9))
    )
    with pytest.raises(CheckpointError, match="no longer those that the run was fitted to"):
        sample(workdir, CHAINS, num_sweeps=6)
