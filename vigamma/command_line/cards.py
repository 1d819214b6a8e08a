"""The configs that come with the package, each the card of an experiment."""

import ast
import difflib
from collections.abc import Iterable
from pathlib import Path

from vigamma.errors import UnknownNameError

FOLDER = Path(__file__).parents[1] / "configs"
"""A link to `configs/` in a checkout, and a folder where the package is installed."""


def names_in(folder: Path) -> list[str]:
    """The names of the modules of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def first_lines(folder: Path) -> dict[str, str]:
    """For each module of a folder, the first line of its docstring; none is run."""
    texts = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in names_in(folder)}
    docs = {name: ast.get_docstring(ast.parse(text)) or "" for name, text in texts.items()}
    return {name: doc.partition("\n")[0] for name, doc in docs.items()}


def table(lines: dict[str, str]) -> str:
    """A line for each entry: its name, and what it is."""
    width = max(map(len, lines)) + 2
    return "\n".join(f"  {name:<{width}}{line}" for name, line in sorted(lines.items()))


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """The end of a message about an unknown word: "; did you mean zero?", or nothing.

    `before` is typed before the word.
    """
    found = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {before}{found[0]}?" if found else ""


def config_path(word: str) -> Path:
    """The file of a config: of a card by its name, such as zero, or of any other by its path.

    Raises:
      UnknownNameError: if there is neither; the message lists the cards.
    """
    cards, path = names_in(FOLDER), Path(word)
    if word in cards:
        return FOLDER / f"{word}.py"
    if not path.is_file():
        hint = did_you_mean(path.stem, cards) or ";"
        raise UnknownNameError(
            f"there is no config file {word}{hint} the configs of the package are "
            f"{', '.join(cards)}"
        )
    return path
