"""A finished run that is started again: nothing is done, unless something is missing or differs."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.slow import slow_after
from tests.test_train import experiment
from tests.test_train_starts import CONFIG as STARTS
from vigamma import CheckpointError, Digits, run_experiment
from vigamma.inference.train_state import TrainState
from vigamma.runs import finished
from vigamma.runs.train import _Run
from vigamma.storage.manifest import sealed
from vigamma.storage.workdir import folder_of_start

ZERO = experiment(num_steps=10, log_every=10, save_every=5)
STARTS = dataclasses.replace(STARTS, num_starts=2, num_steps=6)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The directories of finished runs; that of several starts without figures."""
    folder = tmp_path_factory.mktemp("ended")
    run_experiment(ZERO, folder / "zero")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, "_draw", lambda *_: [])
        run_experiment(STARTS, folder / "starts")
    return folder


@pytest.fixture
def zero(ended, tmp_path):
    return shutil.copytree(ended / "zero", tmp_path / "zero")


def contents(workdir):
    files = (path for path in workdir.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize(("name", "config"), [("zero", ZERO), ("starts", STARTS)])
def test_nothing_is_done_or_written(ended, monkeypatch, capsys, name, config):
    for work in ("compile", "step"):
        monkeypatch.setattr(TrainState, work, lambda *_: pytest.fail("nothing is left to do"))
    monkeypatch.setattr(_Run, "_finish", lambda *_: pytest.fail("nothing is left to do"))
    before = contents(ended / name)
    again = run_experiment(config, ended / name, print_table=True)
    assert contents(ended / name) == before
    assert not again.is_new
    assert again.summary == json.loads((ended / name / "summary.json").read_text())
    said = capsys.readouterr().out
    assert said.startswith(f"finished at step {again.summary['steps']} before: nothing to do (with")
    assert said.endswith(again.table + "\n")
    assert again.table == "\n".join(again.summary["table"])
    run_experiment(config, ended / name)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_table_comes_before_the_figures(tmp_path, monkeypatch, capsys):
    seen = []

    def draw(*_):
        seen.append(capsys.readouterr().out)
        return []

    monkeypatch.setattr(_Run, "_draw", draw)
    outcome = run_experiment(ZERO, tmp_path, print_table=True)
    (said,) = seen
    assert said.endswith(outcome.table + "\n")
    assert capsys.readouterr().out == ""


def remove_figure(workdir):
    (workdir / "figures" / "posterior_by_number_of_images.png").unlink()


def remove_summary(workdir):
    (workdir / "summary.json").unlink()


def damage_summary(workdir):
    path = workdir / "summary.json"
    path.write_text(path.read_text().replace("Certificate", "certificate"))


def cut_summary(workdir):
    path = workdir / "summary.json"
    path.write_text(path.read_text()[:-20])


def make_summary_old(workdir):
    change_summary(workdir, version="0.0.1")


def make_summary_of_another_precision(workdir):
    change_summary(workdir, float_type="float16")


def start_another_config(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"num_steps": 10', '"num_steps": 12'))


def change_summary(workdir, **changes):
    path = workdir / "summary.json"
    summary = json.loads(path.read_text())
    del summary["crc32"]
    path.write_text(json.dumps(sealed(summary | changes)))


@pytest.mark.parametrize(
    "change",
    slow_after(2, [remove_figure, damage_summary, remove_summary, cut_summary, make_summary_old,
     make_summary_of_another_precision, start_another_config]),
)  # fmt: skip
def test_what_is_missing_or_differs_is_written_again(zero, change):
    before = json.loads((zero / "summary.json").read_text())
    change(zero)
    again = run_experiment(ZERO, zero)
    assert again.is_new
    assert again.summary["resumed_from"] == 10
    assert again.summary["table"] == before["table"]
    assert (zero / "figures" / "posterior_by_number_of_images.png").exists()
    assert not run_experiment(ZERO, zero).is_new


@pytest.mark.parametrize("changes", [{"num_steps": 11}, {"tolerance": 9.0}, {"log_every": 5}])
def test_another_config_of_the_same_run_is_not_finished(zero, no_figures, changes):
    config = dataclasses.replace(ZERO, **changes)
    again = run_experiment(config, zero)
    assert again.is_new
    assert again.summary["steps"] == config.num_steps
    assert not run_experiment(config, zero).is_new
    if config.num_steps == 10:
        assert run_experiment(ZERO, zero).is_new


def test_a_damaged_last_checkpoint_is_taken_again(zero, no_figures, capsys):
    path = next(path for path in (zero / "10" / "arrays").rglob("*") if path.is_file())
    path.write_bytes(b"damaged")
    again = run_experiment(ZERO, zero)
    assert (again.is_new, again.summary["resumed_from"]) == (True, 5)
    assert capsys.readouterr().out.count("is damaged: ") == 1


@pytest.mark.slow
def test_a_start_without_its_last_checkpoint_is_fitted_again(ended, tmp_path, no_figures):
    workdir = shutil.copytree(ended / "starts", tmp_path / "starts")
    shutil.rmtree(folder_of_start(workdir, 1) / "6")
    again = run_experiment(STARTS, workdir)
    assert again.is_new
    assert again.summary["last_steps"] == [6, 6]
    assert not run_experiment(STARTS, workdir).is_new


def test_other_data_are_refused(zero, monkeypatch):
    load = Digits.load

    def other(self):
        found = load(self)
        return found._replace(counts=found.counts + np.eye(*found.counts.shape))

    monkeypatch.setattr(Digits, "load", other)
    with pytest.raises(CheckpointError, match=r"holds step 10 of another run .*checksum"):
        run_experiment(ZERO, zero)


def test_no_start_is_looked_at_where_the_config_differs(zero, monkeypatch):
    config = dataclasses.replace(ZERO, num_steps=20)
    monkeypatch.setattr(finished, "checkpointer_of", lambda *_: pytest.fail("it was looked at"))
    assert finished.summary_of_finished(config, zero, None) is None
