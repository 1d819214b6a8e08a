"""Tables, as aligned text and as CSV files."""

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
    """The lines of a table with a header: text is aligned left, numbers right.

    Floats have as many decimals as give the largest of their column four significant digits.

    Args:
      columns: the values below each header; all of the same length.
    """
    return [line.rstrip() for line in beside(*(_column(*item) for item in columns.items()))]


def beside(*blocks: Sequence[str], gap: int = 2) -> list[str]:
    """The lines of several blocks of text, side by side."""
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
    """Appends tables with equal columns in one file, as `csv_file`; returns the number of lines."""
    num_lines = 0
    with csv_file(path) as append:
        for table in tables:
            append(table)
            num_lines += len(table)
    return num_lines


@contextmanager
def csv_file(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yields a function that appends a table to a CSV file, which is written atomically.

    Numbers have nine significant digits, which distinguish any two float32 values.
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
