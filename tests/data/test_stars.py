"""Stars that are fitted like numbers of times are told; real numbers of times are not."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits

from vigamma import DigitCounts, SparseCounts, SyntheticFactors
from vigamma.counts.rules import are_stars
from vigamma.counts.sparse import check_sparse_counts

CHANCES = {"MovieLens": (0.06, 0.11, 0.27, 0.34, 0.22), "Amazon": (0.1, 0.05, 0.08, 0.17, 0.6)}


def stars(chances=CHANCES["MovieLens"], density: float = 0.06, shape=(300, 200), seed: int = 0):
    rng = np.random.default_rng(seed)
    rated = rng.uniform(size=shape) < density * rng.gamma(1.0, 1.0, shape[1])
    return np.where(rated, rng.choice(5, shape, p=chances) + 1, 0)


@pytest.mark.parametrize("shape", [(300, 200), (20, 50)])
@pytest.mark.parametrize("density", [0.03, 0.2])
@pytest.mark.parametrize("chances", CHANCES.values(), ids=CHANCES)
def test_stars_are_known(chances, density, shape):
    for seed in range(5):
        assert are_stars(check_sparse_counts(stars(chances, density, shape, seed)))


def numbers_of_times():
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.3, 1.0, (200, 5)) @ rng.gamma(0.3, 0.05, (5, 300))
    draws = {f"plays, mean {rate:g}": rng.poisson(rate, (200, 100)) for rate in (0.05, 0.5, 1, 2)}
    pixels = load_digits().data
    return draws | {
        "factors": rng.poisson(rates),
        "a document": np.minimum(rng.poisson(rates), 5),
        "bursts": np.minimum(rng.negative_binomial(0.1, 0.1, (200, 100)), 5),
        "large": 100 * stars(),
        "digits": pixels,
        "digits of six levels": pixels // 3,
        "likes": np.sign(stars()),
        "baskets": stars((0.7, 0.15, 0.05, 0.05, 0.05)),
    }


@pytest.mark.parametrize("counts", numbers_of_times().values(), ids=numbers_of_times())
def test_numbers_of_times_are_not_taken_for_stars(counts):
    assert not are_stars(check_sparse_counts(counts))


def test_data_of_the_package_are_not():
    for source in (DigitCounts(), SyntheticFactors(num_nonzeros=20_000)):
        assert not are_stars(source.load().counts)


@pytest.mark.parametrize("form", ["npz", "csv", "halves"])
def test_a_note_says_how_stars_are_fitted(tmp_path, form):
    path = tmp_path / f"ratings.{'npz' if form == 'npz' else 'csv'}"
    matrix = sp.coo_array(stars())
    if form == "npz":
        sp.save_npz(path, matrix)
    else:
        values = matrix.data - 0.5 * (matrix.data > 3) if form == "halves" else matrix.data
        lines = zip(*matrix.coords, values, strict=True)
        path.write_text("\n".join(f"{user},{item},{value}" for user, item, value in lines))
    rounding = "stochastic" if form == "halves" else "none"

    def told(**rules) -> int:
        notes = SparseCounts(path=str(path), rounding=rounding, **rules).load().notes
        return sum("5 stars weigh five times as much as 1" in note for note in notes)

    assert told() == told(transpose=True) == 1
    assert told(at_least=4) == told(binary=True) == told(at_least=3.5, binary=True) == 0
