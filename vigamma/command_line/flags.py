"""Flags: parsing, and those that several commands have."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser
from rich.console import Console

from vigamma.command_line.cards import config_path, did_you_mean
from vigamma.command_line.field_errors import problem_of_fields
from vigamma.devices.compilation_cache import use_compilation_cache
from vigamma.errors import ConfigError, UnknownNameError
from vigamma.runs.experiment import Experiment
from vigamma.runs.fitted import FittedRun, WantedStep, load_run
from vigamma.terminal.console import complain, take_any_character

flags.disclaim_key_flags()  # --help lists them as flags of the command


_CACHE = flags.DEFINE_bool(
    "cache",
    True,
    "Keep compiled programs for the next command, in the folder $VIGAMMA_CACHE or else "
    "~/.cache/vigamma; VIGAMMA_CACHE=off switches it off, too.",
)


def use_cache_if_wanted() -> None:
    """Switches the compilation cache on, unless --nocache is given."""
    if _CACHE.value:
        use_compilation_cache()


class RunFlags:
    """The flags --workdir and --step, which select a run and one of its checkpoints."""

    def __init__(self) -> None:
        """Defines the flags."""
        self._workdir = flags.DEFINE_string(
            "workdir", None, "The directory of a run; required.", required=True
        )
        self._step = flags.DEFINE_string(
            "step",
            "best",
            "The posterior to read: best (by validation, if there is any), newest, or the step of "
            "a checkpoint.",
        )
        flags.register_validator(
            "step",
            lambda word: word in ("best", "newest") or word.isdecimal(),
            "must be best, newest or a whole number",
        )

    @property
    def workdir(self) -> Path:
        """The directory of the run."""
        return Path(self._workdir.value)

    @property
    def step(self) -> WantedStep:
        """The selected checkpoint, in the form that `load_run` takes."""
        word = self._step.value
        return int(word) if word.isdecimal() else "newest" if word == "newest" else "best"

    def load(self, console: Console, with_samples: bool = False) -> FittedRun:
        """Loads the run and prints a line per damaged checkpoint; raises what `load_run` raises.

        Samples, which take seconds to read and check, are for the commands that ask for them.
        """
        return load_run(self.workdir, console.print, self.step, with_samples)


def define_config() -> None:
    """Defines the flag --config, and with it --config.field for each field of the config."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "A name that `vigamma configs` lists, or the path of a file; required. Its fields are set "
        "by --config.field=value; with --config NAME, --help lists them.",
    )
    flags.FLAGS["config"].parser = _ConfigParser("config")


class _ConfigParser(ConfigFileFlagParser):
    """Loads a config by name or path; after a colon may be an argument of its `get_config`."""

    config: Any = None
    path: Path | None = None

    def parse(self, word: str) -> Any:
        """The config; UnknownNameError if there is none."""
        name, colon, argument = word.partition(":")
        self.path = config_path(name)
        self.config = super().parse(f"{self.path}{colon}{argument}")
        return self.config


def load_config(flag: Any) -> tuple[str, Experiment]:
    """The name and the value of a parsed `--config` flag.

    The name is that of the file without its suffix, followed by the argument after a colon, if any:
    `digits_black_box:adam` calls `get_config("adam")`.

    Raises:
      ConfigError: if the flag is not set, or `get_config()` returns no `Experiment`.
      UnknownNameError: if there is no such file.
    """
    if flag.value is None:
        raise ConfigError("--config is required, for example --config zero")
    word, _, argument = flag.config_filename.partition(":")  # of get_config
    path = config_path(word)
    if not isinstance(flag.value, Experiment):
        raise ConfigError(f"get_config() in {path} must return an Experiment")
    return "_".join(filter(None, (path.stem, argument))), flag.value


def given_config(argv: Sequence[str]) -> tuple[str, Experiment] | None:
    """What `load_config` returns, whatever the other flags are; None without --config."""
    only = flags.FlagValues()
    only["config"] = flags.FLAGS["config"]
    only.set_gnu_getopt()
    only(argv, known_only=True)
    return None if only["config"].value is None else load_config(only["config"])


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; an error prints one line and exits."""
    with one_line_errors(argv):
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ConfigError(f"unexpected argument {rest[1]!r}")
    return rest


@contextmanager
def one_line_errors(argv: Sequence[str]) -> Iterator[None]:
    """Prints an error in the flags as one line; exits with 2, or 1 if there is no such config."""
    take_any_character()
    status = 2
    try:
        with warnings.catch_warnings():  # of ml_collections, which loads the config file
            warnings.filterwarnings("ignore", r"the load_module\(\)", DeprecationWarning)
            yield
        return
    except UnknownNameError as error:
        problem, status = str(error), 1
    except flags.UnrecognizedFlagError as error:
        hint = did_you_mean(error.flagname, _known_flags(), "--") or "; --help lists all"
        problem = f"Unknown command line flag {error.flagname!r}{hint}"
    except SyntaxError as error:
        problem = f"{error.filename}, line {error.lineno}: {error.msg}"
    except Exception as error:  # a config file is code, and may raise anything
        problem = _of_fields(error, argv) or _one_line(error)
    complain(problem)
    raise SystemExit(status)


def _known_flags() -> list[str]:
    """All flags as they are typed, without dashes."""
    known = flags.FLAGS
    return [no + n for n in known for no in ("", "no")[: 1 + bool(known[n].boolean)]]


def _of_fields(error: Exception, argv: Sequence[str]) -> str | None:
    """The problem of a field of the config, if there is a config and an error in its fields."""
    parser: Any = flags.FLAGS["config"].parser if "config" in flags.FLAGS else None
    config = getattr(parser, "config", None)
    if not isinstance(config, Experiment):
        return None
    return problem_of_fields(error, config, str(parser.path), argv)


def _one_line(error: Exception) -> str:
    """The message of an error, without the traceback that config_flags adds to some messages."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1 if "Traceback" in text else 0] if lines else type(error).__name__
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", line)
