"""Tables: aligned to be read, and as files."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.cells import cell_len

from vigamma.storage.atomic_files import replacing
from vigamma.terminal.console import in_one_line

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


def write_csv(tables: Iterable[pd.DataFrame], path: Path) -> int:
    """Writes tables of the same columns below each other, as `csv_file`; returns the lines."""
    num_lines = 0
    with csv_file(path) as append:
        for table in tables:
            append(table)
            num_lines += len(table)
    return num_lines


@contextmanager
def csv_file(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """A function that writes a table below those before it; the file is whole or not at all.

    Numbers have nine digits, as many as tell one float32 from another.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:

        def append(table: pd.DataFrame) -> None:
            table.to_csv(file, header=file.tell() == 0, index=False, float_format="%.9g")

        yield append


def _column(header: str, values: Sequence[Any]) -> list[str]:
    if any(isinstance(value, str) for value in values):
        return [header, *(in_one_line(str(value)) for value in values)]
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
