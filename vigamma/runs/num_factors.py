"""The choice of the number of factors: the fewest that predict held-out counts as well as any."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

MOST_FACTORS = 256
"""The largest K that is tried."""

SAME_GAIN = 1e-3
"""Scores that differ by less than this share of their gain over independent columns are equal. The
standard error is that of other rows, and knows nothing of other starts: of simulated cells of five
types, K = 8 splits them unevenly, and its score is below that of K = 10 and 12 by more than the
error, but by 0.03 % of the gain only."""

_FIRST = 4
_FINENESS = 8
"""K is known to an eighth, or to 1."""


def standard_error(differences: Float[np.ndarray, " N"]) -> float:
    """Of a sum over rows that are independent given the columns: √(N s²), s² the sample variance.

    Args:
      differences: what each row adds to the difference of two scores.
    """
    if differences.size < 2:
        return 0.0
    return float(np.sqrt(differences.size * differences.var(ddof=1)))


def fewest_factors(
    score: Callable[[int], float], is_as_good: Callable[[int, int], bool], most: int = MOST_FACTORS
) -> int:
    """The smallest K whose score is as good as the best.

    K is doubled until that is no better. Then the interval below the best, or above it if there it
    is better yet, is halved. It is right where scores rise up to the best K, and fall from there
    more slowly, as priors keep factors from fitting noise.

    Args:
      score: K to its score; higher is better.
      is_as_good: (fewer, more): whether the score of the first is as good as that of the second.
      most: the largest K.
    """
    low, high = 0, min(_FIRST, most)
    while (more := min(2 * high, most)) > high and not is_as_good(high, more):
        low, high = high, more
    best = max((high, more), key=score)
    middle = (high + more) // 2
    if high < middle < more and not is_as_good(high, middle):
        low, high, best = high, middle, max((best, middle), key=score)
    while high - low > max(high // _FINENESS, 1):
        middle = (low + high) // 2
        best = max((best, middle), key=score)
        if is_as_good(middle, best):
            high = middle
        else:
            low = middle
    return high
