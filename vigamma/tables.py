"""Tables of plain text, aligned, for people to read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len

_SIGNIFICANT = 4
_MOST_DECIMALS = 6


def aligned(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The lines of a table with a header: words to the left, numbers to the right.

    Numbers with a fraction have as many decimals as give the largest of their column four digits.

    Args:
      columns: what stands below each header; all of one length.
    """
    return [line.rstrip() for line in beside(*(_column(*item) for item in columns.items()))]


def beside(*blocks: Sequence[str], gap: int = 2) -> list[str]:
    """The lines of several blocks, one block to the right of the other."""
    height = max(map(len, blocks))
    widths = [max(map(cell_len, block), default=0) for block in blocks]
    padded = [[*block, *[""] * (height - len(block))] for block in blocks]
    return [
        (" " * gap).join(
            text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)
        )
        for line in zip(*padded, strict=True)
    ]


def _column(header: str, values: Sequence[Any]) -> list[str]:
    if any(isinstance(value, str) for value in values):
        return [header, *values]
    texts = [header, *_numbers(np.asarray(values))]
    width = max(map(cell_len, texts))
    return [" " * (width - cell_len(text)) + text for text in texts]


def _numbers(values: np.ndarray) -> list[str]:
    if not np.issubdtype(values.dtype, np.floating):
        return [f"{value:,}" for value in values]
    largest = np.abs(values, where=np.isfinite(values), out=np.zeros(values.shape)).max(initial=0)
    exponent = math.floor(math.log10(largest)) if largest else 0
    decimals = min(max(_SIGNIFICANT - 1 - exponent, 0), _MOST_DECIMALS)
    return [f"{value:,.{decimals}f}" for value in values]
