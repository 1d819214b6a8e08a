"""The estimator: scikit-learn's own checks, what comes in, and what comes out."""

import pickle
import subprocess
import sys

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import gammaln, xlogy
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from vigamma import NonFiniteError, PoissonFactorizer, SyntheticFactors
from vigamma.inference import train_state
from vigamma.sklearn import factorizer as sklearn_api

NUM_ROWS, NUM_COLUMNS = 300, 12


@pytest.fixture(scope="module")
def truth():
    """Three groups of rows, each with four columns of its own: labels and rates."""
    labels = np.arange(NUM_ROWS) % 3
    rates = np.where(np.arange(NUM_COLUMNS) // 4 == labels[:, None], 6.0, 0.2)
    return labels, rates * np.random.default_rng(0).gamma(5.0, 0.2, (NUM_ROWS, 1))


@pytest.fixture(scope="module")
def counts(truth):
    return np.random.default_rng(1).poisson(truth[1])


@pytest.fixture(scope="module")
def fitted(counts):
    return PoissonFactorizer(3, random_state=0).fit(counts)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([PoissonFactorizer(), PoissonFactorizer(hierarchical=False)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_rates_come_back(truth, counts, fitted):
    _, rates = truth
    got = fitted.inverse_transform(fitted.transform(counts))
    assert np.abs(got - rates).mean() < 0.6 * np.abs(counts - rates).mean()
    assert fitted.components_.shape == (3, NUM_COLUMNS)
    assert np.isfinite(fitted.elbo_)
    assert 3 < fitted.n_iter_ < 500


@pytest.mark.slow
def test_rows_of_the_fit_and_new_ones_get_the_same_factors():
    counts = np.random.default_rng(2).poisson(20.0 * np.eye(3)[np.arange(60) % 3] + 1.0)
    fitted = PoissonFactorizer(3, tol=1e-7, max_iter=2000, random_state=0).fit(counts)
    ascent = fitted.posterior_["rows"].mean
    np.testing.assert_allclose(fitted.transform(counts), ascent, rtol=2e-3, atol=2e-4)
    np.testing.assert_array_equal(fitted.transform(counts[7:8])[0], fitted.transform(counts)[7])
    assert ascent.max() > 10 * ascent.min()


FORMS = {
    "csr": sp.csr_array,
    "csr matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "float32": lambda counts: counts.astype(np.float32),
    "uint8": lambda counts: counts.astype(np.uint8),
    "Fortran": lambda counts: np.asfortranarray(counts, float),
    "DataFrame": pd.DataFrame,
    "sparse DataFrame": lambda counts: pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(counts)),
    "AnnData": lambda counts: anndata.AnnData(sp.csr_matrix(counts.astype(np.float64))),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_table_is_taken(form, counts, fitted):
    table = FORMS[form](counts)
    again = PoissonFactorizer(3, random_state=0).fit(table)
    np.testing.assert_allclose(again.components_, fitted.components_, rtol=1e-6)
    theta = again.transform(table)
    assert theta.dtype == (np.float32 if form == "float32" else np.float64)
    np.testing.assert_allclose(theta, fitted.transform(counts), rtol=1e-5)


def test_an_anndata_is_known_by_the_names_of_its_variables(counts):
    names = [f"gene {i}" for i in range(NUM_COLUMNS)]
    table = anndata.AnnData(counts.astype(np.float32), var=pd.DataFrame(index=names))
    fitted = PoissonFactorizer(3, random_state=0).fit(table)
    assert fitted.feature_names_in_.tolist() == names
    assert fitted.n_features_in_ == NUM_COLUMNS
    frame = pd.DataFrame(counts.astype(np.float32), columns=names)
    np.testing.assert_array_equal(fitted.transform(table), fitted.transform(frame))
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(table[:, ::-1])


@pytest.mark.slow
def test_numbers_need_not_be_whole_and_their_scale_is_that_of_counts(counts, fitted):
    halved = PoissonFactorizer(3, random_state=0).fit(counts / 2)
    whole, half = (
        f.inverse_transform(f.transform(c)) for f, c in ((fitted, counts), (halved, counts / 2))
    )
    np.testing.assert_allclose(half, whole / 2, rtol=0.3, atol=0.3)
    width, of_half = (
        np.diff(f.components_interval(), axis=0)[0] / f.components_ for f in (fitted, halved)
    )
    assert (of_half / width).max() > 1.3  # half as many counts say less, where there are many
    large = PoissonFactorizer(3, random_state=0).fit(counts * 1e12)
    assert np.isfinite(large.transform(counts * 1e12)).all()


def test_booleans_are_counts(counts):
    of_booleans, of_counts = (
        PoissonFactorizer(3, random_state=0).fit(table) for table in (counts > 1, (counts > 1) * 1)
    )
    np.testing.assert_array_equal(of_booleans.components_, of_counts.components_)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: np.where(table == table.max(), -1.0, table), "Negative values"),
        (lambda table: np.where(table == table.max(), np.nan, table), "contains NaN"),
        (lambda table: np.where(table == table.max(), np.inf, table), "infinity"),
        (lambda table: table * 0, "no nonzero"),
        (lambda table: table * 1e40, "at most 1e\\+30"),
    ],
)
def test_what_cannot_be_fitted_is_named(spoil, message, counts):
    with pytest.raises(ValueError, match=message):
        PoissonFactorizer(3).fit(spoil(counts.astype(float)))


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]"])
def test_times_are_no_counts(kind):
    with pytest.raises(TypeError, match=r"X must be numbers, got an array of .*\[s\]"):
        PoissonFactorizer(3).fit(np.ones((3, 2), kind))


def test_another_number_of_features_is_refused(counts, fitted):
    for method in (fitted.transform, fitted.score, clone(fitted).fit(counts).partial_fit):
        with pytest.raises(ValueError, match="11 features, but PoissonFactorizer is expecting 12"):
            method(counts[:, :11])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("row_shape", 0.0),
        ("column_shape", np.inf),
        ("rate_shape", -1.0),
        ("n_init", 0),
        ("tol", -1.0),
        ("max_iter", 0),
    ],
)
def test_parameters_out_of_range_are_named(name, value, counts):
    with pytest.raises(ValueError, match="num_factors" if name == "num_factors" else name):
        PoissonFactorizer(**{name: value}).fit(counts)


def test_a_tolerance_of_one_is_refused_by_the_name_it_has_here(counts):
    with pytest.raises(ValueError, match=r"^tol == 1\.0, must be < 1"):
        PoissonFactorizer(tol=1.0).fit(counts)


@pytest.mark.parametrize(
    ("name", "value"), [("total_samples", 0), ("delay", -1.0), ("forgetting_rate", 0.5)]
)
def test_parameters_of_steps_out_of_range_are_refused(name, value, counts):
    with pytest.raises(ValueError, match=name):
        PoissonFactorizer(3, **{name: value}).partial_fit(counts)


def test_an_elbo_that_is_not_finite_is_an_error(counts, fitted, monkeypatch):
    monkeypatch.setattr(sklearn_api, "minibatch_step", lambda *_: (fitted.posterior_, np.nan))
    with pytest.raises(NonFiniteError, match="not finite; are there very large numbers"):
        PoissonFactorizer(3).partial_fit(counts)


def test_rows_without_counts_have_the_smallest_factors(counts, fitted):
    theta = fitted.transform(np.vstack([counts[:5], np.zeros((2, NUM_COLUMNS))]))
    assert (theta[5:].sum(axis=1) < 0.2 * theta[:5].sum(axis=1).min()).all()
    np.testing.assert_array_equal(fitted.transform(np.zeros((1, NUM_COLUMNS)))[0], theta[5])


def test_the_score_is_of_each_half_of_the_features_from_the_other(counts, fitted):
    order = np.random.default_rng(0).permutation(NUM_COLUMNS)
    total = 0.0
    for unseen in (order[::2], order[1::2]):
        seen = np.setdiff1d(order, unseen)
        part = clone(fitted).fit(counts[:, seen])
        part.model_, columns = fitted.model_, fitted.posterior_["columns"]
        part.posterior_ = {"columns": jax.tree.map(lambda leaf, i=seen: leaf[i], columns)}
        rates = part.transform(counts[:, seen]) @ fitted.components_[:, unseen]
        x = counts[:, unseen]
        total += (xlogy(x, rates) - rates - gammaln(x + 1)).sum()
    np.testing.assert_allclose(fitted.score(counts), total / NUM_ROWS, rtol=1e-5)
    with pytest.raises(ValueError, match="2 features"):
        PoissonFactorizer(1).fit(counts[:, :1]).score(counts[:, :1])


def test_minibatches_come_near_the_fit(counts, truth):
    rng = np.random.default_rng(3)
    _, rates = truth
    held_out = rng.poisson(rates)
    streamed = PoissonFactorizer(3, random_state=0, total_samples=NUM_ROWS)
    scores = []
    for _ in range(20):
        streamed.partial_fit(counts[rng.permutation(NUM_ROWS)[:20]])
        scores.append(streamed.score(held_out))
    best = PoissonFactorizer(3, random_state=0).fit(counts).score(held_out)
    assert streamed.n_steps_ == 20
    assert streamed.n_samples_seen_ == 400
    assert scores[0] < best - 0.5
    assert scores[-1] > best - 0.1


@pytest.mark.parametrize("total_samples", [None, 500])
def test_steps_are_as_large_as_the_rows_seen_before_and_weigh_as_all(
    counts, fitted, monkeypatch, total_samples
):
    taken = []

    def step(inference, model, columns, counts, num_batches, step_size):
        taken.append((num_batches, step_size))
        return columns | {"rows": None}, -1.0

    monkeypatch.setattr(sklearn_api, "minibatch_step", step)
    options = {"delay": 2.0, "forgetting_rate": 0.7, "total_samples": total_samples}
    streamed = clone(fitted).set_params(**options)
    streamed.partial_fit(counts[:20]).partial_fit(counts[:20]).partial_fit(counts[:10])
    totals = (20, 40, 50) if total_samples is None else (500, 500, 500)
    weights = [total / size for total, size in zip(totals, (20, 20, 10), strict=True)]
    sizes = [(1 + t + 2.0) ** -0.7 for t in (0, 1, 4)]
    np.testing.assert_allclose(taken, np.transpose([weights, sizes]))


def test_a_step_after_a_fit_is_small(counts, fitted):
    streamed = clone(fitted).fit(counts)
    assert streamed.n_samples_seen_ == NUM_ROWS
    streamed.partial_fit(counts[:3])
    change = np.abs(streamed.components_ - fitted.components_).max()
    assert 0 < change < 0.1 * fitted.components_.max()


def test_intervals_hold_what_they_promise(counts, fitted):
    for mean, (lower, upper) in (
        (fitted.components_, fitted.components_interval(0.9)),
        (fitted.transform(counts), fitted.transform_interval(counts, 0.9)),
    ):
        assert lower.shape == upper.shape == mean.shape
        assert (lower < upper).all()
        assert (mean < upper).all()
    narrow = fitted.components_interval(0.5)
    assert (narrow[1] - narrow[0] < np.subtract(*fitted.components_interval(0.9)[::-1])).all()
    gamma = fitted.posterior_["columns"]
    draws = np.random.default_rng(0).gamma(gamma.concentration.T, 1 / gamma.rate.T, (4000, 3, 12))
    lower, upper = fitted.components_interval(0.9)
    inside = ((lower < draws) & (draws < upper)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.9, atol=0.025)
    with pytest.raises(ValueError, match="probability"):
        fitted.components_interval(1.0)


@pytest.fixture(scope="module")
def sampled(counts):
    return PoissonFactorizer(3, random_state=0).fit(counts).sample_posterior(counts, 120, 2, 0)


@pytest.mark.slow
def test_sampled_intervals_are_of_the_matched_draws(counts, sampled):
    assert sampled.samples_.num_draws == 2 * 20
    beta = sampled.samples_.taken("columns", slice(None))
    match = sampled.samples_.matches(sampled.components_.T)
    beta = np.array([draw[:, order].T for draw, order in zip(beta, match, strict=True)])
    lower, upper = sampled.components_interval(0.9)
    np.testing.assert_allclose(lower, np.quantile(beta, 0.05, axis=0, method="weibull"), rtol=1e-5)
    np.testing.assert_allclose(upper, np.quantile(beta, 0.95, axis=0, method="weibull"), rtol=1e-5)
    variational = sampled.components_interval(0.9, intervals="variational")
    assert not np.allclose(lower, variational[0], rtol=0.01)
    lower, upper = sampled.transform_interval(counts[:7])
    assert lower.shape == upper.shape == (7, 3)
    assert lower.dtype == sampled.components_.dtype
    assert (lower < upper).all()
    assert (sampled.transform(counts[:7]) < upper).mean() > 0.9
    for values in sampled.transform_interval(np.zeros((2, 12))):
        assert np.isfinite(values).all()


@pytest.mark.nightly
def test_sampled_intervals_of_rows_hold_the_true_shares():
    """With the priors known, and columns that are known almost exactly."""
    rng = np.random.default_rng(0)
    theta, beta = rng.gamma(1.0, 0.5, (400, 2)), rng.gamma(1.0, 0.5, (60, 2))
    counts = rng.poisson(theta @ beta.T)
    fit = PoissonFactorizer(2, hierarchical=False, row_shape=1.0, column_shape=1.0, random_state=0)
    fit.fit(counts).sample_posterior(counts, 300, 2, 0)
    scale = fit.components_.sum(axis=1)
    truth = theta * beta.sum(axis=0)
    order = [0, 1] if np.corrcoef(fit.transform(counts)[:, 0], truth[:, 0])[0, 1] > 0.7 else [1, 0]
    lower, upper = (ends[:, order] * scale[order] for ends in fit.transform_interval(counts))
    inside = ((lower < truth) & (truth < upper)).mean()
    narrow = fit.transform_interval(counts, intervals="variational")
    lower, upper = (ends[:, order] * scale[order] for ends in narrow)
    assert ((lower < truth) & (truth < upper)).mean() < 0.8
    assert 0.86 < inside < 0.94


@pytest.mark.slow
def test_posterior_samples_are_refused_where_they_would_be_wrong(counts, sampled):
    fractional = counts + 0.5
    fitted = PoissonFactorizer(3, random_state=0).fit(counts)
    with pytest.raises(ValueError, match="call sample_posterior"):
        fitted.components_interval(intervals="sampled")
    with pytest.raises(ValueError, match=r"one of .*'variational', 'sampled'.*got 'exact'"):
        fitted.transform_interval(counts, intervals="exact")
    with pytest.raises(ValueError, match="the X of the last call of fit"):
        fitted.sample_posterior(counts + 1)
    with pytest.raises(ValueError, match="n_sweeps"):
        fitted.sample_posterior(counts, 43)
    with pytest.raises(ValueError, match="whole numbers"):
        sampled.transform_interval(fractional)
    with pytest.raises(ValueError, match="whole numbers"):
        clone(fitted).fit(fractional).sample_posterior(fractional)
    again = clone(sampled).fit(counts).sample_posterior(counts, 60, 1, 0)
    assert again.fit(counts).samples_ is None
    with pytest.raises(ValueError, match="the X of the last call of fit"):
        again.partial_fit(counts).sample_posterior(counts)
    with pytest.raises(NotFittedError):
        PoissonFactorizer().sample_posterior(counts)


@pytest.mark.slow
def test_samples_are_like_the_counts(counts, fitted):
    drawn = fitted.sample(600, random_state=0)
    assert drawn.shape == (600, NUM_COLUMNS)
    assert drawn.dtype == fitted.components_.dtype == np.float64
    assert (drawn == np.floor(drawn)).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts.mean(axis=0), rtol=0.2)
    correlation, wanted = np.corrcoef(drawn.T), np.corrcoef(counts.T)
    np.testing.assert_allclose(correlation, wanted, atol=0.2)
    np.testing.assert_array_equal(drawn[:5], fitted.sample(600, random_state=0)[:5])


@pytest.mark.nightly
def test_grid_search_finds_the_number_of_components(counts):
    search = GridSearchCV(PoissonFactorizer(random_state=0), {"n_components": [1, 2, 3]}, cv=3)
    search.fit(counts)
    assert search.best_params_ == {"n_components": 3}
    spread = np.ptp(search.cv_results_["mean_test_score"])
    assert spread > 1


def test_pipelines_and_pandas_output(truth, counts):
    factors = PoissonFactorizer(3, n_init=3, random_state=0)
    assert (
        cross_val_score(make_pipeline(factors, LogisticRegression()), counts, truth[0]).min() > 0.9
    )
    frame = factors.set_output(transform="pandas").fit_transform(
        pd.DataFrame(counts, index=np.arange(NUM_ROWS) + 7)
    )
    assert frame.columns.tolist() == [f"poissonfactorizer{k}" for k in range(3)]
    assert frame.index[0] == 7


def test_a_pickle_is_the_estimator(counts, fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(counts), fitted.transform(counts))
    for leaf in jax.tree.leaves((fitted.posterior_, fitted.model_)):
        assert isinstance(leaf, np.ndarray | np.generic)


def test_too_few_sweeps_are_told_and_progress_is_printed(counts, capsys):
    with pytest.warns(ConvergenceWarning, match="2 sweeps"):
        few = PoissonFactorizer(3, max_iter=2, n_init=2, verbose=1, random_state=0).fit(counts)
    assert few.n_iter_ == 2
    assert "start 2/2: ELBO" in capsys.readouterr().out
    best = PoissonFactorizer(3, n_init=3, random_state=0).fit(counts)
    assert best.n_iter_ > 3
    assert "start" not in capsys.readouterr().out


@pytest.mark.slow
def test_learned_priors_have_a_higher_elbo(counts, fitted):
    learned = PoissonFactorizer(3, learn_priors=True, random_state=0).fit(counts)
    assert learned.elbo_ > fitted.elbo_ + 10
    assert learned.model_.row_prior.concentration != fitted.model_.row_prior.concentration


def test_nothing_is_answered_before_a_fit(counts):
    for method in (PoissonFactorizer().sample, PoissonFactorizer().components_interval):
        with pytest.raises(NotFittedError):
            method()
    for method in (PoissonFactorizer().score, PoissonFactorizer().transform_interval):
        with pytest.raises(NotFittedError):
            method(counts)


@pytest.mark.slow
def test_fits_of_nearly_one_shape_share_a_program(counts):
    program = train_state._program
    program.cache_clear()
    for num_rows in (300, 290, 280):
        PoissonFactorizer(3, random_state=0).fit(counts[:num_rows])
    assert program.cache_info()[:2] == (2, 1)  # hits, misses


@pytest.mark.slow
def test_the_package_imports_scikit_learn_and_matplotlib_only_when_they_are_needed():
    code = (
        "import sys, vigamma; assert not {'sklearn', 'matplotlib'} & set(sys.modules); "
        "vigamma.PoissonFactorizer"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_several_starts_score_as_their_mixture():
    counts = SyntheticFactors(num_rows=80, num_columns=50, num_factors=3, num_nonzeros=900).load()
    counts, new = counts.counts[:60].toarray(), counts.counts[60:].toarray()
    several = PoissonFactorizer(8, num_starts=3, random_state=0, max_iter=40, tol=0).fit(counts)
    one = PoissonFactorizer(8, random_state=0, max_iter=40, tol=0).fit(counts)
    assert len(several.starts_) == 3
    elbos = [posterior["rows"].rate for _, posterior in several.starts_]
    assert any(np.array_equal(rate, one.posterior_["rows"].rate) for rate in elbos)
    assert several.elbo_ >= one.elbo_
    assert several.components_.shape == (8, 50)
    best = several.starts_[0][1]["rows"]
    np.testing.assert_array_equal(several.posterior_["rows"].rate, best.rate)
    singles = []
    for model, posterior in several.starts_:
        alone = clone(several).set_params(num_starts=1).fit(counts)
        alone.model_, alone.posterior_, alone.starts_ = model, posterior, [(model, posterior)]
        singles.append(alone.score(new))
    assert len(set(singles)) == 3
    assert several.score(new) > np.mean(singles)  # the log-likelihood is concave in the rates
    assert several.sample(7, random_state=1).shape == (7, 50)
    several.partial_fit(new)
    assert len(several.starts_) == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", [5, slice(None)])
@pytest.mark.parametrize("hierarchical", [False, True])
def test_no_fit_converges_where_float32_cannot_see_it(place, hierarchical):
    """Beside counts of 1e9, single or a row, the ELBO stops to rise 256 nats below its maximum."""
    counts = np.random.default_rng(0).poisson(2.0, (40, 15)).astype(float)
    counts[5, place] = 1e9
    model = PoissonFactorizer(3, hierarchical=hierarchical, max_iter=60, random_state=0)
    with pytest.warns(ConvergenceWarning, match="lost in its rounding, in fewer .*X64=1"):
        model.fit(counts)
    assert model.n_iter_ == 60


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_no_fit_converges_on_the_plateau_beside_one_large_count():
    """From sweep 25 on each rises by 0.005 nats only, but 150 nats are missing."""
    counts = np.random.default_rng(0).poisson(1.0, (40, 15)).astype(float)
    counts[3, 4] = 1e6
    model = PoissonFactorizer(2, max_iter=60, random_state=0)
    with pytest.warns(ConvergenceWarning, match="60 sweeps .* to tol=1e-05$"):
        model.fit(counts)
    assert model.n_iter_ == 60


def test_an_elbo_that_leaves_the_floats_is_refused():
    model = PoissonFactorizer(2, total_samples=10**9)
    with pytest.raises(NonFiniteError, match="are there very large numbers in X"):
        model.partial_fit(np.full((6, 4), 1e30))
