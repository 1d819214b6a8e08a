"""In which form the user types commands, so that messages name the next one in the same form."""

_form = "vigamma {name}"


def type_as_scripts() -> None:
    """From now on commands are `python scripts/NAME.py`, as in a checkout."""
    global _form
    _form = "python scripts/{name}.py"


def command(name: str) -> str:
    """The words by which the user runs a command, for example `vigamma sample`."""
    return _form.format(name=name)
