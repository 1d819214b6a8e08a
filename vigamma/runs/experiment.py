"""What one experiment is: a typed config, its checks, its JSON form, and its command line."""

import dataclasses
import importlib
import re
import types
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from vigamma.contracts import Algorithm, DataSource, missing_members
from vigamma.data.heldout import HeldOut
from vigamma.errors import ConfigError
from vigamma.terminal.console import complain, take_any_character
from vigamma.typing import check_rules, is_spec, spec

_MAY_CHANGE = ("num_steps", "num_starts", "log_every", "save_every", "tolerance")
"""Fields of an experiment that may differ between a run and the run it resumes."""


@spec
class Experiment:
    """One experiment, from the data to the promised accuracy. Files in `configs/` return one.

    Data, model and inference are whatever keeps the contracts of `vigamma.contracts`: a config file
    may define classes of its own, decorated with `spec`.

    Attributes:
      data: the counts, and what was known before.
      model: the model of the counts: a `Factorization`, a `StartingModel`, or a conjugate one.
      inference: how the posterior is found.
      num_steps: the most updates (sweeps, for coordinate ascent; minibatches, for stochastic
        inference) of the whole run; a finished run goes on if this grows.
      num_starts: so many factorizations, from different random starts, each to its end. Rates are
        the means over them, and intervals cover how far they differ; factors are those of the best.
        It may grow, too.
      heldout: which part of sparse counts is held out, to score the fit; None for nothing.
      log_every: steps between two lines of `metrics.jsonl`, and the most that are fused into one
        device program.
      save_every: steps between two checkpoints; one is always saved at the end.
      seed: the seed of all random numbers, 0 to 2³² - 1.
      tolerance: the KL(q ‖ exact posterior) in nats, over all latents, that this config promises
        to stay below; only reported.
    """

    data: DataSource
    model: Any
    inference: Algorithm
    num_steps: int
    num_starts: int = 1
    heldout: HeldOut | None = None
    log_every: int = 100
    save_every: int = 1000
    seed: int = 0
    tolerance: float = 0.01

    def validate(self) -> None:
        """Raises ValueError for a count, seed or tolerance out of range."""
        for name in ("num_steps", "num_starts", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be 0 to 2^32 - 1, got {self.seed}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")
        if self.num_steps <= (sweeps := self._sweeps_of_restarts()):
            raise ValueError(
                f"num_steps must be more than inference.restart_sweeps ({sweeps}), "
                f"got {self.num_steps}"
            )

    def _sweeps_of_restarts(self) -> int:
        inference: Any = self.inference
        return inference.restart_sweeps if getattr(inference, "num_restarts", 1) > 1 else 0


def load_config(flag: Any) -> tuple[str, Experiment]:
    """The name and the value of a parsed `--config` flag.

    The name is that of the file, without its ending, and of what stands after a colon, if anything:
    `configs/digits_black_box.py:adam` calls `get_config("adam")`.

    Raises:
      ConfigError: if there is no such file, or its `get_config()` returns no `Experiment`.
    """
    if flag.value is None:
        raise ConfigError("--config is required, for example --config configs/zero.py")
    filename, _, argument = flag.config_filename.partition(":")  # of get_config
    path = Path(filename)
    if not path.is_file():
        raise ConfigError(f"there is no config file {path}")
    if not isinstance(flag.value, Experiment):
        raise ConfigError(f"get_config() in {path} must return an Experiment")
    return "_".join(filter(None, (path.stem, argument))), flag.value


def check_config(config: Any, path: str = "config") -> None:
    """Checks the type of every field, then the rules of every Spec; raises ConfigError.

    Specs that are fields are checked first, so that the error names the innermost field.
    """
    _check_types(config, path)
    try:
        check_rules(config, path)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_types(config: Any, path: str) -> None:
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}.{field.name}"
        if not _is_instance(value, hints[field.name]):
            raise ConfigError(f"{name} must be {_wanted(value, hints[field.name])}")
        if dataclasses.is_dataclass(value):
            if not is_spec(value):
                raise ConfigError(f"{name}: decorate the class {type(value).__name__} with spec")
            _check_types(value, name)


def _wanted(value: Any, hint: Any) -> str:
    """What is wanted instead of a value, which is of another type or lacks members."""
    if getattr(hint, "_is_protocol", False) and dataclasses.is_dataclass(value):
        missing = missing_members(value, hint)
        return f"a {hint.__name__}, but {type(value).__name__} has no {missing}"
    return f"{_name_of(hint)}, got {value!r}"


def _name_of(hint: Any) -> str:
    options = typing.get_args(hint) or (hint,)
    if hint is Any:
        return "a Spec"
    return " or ".join("None" if o is types.NoneType else o.__name__ for o in options)


def _is_instance(value: Any, hint: Any) -> bool:
    if hint is Any:
        return dataclasses.is_dataclass(value)
    if isinstance(hint, types.UnionType):
        return any(_is_instance(value, option) for option in hint.__args__)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def flatten(config: Any) -> dict[str, Any]:
    """The fields of a config as {"inference.estimator.num_samples": 128, ...}.

    A Spec has, beside its fields, an entry with its own path and the name of its class.
    """

    def items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if not dataclasses.is_dataclass(value):
            yield path, value
            return
        yield path or "experiment", type(value).__name__
        for field in dataclasses.fields(value):
            name = f"{path}.{field.name}" if path else field.name
            yield from items(getattr(value, field.name), name)

    return dict(items(config, ""))


def unflatten(values: Mapping[str, Any]) -> Experiment:
    """The experiment that `flatten` has written down; entries of other names are left alone.

    Raises:
      ConfigError: if fields are missing, or a class is not one of this package.
    """

    def build(hint: Any, path: str) -> Any:
        value, plain = values[path or "experiment"], (str, int, float, bool, types.NoneType)
        if value is None or all(option in plain for option in typing.get_args(hint) or (hint,)):
            return value
        kind = getattr(importlib.import_module("vigamma"), str(value), None)
        if not (isinstance(kind, type) and is_spec(kind)):
            raise ConfigError(f"{path}: {value} is not a class of vigamma")
        hints, prefix = typing.get_type_hints(kind), f"{path}." if path else ""
        fields = (field.name for field in dataclasses.fields(kind))
        return kind(**{name: build(hints[name], prefix + name) for name in fields})

    try:
        config = build(Experiment, "")
    except (KeyError, TypeError) as error:
        raise ConfigError(f"these values are not those of an experiment: {error}") from error
    check_config(config)
    return config


def identity(config: Experiment) -> dict[str, Any]:
    """The fields that decide every step: what a resumed run must share with the run before."""
    return {name: value for name, value in flatten(config).items() if name not in _MAY_CHANGE}


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; anything wrong is one line and exit status 2."""
    take_any_character()
    try:
        with warnings.catch_warnings():  # of ml_collections, which loads the config file
            warnings.filterwarnings("ignore", r"the load_module\(\)", DeprecationWarning)
            rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ConfigError(f"unexpected argument {rest[1]!r}")
        return rest
    except SyntaxError as error:
        problem = f"{error.filename}, line {error.lineno}: {error.msg}"
    except Exception as error:  # a config file is code, and may raise anything
        problem = _one_line(error)
    complain(problem)
    raise SystemExit(2)


def _one_line(error: Exception) -> str:
    """What an error says, without the traceback that config_flags puts into some messages."""
    text = error.args[0] if isinstance(error, KeyError) else str(error)
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    line = lines[-1 if "Traceback" in str(text) else 0] if lines else type(error).__name__
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", line)
