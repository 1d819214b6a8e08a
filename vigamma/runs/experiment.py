"""Experiments: typed configs, with their checks and JSON form."""

import dataclasses
import importlib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from vigamma.contracts import Algorithm, DataSource, missing_members
from vigamma.data.heldout import HeldOut
from vigamma.errors import ConfigError
from vigamma.typing import check_rules, is_spec, spec

_MAY_CHANGE = (
    "num_steps", "num_starts", "log_every", "save_every", "tolerance",
    "data.row_word", "data.column_word", "data.row_label",
)  # fmt: skip
"""Fields of an experiment that may differ between a run and the run it resumes."""


@spec
class Experiment:
    """One experiment: data, model, inference and options. Files in `configs/` return one.

    Data, model and inference must satisfy the contracts of `vigamma.contracts`; a config file may
    define its own classes, decorated with `spec`.

    Attributes:
      data: the data source.
      model: the model of the data: a `Factorization`, a `StartingModel`, or a conjugate model.
      inference: the algorithm that fits the posterior.
      num_steps: the largest number of steps of the whole run (sweeps for coordinate ascent,
        minibatches for stochastic inference); if it is increased, a finished run continues.
      num_starts: the number of factorizations, from different random starts. Rates are means over
        them, and intervals include their differences; factors are those of the best. It may be
        increased for a finished run, too.
      heldout: which part of sparse counts is held out, to score the fit; None for nothing.
      log_every: steps between two lines of `metrics.jsonl`, and the largest number of steps fused
        into one device program.
      save_every: steps between two checkpoints; one is always saved at the end.
      seed: the seed of all random numbers, 0 to 2³² - 1.
      tolerance: the KL(q ‖ exact posterior) in nats, over all latents, that the fit of this config
        should not exceed; it is only reported.
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
        """Raises ValueError for a number of steps or starts, seed or tolerance out of range."""
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


def check_config(config: Any, path: str = "config") -> None:
    """Checks the type of every field, then the rules of every Spec; raises ConfigError.

    The rules of nested Specs are checked first, so that the error names the innermost field.
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
    """The expected type, for the message about a value of another type or with missing members."""
    if getattr(hint, "_is_protocol", False) and dataclasses.is_dataclass(value):
        missing = missing_members(value, hint)
        return f"a {hint.__name__}, but {type(value).__name__} has no {missing}"
    return f"{type_name(hint)}, got {value!r}"


def type_name(hint: Any) -> str:
    """The type of a field in words."""
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

    Each Spec also has an entry with its own path and the name of its class.
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
    """The experiment from the output of `flatten`; other entries are ignored.

    Raises:
      ConfigError: if fields are missing or invalid, or a class is not one of this package.
    """

    def build(hint: Any, path: str) -> Any:
        value, plain = values[path or "experiment"], (str, int, float, bool, types.NoneType)
        if value is None or all(option in plain for option in typing.get_args(hint) or (hint,)):
            return value
        kind = getattr(importlib.import_module("vigamma"), str(value), None)
        if not (isinstance(kind, type) and is_spec(kind)):
            raise ConfigError(f"{path}: {value} is not a class of vigamma")
        hints, prefix = typing.get_type_hints(kind), f"{path}." if path else ""
        names = (field.name for field in dataclasses.fields(kind))
        # Of what may change, a run of an earlier version may lack some.
        known = (n for n in names if prefix + n in values or prefix + n not in _MAY_CHANGE)
        return kind(**{name: build(hints[name], prefix + name) for name in known})

    try:
        config = build(Experiment, "")
    except (KeyError, TypeError) as error:
        raise ConfigError(f"these values are not those of an experiment: {error}") from error
    check_config(config)
    return config


def config_file(config: Experiment) -> str:
    """The text of a config file, whose `get_config()` returns this experiment.

    Raises:
      ConfigError: if a class is not one of this package.
    """
    source = _source(config, "    ")
    imports = "".join(f"    {name},\n" for name in sorted(set(re.findall(r"(\w+)\(\n", source))))
    return (
        f"from vigamma import (\n{imports})\n\n\n"
        f'def get_config() -> Experiment:\n    """The experiment."""\n    return {source}\n'
    )


def _source(value: Any, margin: str) -> str:
    """The expression of a value, whose last line begins with `margin`."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    name = type(value).__name__
    if getattr(importlib.import_module("vigamma"), name, None) is not type(value):
        raise ConfigError(f"no config file can be written, as {name} is not a class of vigamma")
    fields = "".join(
        f"{margin}    {field.name}={_source(getattr(value, field.name), margin + '    ')},\n"
        for field in dataclasses.fields(value)
    )
    return f"{name}(\n{fields}{margin})"


def identity(config: Experiment) -> dict[str, Any]:
    """The fields that determine every step, which a resumed run must share with the earlier run."""
    return {name: value for name, value in flatten(config).items() if name not in _MAY_CHANGE}
