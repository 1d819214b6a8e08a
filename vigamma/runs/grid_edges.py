"""Candidates beyond the edges of a grid, for a winner that stands there."""

import dataclasses
from collections.abc import Sequence

from vigamma.models.likelihoods import Factorization
from vigamma.models.poisson_factorization import SMALLEST_SHAPE
from vigamma.runs.num_factors import MOST_FACTORS

_FIELDS = ("row_shape", "column_shape", "num_factors")


def beyond(winner: Factorization, tried: Sequence[Factorization]) -> list[Factorization]:
    """The winner with a value beyond the grid, for each field in which no tried value is further.

    The step is the ratio of the last two values on that side. A field of which fewer than two
    values were tried, or none but the default, has no edge.

    Args:
      winner: the best model, with the defaults of its fields.
      tried: the models of the grid.
    """
    found = []
    for name in _FIELDS:
        siblings = (m for m in tried if m.likelihood == winner.likelihood)
        values = sorted({v for m in siblings if (v := getattr(m, name)) is not None})
        value = getattr(winner, name)
        if len(values) < 2 or value is None or values[0] < value < values[-1]:
            continue
        last, before = values[:2] if value <= values[0] else values[:-3:-1]
        step = value * last / before
        if name == "num_factors":
            step = min(max(round(step), 1), max(MOST_FACTORS, value))
        else:
            step = max(round(step, 3), SMALLEST_SHAPE)
        if step != value:
            found.append(dataclasses.replace(winner, **{name: step}))
    return found
