"""Messages about the fields of a config that flags set."""

import dataclasses
import sys

import pytest
from absl import flags

from tests.command import ROOT
from tests.test_config import CONFIGS, load
from vigamma.command_line.flags import define_config, load_config, parse_flags
from vigamma.runs.experiment import flatten

CARDS = [path for path in CONFIGS if path.stem in ("counts_factors", "digits_vae", "zero")]


@pytest.fixture
def parse(monkeypatch, capsys):
    """A function that sets fields of a config, and returns it, or the line of an error."""

    def parse(path, *words):
        known, argv = set(flags.FLAGS), ["train.py", "--config", str(path), *words]
        monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for fields
        try:
            define_config()
            parse_flags(argv)
            return load_config(flags.FLAGS["config"])[1]
        except SystemExit:
            (line,) = capsys.readouterr().err.splitlines()
            return line.removeprefix("error: ")
        finally:
            for name in set(flags.FLAGS) - known:
                delattr(flags.FLAGS, name)

    return parse


def specs(config, path="config"):
    """The Specs in a config, by path."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield name, value
            yield from specs(value, name)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_no_field_takes_another_class(path, parse):
    for name, value in specs(load(path).get_config()):
        said = parse(path, f"--{name}=Another")
        if name == "config.heldout":
            assert said == f"{name} must be none, or build for its defaults, got 'Another'"
        else:
            assert said.startswith(f"{name} is {type(value).__name__}, and flags change the fields")
            assert said.endswith(f": copy {path}, edit the copy, and give its path to --config")


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_value_of_another_type_names_field_and_type(path, parse):
    for name, value in flatten(load(path).get_config()).items():
        if isinstance(value, (bool, int, float)):
            said = parse(path, f"--config.{name}=wrong")
            kinds = ("float",) if isinstance(value, float) else (type(value).__name__, "float")
            assert said in [f"config.{name} must be {kind}, got 'wrong'" for kind in kinds]


def test_a_value_may_be_a_word_of_its_own_and_hold_anything(parse):
    zero = ROOT / "configs" / "zero.py"
    assert parse(zero, "--config.seed", "a=b: c") == "config.seed must be int, got 'a=b: c'"
    assert parse(zero, "--config.seed=\n") == r"config.seed must be int, got '\n'"
    assert parse(zero, "--config.seed", "3", "--config.num_steps=7").seed == 3
    said = parse(zero, "--config.num_steps=7", "--config.seed=x", "--config.seed=4")
    assert said == "config.seed must be int, got 'x'"


def test_the_nearest_field_is_of_the_same_part_if_several_have_its_name(parse):
    path = ROOT / "configs" / "synthetic_factors.py"
    said = parse(path, "--config.model.num_factor=3")
    assert said == "there is no field config.model.num_factor; did you mean " + (
        "--config.model.num_factors?"
    )
    said = parse(path, "--config.data.num_factor=3")
    assert said.endswith("; did you mean --config.data.num_factors?")


def test_none_and_build_are_what_is_held_out(parse):
    assert parse(ROOT / "configs" / "digits_factors.py", "--config.heldout=none").heldout is None
    flag = "--config.heldout.protocol=cells"
    path = ROOT / "configs" / "zero.py"
    said = "config.heldout is None, without fields: give --config.heldout=build, too"
    assert parse(path, flag) == said
    assert parse(path, "--config.heldout=build", flag).heldout.protocol == "cells"


def test_a_field_of_a_type_that_no_flag_has_says_so(parse, tmp_path):
    path, zero = tmp_path / "mine.py", (ROOT / "configs" / "zero.py").read_text()
    fields = "    size: int | str = 3\n    other: dict | None = None\n"
    zero = zero.replace("def get_config", f"@spec\nclass Mine(Digits):\n{fields}\n\ndef get_config")
    zero = zero.replace("data=Digits(", "data=Mine(").replace("import Adam", "import spec, Adam")
    path.write_text(zero)
    for name, kind in (("size", "int or str"), ("other", "dict or None")):
        said = parse(path, f"--config.data.{name}=4")
        assert said.startswith(f"config.data.{name} is of type {kind}, which no flag sets: copy ")
    assert parse(path, "--config.data.digit=4").data.digit == 4


def test_an_error_of_no_field_is_told_as_it_is(parse, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    raise KeyError('mine')\n")
    assert "mine" in parse(path, "--config.seed=3")
