"""The order of factors against dense NumPy."""

import jax
import numpy as np
import pytest

from tests.factors import make_model, random_posterior
from vigamma import Beta, Gamma
from vigamma.models.factor_model import PROBABILITIES
from vigamma.models.factor_order import by_weight, factor_weights, result_of, weights_of_sums

SIZES = {"num_rows": 40, "num_columns": 12, "num_factors": 5}


def posterior(kind: str = "hierarchical", seed: int = 1) -> dict:
    return jax.device_get(random_posterior(make_model(kind), seed, **SIZES))


@pytest.mark.parametrize("exposures", [None, np.linspace(0.1, 5, 40)])
def test_weights_are_shares_of_the_expected_counts_of_all_cells(exposures):
    q = posterior()
    theta, beta = (q[side].concentration / q[side].rate for side in ("rows", "columns"))
    theta = theta if exposures is None else exposures[:, None] * theta
    expected = np.einsum("nk,mk->k", theta, beta) / (theta @ beta.T).sum()
    weights = factor_weights(q, exposures)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["flat", "hierarchical"])
def test_all_of_a_factor_moves_to_its_place_and_nothing_else_moves(kind):
    q = posterior(kind)
    if kind == "hierarchical":
        q[PROBABILITIES] = Beta(np.linspace(1.0, 3.0, 12), np.linspace(2.0, 1.0, 12))
    found, order = by_weight(q), np.argsort(-factor_weights(q))
    assert order.tolist() != sorted(order)  # or else nothing is shown
    assert set(found) == set(q)
    for name, latent in q.items():
        for moved, leaf in zip(*map(jax.tree.leaves, (found[name], latent)), strict=True):
            expected = leaf[:, order] if name in ("rows", "columns") else leaf
            np.testing.assert_array_equal(moved, expected)
    weights = factor_weights(found).tolist()
    assert weights == sorted(weights, reverse=True)


def test_exposures_decide_on_the_order():
    theta, beta = np.array([[1.0, 2.0], [1.0, 0.1]]), np.ones((3, 2))
    q = {"rows": Gamma(theta, np.ones((2, 2))), "columns": Gamma(beta, np.ones((3, 2)))}
    for exposures, first in (([10.0, 0.1], [2.0, 1.0]), ([0.1, 10.0], [1.0, 2.0])):
        assert by_weight(q, np.array(exposures))["rows"].concentration[0].tolist() == first


def test_factors_of_equal_weights_keep_their_order():
    beta = np.array([[1.0, 2.0, 1.5, 1.0], [1.0, 0.0, 0.5, 1.0]]) + 0.5
    q = {"rows": Gamma(np.ones((3, 4)), np.ones((3, 4))), "columns": Gamma(beta, np.ones((2, 4)))}
    np.testing.assert_array_equal(by_weight(q)["columns"].concentration, beta)


def test_weights_are_of_rows_without_padding_in_the_order_of_the_counts():
    """Rows in batches, with a heavy row of padding at the end, of the factor that is lightest."""
    q = posterior()
    stored = {
        name: jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:8]]), latent)
        for name, latent in q.items()
    }
    light = factor_weights(q).argmin()
    stored["rows"].rate[40:, light] = 1e-6
    stored["rows"] = jax.tree.map(lambda leaf: leaf.reshape(4, 12, 5), stored["rows"])
    exposures = np.linspace(0.1, 5, 40)
    found = result_of(stored, (40, 12), is_balanced=False, exposures=exposures)
    expected = by_weight(q, exposures)
    for leaf, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_weights_of_draws_are_those_of_each_draw():
    rng = np.random.default_rng(0)
    of_rows, of_columns = rng.gamma(1.0, size=(2, 6, 3))
    weights = weights_of_sums(of_rows, of_columns)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[2], weights_of_sums(of_rows[2], of_columns[2]))
    expected = of_rows * of_columns
    np.testing.assert_allclose(weights[:, 0] * expected[:, 1], weights[:, 1] * expected[:, 0])
