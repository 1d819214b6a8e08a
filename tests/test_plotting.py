import numpy as np
import pytest

from vigamma import Gamma
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
