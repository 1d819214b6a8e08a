"""The exposures of a run, in a file beside its names: its factors are weighed by them."""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vigamma.errors import CheckpointError
from vigamma.storage.atomic_files import replace_file

EXPOSURES = "exposures.npz"
"""The file of a run with the exposures of its rows, if they are not all 1."""


def write_exposures(workdir: Path, exposures: Float[np.ndarray, " N"]) -> None:
    """Writes the file atomically; of this format, because it has a checksum."""
    content = io.BytesIO()
    np.savez(content, exposures=exposures)
    replace_file(workdir / EXPOSURES, content.getvalue())


def has_exposures(workdir: Path, exposures: Float[np.ndarray, " N"] | None) -> bool:
    """Whether the file holds these; None if there need be no file."""
    if exposures is None:
        return True
    try:
        return np.array_equal(read_exposures(workdir, len(exposures)), exposures)
    except CheckpointError:
        return False


def read_exposures(workdir: Path, num_rows: int) -> Float[np.ndarray, " N"]:
    """Reads the file.

    Raises:
      CheckpointError: if it is missing, damaged, or of another number of rows.
    """
    path = workdir / EXPOSURES
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            exposures = arrays["exposures"]
        if exposures.shape != (num_rows,):
            raise ValueError(f"it has the shape {exposures.shape}, and there are {num_rows} rows")
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise CheckpointError(
            f"{path} {why}: train again with the same config and workdir, which goes on from the "
            "checkpoint and writes it"
        ) from error
    return exposures
