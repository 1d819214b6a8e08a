"""The commands of the package, from flags to exit status."""

import json

import numpy as np
import pytest

from tests.command import ROOT, run, run_together

ZERO = ROOT / "configs" / "zero.py"
NATURAL = ROOT / "configs" / "zero_natural.py"


@pytest.mark.slow
def test_train_then_resume_then_generate(tmp_path):
    workdir = tmp_path / "run"
    flags = ("--config", NATURAL, "--workdir", workdir, "--config.log_every=10")
    status, out, err = run("train.py", *flags, "--config.num_steps=30", "--config.data.digit=3")
    assert (status, err) == (0, "")
    assert "step 30/30  ELBO" in out
    assert "KL(q ‖ exact), all latents" in out
    status, out, err = run("train.py", *flags, "--config.data.digit=3", num_devices=2)
    assert (status, err) == (0, "")
    assert "resuming from step 30" in out
    assert "within the 1e-06 nats that this config promises" in out
    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["steps"], summary["resumed_from"], summary["num_devices"]) == (50, 30, 2)

    for name in ("a", "b"):
        status, out, err = run(
            "generate.py", "--workdir", workdir, "--num=12", "--seed=5", "--output", tmp_path / name
        )
        assert (status, err) == (0, "")
    a, b = (np.load(tmp_path / f"{name}.npz") for name in "ab")
    assert a["counts"].shape == (12, 64)
    assert a["step"] == 50
    np.testing.assert_array_equal(a["counts"], b["counts"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


SAMPLES = "config.inference.estimator.num_samples"
RATE = "config.inference.optimizer.learning_rate"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--config.learning_rate=0.1",
            "there is no field config.learning_rate; did you mean "
            "--config.inference.optimizer.learning_rate?",
        ),
        ("--config.data.at_leest=3", "there is no field config.data.at_leest; --help lists all"),
        (
            "--config.heldout.protocol=cells",
            "config.heldout is None, without fields: give --config.heldout=build, too",
        ),
        ("--config.heldout=HeldOut", "config.heldout must be none, or build for its defaults, got"),
        (
            "--config.inference.estimator=ScoreFunctionElbo",
            "config.inference.estimator is PathwiseElbo, and flags change the fields of a class, "
            f"but not the class: copy {ZERO}, edit the copy, and give its path to --config",
        ),
        ("--config.num_steps=many", "config.num_steps must be int, got 'many'"),
        (f"--{RATE}=-0.1", f"{RATE} must be positive and finite, got -0.1"),
        (f"--{SAMPLES}=0", f"{SAMPLES} must be at least 1, got 0"),
        (f"--{SAMPLES}=7", f"{SAMPLES} must be divisible by the number of devices (2), got 7"),
        ("--config.data.digit=12", "config.data.digit must be 0 to 9, got 12"),
        ("--config.seed=-1", "config.seed must be 0 to"),
        ("--steps=3", "Unknown command line flag 'steps'; --help lists all"),
        ("--workdr=a", "Unknown command line flag 'workdr'; did you mean --workdir?"),
        ("--nocahce", "Unknown command line flag 'nocahce'; did you mean --nocache?"),
        ("more", "unexpected argument 'more'"),
    ],
)
def test_a_bad_flag_is_one_line_and_an_exit_status(tmp_path, flag, message):
    status, out, err = run(
        "train.py", "--config", ZERO, "--workdir", tmp_path / "run", flag, num_devices=2
    )
    assert status in (1, 2)
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not (tmp_path / "run").exists()


SCRIPTS = sorted(
    path.name
    for path in (ROOT / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


@pytest.mark.slow
def test_help_ends_well():
    for name in ("benchmark_fold_in.py", "mutate.py", "topics.py"):
        status, out, err = run(name, "--help")
        assert (status, err) == (0, "")
        assert len(out) > 400
    status, out, err = run("benchmark_fold_in.py", "--num_rows=0")
    assert (status, out) == (1, "")
    assert "num_rows" in err


def test_every_script_starts_where_help_ends_well():
    assert len(SCRIPTS) > 18
    for name in SCRIPTS:
        text = (ROOT / "scripts" / name).read_text()
        is_of_argparse = "ArgumentParser" in text
        assert is_of_argparse or "    start(" in text or "    start_script(main)" in text, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no config file"),
        ("def get_config(:\n", "line 1: invalid syntax"),
        ("def get_config():\n    return 3\n", "must return an Experiment"),
        ("from vigamma import Nothing\n", "cannot import name 'Nothing'"),
    ],
)
def test_a_bad_config_file_is_one_line_and_an_exit_status(tmp_path, content, message):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    status, _, err = run("train.py", "--config", path, cwd=tmp_path)
    assert status in (1, 2)
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_a_workdir_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run("train.py", "--config", NATURAL, "--workdir", tmp_path / "file")
    assert status == 1
    assert err.startswith("error: cannot write in the workdir")
    assert len(err.splitlines()) == 1
    status, _, err = run("generate.py", "--workdir", tmp_path / "nothing")
    assert status == 1
    assert err.startswith("error: there is no checkpoint in")


@pytest.mark.nightly
def test_two_processes_are_one_run(tmp_path):
    """2 processes × 2 devices against 1 process × 4, and a restart across process counts."""
    flags = ("--config", ZERO, "--config.log_every=50", "--config.num_steps=100")
    first, second = run_together(*flags, "--workdir", tmp_path / "two")
    assert "Certificate" in first
    assert "ELBO" not in second
    status, out, _ = run("train.py", *flags, "--workdir", tmp_path / "one", num_devices=4)
    assert status == 0
    two, one = (json.loads((tmp_path / d / "summary.json").read_text()) for d in ("two", "one"))
    assert two["num_devices"] == one["num_devices"] == 4
    np.testing.assert_allclose(two["elbo"], one["elbo"], rtol=1e-6)
    status, out, _ = run(
        "train.py", *flags, "--workdir", tmp_path / "two", "--config.num_steps=150"
    )
    assert status == 0
    assert "resuming from step 100" in out
