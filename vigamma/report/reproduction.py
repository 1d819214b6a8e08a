"""How to reproduce the fit."""

import dataclasses
import importlib.metadata
import platform
from datetime import datetime
from typing import Any

from vigamma.report.results import Results
from vigamma.runs.experiment import Experiment, flatten


def reproduction_of(results: Results) -> dict[str, Any]:
    """The config, the versions and the dates of a run."""
    checkpoint = results.workdir / str(results.run.last_step)
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("vigamma", "jax"))
    return {
        "workdir": results.workdir,
        "last_step": results.run.last_step,
        "saved": datetime.fromtimestamp(checkpoint.stat().st_mtime),
        "written": datetime.now(),
        "versions": f"{versions}, Python {platform.python_version()}",
        "source": config_source(results.run.config),
        "fields": flatten(results.run.config),
    }


def config_source(config: Experiment) -> str:
    """The source of a config file that returns this experiment."""
    classes = {type(config).__name__}

    def source(value: Any, indent: str) -> str:
        if not dataclasses.is_dataclass(value):
            return repr(value)
        classes.add(type(value).__name__)
        inner = indent + "    "
        fields = (
            f"{inner}{field.name}={source(getattr(value, field.name), inner)},\n"
            for field in dataclasses.fields(value)
        )
        return f"{type(value).__name__}(\n{''.join(fields)}{indent})"

    body = source(config, "    ")
    return (
        f"from vigamma import {', '.join(sorted(classes))}\n\n\n"
        f"def get_config() -> Experiment:\n    return {body}\n"
    )
