"""What `--help` prints: the docstring of a command, its flags, and the fields of its config."""

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from vigamma.command_line.flags import given_config, one_line_errors
from vigamma.runs.experiment import type_name
from vigamma.terminal.console import end_with_a_closed_pipe, take_any_character
from vigamma.terminal.invocation import command

_WIDTH = 100


def print_help(module: ModuleType, argv: Sequence[str]) -> None:
    """Prints the help of a command, in characters that the terminal has."""
    take_any_character()
    with end_with_a_closed_pipe():
        print(help_of(module, argv))


def help_of(module: ModuleType, argv: Sequence[str]) -> str:
    """The help of a command, with the fields of the config that `argv` names, if it names one.

    `argv` is without the word that asks for help.
    """
    name = module.__name__.rpartition(".")[2]
    docstring = inspect.cleandoc(module.__doc__ or "").replace(f"vigamma {name}", command(name))
    own = [*flags.FLAGS.get_flags_for_module(module.__name__), flags.FLAGS["cache"]]
    parts = [docstring, "Flags:", *map(_flag, own)]
    if "config" in flags.FLAGS:
        with one_line_errors(argv):
            found = given_config(argv)
        parts += [] if found is None else [f"Fields of {found[0]}:", *_fields(found[1], "config")]
    return "\n\n".join(parts)


def _flag(flag: Any) -> str:
    default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    is_set = default not in (None, "") and not flag.boolean
    notes = [*getattr(flag.parser, "enum_values", ()), *[f"default {default}"] * is_set]
    text = re.sub(r"^<[^>]*>: |;\s+repeat this option .*", "", flag.help, flags=re.DOTALL)  # absl's
    return _entry(f"--{'[no]' * flag.boolean}{flag.name}", notes, text)


def _fields(config: Any, path: str) -> Iterator[str]:
    """An entry for each field of a Spec, and then for those of the Specs in it."""
    hints, texts = typing.get_type_hints(type(config)), _descriptions(type(config))
    inner: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}.{field.name}"
        if dataclasses.is_dataclass(value):
            inner |= {name: value} if dataclasses.fields(value) else {}
        else:
            notes = [type_name(hints[field.name]), f"default {value!r}"]
            yield _entry(f"--{name}", notes, texts.get(field.name, ""))
    for name, value in inner.items():
        yield f"{name}, {type(value).__name__}:"
        yield from _fields(value, name)


def _entry(name: str, notes: Sequence[str], text: str) -> str:
    indent = 6 * " "
    shown = textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {name}" + f" ({', '.join(notes)})" * bool(notes) + f"\n{shown}" * bool(text)


def _descriptions(kind: type) -> dict[str, str]:
    """The first sentence on each attribute in the docstrings of a class and those it extends."""
    found = {}
    for base in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^  (\w+): (.*(?:\n    .*)*)", section, re.MULTILINE):
            found[name] = re.split(r"[.;]\s", " ".join(text.split()))[0].rstrip(".") + "."
    return found
