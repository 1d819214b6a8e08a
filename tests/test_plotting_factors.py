"""The figures of factorizations are drawn, and not blank."""

import numpy as np
from matplotlib.image import imread

from vigamma.figures import factors as plotting_factors
from vigamma.figures import posteriors as plotting

RNG = np.random.default_rng(0)
THETA, BETA = RNG.gamma(0.5, 1.0, (30, 12)), RNG.gamma(0.5, 1.0, (16, 12))
WEIGHTS = np.sort(RNG.dirichlet(np.ones(12)))[::-1]


def lines(*names: str):
    return [
        {"step": 10 * i, "elbo": -1000.0 / i, "seconds": i} | dict.fromkeys(names, -3.0 / i)
        for i in range(1, 13)
    ]


def figures():
    images = THETA[:10] @ BETA.T
    pair = (images, RNG.poisson(images))
    yield "bare", plotting_factors.convergence(lines(), None)
    yield "one line", plotting_factors.convergence(lines("heldout_log_likelihood")[:1], -2.0)
    yield "images", plotting_factors.factor_images(THETA, BETA, (4, 4))
    yield "synthetic", plotting_factors.synthetic_images(images, pair, pair, (4, 4))
    yield from plotting_factors.factor_figures(
        WEIGHTS, lines("heldout_log_likelihood", "valid_log_likelihood"), -2.0
    )


def test_every_figure_is_drawn_without_a_warning(tmp_path):
    names = []
    for name, figure in figures():
        names.append(name)
        plotting.save(figure, tmp_path / "figure.png")
        image = imread(tmp_path / "figure.png")
        assert image.shape[0] > 200, name
        assert image[..., :3].std() > 0.02, name  # not blank
    assert names == ["bare", "one line", "images", "synthetic", "convergence", "factor_weights"]


def test_without_metrics_there_is_no_convergence():
    names = [name for name, _ in plotting_factors.factor_figures(WEIGHTS, [], None)]
    assert names == ["factor_weights"]


def legend_of(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_scores_and_what_they_are_without_factors_are_named():
    metrics = lines("heldout_log_likelihood", "valid_log_likelihood")
    _, scores = plotting_factors.convergence(metrics, -2.0).axes
    assert legend_of(scores) == [
        "kept: sweep 120", "held out for the test", "its best: sweep 120",
        "held out for validation", "its best: sweep 120", "without factors: -2",
    ]  # fmt: skip
    assert scores.get_ylim()[0] < -2.0
    _, scores = plotting_factors.convergence(metrics, -50.0).axes
    assert legend_of(scores)[-1] == "without factors: -50, below"
    assert scores.get_ylim()[0] > -5


def test_overfitting_is_seen_by_the_best_sweep_and_the_kept_one():
    path = [-3.0, -2.0, -2.2, -2.4]
    metrics = [
        {"step": 20 * i, "elbo": -10.0 / i, "heldout_log_likelihood": score}
        for i, score in enumerate(path, 1)
    ]
    for best_step, kept in ((None, 40), (60, 30)):
        elbo, scores = plotting_factors.convergence(metrics, None, 2, best_step).axes
        for axes in (elbo, scores):
            (line,) = (line for line in axes.lines if line.get_linestyle() == "--")
            assert line.get_xdata() == [kept, kept]
        (star,) = (line for line in scores.lines if line.get_marker() == "*")
        assert (star.get_xdata(), star.get_ydata()) == ([20], [-2.0])
        assert legend_of(scores)[::2] == [f"kept: sweep {kept}", "its best: sweep 20"]


def test_the_paths_of_a_search_share_a_color_and_a_line_of_the_legend_by_their_labels():
    paths = [[(1, -3.0 - i), (2, -2.0 - i)] for i in range(4)]
    (axes,) = plotting_factors.search_paths(paths, ["winner", "own", "other", "own"]).axes
    legend = axes.get_legend()
    assert sorted(text.get_text() for text in legend.get_texts()) == ["other", "own", "winner"]
    colors = {line.get_ydata()[0]: line.get_color() for line in axes.lines if line.get_lw() == 1}
    assert colors[-4.0] == colors[-6.0] != colors[-5.0]


def test_bars_of_weights_are_at_the_numbers_of_the_factors():
    (axes,) = plotting_factors.factor_weights(WEIGHTS).axes
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], WEIGHTS)
    centers = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    np.testing.assert_allclose(centers, np.arange(12) + 1)


def test_images_of_factors_are_of_a_mean_row_in_their_order():
    figure = plotting_factors.factor_images(THETA, BETA, (4, 4))
    images = [axes.images[0].get_array().ravel() for axes in figure.axes if axes.images]
    np.testing.assert_allclose(images, (BETA * THETA.mean(axis=0)).T)


def test_images_of_idle_factors_are_left_out_and_counted():
    theta = THETA.copy()
    theta[:, 3] = 1e-9
    figure = plotting_factors.factor_images(theta, BETA, (4, 4))
    images = [axes for axes in figure.axes if axes.images]
    assert len(images) == 11
    assert all(axes.spines["left"].get_visible() and axes.axison for axes in images)
    assert figure.subfigs[0].get_suptitle().endswith("1 of 12 are idle")
