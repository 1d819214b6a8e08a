"""Checksums of the inputs of a run, which it must share with the run that resumes it."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NAMES_CHECKSUM = "names of rows and columns (checksum)"
"""The field of the identity of a run that holds the checksum of names, if there are any."""


def checksum_of_names(names: Mapping[str, list[str]]) -> int | None:
    """A checksum of the names of rows and columns; None if there are no names."""
    return zlib.crc32(json.dumps(names).encode()) if names else None


def checksum_of(leaves: Iterable[Any]) -> dict[str, int | str]:
    """A checksum of arrays, under its field name in the identity of a run."""
    value = 0
    for leaf in leaves:
        contiguous: Any = np.ascontiguousarray(leaf)  # no typed Buffer before Python 3.12
        value = zlib.crc32(contiguous, value)
    return {"data and prior (checksum)": value}
