"""The start of every command, before the imports that take seconds."""

import importlib

from vigamma.command_line.early_signals import ignore_signals, leave_on_signals


def start(name: str) -> None:
    """Runs the command of `vigamma/commands/<name>.py`, and exits with its status.

    All commands start here, those of the console and those of `scripts/`. The rest of `sys.argv`
    are its flags.
    """
    leave_on_signals()  # from here on; the imports below take seconds, in which one may arrive
    from absl import app

    from vigamma.command_line.flags import parse_flags, use_cache_if_wanted

    command = importlib.import_module(f"vigamma.commands.{name}")

    def main(argv: list[str]) -> int:
        use_cache_if_wanted()
        return command.main(argv)

    try:
        app.run(main, flags_parser=parse_flags)
    finally:
        ignore_signals()
