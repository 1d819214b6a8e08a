"""Formatting of values for readers, as plain text, which the templates escape."""

_MOST_DIGITS = 17
"""This many significant digits distinguish any two floats."""


def printable(value: object) -> object:
    """Converts to text, with � for unprintable characters; HTML is not changed."""
    if hasattr(value, "__html__"):
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in str(value))


def number(value: float, digits: int = 3) -> str:
    """Formats a number: significant digits, thousands separators, and no exponent if possible."""
    if value == 0 or not abs(value) < 1e15:
        return f"{value:g}".replace("-", "−")
    rounded = f"{value:,.{digits}g}"
    if abs(float(rounded.replace(",", ""))) >= 10**digits:  # such as 999.7, which would be 1e+03
        rounded = f"{value:,.0f}"
    return rounded.replace("-", "−")


def percent(share: float, digits: int = 3) -> str:
    """Formats a share in percent."""
    return f"{number(100 * share, digits)} %"


def interval(ends: tuple[float, float], digits: int = 3, scale: float = 1.0) -> str:
    """Formats both ends, with enough digits to show their distance to within a quarter of it."""
    low, high = (scale * float(end) for end in ends)
    while digits < _MOST_DIGITS:
        shown = float(f"{high:.{digits}g}") - float(f"{low:.{digits}g}")
        if abs(shown - (high - low)) <= (high - low) / 4:
            break
        digits += 1
    return f"{number(low, digits)} – {number(high, digits)}"
