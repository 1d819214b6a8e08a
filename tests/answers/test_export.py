"""Every format, read back by the program it is for."""

import json
import re
import sys
import warnings

import anndata
import h5py
import jax
import numpy as np
import pandas as pd
import pytest

from tests.fitted_runs import NUM_COLUMNS, NUM_FACTORS, NUM_ROWS, random_run
from vigamma import ConfigError, export
from vigamma.answers.export import _in_order_of
from vigamma.runs.experiment import flatten
from vigamma.terminal.invocation import pip_install

RUNS = {kind: random_run(kind) for kind in ("flat", "hierarchical")}


@pytest.mark.parametrize("kind", RUNS)
def test_npz_has_it_all_and_loads_without_pickle(tmp_path, kind):
    run = RUNS[kind]
    assert export(run, tmp_path / "new" / "a.npz") == [tmp_path / "new" / "a.npz"]
    with np.load(tmp_path / "new" / "a.npz", allow_pickle=False) as file:
        arrays = dict(file)
    for name, q in run.factors.q.items():
        for part, values in (("shape", q.concentration), ("rate", q.rate), ("mean", q.mean)):
            np.testing.assert_array_equal(arrays.pop(f"{name}_{part}"), values)
    assert arrays.pop("row_names").tolist() == run.factors.row_names.tolist()
    assert arrays.pop("column_names").tolist() == run.factors.column_names.tolist()
    assert json.loads(str(arrays.pop("config"))) == flatten(run.config)
    assert arrays.pop("step") == 7
    assert not arrays


def test_npz_numbers_the_other_starts(tmp_path):
    others = tuple(random_run("flat", seed).factors for seed in (1, 2))
    export(RUNS["flat"]._replace(others=others), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert sum(name.startswith("start_") for name in file) == 2 * 2 * 3
        for number, start in enumerate(others, 1):
            for side in ("rows", "columns"):
                rate = file[f"start_{number}_{side}_rate"]
                np.testing.assert_array_equal(rate, start.q[side].rate)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_have_means_and_deviations_by_name(tmp_path, monkeypatch, kind, ending):
    monkeypatch.setattr("vigamma.answers.export._ROWS_AT_ONCE", 5)
    run = RUNS[kind]
    paths = export(run, tmp_path / f"a.b.{ending}")
    assert [p.name for p in paths] == [f"a.b.rows.{ending}", f"a.b.columns.{ending}"]
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    for path, side, names in zip(
        paths, ("row", "column"), (run.factors.row_names, run.factors.column_names), strict=True
    ):
        table, q = read(path), run.factors.q[f"{side}s"]
        assert table["name"].tolist() == names.tolist()
        for k in range(NUM_FACTORS):
            np.testing.assert_array_equal(table[f"mean_{k + 1}"].astype(np.float32), q.mean[:, k])
            shapes = (table[f"mean_{k + 1}"] / table[f"sd_{k + 1}"]) ** 2
            np.testing.assert_allclose(shapes, q.concentration[:, k], rtol=1e-5)
        if kind == "hierarchical":
            rates = run.factors.q[f"{side}_rates"]
            np.testing.assert_array_equal(table["rate_mean"].astype(np.float32), rates.mean)
            np.testing.assert_allclose(table["rate_sd"] ** 2, rates.variance, rtol=1e-5)
        assert table.shape[1] == 1 + 2 * NUM_FACTORS + 2 * (kind == "hierarchical")


@pytest.mark.parametrize("kind", RUNS)
def test_anndata_has_factors_of_cells_and_genes(tmp_path, kind):
    run = RUNS[kind]
    doubled = run.factors.column_names.copy()
    doubled[1] = doubled[0]
    run = run._replace(factors=run.factors._replace(column_names=doubled))
    export(run, tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*names are not unique")
        data = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert data.shape == (NUM_ROWS, NUM_COLUMNS)
    assert data.obs_names.tolist() == run.factors.row_names.tolist()
    assert data.var_names.tolist() == doubled.tolist()
    q = run.factors.q
    np.testing.assert_array_equal(data.obsm["X_vigamma"], q["rows"].mean)
    np.testing.assert_array_equal(data.varm["vigamma"], q["columns"].mean)
    np.testing.assert_array_equal(data.obsm["vigamma_shape"], q["rows"].concentration)
    np.testing.assert_array_equal(data.varm["vigamma_rate"], q["columns"].rate)
    assert ("vigamma_rate_shape" in data.obs) == (kind == "hierarchical")
    assert data.uns["vigamma"]["step"] == 7


def test_arviz_reads_draws_with_names(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ 0.23 announces ArviZ 1
        import arviz

    run, size = RUNS["hierarchical"], 4000
    export(run, tmp_path / "a.nc", draws=size, seed=1)
    posterior = arviz.from_netcdf(tmp_path / "a.nc").posterior
    sides = {"theta": ("rows", "row"), "beta": ("columns", "column")}
    for name, (latent, side) in sides.items():
        assert posterior[name].dims == ("chain", "draw", side, "factor")
        names = getattr(run.factors, f"{side}_names").tolist()
        assert posterior[side].values.tolist() == names
        check_moments(posterior[name].values, run.factors.q[latent])
        check_moments(posterior[f"{side}_rates"].values, run.factors.q[f"{side}_rates"])
    one = posterior["beta"].sel(column="column 3, é", factor=1)
    assert abs(float(one.mean()) / run.factors.q["columns"].mean[3, 0] - 1) < 0.2
    export(RUNS["flat"], tmp_path / "b.nc", draws=2)
    assert set(arviz.from_netcdf(tmp_path / "b.nc").posterior.data_vars) == set(sides)


def test_draws_are_those_of_their_seed(tmp_path):
    draws = []
    for seed in (1, 1, 2):
        export(RUNS["flat"], tmp_path / "a.nc", draws=2, seed=seed)
        with h5py.File(tmp_path / "a.nc") as file:
            draws.append(file["posterior/theta"][:])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()


def check_moments(values: np.ndarray, q) -> None:
    """All means, and their spread over all latents, are those of 4,000 draws."""
    size = values.shape[1]
    assert values.shape == (1, size, *q.rate.shape)
    z = (values[0].mean(axis=0) - q.mean) / np.sqrt(q.variance / size)
    assert np.abs(z).max() < 5
    ratio = values[0].var(axis=0) / q.variance
    assert 0.97 < ratio.mean() < 1.03


def test_factors_of_another_start_are_put_in_the_order_of_the_best():
    best, cycle = random_run().factors.q, np.array([1, 2, 0])  # which is not its own inverse
    other = best | {
        n: jax.tree.map(lambda leaf: leaf[:, cycle], best[n]) for n in ("rows", "columns")
    }
    found = _in_order_of(best, other)
    for name in best:
        np.testing.assert_array_equal(found[name].rate, best[name].rate)


@pytest.mark.parametrize(
    ("ending", "package", "extra"),
    [("nc", "xarray", "arviz"), ("nc", "h5netcdf", "arviz"), ("h5ad", "anndata", "anndata"),
     ("parquet", "pyarrow", "parquet")],
)  # fmt: skip
def test_a_missing_package_is_one_line_that_names_its_extra(
    tmp_path, monkeypatch, ending, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs {package} .*: {re.escape(pip_install(extra))}"):
        export(RUNS["flat"], tmp_path / f"a.{ending}")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must end with \.npz, .*, got '.*a\.txt'"):
        export(RUNS["flat"], tmp_path / "a.txt")
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        export(RUNS["flat"], tmp_path / "a.nc", draws=0)
