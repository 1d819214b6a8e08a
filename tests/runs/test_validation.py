"""The score of validation counts on the devices is that on the host, wherever rows are stored."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import test_train_stochastic
from tests.test_train_factors import experiment
from vigamma import HeldOut, HierarchicalNegativeBinomialFactorization
from vigamma.devices.mesh import make_mesh
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.models.factor_model import PROBABILITIES
from vigamma.runs.train import load_fit


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [pytest.param(1, marks=pytest.mark.nightly), 4])
@pytest.mark.parametrize("protocol", ["thinning", "cells", "entries"])
@pytest.mark.parametrize("kind", ["ascent", "stochastic", "negative binomial"])
def test_it_is_the_score_of_the_protocol(kind, protocol, num_devices):
    make = test_train_stochastic.experiment if kind == "stochastic" else experiment
    heldout = HeldOut(protocol=protocol, test_fraction=0.2, valid_fraction=0.15)
    config = make(heldout=heldout, num_steps=8)
    if kind == "negative binomial":
        model = HierarchicalNegativeBinomialFactorization(num_factors=3)
        config = dataclasses.replace(config, model=model)
    fit, mesh = load_fit(config), make_mesh(jax.devices()[:num_devices])
    fit.data.exposures = np.linspace(0.5, 2.0, fit.data.split.train.shape[0])
    state = fit.start(mesh)
    state.step(4)
    q = fit.posterior(state)
    theta, beta = fit._means(q)
    p = np.asarray(q[PROBABILITIES].mean) if kind == "negative binomial" else None
    expected = heldout_log_likelihood(
        theta, beta, fit.data.split, fit.data.split.valid, p
    ).log_likelihood
    found = fit.look(state)
    assert found == {"valid_log_likelihood": pytest.approx(expected, rel=1e-5)}
    assert found["valid_log_likelihood"] == fit.observe(state)["valid_log_likelihood"]
    assert float(state.arrays.best.log_likelihood) == np.float32(found["valid_log_likelihood"])


@pytest.mark.slow
def test_what_is_kept_outlives_the_steps_that_use_up_the_state():
    fit, mesh = load_fit(experiment()), make_mesh()
    state = fit.start(mesh)
    state.step(4)
    fit.look(state)
    before = jax.tree.map(np.asarray, state.arrays.q)
    state.step(4)
    after = state.arrays
    assert not np.array_equal(after.q["rows"].rate, before["rows"].rate)
    for name, gamma in after.best.q.items():
        np.testing.assert_array_equal(gamma.rate, before[name].rate)


def test_without_validation_counts_nothing_is_looked_at_or_kept_twice():
    config = experiment()
    heldout = dataclasses.replace(config.heldout, valid_fraction=0.0)
    fit = load_fit(dataclasses.replace(config, heldout=heldout))
    state = fit.start(make_mesh())
    assert state.arrays.best is None
    assert fit.next_look(4) == np.inf
    assert fit.look(state) == {}
    assert set(fit.observe(state)) == {"heldout_log_likelihood"}
    assert fit.kept(state) is state.arrays
