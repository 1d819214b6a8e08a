"""`vigamma.tl`: what is written into AnnData, against the fit itself, and what is refused."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from matplotlib.figure import Figure

import vigamma as vg
from tests.annotated_cells import NUM_CELLS, NUM_FACTORS, NUM_GENES, simulated_cells
from vigamma import pl, tl
from vigamma.answers.factor_values import values_of
from vigamma.diagnostics.recovery import matched_factors
from vigamma.runs.samples import Samples
from vigamma.sklearn.validation import seed_of

OPTIONS = {"n_factors": NUM_FACTORS, "layer": "counts"}
ENDS = "", "_low", "_high"


@pytest.fixture(scope="module")
def cells():
    return simulated_cells()


@pytest.fixture(scope="module")
def fitted(cells):
    return tl.factorize(cells.adata, **OPTIONS, heldout_fraction=0.2, copy=True)


def matrices(adata, key="vigamma"):
    return {
        **{f"X{end}": adata.obsm[f"X_{key}{end}"] for end in ENDS},
        **{f"loadings{end}": adata.varm[f"{key}_loadings{end}"] for end in ENDS},
    }


def assert_same_results(first, second, rtol=0.0):
    for name, values in matrices(first).items():
        np.testing.assert_allclose(matrices(second)[name], values, rtol, err_msg=name)


def test_the_true_factors_come_back_in_counts(cells, fitted):
    match = matched_factors(fitted.varm["vigamma_loadings"], cells.shares)
    np.testing.assert_allclose(fitted.varm["vigamma_loadings"][:, match], cells.shares, atol=0.05)
    errors = np.abs(fitted.obsm["X_vigamma"][:, match] - cells.amounts).mean(axis=0)
    assert (errors < 0.25 * cells.amounts.mean(axis=0)).all()
    by_type = [fitted.obsm["X_vigamma"][fitted.obs["type"] == t] for t in ("T", "NK", "B")]
    assert [of_type.mean(axis=0).argmax() for of_type in by_type] == [0, 1, 2]
    uns = fitted.uns["vigamma"]
    assert uns["heldout_log_likelihood"] > uns["heldout_log_likelihood_independent"] + 0.1
    assert 1000 < uns["num_heldout"] < 2700


def test_all_results_are_of_the_posterior_of_fit_by_weight(cells):
    options = {"column_shape": 0.5, "row_shape": 0.7, "rate_shape": 0.4, "row_sum_exposures": True}
    counts = cells.adata.layers["counts"]
    found = tl.factorize(
        cells.adata, **OPTIONS, **options, random_state=1, interval=0.8, num_steps=6, copy=True
    )
    model = vg.HierarchicalPoissonFactorization(num_factors=NUM_FACTORS, **options)
    q = vg.fit(model, counts, num_steps=6, seed=seed_of(1)).posterior
    sums = np.asarray(counts.sum(axis=1), float)
    totals = q["columns"].mean.sum(axis=0, dtype=float)
    amounts = (sums / sums.mean()) * totals, q["rows"]
    shares = 1 / totals, q["columns"]
    weights = (amounts[0] * q["rows"].mean).sum(axis=0)
    assert weights.tolist() == sorted(weights, reverse=True)
    for name, (scales, gamma) in {"X": amounts, "loadings": shares}.items():
        of_scipy = scipy.stats.gamma(gamma.concentration.astype(float), scale=scales / gamma.rate)
        for end, values in zip(
            ENDS, (of_scipy.mean(), of_scipy.ppf(0.1), of_scipy.ppf(0.9)), strict=True
        ):
            got = matrices(found)[name + end]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, values, 1e-5, err_msg=name + end)
    uns = found.uns["vigamma"]
    np.testing.assert_allclose(uns["weights"], weights / weights.sum(), rtol=1e-5)
    assert (uns["weights_low"] < uns["weights"]).all()
    assert (uns["weights"] < uns["weights_high"]).all()
    assert (uns["sweeps"], uns["stopped"], uns["interval"]) == (6, "num_steps", 0.8)
    expected = {**options, "seed": seed_of(1), "layer": "counts", "num_steps": 6}
    assert expected.items() <= uns["params"].items()


def test_amounts_are_of_whole_counts_when_half_is_held_out(cells):
    found = tl.factorize(cells.adata, **OPTIONS, heldout_fraction=0.5, num_steps=20, copy=True)
    total = cells.adata.layers["counts"].sum()
    np.testing.assert_allclose(found.obsm["X_vigamma"].sum(), total, rtol=0.03)
    means = found.obsm["X_vigamma"] @ found.varm["vigamma_loadings"].T
    assert np.abs(means - cells.amounts @ cells.shares.T).mean() < 1


def test_amounts_and_shares_of_samples_are_those_of_each_draw(monkeypatch):
    """Factors that are switched in a chain, and blocks of rows, change nothing."""
    monkeypatch.setattr("vigamma.answers.factor_values._NUMBERS_AT_ONCE", 600)
    rng, (num_chains, num_draws) = np.random.default_rng(0), (2, 40)
    means = {"rows": rng.gamma(1.0, size=(11, 3)), "columns": rng.gamma(0.3, size=(17, 3)) + 0.01}
    q = {name: vg.Gamma(np.full(mean.shape, 9.0), 9.0 / mean) for name, mean in means.items()}
    theta, beta = (
        mean * rng.gamma(50.0, 1 / 50, (num_draws, num_chains, *mean.shape))
        for mean in means.values()
    )
    order = np.array([[0, 1, 2], [2, 0, 1]])[:, None]  # of each chain
    draws = [
        {
            "rows": np.take_along_axis(t, order, axis=2),
            "columns": np.take_along_axis(b, order, axis=2),
        }
        for t, b in zip(theta, beta, strict=True)
    ]
    exposures, tails = np.linspace(0.5, 2, 11), np.array([0.1, 0.9])
    samples = Samples(draws, np.zeros((num_chains, num_draws, 4)))
    found = values_of(q, samples, exposures, tails)
    totals = beta.sum(axis=2, keepdims=True)
    for got, of_draws in (
        (found.amounts(), exposures[:, None] * theta * totals),
        (found.shares(), beta / totals),
    ):
        of_draws = of_draws.reshape(-1, *of_draws.shape[2:])
        low, high = np.quantile(of_draws, tails, axis=0, method="weibull")
        for values, expected in zip(got, (of_draws.mean(axis=0), low, high), strict=True):
            np.testing.assert_allclose(values, expected, rtol=2e-6)


@pytest.mark.slow
def test_samples_are_of_the_posterior_and_their_intervals_hold_the_truth(cells, fitted):
    sampled = tl.factorize(
        cells.adata, **OPTIONS, heldout_fraction=0.2, sampled=True, n_samples=98, copy=True
    )
    about = sampled.uns["vigamma"]
    assert (about["intervals"], about["num_draws"]) == ("sampled", 100)
    assert "note" not in about
    assert "too narrow" in fitted.uns["vigamma"]["note"]
    match = matched_factors(sampled.varm["vigamma_loadings"], cells.shares)
    held = {}
    for name, adata in (("sampled", sampled), ("variational", fitted)):
        low, high = (adata.obsm[f"X_vigamma{end}"][:, match] for end in ENDS[1:])
        held[name] = ((low <= cells.amounts) & (cells.amounts <= high)).mean()
    assert 0.75 < held["sampled"] < 0.95
    assert held["variational"] < held["sampled"] - 0.1


FORMS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr array": sp.csr_array,
    "dense": lambda counts: counts.toarray(),
    "integers": lambda counts: counts.astype(np.int64),
    "Fortran": lambda counts: np.asfortranarray(counts.toarray(), np.float64),
}


@pytest.fixture(scope="module")
def short(cells):
    """Three sweeps, from the layer."""
    return tl.factorize(cells.adata, **OPTIONS, num_steps=3, copy=True)


@pytest.mark.parametrize("form", FORMS)
def test_counts_of_every_form_are_the_same_counts_also_in_X(cells, short, form):  # noqa: N802
    adata = anndata.AnnData(FORMS[form](cells.adata.layers["counts"]))
    before = adata.X.copy()
    assert tl.factorize(adata, NUM_FACTORS, num_steps=3) is None
    assert_same_results(short, adata)
    assert (before != adata.X).sum() == 0
    assert "layer" not in adata.uns["vigamma"]["params"]


def assert_written_and_read_back(adata, keys, path):
    adata.write_h5ad(path)
    read = anndata.read_h5ad(path)
    for key in keys:
        written, again = adata.uns[key], read.uns[key]
        assert again.keys() == written.keys()
        assert again["params"] == written["params"]
        for name in written.keys() - {"params"}:
            np.testing.assert_array_equal(again[name], written[name])
        for name, values in matrices(adata, key).items():
            np.testing.assert_array_equal(matrices(read, key)[name], values)
    return read


def test_everything_is_written_to_h5ad_and_read_back(cells, fitted, tmp_path):
    adata = fitted.copy()
    adata.var["chosen"] = np.arange(NUM_GENES) < 20
    more = {"mask_var": "chosen", "row_shape": 1, "num_steps": np.int64(2), "key_added": "again"}
    tl.factorize(adata, **OPTIONS, **more)
    read = assert_written_and_read_back(adata, ("vigamma", "again"), tmp_path / "cells.h5ad")
    for key in ("vigamma", "again"):  # and can be drawn
        panels = Figure().subplots(3)
        pl.structure(read, "type", key=key, ax=panels[0])
        pl.heatmap(read, "type", key=key, ax=panels[1])
        pl.loadings(read, [1], order="lift", key=key, ax=panels[2])
        genes = {label.get_text() for label in panels[2].get_yticklabels()}
        assert genes <= {*read.var_names[: 20 if key == "again" else None]}
    params = adata.uns["again"]["params"]
    assert (params["mask_var"], params["n_genes"], params["num_steps"]) == ("chosen", 20, 2)


@pytest.mark.parametrize(
    ("hierarchical", "likelihood", "model"),
    [
        (True, "poisson", vg.HierarchicalPoissonFactorization(rate_shape=0.7)),
        (False, "poisson", vg.PoissonFactorization()),
        (True, "negative_binomial", vg.HierarchicalNegativeBinomialFactorization(rate_shape=0.7)),
        (False, "negative_binomial", vg.NegativeBinomialFactorization()),
    ],
)
def test_the_model_is_the_one_that_is_asked_for(
    cells, monkeypatch, hierarchical, likelihood, model
):
    def fit(given, *_, **__):
        raise InterruptedError(given)

    monkeypatch.setattr(tl, "fit", fit)
    with pytest.raises(InterruptedError) as raised:
        tl.factorize(
            cells.adata,
            layer="counts",
            hierarchical=hierarchical,
            likelihood=likelihood,
            rate_shape=0.7,
        )
    assert raised.value.args == (model,)


@pytest.mark.nightly
def test_samples_of_negative_binomials_are_written_too(cells, tmp_path):
    adata, more = cells.adata.copy(), {"sampled": True, "n_samples": 8}
    tl.factorize(adata, **OPTIONS, **more, likelihood="negative_binomial", hierarchical=False)
    assert_written_and_read_back(adata, ("vigamma",), tmp_path / "cells.h5ad")
    assert all(np.isfinite(values).all() for values in matrices(adata).values())


def test_a_file_that_is_not_in_memory_can_be_factorized(cells, short, tmp_path):
    anndata.AnnData(cells.adata.layers["counts"]).write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    tl.factorize(adata, NUM_FACTORS, num_steps=3)
    assert_same_results(short, adata)
    adata.file.close()


def test_a_copy_has_the_results_and_the_original_stays(cells, fitted):
    assert not {"vigamma", "X_vigamma"} & {*cells.adata.uns, *cells.adata.obsm}
    assert {"vigamma", "X_vigamma"} <= {*fitted.uns, *fitted.obsm}


def test_a_view_becomes_an_object_of_its_own_and_its_parent_stays(cells):
    parent = cells.adata.copy()
    view = parent[20:, ::2]
    with pytest.warns(anndata.ImplicitModificationWarning, match="view"):
        tl.factorize(view, **OPTIONS, num_steps=3)
    assert not view.is_view
    assert view.obsm["X_vigamma"].shape == (NUM_CELLS - 20, NUM_FACTORS)
    assert view.varm["vigamma_loadings"].shape == (NUM_GENES // 2, NUM_FACTORS)
    assert not parent.uns
    copy = tl.factorize(parent[20:, ::2], **OPTIONS, num_steps=3, copy=True)
    assert_same_results(view, copy)


def test_highly_variable_genes_are_fitted_by_default_and_others_are_nan(cells, short):
    adata = cells.adata.copy()
    adata.var["highly_variable"] = chosen = np.arange(NUM_GENES) % 3 > 0
    by_default = tl.factorize(adata, **OPTIONS, num_steps=3, copy=True)
    by_array = tl.factorize(adata, **OPTIONS, mask_var=chosen, num_steps=3, copy=True)
    alone = tl.factorize(adata[:, chosen].copy(), **OPTIONS, num_steps=3, copy=True)
    assert_same_results(by_default, by_array)
    assert by_default.uns["vigamma"]["params"]["mask_var"] == "highly_variable"
    assert "mask_var" not in by_array.uns["vigamma"]["params"]
    loadings = by_default.varm["vigamma_loadings_low"]
    assert np.isnan(loadings[~chosen]).all()
    np.testing.assert_array_equal(loadings[chosen], alone.varm["vigamma_loadings_low"])
    all_genes = tl.factorize(adata, **OPTIONS, mask_var=None, num_steps=3, copy=True)
    assert_same_results(short, all_genes)


def test_empty_cells_and_genes_are_data(cells):
    adata = cells.adata.copy()
    adata.layers["counts"] = counts = adata.layers["counts"].toarray()
    counts[5], counts[:, 7] = 0, 0
    tl.factorize(adata, **OPTIONS, num_steps=20)
    assert all(np.isfinite(values).all() for values in matrices(adata).values())
    amounts, shares = adata.obsm["X_vigamma"], adata.varm["vigamma_loadings"]
    assert amounts[5].sum() < 0.03 * amounts.sum(axis=1).mean()
    assert (shares[7] < 0.01).all()
    with pytest.raises(ValueError, match="a count in every row, but row 5 has none"):
        tl.factorize(adata, **OPTIONS, row_sum_exposures=True)


def test_the_random_state_decides_and_its_default_is_0(cells, short):
    same = tl.factorize(cells.adata, **OPTIONS, num_steps=3, random_state=0, copy=True)
    assert_same_results(short, same)
    other = tl.factorize(cells.adata, **OPTIONS, num_steps=3, random_state=1, copy=True)
    assert not np.allclose(other.obsm["X_vigamma"], short.obsm["X_vigamma"], rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": None}, ValueError, r"adata.X must be whole .*; counts are in adata.layers\['c"),
        ({"layer": "raw"}, vg.UnknownNameError, r"adata has no layer 'raw', but 'counts'"),
        ({"mask_var": "hvg"}, vg.UnknownNameError, "adata.var has no column 'hvg'"),
        ({"mask_var": [True]}, ValueError, r"boolean, one for each of 30 genes, .* shape \(1,\)"),
        ({"mask_var": np.arange(30)}, ValueError, "must be boolean, .* but it is int64"),
        ({"mask_var": np.zeros(30, bool)}, ValueError, "leaves no gene"),
        ({"interval": 1.0}, ValueError, "probability == 1.0, must be < 1"),
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_factors": 0}, ValueError, "num_factors must be at least 1"),
        ({"n_factors": 2.5}, TypeError, "'float' object cannot be interpreted"),
        ({"likelihood": "gauss"}, ValueError, "likelihood must be one of"),
        ({"heldout_fraction": 1.0}, ValueError, "test_fraction must be at least 0, below 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(cells, options, error, message):
    adata = cells.adata.copy()
    with pytest.raises(error, match=message) as raised:
        tl.factorize(adata, **OPTIONS | options)
    assert "\n" not in str(raised.value)
    assert not adata.uns


def test_the_advice_about_numbers_that_are_no_counts_is_of_what_there_is(cells):
    normalized = anndata.AnnData(cells.adata.X)
    with pytest.raises(ValueError, match="no other layer holds counts: keep them, before"):
        tl.factorize(normalized)
    normalized.layers["scaled"] = cells.adata.X.toarray() - 1
    normalized.raw = anndata.AnnData(cells.adata.layers["counts"])
    with pytest.raises(ValueError, match=r"must be ≥ 0, .*; counts are in adata.raw.to_adata\(\)$"):
        tl.factorize(normalized, layer="scaled")
    with pytest.raises(ValueError, match=r"adata.X is empty; no other"):
        tl.factorize(anndata.AnnData(obs=cells.adata.obs, var=cells.adata.var))
