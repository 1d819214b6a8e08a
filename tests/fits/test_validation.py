"""The score of validation counts on the devices is that on the host, wherever rows are stored."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import test_train_stochastic
from tests.test_train_factors import experiment
from vigamma import HeldOut
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.mesh import make_mesh
from vigamma.train import load_fit


@pytest.mark.parametrize("num_devices", [1, 4])
@pytest.mark.parametrize("protocol", ["thinning", "cells", "entries"])
@pytest.mark.parametrize("kind", ["ascent", "stochastic"])
def test_it_is_the_score_of_the_protocol(kind, protocol, num_devices):
    make = experiment if kind == "ascent" else test_train_stochastic.experiment
    heldout = HeldOut(protocol=protocol, test_fraction=0.2, valid_fraction=0.15)
    fit, mesh = load_fit(make(heldout=heldout, num_steps=8)), make_mesh(jax.devices()[:num_devices])
    fit.exposures = np.linspace(0.5, 2.0, fit.split.train.shape[0])
    arrays = fit.start(mesh)
    arrays, _ = fit.compile(arrays, mesh, 4)(arrays, 4)
    theta, beta = fit._means(arrays.q)
    expected = heldout_log_likelihood(theta, beta, fit.split, fit.split.valid).log_likelihood
    arrays, found = fit.look(arrays)
    assert found == {"valid_log_likelihood": pytest.approx(expected, rel=1e-5)}
    assert found["valid_log_likelihood"] == fit.observe(arrays)["valid_log_likelihood"]
    assert float(arrays.best.log_likelihood) == np.float32(found["valid_log_likelihood"])


def test_what_is_kept_outlives_the_steps_that_use_up_the_state():
    fit, mesh = load_fit(experiment()), make_mesh()
    first = fit.start(mesh)
    advance = fit.compile(first, mesh, 4)
    arrays, _ = advance(first, 4)
    arrays, _ = fit.look(arrays)
    before = jax.tree.map(np.asarray, arrays.q)
    after, _ = advance(arrays, 8)
    assert not np.array_equal(after.q["rows"].rate, before["rows"].rate)
    for name, gamma in after.best.q.items():
        np.testing.assert_array_equal(gamma.rate, before[name].rate)


def test_without_validation_counts_nothing_is_looked_at_or_kept_twice():
    config = experiment()
    heldout = dataclasses.replace(config.heldout, valid_fraction=0.0)
    fit = load_fit(dataclasses.replace(config, heldout=heldout))
    arrays = fit.start(make_mesh())
    assert arrays.best is None
    assert fit.next_look(4) == np.inf
    assert fit.look(arrays) == (arrays, {})
    assert set(fit.observe(arrays)) == {"heldout_log_likelihood"}
    assert fit.kept(arrays) is arrays
