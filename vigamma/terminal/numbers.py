"""Numbers as text for people, in pages and in printed tables."""

import math

_SIGNIFICANT = 2
"""The digits of the width of an interval that its ends show."""

_MOST_DIGITS = 17
"""This many significant digits distinguish any two floats."""

_MOST_DECIMALS = 6
"""Numbers that would have more decimals may have an exponent."""

Ends = tuple[float, float]


def number(value: float, digits: int = 3) -> str:
    """Formats a number: significant digits, thousands separators, and no exponent if possible."""
    if value == 0 or not abs(value) < 1e15:
        return f"{value:g}".replace("-", "−")
    rounded = f"{value:,.{digits}g}"
    if abs(float(rounded.replace(",", ""))) >= 10**digits:  # such as 999.7, which would be 1e+03
        rounded = f"{value:,.0f}"
    return rounded.replace("-", "−")


def percent(share: float, digits: int = 3) -> str:
    """Formats a share in percent, in one line."""
    return f"{number(100 * share, digits)}\N{NO-BREAK SPACE}%"


def estimate(value: float, ends: Ends, scale: float = 1.0) -> str:
    """Formats a number to two significant digits of the width of its interval.

    Other digits would say nothing, and fewer would hide the interval: (0.00001, 0.26) is 0.00 to
    0.26, and (1.4491, 1.4512) is 1.4491 to 1.4512.

    Args:
      value: the number; an end, or what lies beside the interval.
      ends: the lower and the upper end.
      scale: multiplies all; 100 for percent.
    """
    value, low, high = (scale * float(given) for given in (value, *ends))
    if not 0 < high - low < math.inf or abs(value) >= 1e15:
        return number(value)
    decimals = _SIGNIFICANT - 1 - math.floor(math.log10(high - low))
    if decimals > _MOST_DECIMALS:
        digits = decimals + 1 + math.floor(math.log10(abs(value) or high - low))
        return number(value, min(max(digits, 1), _MOST_DIGITS))
    return f"{value:,.{max(decimals, 0)}f}".replace("-", "−")


def interval(ends: Ends, scale: float = 1.0) -> str:
    """Formats both ends as `estimate`; a single number if they are the same."""
    low, high = (estimate(end, ends, scale) for end in ends)
    return low if low == high else f"{low} – {high}"
