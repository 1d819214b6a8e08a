"""A checkpoint of any number of devices serves any other: bit for bit, and to the same end."""

import json
import os
import subprocess
import sys

import pytest

from tests.command import ROOT
from tests.faults.device_trials import Trial, experiment, trials


def check(found: list[Trial], device_counts: tuple[int, ...]) -> None:
    pairs = {(trial.saved_on, trial.restored_on) for trial in found}
    assert pairs == {(a, b) for a in device_counts for b in device_counts}
    for trial in found:
        assert trial.is_bit_equal, trial
        assert trial.elbo_error < 1e-5, trial
        assert trial.error < 1e-5, trial
        if trial.saved_on == trial.restored_on:
            assert trial.elbo_error == trial.error == 0


@pytest.mark.slow
def test_factors_of_one_and_four_devices_serve_each_other(tmp_path):
    check(trials(experiment("synthetic_factors"), 300, (1, 4), tmp_path), (1, 4))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "first_step"),
    [
        ("zero", 4000),  # where the learning rate is small; see the changelog on the steps before
        ("zero_natural", 0),
        ("zero_natural", 50),
        ("synthetic_factors", 300),
    ],
)
def test_1_2_4_and_8_devices_serve_each_other(tmp_path, name, first_step):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.device_trials", name, str(first_step), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [Trial(*values) for values in json.loads(done.stdout)]
    print(*found, sep="\n")
    check(found, (1, 2, 4, 8))
