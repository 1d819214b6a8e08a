"""Text for the templates, which escape it."""


def printable(value: object) -> object:
    """Converts to text, with � for unprintable characters; HTML is not changed."""
    if hasattr(value, "__html__"):
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in str(value))
