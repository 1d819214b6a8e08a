"""A run that has finished before: what it left behind, instead of the same work again."""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from vigamma.devices.processes import on_first_process
from vigamma.runs.experiment import Experiment, flatten, identity
from vigamma.runs.exposures import has_exposures
from vigamma.runs.fit import Fit
from vigamma.runs.samples import SAMPLES
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.manifest import is_intact
from vigamma.storage.workdir import folder_of_start
from vigamma.typing import default_float

CONFIG, SUMMARY, FIGURES = "config.json", "summary.json", "figures"
"""The files and the folder of a run that are not of a single step."""


def of_program() -> dict[str, str]:
    """What a summary says of the program: another version may draw other figures."""
    return {"version": metadata.version("vigamma"), "float_type": default_float(0).dtype.name}


def checkpointer_of(config: Experiment, workdir: Path, fit: Fit, index: int) -> Checkpointer:
    """The checkpoints of a start."""
    own = {"start": index} if index else {}
    return Checkpointer(folder_of_start(workdir, index), identity(config) | fit.identity | own)


def summary_of_finished(config: Experiment, workdir: Path, fit: Fit) -> dict[str, Any] | None:
    """The content of `summary.json`, if a run in `workdir` has left nothing to do; else None.

    That is so if the summary is as it was written, its config, version and precision are those of
    now, and no run of another config was started since; if the newest checkpoint of every start is
    intact, of the last step, and of these data; if all figures are there; and if the posterior was
    not sampled since, which the certificate would say. It takes no program of JAX. If there are
    several processes, all must call it.

    Raises:
      CheckpointError: if the checkpoints are of another run, or none is intact.
    """
    summary = _read(workdir / SUMMARY)
    if not on_first_process(lambda: int(_is_whole(summary, config, workdir, fit))):
        return None
    return summary


def _is_whole(summary: Mapping[str, Any], config: Experiment, workdir: Path, fit: Fit) -> bool:
    fields = json.loads(json.dumps(flatten(config)))
    if not (is_intact(summary) and summary["config"] == _read(workdir / CONFIG) == fields):
        return False
    if any(summary[name] != value for name, value in of_program().items()):
        return False
    if not (fit.is_whole(summary) and has_exposures(workdir, fit.exposures)):
        return False
    if not all((workdir / FIGURES / name).is_file() for name in summary["figures"]):
        return False
    if _is_newer(workdir / SAMPLES / SUMMARY, workdir / SUMMARY):
        return False
    newest = [
        checkpointer_of(config, workdir, fit, index).newest() for index in range(config.num_starts)
    ]
    return newest == summary["last_steps"]


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns > other.stat().st_mtime_ns


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; {} if there is none, or it is damaged: it is written again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
