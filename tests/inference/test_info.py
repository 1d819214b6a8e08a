"""What the infos of a run say about it."""

import jax
import numpy as np
import pytest

from vigamma import (
    Adam,
    Gamma,
    GammaPoisson,
    GradientAscent,
    NaturalGradient,
    PathwiseElbo,
    TrainState,
    certify,
)
from vigamma.contracts import StepInfo
from vigamma.devices.mesh import in_default_float, make_mesh
from vigamma.models.gamma_poisson import CountStatistics


@pytest.mark.nightly
@pytest.mark.parametrize("total", [1e6])
def test_a_run_that_adam_leaves_far_off_was_still_on_its_way(total):
    """Adam ends far from the posterior; natural gradients do not, in a hundredth of the steps."""
    model = GammaPoisson(Gamma(np.full(2, 2.0), np.full(2, 2.0)))
    batch = CountStatistics.of(np.array([[1.0, total / 2], [3.0, total / 2]]))
    changes, distances = [], []
    for optimizer, num_steps in (
        (Adam(decay_steps=1000), 1000),
        (NaturalGradient(), 400),
    ):
        algorithm = GradientAscent(estimator=PathwiseElbo(num_samples=32), optimizer=optimizer)
        own, data = in_default_float((model, batch))
        mesh = make_mesh(jax.devices()[:1])
        state = TrainState(algorithm, own, own.prior, data, key=jax.random.key(0), mesh=mesh)
        changes.append(state.step(num_steps).late_change(num_steps))
        distances.append(certify(model, batch, state.arrays.q).kl_to_exact)
    assert distances[0] > 1
    assert changes[0] > 1
    assert distances[1] < 1e-3
    assert changes[1] < 1e-6 * total


def test_a_late_change_is_that_of_the_second_half():
    elbo = np.concatenate([np.linspace(-9.0, 0.0, 50), np.linspace(0.0, -1.0, 50), np.zeros(9)])
    spread = np.std(np.arange(10) / 49, ddof=1) * np.sqrt(2 / 10)
    np.testing.assert_allclose(StepInfo(elbo, {}).late_change(100), 40 / 49 + 2 * spread)
    with pytest.raises(ValueError, match="at least 20 steps, got 19"):
        StepInfo(elbo, {}).late_change(19)


def test_steps_that_were_not_taken_are_not_seen():
    elbo, q = np.arange(5) < 4, np.arange(5) < 3
    info = StepInfo(np.zeros(5), {"elbo": elbo, "q": q})
    assert info.first_not_finite(3) is None
    assert info.first_not_finite(4) == info.first_not_finite(5) == (3, "q")
    assert StepInfo(np.zeros(5), {"elbo": q, "q": q}).first_not_finite(4) == (3, "elbo, q")
