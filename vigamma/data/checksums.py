"""Checksums of what a run starts from, by which the run that resumes it is known."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NAMES_CHECKSUM = "names of rows and columns (checksum)"
"""The field of an identity, of runs with names."""


def checksum_of_names(names: Mapping[str, list[str]]) -> int | None:
    """A checksum of the names of rows and columns; None without names."""
    return zlib.crc32(json.dumps(names).encode()) if names else None


def checksum_of(leaves: Iterable[Any]) -> dict[str, int | str]:
    """A checksum of arrays, by the name that it has in an identity."""
    value = 0
    for leaf in leaves:
        contiguous: Any = np.ascontiguousarray(leaf)  # a Buffer: typed so from Python 3.12 on
        value = zlib.crc32(contiguous, value)
    return {"data and prior (checksum)": value}
