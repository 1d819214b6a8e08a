"""The start of every command, before the imports that take seconds."""

import gc
import importlib
import sys
from collections.abc import Callable
from typing import Any

from vigamma.command_line.early_signals import ignore_signals, leave_on_signals
from vigamma.terminal import invocation

_OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python's 700 to 2,000 take 15 % of the processor time of a short run: imports make objects that
stay."""

_HELP = {"--help", "-help", "-h", "-?", "--helpshort", "--helpfull"}


def start(name: str, as_script: bool = False) -> None:
    """Runs the command in `vigamma/commands/NAME.py` with the flags in `sys.argv`, and exits.

    All commands start here, those of the console and those of `scripts/`.
    """
    leave_on_signals()  # one may arrive during the imports below
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if as_script:
        invocation.type_as_scripts()
    from absl import app

    from vigamma.command_line.flags import parse_flags, use_cache_if_wanted
    from vigamma.command_line.help import print_help

    command = importlib.import_module(f"vigamma.commands.{name}")

    def main(argv: list[str]) -> int:
        use_cache_if_wanted()
        return command.main(argv)

    try:
        if not _HELP.isdisjoint(sys.argv):
            print_help(command, [word for word in sys.argv if word not in _HELP])
        else:
            app.run(main, flags_parser=parse_flags)
    finally:
        ignore_signals()
        gc.freeze()  # what is left goes with the process: no need to look for its cycles


def start_script(main: Callable[[list[str]], Any]) -> None:
    """Runs a script with absl's flags that is no command, and exits; with 0 after `--help`."""
    from absl import app

    try:
        app.run(main)
    except SystemExit as ended:
        raise SystemExit(ended.code if _HELP.isdisjoint(sys.argv) else 0) from None
