"""Weights, lifts and their intervals, against Monte Carlo and dense NumPy."""

import numpy as np
import pytest
import scipy.stats

from tests.fitted_runs import NUM_COLUMNS, NUM_ROWS, random_run, scaled
from vigamma import ConfigError, Gamma, topics
from vigamma.answers.factor_values import _surest
from vigamma.runs.samples import Samples

RUN = random_run()
EXPOSURES = np.linspace(0.5, 2, NUM_ROWS)
EXPOSED = RUN._replace(exposures=EXPOSURES)


def expected_counts(exposures: np.ndarray) -> np.ndarray:
    q = RUN.factors.q
    return (exposures @ q["rows"].mean) * q["columns"].mean.sum(axis=0)


def test_weights_are_shares_of_the_expected_counts_by_number():
    for run, exposures in ((RUN, np.ones(NUM_ROWS)), (EXPOSED, EXPOSURES)):
        weights, counts = topics(run).weights, expected_counts(exposures)
        assert weights.factor.tolist() == [1, 2, 3]
        np.testing.assert_allclose(weights.weight, counts / counts.sum(), rtol=1e-6)
    assert not np.allclose(expected_counts(np.ones(NUM_ROWS)), expected_counts(EXPOSURES))


@pytest.mark.parametrize("interval", [0.5, 0.9])
def test_intervals_of_weights_are_those_of_draws_of_all_factors(interval):
    q, rng, size = RUN.factors.q, np.random.default_rng(5), 20_000
    theta, beta = (
        rng.gamma(q[side].concentration, 1 / q[side].rate, (size, *q[side].rate.shape))
        for side in ("rows", "columns")
    )
    counts = (EXPOSURES[:, None] * theta).sum(axis=1) * beta.sum(axis=1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    tail = (1 - interval) / 2
    error = 4 * np.sqrt(tail * (1 - tail) * (1 / size + 1 / 10_000)) + 0.005  # sums near a Gamma
    for line in topics(EXPOSED, interval=interval).weights.itertuples():
        assert abs((shares[:, line.factor - 1] < line.low).mean() - tail) < error
        assert abs((shares[:, line.factor - 1] > line.high).mean() - tail) < error


def test_columns_are_the_best_by_mean_and_by_the_lower_end_of_the_lift():
    q, interval = RUN.factors.q["columns"], 0.8
    found = topics(EXPOSED, top=6, interval=interval)
    means = q.mean.astype(float)
    weights = expected_counts(EXPOSURES) / expected_counts(EXPOSURES).sum()
    shares = means / means.sum(axis=0)
    lifts = shares / (weights * shares).sum(axis=1, keepdims=True)
    ends = {
        end: scipy.stats.gamma(q.concentration.astype(float), scale=1 / q.rate.astype(float)).ppf(p)
        for end, p in (("low", 0.1), ("high", 0.9))
    }
    assert len(found.columns) == 3 * 2 * 6
    for k in range(3):
        for order, key in (("mean", means[:, k]), ("lift", (lifts * ends["low"] / means)[:, k])):
            own = found.columns[(found.columns.factor == k + 1) & (found.columns.order == order)]
            best = np.argsort(-key)[:6]
            assert own["rank"].tolist() == [1, 2, 3, 4, 5, 6]
            assert own["name"].tolist() == [f"column {m}, é" for m in best]
            for name, table in (("mean", means), ("lift", lifts)):
                np.testing.assert_allclose(own[name], table[best, k], rtol=1e-5)
                for end, quantiles in ends.items():
                    expected = (table * quantiles / means)[best, k]
                    np.testing.assert_allclose(own[f"{name}_{end}"], expected, rtol=1e-5)
    by_lift_alone = np.argsort(-lifts[:, 0])[:6]
    own = found.columns[(found.columns.factor == 1) & (found.columns.order == "lift")]
    assert own["name"].tolist() != [f"column {m}, é" for m in by_lift_alone]


def test_the_promising_columns_hold_the_surest_ones():
    """Among thousands of columns, of shapes from a posterior with many rare ones."""
    rng = np.random.default_rng(0)
    shapes = 0.3 + rng.pareto(0.7, 20_000)
    beta = Gamma(shapes, rng.gamma(2.0, size=20_000))
    lifts = rng.gamma(3.0, size=20_000)
    lows = lifts * scipy.stats.gamma(shapes).ppf(0.05) / shapes
    assert _surest(beta, lifts, 0.05, 20).tolist() == np.argsort(-lows)[:20].tolist()
    assert _surest(beta, lifts, 0.25, 1).tolist() == [
        (lifts * scipy.stats.gamma(shapes).ppf(0.25) / shapes).argmax()
    ]


def test_a_column_is_promising_by_its_lift_and_by_how_sure_it_is():
    shapes = np.full(1000, 0.02)  # of which all that Wilson & Hilferty say is 0
    lifts = np.linspace(1, 2, 1000)
    lifts[:150] = np.linspace(90, 100, 150)  # large, and by chance
    shapes[500:515], lifts[500:515] = 1e4, np.linspace(3, 4, 15)
    assert _surest(Gamma(shapes, shapes), lifts, 0.05, 15).tolist() == [*range(514, 499, -1)]
    shapes[:] = 0.02
    assert _surest(Gamma(shapes, shapes), lifts, 0.4, 1).tolist() == [149]
    shapes, lifts = np.array([0.3, 0.35]), np.array([10.0, 9.9])  # ordered by the exact quantile
    assert _surest(Gamma(shapes, shapes), lifts, 0.05, 1).tolist() == [1]


def test_the_scale_of_a_factor_does_not_matter():
    scales = np.array([0.01, 1.0, 30.0])
    found, again = topics(RUN, top=NUM_COLUMNS), topics(scaled(RUN, scales), top=NUM_COLUMNS)
    np.testing.assert_allclose(found.weights, again.weights, rtol=1e-4)
    assert found.columns["name"].tolist() == again.columns["name"].tolist()
    np.testing.assert_allclose(found.columns["lift"], again.columns["lift"], rtol=1e-4)
    ratio = found.columns["mean"] / again.columns["mean"]
    np.testing.assert_allclose(ratio, scales[found.columns.factor - 1], rtol=1e-4)


def test_the_table_shows_every_factor_and_name():
    found = topics(RUN, top=2)
    text = found.table()
    assert text.startswith("3 factors; 90 % intervals\n\nFactor ")
    assert text.count("of the counts (") == 3
    assert all(name in text for name in found.columns["name"])
    with pytest.raises(ValueError, match="top must be at least 1"):
        topics(RUN, top=0)


NUM_DRAWS = 400


def run_with_samples(is_switched: bool):
    """A run with draws from its posterior; factors are told apart in each, as shapes are large."""
    rng, q = np.random.default_rng(3), dict(RUN.factors.q)
    for side in ("rows", "columns"):
        q[side] = Gamma(400 * q[side].concentration, 400 * q[side].rate)
    draws = []
    for _ in range(NUM_DRAWS):
        draw = {
            side: rng.gamma(q[side].concentration, 1 / q[side].rate, (2, *q[side].rate.shape))
            for side in ("rows", "columns")
        }
        orders = [rng.permutation(3) for _ in range(2)]
        if is_switched:
            draw = {
                side: np.stack([c[:, o] for c, o in zip(chains, orders, strict=True)])
                for side, chains in draw.items()
            }
        draws.append(draw)
    samples = Samples(draws, np.zeros((2, NUM_DRAWS, 4)))
    return RUN._replace(factors=RUN.factors._replace(q=q), samples=samples)


def test_topics_of_draws_from_the_posterior_are_those_of_the_posterior():
    run = run_with_samples(is_switched=False)._replace(exposures=EXPOSURES)
    options = {"top": NUM_COLUMNS, "interval": 0.8}
    sampled, expected = topics(run, **options), topics(run, intervals="variational", **options)
    assert (sampled.num_draws, expected.num_draws) == (2 * NUM_DRAWS, 0)
    both = sampled.weights.merge(expected.weights, on="factor", suffixes=("", "_expected"))
    keys = ["factor", "order", "name"]
    columns = sampled.columns.merge(expected.columns, on=keys, suffixes=("", "_expected"))
    assert (len(both), len(columns)) == (3, 2 * 3 * NUM_COLUMNS)
    for table, name in ((both, "weight"), (columns, "mean")):
        ends = ("low", "high") if name == "weight" else ("mean_low", "mean_high")
        width = table[f"{ends[1]}_expected"] - table[f"{ends[0]}_expected"]
        for value in (name, *ends):
            # Standard errors of means and of 10 % quantiles of 800 draws are below a 40th.
            assert (abs(table[value] - table[f"{value}_expected"]) < 5 / 40 * width).all()
    # Intervals of the mean-field lift leave out what the sum over factors adds.
    np.testing.assert_allclose(columns["lift"], columns["lift_expected"], rtol=0.2)


def test_topics_do_not_depend_on_the_order_of_the_factors_in_the_draws():
    found, again = (topics(run_with_samples(is_switched)) for is_switched in (False, True))
    assert found.table() == again.table()
    assert found.table().startswith("3 factors; 90 % intervals of 800 posterior samples\n")


def test_lifts_of_draws_are_quantiles_of_the_lifts_of_each_draw():
    run = run_with_samples(is_switched=False)
    theta, beta = (
        np.concatenate([draw[side] for draw in run.samples.draws]) for side in ("rows", "columns")
    )
    expected = theta.sum(axis=1) * beta.sum(axis=1)
    weights = expected / expected.sum(axis=1, keepdims=True)
    shares = beta / beta.sum(axis=1, keepdims=True)
    lifts = shares / (shares * weights[:, None]).sum(axis=2, keepdims=True)
    low, high = np.quantile(lifts, [0.05, 0.95], axis=0, method="weibull")
    found = topics(run, top=5).columns
    for k in range(3):
        own = found[(found.factor == k + 1) & (found.order == "lift")]
        best = np.argsort(-low[:, k])[:5]
        assert own["name"].tolist() == [f"column {m}, é" for m in best]
        for name, table in (("lift", lifts.mean(axis=0)), ("lift_low", low), ("lift_high", high)):
            np.testing.assert_allclose(own[name], table[best, k], rtol=1e-5)


def test_sampled_topics_need_samples():
    with pytest.raises(ConfigError, match="no posterior samples"):
        topics(RUN, intervals="sampled")
    assert topics(RUN).num_draws == 0
