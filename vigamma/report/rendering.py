"""Rendering of templates to self-contained HTML; all values are escaped."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from vigamma.figures import palette
from vigamma.report.formatting import printable
from vigamma.terminal.invocation import command
from vigamma.terminal.numbers import estimate, interval, number, percent

_FOLDER = Path(__file__).parent


def picture(figure: Figure) -> str:
    """A Matplotlib figure as SVG, in a data URI."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vigamma"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def render(template: str, **values: Any) -> str:
    """Renders a template; a missing value is an error."""
    return environment().get_template(template).render(values)


def environment() -> jinja2.Environment:
    """The Jinja environment of the templates and their filters."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_FOLDER / "templates", _FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "percent": percent}
    found.filters |= {"interval": interval, "estimate": estimate}
    found.globals |= {"command": command, "palette": palette}
    found.filters["whole"] = "{:,.0f}".format
    return found
