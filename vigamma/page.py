"""A page of HTML that needs nothing but itself: text, tables and pictures as strings of HTML.

Functions take and return HTML; what comes from data goes through `text` or `name` first.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import matplotlib
from matplotlib.figure import Figure

from vigamma.page_style import STYLE

_MOST_CHARACTERS = 40
_MOST_IN_TITLE = 300


def text(value: object) -> str:
    """Any value as text, escaped; characters that cannot be printed become �."""
    characters = (c if c.isprintable() or c in "\n\t" else "�" for c in str(value))
    return html.escape("".join(characters))


def name(value: object) -> str:
    """What a row or a column is called, cut to 40 characters; the rest is in its tooltip."""
    full = str(value) or "(no name)"
    if len(full) <= _MOST_CHARACTERS:
        return f"<bdi>{text(full)}</bdi>"
    cut = full[: _MOST_CHARACTERS - 1].rstrip() + "…"
    return f'<bdi title="{text(full[:_MOST_IN_TITLE])}">{text(cut)}</bdi>'


def number(value: float, digits: int = 3) -> str:
    """A number for people: so many significant digits, thousands apart, no exponent if it can."""
    if value == 0 or not abs(value) < 1e15:
        return text(f"{value:g}").replace("-", "−")
    rounded = f"{value:.{digits}g}" if abs(value) >= 1e-4 else f"{value:.2g}"
    if abs(float(rounded)) >= 10**digits:  # 999.7, too, which would be 1e+03
        rounded = f"{value:,.0f}"
    return rounded.replace("-", "−")


def percent(share: float, digits: int = 3) -> str:
    """A share in percent."""
    return f"{number(100 * share, digits)} %"


def section(identifier: str, title: str, *parts: str) -> str:
    """A part of the page with a heading."""
    return f'<section id="{identifier}"><h2>{title}</h2>{"".join(parts)}</section>\n'


def paragraph(*sentences: str, kind: str = "") -> str:
    """Sentences; of a kind that the style sheet knows: "note", "lead"."""
    return f"<p{_of_kind(kind)}>{' '.join(sentences)}</p>"


def items(entries: Iterable[str], kind: str = "") -> str:
    """A list."""
    return f"<ul{_of_kind(kind)}>{''.join(f'<li>{entry}</li>' for entry in entries)}</ul>"


def block(*parts: str, kind: str) -> str:
    """Parts that stay together, of a kind that the style sheet knows."""
    return f"<div{_of_kind(kind)}>{''.join(parts)}</div>"


def code(source: str) -> str:
    """Source code or a command, as it is."""
    return f'<pre tabindex="0"><code>{text(source)}</code></pre>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A table of two columns: what, and its value."""
    rows = (f'<tr><th scope="row">{key}</th><td>{value}</td></tr>' for key, value in pairs)
    return f'<div class="wide"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (0,)
) -> str:
    """A table whose first cell of each row is its heading; wide ones scroll.

    Args:
      caption: above it.
      header: of the columns.
      rows: cells.
      words: which columns are words; all others are numbers, on the right.
    """
    kinds = ["words" if index in words else "number" for index in range(len(header))]
    head = "".join(
        f'<th scope="col" class="{kind}">{cell}</th>'
        for kind, cell in zip(kinds, header, strict=True)
    )
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds[1:], rest, strict=True)
        )
        lines.append(f'<tr><th scope="row" class="{kinds[0]}">{first}</th>{cells}</tr>')
    return (
        f'<div class="wide" tabindex="0"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def bar(mean: float, low: float, high: float, top: float) -> str:
    """A bar up to a mean, with an interval, on a scale to `top`; the numbers stand beside it."""
    end, left, right = (100 * min(value / top, 1.0) for value in (mean, low, high))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="mean" x="0" y="1" width="{end:.2f}" height="8"/>'
        f'<rect class="interval" x="{left:.2f}" y="4" width="{max(right - left, 0.4):.2f}" '
        'height="2"/></svg>'
    )


def picture(figure: Figure, alt: str, caption: str = "") -> str:
    """A Matplotlib figure, inlined as SVG; `alt` says in words what it shows."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vigamma"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    source = base64.b64encode(buffer.getvalue()).decode()
    width = round(96 * figure.get_figwidth())
    return (
        f'<figure style="max-width:{width}px"><img src="data:image/svg+xml;base64,{source}" '
        f'alt="{alt}">{f"<figcaption>{caption}</figcaption>" if caption else ""}</figure>'
    )


def document(title: str, contents: Iterable[tuple[str, str]], body: str) -> str:
    """The whole page.

    Args:
      title: of the window.
      contents: (identifier, title) of the sections.
      body: all of it.
    """
    links = "".join(f'<li><a href="#{target}">{label}</a></li>' for target, label in contents)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        "</body>\n</html>\n"
    )


def _of_kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
