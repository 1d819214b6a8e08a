import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from vigamma import Gamma
from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import Bins, PredictiveChecks, Summary
from vigamma.diagnostics.sbc import check_ranks
from vigamma.figures import checks
from vigamma.figures import posteriors as plotting


@pytest.fixture
def gammas():
    shapes = np.array([0.2, 3.0, 40.0, 900.0])
    return [Gamma(shapes * k, np.full(4, 2.0 * k)) for k in (1, 10, 11)]


def pixels(figure, tmp_path):
    from matplotlib.image import imread

    plotting.save(figure, tmp_path / "figure.png")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    return imread(tmp_path / "figure.png")


def figures(gammas):
    prior, exact, q = gammas
    counts = np.random.default_rng(0).poisson(prior.mean, (40, 4)).astype(float)
    return {
        "posterior_images": plotting.posterior_images(prior.mean, q, (2, 2), 40),
        "posterior_densities": plotting.posterior_densities(q, exact, prior, (1, 3)),
        "image_rows": plotting.image_rows([("a", counts[:10]), ("b", counts[:3])], (2, 2)),
        "convergence": plotting.convergence([1, 2, 3], [-9, -2, -1.1], [8, 1, 0.1], -1, 0.01),
        "by number": plotting.posterior_by_number_of_images(prior, counts, 2),
    }


def test_every_figure_is_drawn_without_a_warning(gammas, tmp_path):
    for name, figure in figures(gammas).items():
        image = pixels(figure, tmp_path)
        assert image.shape[0] > 200, name
        assert image[..., :3].std() > 0.02, name  # not blank


def test_a_figure_of_one_row_and_one_image(tmp_path):
    pixels(plotting.image_rows([("one", np.ones((1, 4)))], (2, 2)), tmp_path)


def test_the_posterior_moves_from_the_prior_to_the_data(gammas):
    prior, *_ = gammas
    counts = np.full((200, 4), 30.0)
    (axes,) = plotting.posterior_by_number_of_images(prior, counts, 2).axes
    colors = [to_rgb(line.get_color()) for line in axes.lines[:7]]
    assert min(math.dist(a, b) for a, b in itertools.combinations(colors, 2)) > 0.15
    peaks = [line.get_xdata()[np.argmax(line.get_ydata())] for line in axes.lines[:7]]
    assert abs(peaks[0] - prior.mean[2]) < 1
    assert abs(peaks[-1] - 30) < 0.5
    assert peaks == sorted(peaks)
    first, *_ = axes.get_legend().get_texts()
    assert first.get_text() == "prior, no image"


def test_ranks_are_drawn_with_the_names_of_those_outside_their_band(tmp_path):
    rng = np.random.default_rng(0)
    ranks = rng.integers(21, size=(200, 4))
    ranks[:, 1] = ranks[:, 1] // 2 + 5
    ranks[:, 2] = ranks[:, 2] // 2
    found = check_ranks(ranks, 20, 0.999)
    figure = checks.sbc(found, ["a", "too wide", "too large", "b"])
    (axes,) = figure.axes
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["band", "inside", "too large", "too wide"]
    for line, ecdf in zip(axes.lines[1:], found.ecdf.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(22) - 0.5)
        np.testing.assert_allclose(line.get_ydata()[1:-1], ecdf - np.arange(1, 21) / 21)
        assert line.get_ydata()[[0, -1]].tolist() == [0, 0]
    assert pixels(figure, tmp_path)[..., :3].std() > 0.02


@pytest.mark.parametrize("decades", [0.05, 0.3, 1.0, 1.4, 3.0, 6.0])
def test_labels_of_predicted_counts_do_not_overlap(decades):
    rates = np.geomspace(0.03, 0.03 * 10**decades, 8)
    figure = checks.calibration(Calibration(rates, np.full(8, 99.0), np.full(8, 98.0), np.ones(8)))
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    labels = [
        tick.label1
        for tick in (*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks())
        if tick.label1.get_text() and low <= tick.get_loc() <= high
    ]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_labels_of_a_share_have_the_decimals_that_tell_them_apart():
    for width in (1e-6, 1e-4, 1e-3, 1e-2, 0.1):
        figure = checks.share_of_zeros(0.7 + width, np.linspace(0.7, 0.7 + width, 50))
        FigureCanvasAgg(figure).draw()
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert len(set(labels)) == len(labels) >= 2


def test_sums_and_variances_are_of_what_rows_and_columns_are_called():
    summary = Summary(0.5, 0.1, 0.1, 1.0, np.ones(2), np.ones(2), np.ones(2))
    replicated = Summary(*(np.tile(value, (3, 1)) for value in summary))._replace(zeros=np.ones(3))
    bins = Bins(np.arange(3.0), np.arange(3.0), np.array([1.0, 2.0]))
    figures = dict(
        checks.check_figures(PredictiveChecks(summary, replicated, bins, 9), "cells", "genes")
    )
    labels = {name: (f.axes[0].get_xlabel(), f.axes[0].get_ylabel()) for name, f in figures.items()}
    assert labels == {
        "zeros": ("share of zeros", "replicates"),
        "row_sums": ("sum of counts, from", "cells"),
        "column_sums": ("sum of counts, from", "genes"),
        "variances": ("mean count of genes", "variance"),
    }
