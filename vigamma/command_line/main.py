"""The console command `vigamma`: its first word is the command to start."""

import sys
from pathlib import Path

import vigamma
from vigamma.command_line import cards
from vigamma.command_line.start import start
from vigamma.terminal.console import complain, end_with_a_closed_pipe, take_any_character

_COMMANDS = Path(__file__).parents[1] / "commands"
_CONFIGS = {"configs": "Lists the configs that come with the package, for --config."}
_HELP = """Gamma variational inference for counts.

  vigamma COMMAND --help
  vigamma --version

"""


@end_with_a_closed_pipe()
def main() -> int:
    """Starts a command, or lists the commands or the configs; returns the exit status.

    Of the commands only the one that is started is imported.
    """
    take_any_character()
    words, names = sys.argv[1:], cards.names_in(_COMMANDS)
    match words:
        case [name, *flags] if name in names:
            sys.argv = [f"vigamma {name}", *flags]
            start(name)
        case [] | ["--help" | "-h" | "help", *_]:
            print(_HELP + cards.table(cards.first_lines(_COMMANDS) | _CONFIGS))
        case ["--version"]:
            print(f"vigamma {vigamma.__version__}")
        case ["configs", *_]:
            print(cards.table(cards.first_lines(cards.FOLDER)))
        case [word, *_]:
            hint = cards.did_you_mean(word, [*names, *_CONFIGS]) or ";"
            complain(f"there is no command {word}{hint} vigamma --help lists all")
            return 1
    return 0
