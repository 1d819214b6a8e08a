"""A factor has one place and one number in all results of a run.

What a factor is, is told by its shares φ of columns, which all of them show in some way.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray
from matplotlib.figure import Figure
from scipy.sparse import csr_array, save_npz

import vigamma as vg
from tests.slow import slow_after
from vigamma.figures import memberships
from vigamma.models.factor_order import factor_weights
from vigamma.report import factors as report_factors
from vigamma.report.outcome import outcome_of
from vigamma.report.rendering import render
from vigamma.report.reproduction import reproduction_of
from vigamma.report.results import load_results
from vigamma.runs import train
from vigamma.runs.exposures import EXPOSURES
from vigamma.storage.checkpointing import read_checkpoint

NUM_FACTORS, NUM_ROWS, NUM_COLUMNS = 4, 90, 32
WORDS = [f"word {m}" for m in range(NUM_COLUMNS)]


def simulated_counts() -> np.ndarray:
    """Counts of four factors, each of columns of its own; rows of very different sizes."""
    rng = np.random.default_rng(3)
    profiles = np.kron(np.eye(NUM_FACTORS), rng.gamma(2.0, size=NUM_COLUMNS // NUM_FACTORS) + 0.2)
    own = rng.integers(NUM_FACTORS, size=NUM_ROWS)
    theta = np.eye(NUM_FACTORS)[own] * [0.5, 2.0, 1.0, 3.0] + 0.03
    sizes = np.where(own == 2, 8.0, 1.0)[:, None] * rng.gamma(3.0, 1 / 3, (NUM_ROWS, 1))
    return rng.poisson(sizes * theta @ profiles) + (np.arange(NUM_COLUMNS) == own[:, None] * 8)


def ratings(folder: Path) -> vg.Experiment:
    """A flat model of a text file with names."""
    rows, columns = (counts := simulated_counts()).nonzero()
    lines = [f"user {n},{WORDS[m]},{counts[n, m]}" for n, m in zip(rows, columns, strict=True)]
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]))
    return vg.Experiment(
        data=vg.SparseCounts(path=str(folder / "ratings.csv")),
        model=vg.PoissonFactorization(num_factors=NUM_FACTORS),
        inference=vg.CoordinateAscent(),
        num_steps=30,
    )


def documents(folder: Path) -> vg.Experiment:
    """A hierarchical model of a matrix with a vocabulary, held-out words, and two starts."""
    save_npz(folder / "corpus.npz", csr_array(simulated_counts()))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return vg.Experiment(
        data=vg.SparseCounts(path=str(folder / "corpus.npz")),
        model=vg.HierarchicalNegativeBinomialFactorization(num_factors=NUM_FACTORS),
        inference=vg.CoordinateAscent(),
        heldout=vg.HeldOut(protocol="thinning", test_fraction=0.2),
        num_steps=30,
        num_starts=2,
    )


def cells(folder: Path) -> vg.Experiment:
    """Minibatches and samples of a model whose rows have exposures, which decide on the order."""
    config = documents(folder)
    config.model = vg.HierarchicalPoissonFactorization(
        num_factors=NUM_FACTORS, row_sum_exposures=True
    )
    config.inference = vg.StochasticVariationalInference(batch_rows=30)
    config.heldout, config.num_starts, config.num_steps = None, 1, 90
    return config


@pytest.fixture(
    scope="module",
    params=slow_after(1, [ratings, documents, cells]),
    ids=lambda kind: kind.__name__,
)
def workdir(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.__name__)
    config, path = request.param(folder), folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Run, "_draw", lambda *_: [])
        vg.run_experiment(config, path)
    if request.param is cells:
        vg.sample(path, vg.Gibbs(num_chains=2, burn_in=4, thin=2), num_sweeps=16)
    return path


@pytest.fixture
def fitted(workdir):
    return vg.load_run(workdir, pytest.fail)


def shares_of(beta: np.ndarray) -> np.ndarray:
    """φ of mean β, of shape (..., M, K)."""
    return beta / beta.sum(axis=-2, keepdims=True)


def shares_in(run) -> np.ndarray:
    return shares_of(np.asarray(run.factors.q["columns"].mean, float))


def firsts_of(fitted) -> list[str]:
    """The column with the largest share of each factor."""
    return [fitted.factors.column_names[m] for m in shares_in(fitted).argmax(axis=0)]


def test_factors_of_a_run_are_by_weight_and_were_stored_in_another_order(workdir, fitted):
    for start in fitted.starts:
        weights = factor_weights(start.q, fitted.exposures).tolist()
        assert weights == sorted(weights, reverse=True)
    assert len(set(firsts_of(fitted))) == NUM_FACTORS  # so that they tell factors apart
    _, leaves, _ = read_checkpoint(workdir, pytest.fail)
    stored = leaves["q.columns.concentration"][:NUM_COLUMNS]
    read = [start.q["columns"].concentration for start in fitted.starts]
    assert any(np.array_equal(np.sort(stored), np.sort(shapes)) for shapes in read)
    assert not any(np.array_equal(stored, shapes) for shapes in read)


def test_a_fit_in_memory_has_the_order_of_a_run(fitted):
    config = fitted.config
    if config.num_starts > 1:
        config.num_starts = 1  # that of the first
    options = {"num_steps": config.num_steps, "heldout": config.heldout, "seed": config.seed}
    found = vg.fit(config.model, config.data, config.inference, **options)
    own = [found.posterior[side].mean for side in ("rows", "columns")]
    read = [[start.q[side].mean for side in ("rows", "columns")] for start in fitted.starts]
    assert any(all(map(np.array_equal, own, of_start)) for of_start in read)


def test_topics_have_the_numbers_of_the_run(fitted):
    found = vg.topics(fitted, top=1)
    assert found.weights.factor.tolist() == [1, 2, 3, 4]
    by_mean = found.columns[found.columns.order == "mean"]
    assert by_mean.factor.tolist() == [1, 2, 3, 4]
    assert by_mean.name.tolist() == firsts_of(fitted)
    variational = vg.topics(fitted, top=1, intervals="variational").weights
    np.testing.assert_allclose(variational.weight, fitted.weights)
    titles = re.findall(r"^Factor (\d): ([\d.]+)%", found.table(), re.MULTILINE)
    assert [int(number) for number, _ in titles] == [1, 2, 3, 4]
    shown = [float(weight) for _, weight in titles]
    np.testing.assert_allclose(shown, 100 * found.weights.weight, atol=0.051)
    np.testing.assert_allclose(shown, 100 * fitted.weights, atol=5)  # samples have their own


def test_exports_have_the_numbers_of_the_run(fitted, tmp_path):
    import anndata

    expected = shares_in(fitted)
    for name in ("a.npz", "a.csv", "a.parquet", "a.h5ad", "a.nc"):
        vg.export(fitted, tmp_path / name, draws=200)
    tables = [np.load(tmp_path / "a.npz")["columns_mean"]]
    tables.append(anndata.read_h5ad(tmp_path / "a.h5ad").varm["vigamma"])
    numbered = [f"mean_{number}" for number in (1, 2, 3, 4)]
    for frame in (
        pd.read_csv(tmp_path / "a.columns.csv"),
        pd.read_parquet(tmp_path / "a.columns.parquet"),
    ):
        tables.append(frame[numbered].to_numpy())
        assert "mean_0" not in frame
    for table in tables:
        np.testing.assert_allclose(shares_of(table), expected, rtol=1e-5)
    with xarray.open_dataset(tmp_path / "a.nc", group="posterior", engine="h5netcdf") as draws:
        assert draws.factor.values.tolist() == [1, 2, 3, 4]
        beta = draws.beta.transpose("chain", "draw", "column", "factor").values
    for of_chain in beta:
        of_draws = shares_of(of_chain).mean(axis=0)
        assert of_draws.argmax(axis=0).tolist() == expected.argmax(axis=0).tolist()


def test_the_page_and_its_figures_have_the_numbers_of_the_run(workdir, fitted, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        memberships, "structure_figure", lambda shares, *_: drawn.append(shares) or Figure()
    )
    results = load_results(workdir, lambda _: None)
    factors = report_factors.factors_of(results)
    overview = report_factors.overview_of(results, factors)
    weights = [factor["share"] for factor in overview["factors"]]
    np.testing.assert_allclose(weights, fitted.weights, rtol=0.2 if fitted.samples else 1e-5)
    (shares,) = drawn
    counts = (results.theta @ results.beta.T).sum(axis=1)
    np.testing.assert_allclose(counts @ shares / counts.sum(), fitted.weights, rtol=1e-4)
    values = {"outcome": outcome_of(results), "samples": fitted.samples, "overview": overview}
    values["reproduction"] = reproduction_of(results)
    page = render("factors.html", factors=factors, **values)
    first = r'<h3>Factor (\d) .*?<tbody>\s*<tr><th scope="row">(.*?)</th>'
    cards = re.findall(first, page, re.DOTALL)
    names = [re.sub(r"<.*?>", "", name) for _, name in cards]
    assert [int(number) for number, _ in cards] == [1, 2, 3, 4]
    assert names == firsts_of(fitted)


def test_factors_of_new_rows_have_the_numbers_of_the_run(fitted):
    columns = shares_in(fitted).argmax(axis=0)
    counts = np.zeros((NUM_FACTORS, NUM_COLUMNS), int)
    counts[range(NUM_FACTORS), columns] = 50
    asked = vg.check_sparse_counts(counts), ["a", "b", "c", "d"]
    (found,) = vg.answer_new_rows(fitted, *asked, with_scores=False)
    numbered = found.factors[[f"mean_{number}" for number in (1, 2, 3, 4)]].to_numpy()
    amounts = numbered * np.asarray(fitted.factors.q["columns"].mean).sum(axis=0)
    assert amounts.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_samples_have_the_numbers_of_the_run(workdir, fitted):
    samples = vg.load_samples(workdir)
    assert (samples is None) == (fitted.exposures is None)
    if samples is not None:
        beta = np.concatenate([draw["columns"] for draw in samples.draws])
        firsts = shares_of(beta).mean(axis=0).argmax(axis=0)
        assert firsts.tolist() == shares_in(fitted).argmax(axis=0).tolist()


def test_a_run_that_goes_on_has_the_numbers_of_its_new_posterior(tmp_path, no_figures):
    config = cells(tmp_path)
    for num_steps in (6, 12):
        config.num_steps = num_steps
        vg.run_experiment(config, tmp_path / "cut")
    vg.run_experiment(config, tmp_path / "whole")
    cut, whole = (vg.load_run(tmp_path / name) for name in ("cut", "whole"))
    np.testing.assert_array_equal(cut.factors.q["rows"].mean, whole.factors.q["rows"].mean)
    assert cut.weights.tolist() == sorted(cut.weights, reverse=True)


def test_exposures_that_are_lost_or_damaged_are_written_by_training_again(tmp_path, no_figures):
    config, path = cells(tmp_path), tmp_path / "run" / EXPOSURES
    config.num_steps = 3
    vg.run_experiment(config, tmp_path / "run")
    first = vg.load_run(tmp_path / "run")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damage in (None, b"", content[:-30], flipped):
        path.unlink() if damage is None else path.write_bytes(damage)
        kind = "is missing" if damage is None else r"is damaged \("
        with pytest.raises(vg.CheckpointError, match=rf"exposures\.npz {kind}.*: train again with"):
            vg.load_run(tmp_path / "run")
        vg.run_experiment(config, tmp_path / "run")
        again = vg.load_run(tmp_path / "run")
        np.testing.assert_array_equal(again.exposures, first.exposures)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["resumed_from"] == 3


@pytest.mark.slow
def test_components_are_by_weight_after_fit_and_keep_their_order_in_steps():
    counts = simulated_counts()
    factorizer = vg.PoissonFactorizer(NUM_FACTORS, random_state=0, num_starts=2).fit(counts)
    for _, q in factorizer.starts_:
        weights = factor_weights(q).tolist()
        assert weights == sorted(weights, reverse=True)
    last = shares_of(factorizer.components_.T).argmax(axis=0)[-1]
    own = factorizer.transform(counts) * factorizer.components_.sum(axis=1)
    weights = factor_weights(factorizer.posterior_)
    np.testing.assert_allclose(own.sum(axis=0) / own.sum(), weights, atol=0.02)
    light = counts[own.argmax(axis=1) == NUM_FACTORS - 1]  # rows of the last component alone
    for _ in range(30):
        factorizer.partial_fit(light)
        assert shares_of(factorizer.components_.T).argmax(axis=0)[-1] == last
    assert factor_weights(factorizer.posterior_).argmax() == NUM_FACTORS - 1
