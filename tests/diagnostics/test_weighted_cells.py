"""Scores as weighted sums over few cells: equal to the scores themselves, or without bias."""

import numpy as np
import pytest

from vigamma import HeldOut, SyntheticFactors
from vigamma.data import heldout
from vigamma.data.heldout import Split
from vigamma.diagnostics import weighted_cells as module
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.diagnostics.weighted_cells import WeightedCells, score_of_rows, weighted_cells

DATA = SyntheticFactors(num_rows=120, num_columns=80, num_factors=3, num_nonzeros=2000)
PROTOCOLS = sorted(heldout.PROTOCOLS)


def split_by(protocol: str) -> Split:
    return HeldOut(protocol=protocol, test_fraction=0.2, valid_fraction=0.15).split(DATA.load())


def factors(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    sides = (scale * rng.gamma(0.5, 1.0, (size, 3)) for size in (120, 80))
    return tuple(side.astype(np.float32) for side in sides)


def value(cells: WeightedCells, theta: np.ndarray, beta: np.ndarray) -> float:
    """The sum itself, densely."""
    rates = theta.astype(float) @ beta.T.astype(float)
    of_cells = rates[cells.rows, cells.columns]
    terms = cells.log_weights * np.log(of_cells) + cells.weights * of_cells
    return cells.constant + terms.sum() + cells.weight_of_all * rates.sum()


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_sum_over_all_cells_is_the_score(protocol, part):
    split = split_by(protocol)
    cells = weighted_cells(split, getattr(split, part))
    for scale in (0.3, 2.0):
        theta, beta = factors(scale)
        expected = heldout_log_likelihood(theta, beta, split, getattr(split, part)).log_likelihood
        assert value(cells, theta, beta) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("probability", [None, 0.3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_scores_of_rows_add_up_to_the_score_and_each_is_of_its_row(protocol, probability):
    split, (theta, beta) = split_by(protocol), factors()
    p = None if probability is None else np.linspace(0.1, probability, 80)
    cells = weighted_cells(split, split.valid)
    constant = cells.constant - np.log(cells.scale)

    def of_rows(theta):
        return score_of_rows(split, split.valid, theta, beta, p)

    expected = heldout_log_likelihood(theta, beta, split, split.valid, p).log_likelihood
    assert of_rows(theta).sum() + constant == pytest.approx(expected, rel=1e-6)
    changed = theta.copy()
    changed[7] *= 3
    assert np.flatnonzero(of_rows(changed) != of_rows(theta)).tolist() == [7]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_drawn_cells_are_few_and_their_sum_is_an_estimate_without_bias(protocol, monkeypatch):
    split, (theta, beta) = split_by(protocol), factors()
    expected = heldout_log_likelihood(theta, beta, split, split.valid).log_likelihood
    seeds, real = iter(range(400)), np.random.default_rng
    monkeypatch.setattr(module.np.random, "default_rng", lambda _: real(next(seeds)))
    found = [weighted_cells(split, split.valid, most_cells=300) for _ in range(100)]
    num_cells = split.valid.rows.size if split.valid.rows.size <= 300 else 150
    assert all(cells.rows.size <= num_cells + 150 for cells in found)
    estimates = np.array([value(cells, theta, beta) for cells in found])
    error = estimates.std() / np.sqrt(estimates.size)
    assert 0 < error < 0.05
    assert abs(estimates.mean() - expected) < 4 * error


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_cells_are_drawn_every_time(protocol):
    split = split_by(protocol)
    first, second = (weighted_cells(split, split.valid, most_cells=100) for _ in range(2))
    for name in ("rows", "columns", "log_weights", "weights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_cells_are_drawn_from_all_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    counts = [np.arange(1, 31), np.full(20, 1000.0)]
    chosen, weights = module._drawn(counts, 40)
    every = np.concatenate(counts)
    assert chosen.size == 20
    assert (np.diff(chosen) >= 0).all()
    assert (chosen >= 30).mean() > 0.8  # 98 % of all counts are there
    np.testing.assert_allclose(weights * (every[chosen] + 0.5), (every + 0.5).sum() / 20)
