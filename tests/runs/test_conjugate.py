"""What the fit of a conjugate model shows."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_train import experiment
from vigamma import ConfigError
from vigamma.devices.mesh import make_mesh
from vigamma.figures import posteriors as plotting
from vigamma.runs import conjugate
from vigamma.runs.train import load_fit


def test_figures_are_of_the_posterior_that_is_given_whatever_was_reported_before(monkeypatch):
    certificate, drawn = types.SimpleNamespace(log_evidence=0.0), []
    monkeypatch.setattr(conjugate, "certify", lambda *_: certificate)
    monkeypatch.setattr(plotting, "run_figures", lambda *data, **what: drawn.append(what))
    fit = load_fit(experiment())
    state = fit.start(make_mesh())
    bright = jax.tree.map(jnp.copy, state.arrays)
    bright.q.log_rate[...] -= 3.0
    for arrays in (state.arrays, bright):
        state.arrays = arrays
        fit.figures(state, [])
    dark, bright = (what["synthetic"] for what in drawn)
    assert dark.shape == bright.shape == (10, 64)
    # The same standard Gamma draws: but for Poisson noise, the rates are e³ times as high.
    np.testing.assert_allclose(bright.sum() / dark.sum(), np.exp(3), rtol=4 / np.sqrt(dark.sum()))


def test_sums_of_all_rows_come_in_no_batches():
    config = experiment()
    config.inference = dataclasses.replace(config.inference, batch_rows=16)
    with pytest.raises(ConfigError, match="it takes the sums of all rows, so that batch_rows"):
        load_fit(config)


def test_a_run_says_which_keys_it_draws_from_whatever_the_default_kind_is():
    with jax.default_prng_impl("rbg"):
        assert load_fit(experiment()).identity["random keys"] == "threefry2x32"
