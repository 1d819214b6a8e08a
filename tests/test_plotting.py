import numpy as np
import pytest

from vigamma import Gamma
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
        "dial": plotting.dial(prior, counts, 2),
    }


def test_every_figure_is_drawn_without_a_warning(gammas, tmp_path):
    for name, figure in figures(gammas).items():
        image = pixels(figure, tmp_path)
        assert image.shape[0] > 200, name
        assert image[..., :3].std() > 0.02, name  # not blank


def test_a_figure_of_one_row_and_one_image(tmp_path):
    pixels(plotting.image_rows([("one", np.ones((1, 4)))], (2, 2)), tmp_path)


def test_the_dial_moves_from_the_prior_to_the_data(gammas):
    prior, *_ = gammas
    counts = np.full((200, 4), 30.0)
    (axes,) = plotting.dial(prior, counts, 2).axes
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
