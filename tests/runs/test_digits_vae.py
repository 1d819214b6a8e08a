"""The encoder of `configs/digits_vae.py`: the same on all devices, and from where it was cut."""

import dataclasses
import runpy

import jax
import numpy as np
import pytest

from tests.command import ROOT
from tests.test_train import hashes
from vigamma import run_experiment
from vigamma.devices.mesh import make_mesh
from vigamma.runs.loading import load_fit

CONFIG = runpy.run_path(str(ROOT / "configs" / "digits_vae.py"))["get_config"]()
SMALL = dataclasses.replace(CONFIG, num_steps=12, log_every=4, save_every=4)


@pytest.mark.nightly
def test_one_two_and_four_devices_agree():
    ends = []
    for num_devices in (1, 2, 4):
        fit = load_fit(SMALL)
        state = fit.start(make_mesh(jax.devices()[:num_devices]))
        start = fit.posterior(state)
        infos = state.step(12)
        ends.append((infos.elbo, fit.posterior(state)))
    assert np.abs(np.log(ends[0][1]["columns"].mean / start["columns"].mean)).max() > 0.1
    (elbo, one), *others = ends
    for other_elbo, other in others:
        np.testing.assert_allclose(other_elbo, elbo, rtol=1e-5)
        for name in ("rows", "columns"):
            np.testing.assert_allclose(other[name].mean, one[name].mean, rtol=1e-4)


@pytest.mark.nightly
def test_a_run_cut_and_resumed_is_bit_identical(tmp_path, no_figures):
    whole = run_experiment(SMALL, tmp_path / "whole").summary
    for num_steps in (5, 12):
        cut = run_experiment(dataclasses.replace(SMALL, num_steps=num_steps), tmp_path / "cut")
    assert cut.summary["resumed_from"] == 5
    assert cut.summary["elbo"] == whole["elbo"]
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")
