"""The last part of a report: how to repeat the run; as HTML."""

import dataclasses
import importlib.metadata
import platform
from datetime import datetime
from typing import Any

from vigamma import page
from vigamma.runs.config import Experiment, flatten
from vigamma.sections.results import Results


def how_to_repeat(results: Results) -> str:
    """The config, versions, date, and the command."""
    config = results.run.config
    values = [(page.text(name), page.text(value)) for name, value in flatten(config).items()]
    written = datetime.fromtimestamp((results.workdir / str(results.run.last_step)).stat().st_mtime)
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("vigamma", "jax"))
    about = [
        ("Run", page.text(results.workdir)),
        ("Last checkpoint", f"step {results.run.last_step:,}, {written:%d %B %Y, %H:%M}"),
        ("This page", f"{datetime.now():%d %B %Y, %H:%M}"),
        ("Made with", page.text(f"{versions}, Python {platform.python_version()}")),
    ]
    command = "python scripts/train.py --config again.py --workdir again"
    return page.section(
        "repeat",
        "How to repeat it",
        page.facts(about),
        page.paragraph(
            "Saved as <code>again.py</code>, this config fits the same factors again, with the "
            "same seeds; paths are relative to where the run was started."
        ),
        page.code(config_source(config)),
        page.code(command),
        "<h3>Every field of the config</h3>",
        page.table("", ("field", "value"), values, words=(0, 1)),
    )


def config_source(config: Experiment) -> str:
    """A config file that returns this experiment."""
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
