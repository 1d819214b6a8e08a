"""Text for the templates, which escape it."""

_BLANKS = "\n\t\N{NO-BREAK SPACE}"


def printable(value: object) -> object:
    """Converts to text, with � for unprintable characters; HTML is not changed.

    Of blanks, those of numbers with a unit, which keep both in one line, are printable, too.
    """
    if hasattr(value, "__html__"):
        return value
    return "".join(c if c.isprintable() or c in _BLANKS else "�" for c in str(value))
