"""Values as people read them. Text only: the templates escape it."""

_MOST_DIGITS = 17
"""So many tell any two floats apart."""


def printable(value: object) -> object:
    """As text, with � for characters that cannot be printed; HTML stays as it is."""
    if hasattr(value, "__html__"):
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in str(value))


def number(value: float, digits: int = 3) -> str:
    """A number to be read: so many significant digits, thousands apart, no exponent if it can."""
    if value == 0 or not abs(value) < 1e15:
        return f"{value:g}".replace("-", "−")
    rounded = f"{value:,.{digits}g}"
    if abs(float(rounded.replace(",", ""))) >= 10**digits:  # 999.7, too, which would be 1e+03
        rounded = f"{value:,.0f}"
    return rounded.replace("-", "−")


def percent(share: float, digits: int = 3) -> str:
    """A share in percent."""
    return f"{number(100 * share, digits)} %"


def interval(ends: tuple[float, float], digits: int = 3, scale: float = 1.0) -> str:
    """Both ends, with as many more digits as show their distance to within a quarter of it."""
    low, high = (scale * float(end) for end in ends)
    while digits < _MOST_DIGITS:
        shown = float(f"{high:.{digits}g}") - float(f"{low:.{digits}g}")
        if abs(shown - (high - low)) <= (high - low) / 4:
            break
        digits += 1
    return f"{number(low, digits)} – {number(high, digits)}"
