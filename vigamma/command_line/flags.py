"""Flags: parsing, and those that several commands have."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from vigamma.devices.compilation_cache import use_compilation_cache
from vigamma.errors import ConfigError
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
            "workdir", None, "The directory of a run.", required=True
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

        Samples, which take seconds to read and check, are for the scripts that ask for them.
        """
        return load_run(self.workdir, console.print, self.step, with_samples)


def load_config(flag: Any) -> tuple[str, Experiment]:
    """The name and the value of a parsed `--config` flag.

    The name is that of the file without its suffix, followed by the argument after a colon, if any:
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


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; an error prints one line and exits with 2."""
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
    """The message of an error, without the traceback that config_flags adds to some messages."""
    text = error.args[0] if isinstance(error, KeyError) else str(error)
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    line = lines[-1 if "Traceback" in str(text) else 0] if lines else type(error).__name__
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", line)
