"""Templates to HTML that needs nothing but itself; all values are escaped."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib
from matplotlib.figure import Figure

from vigamma.report.formatting import interval, number, percent, printable

_FOLDER = Path(__file__).parent
_PIXELS_PER_INCH = 96


class Picture(NamedTuple):
    """A drawing.

    Attributes:
      source: a data URI of SVG.
      width: in pixels.
    """

    source: str
    width: int


def picture(figure: Figure) -> Picture:
    """A Matplotlib figure, to be inlined."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vigamma"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    source = base64.b64encode(buffer.getvalue()).decode()
    width = round(_PIXELS_PER_INCH * figure.get_figwidth())
    return Picture(f"data:image/svg+xml;base64,{source}", width)


def render(template: str, **values: Any) -> str:
    """One of the templates, filled in; a value that is missing is an error."""
    return environment().get_template(template).render(values)


def environment() -> jinja2.Environment:
    """The templates and their filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_FOLDER / "templates", _FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "interval": interval,
        "whole": "{:,.0f}".format,
    }
    return environment
