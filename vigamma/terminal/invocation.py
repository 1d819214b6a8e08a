"""In which form the user types commands, so that messages name the next one in the same form."""

import re
import shlex
import sys
from importlib import metadata

_form = "vigamma {name}"


def type_as_scripts() -> None:
    """From now on commands are `python scripts/NAME.py`, as in a checkout."""
    global _form
    _form = "python scripts/{name}.py"


def command(name: str) -> str:
    """The words by which the user runs a command, for example `vigamma sample`."""
    return _form.format(name=name)


def pip_install(extra: str) -> str:
    """The command that installs the packages of an extra into the environment of this process.

    It names the packages themselves, which are found whether vigamma came from a checkout, a wheel
    or an index.
    """
    of_extra = re.compile(rf"""extra == ['"]{extra}['"]""")
    required = (line.partition(";") for line in metadata.requires("vigamma") or ())
    packages = [package.strip() for package, _, marker in required if of_extra.search(marker)]
    return shlex.join([sys.executable, "-m", "pip", "install", *packages])
