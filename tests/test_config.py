import dataclasses
import importlib.util
import math
import types
from pathlib import Path

import pytest
from absl import flags

from vigamma import (
    Adam,
    AnalyticElbo,
    ConfigError,
    CoordinateAscent,
    Digits,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    PathwiseElbo,
    RunError,
    SparseCounts,
)
from vigamma.command_line.flags import load_config, parse_flags
from vigamma.runs.experiment import (
    check_config,
    config_file,
    flatten,
    identity,
    unflatten,
)

ZERO = Path(__file__).parents[1] / "configs" / "zero.py"
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def experiment(**changes) -> Experiment:
    return dataclasses.replace(load(ZERO).get_config(), **changes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_what_it_is(path):
    module = load(path)
    config = module.get_config()
    if isinstance(config.data, SparseCounts):  # the user's own
        config.data.path = "counts.npz"
    check_config(config)
    for word in ("Command", "Time", "Expect"):
        assert word in module.__doc__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "config.num_steps must be at least 1, got 0"),
        ({"num_steps": "many"}, "config.num_steps must be int, got 'many'"),
        ({"num_steps": True}, "config.num_steps must be int, got True"),
        ({"tolerance": 0.0}, "config.tolerance must be positive"),
        ({"tolerance": math.nan}, "config.tolerance must be positive"),
        ({"seed": -1}, "config.seed must be 0 to"),
        ({"seed": 2**32}, "config.seed must be 0 to 2^32 - 1, got 4294967296"),
        ({"data": Digits(digit=12)}, "config.data.digit must be 0 to 9, got 12"),
        (
            {"data": DomainKnowledge()},
            "config.data must be a DataSource, but DomainKnowledge has no lo",
        ),
        ({"model": DomainKnowledge(weight=-2.0)}, "config.model.weight must be positive"),
        (
            {"inference": Adam()},
            "config.inference must be a Algorithm, but Adam has no num_ba",
        ),
        ({"model": 3}, "config.model must be a Spec, got 3"),
        (
            {"inference": CoordinateAscent(num_restarts=2, restart_sweeps=9), "num_steps": 9},
            "config.num_steps must be more than inference.restart_sweeps (9), got 9",
        ),
        (
            {"inference": GradientAscent(estimator=PathwiseElbo(num_samples=0), optimizer=Adam())},
            "config.inference.estimator.num_samples must be at least 1, got 0",
        ),
        (
            {
                "inference": GradientAscent(
                    estimator=AnalyticElbo(), optimizer=Adam(learning_rate=-1.0)
                )
            },
            "config.inference.optimizer.learning_rate must be positive and finite, got -1.0",
        ),
    ],
)
def test_the_message_names_the_innermost_field(changes, message):
    with pytest.raises(ConfigError) as error:
        check_config(experiment(**changes))
    assert str(error.value).startswith(message)


def test_a_run_is_longer_than_the_sweeps_of_its_restarts_if_it_has_some():
    config = load(ZERO.with_name("digits_factors.py")).get_config()
    config.inference = CoordinateAscent(num_restarts=2, restart_sweeps=20)
    config.num_steps = 21
    check_config(config)
    config.num_steps = 20
    with pytest.raises(ConfigError, match=r"more than inference\.restart_sweeps \(20\), got 20"):
        check_config(config)
    config.inference.num_restarts = 1
    check_config(config)


def test_an_integer_may_stand_for_a_float():
    check_config(experiment(tolerance=1))


def test_flatten_names_every_class_and_field():
    flat = flatten(experiment())
    assert flat["experiment"] == "Experiment"
    assert flat["inference.estimator"] == "PathwiseElbo"
    assert flat["inference.estimator.num_samples"] == 128


def test_identity_leaves_out_what_may_change_and_nothing_else():
    missing = set(flatten(experiment())) - set(identity(experiment()))
    assert missing == {"num_steps", "num_starts", "log_every", "save_every", "tolerance"}
    of_files = dataclasses.replace(experiment(), data=SparseCounts(path="counts.npz"))
    words = set(flatten(of_files)) - set(identity(of_files)) - missing
    assert words == {"data.row_word", "data.column_word", "data.row_label"}


def test_specs_compare_and_hash_by_value():
    assert experiment() == experiment()
    assert hash(experiment()) == hash(experiment())
    assert experiment(seed=1) != experiment()


@pytest.mark.parametrize(
    ("value", "filename", "message"),
    [
        (None, None, "--config is required"),
        (experiment(), "configs/none.py", "there is no config file configs/none.py"),
        ({"seed": 1}, str(ZERO), "must return an Experiment"),
        ({"seed": 1}, f"{ZERO}:word", "must return an Experiment"),
    ],
)
def test_a_flag_without_an_experiment_is_refused(value, filename, message):
    with pytest.raises(RunError, match=message):
        load_config(types.SimpleNamespace(value=value, config_filename=filename))


def test_values_that_are_no_experiment_are_refused():
    values = flatten(experiment())
    assert unflatten(values) == experiment()
    del values["seed"]
    with pytest.raises(ConfigError, match="not those of an experiment: 'seed'"):
        unflatten(values)


@pytest.mark.parametrize("name", ["zero", "digits_factors"])
def test_the_config_file_of_an_experiment_returns_it(name, tmp_path):
    path, config = tmp_path / "again.py", load(ZERO.with_stem(name)).get_config()
    path.write_text(config_file(dataclasses.replace(config, seed=7)))
    assert load(path).get_config() == dataclasses.replace(config, seed=7) != config


def test_a_config_file_of_classes_of_ones_own_is_refused():
    with pytest.raises(ConfigError, match="as Colonies is not a class of vigamma"):
        config_file(load(ZERO.with_stem("regression")).get_config())


def test_what_is_no_flag_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("vigamma.command_line.flags.flags.FLAGS", flags.FlagValues())
    monkeypatch.setattr("vigamma.command_line.flags.take_any_character", lambda: None)
    assert parse_flags(["train.py"]) == ["train.py"]
    with pytest.raises(SystemExit) as end:
        parse_flags(["train.py", "more"])
    assert (end.value.code, capsys.readouterr().err) == (2, "error: unexpected argument 'more'\n")
