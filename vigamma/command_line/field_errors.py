"""What is wrong with a `--config.field=value`, in words that say what to type instead."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from vigamma.runs.experiment import Experiment, flatten, type_name


def problem_of_fields(
    error: Exception, config: Experiment, filename: str, argv: Sequence[str]
) -> str | None:
    """The problem behind an error in the fields of a config; None if it is no problem of these.

    Args:
      error: what the library of the flags has raised.
      config: the config before its fields are set.
      filename: the file of the config.
      argv: the command line.
    """
    fields, given = flatten(config), list(_given(argv))
    for path, word in given:
        if path not in fields:
            return _unknown(path, config)
        hint, value = _field(config, path)
        is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        is_ambiguous = is_union and len({*typing.get_args(hint)} - {types.NoneType}) > 1
        if f" of field config.{path} is not supported" in str(error) or is_ambiguous:
            what = f"is of type {type_name(hint)}, which no flag sets"
            if dataclasses.is_dataclass(value):
                kind = type(value).__name__
                what = f"is {kind}, and flags change the fields of a class, but not the class"
            edit = f"copy {filename}, edit the copy, and give its path to --config"
            return f"config.{path} {what}: {edit}"
        if str(error).startswith(f"flag --config.{path}="):
            return f"config.{path} must be {_wanted(hint)}, got {word!r}"
    return None


def _given(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The fields that are set, with their values."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if found := re.match(r"--?(?:no)?config\.([\w.]+)(?:=(.*))?$", word, re.DOTALL):
            yield found[1], following if found[2] is None else found[2]


def _field(config: Any, path: str) -> tuple[Any, Any]:
    """The type and the value of a field, or of a field of a field."""
    hint: Any = None
    for name in path.split("."):
        hint, config = typing.get_type_hints(type(config))[name], getattr(config, name)
    return hint, config


def _wanted(hint: Any) -> str:
    """The words that a flag takes for a field of this type."""
    if any(map(dataclasses.is_dataclass, typing.get_args(hint))):
        return "none, or build for its defaults"
    return type_name(hint).removesuffix(" or None")  # which no flag can set


def _unknown(path: str, config: Experiment) -> str:
    fields = flatten(config)
    parent = path.rpartition(".")[0]
    if parent in fields and fields[parent] is None:
        return f"config.{parent} is None, without fields: give --config.{parent}=build, too"
    last = [field.rpartition(".")[2] for field in (path, *fields)]
    near = difflib.get_close_matches(last[0], last[1:], n=1)
    meant = [field for field, word in zip(fields, last[1:], strict=True) if [word] == near]
    closest = difflib.get_close_matches(path, meant, n=1, cutoff=0.0)
    hint = f"did you mean --config.{closest[0]}?" if closest else "--help lists all"
    return f"there is no field config.{path}; {hint}"
