"""The documentation site: `sphinx-build -W --keep-going docs docs/_build`."""

import re
from importlib.metadata import version as version_of

import jax.typing
import numpy.typing
from sphinx.util.typing import stringify_annotation

project = "vigamma"
author = "The vigamma authors"
copyright = author
version = release = version_of("vigamma")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "vigamma"
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}

nb_execution_mode = "force"  # what the site shows is what this version of the package returns
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "warn"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"  # `name` in a docstring is a link where there is such a name
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

_SECTIONS = {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:"}
_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_EMPHASIS = re.compile(r"(\*[^\s*](?:[^*]*[^\s*])?\*)")
_IN_WORDS = [
    (re.compile(r"([*|])"), r"\\\1"),  # products, and |d|
    (re.compile(r"(?<=\w)_(?!\w)"), r"\\_"),  # samples_ is no link
]


def from_plain_text(app, what, name, obj, options, lines):
    """Makes reStructuredText of plain text, where * | _ are mathematics, and blocks equations."""
    del app, what, name, obj, options
    text = "\n".join(_with_blocks(lines))
    parts = _CODE.split(text)
    parts[::2] = ["".join(_escaped(_EMPHASIS.split(words))) for words in parts[::2]]
    joined = "".join(part + ("\\ " if _is_glued(parts, i) else "") for i, part in enumerate(parts))
    lines[:] = joined.split("\n")


def _escaped(parts):
    for index, words in enumerate(parts):
        if index % 2:
            yield words
            continue
        bullets = [re.match(r"\s*\* |", line).group() for line in words.split("\n")]
        rest = [line[len(b) :] for line, b in zip(words.split("\n"), bullets, strict=True)]
        for pattern, new in _IN_WORDS:
            rest = [pattern.sub(new, line) for line in rest]
        yield "\n".join(map("".join, zip(bullets, rest, strict=True)))


def _is_glued(parts, index):
    """Whether a code span is followed by a letter, as in `Gamma`s."""
    return index % 2 == 1 and parts[index + 1][:1].isalnum()


def _with_blocks(lines):
    """The lines, with a mark before indented blocks outside of sections: they are equations."""
    in_section = in_block = False
    for line, before in zip(lines, ["", *lines], strict=False):
        is_indented = line.startswith(" ")
        if line and not is_indented:
            in_section, in_block = line in _SECTIONS, False
        elif is_indented and not (in_section or in_block or before.strip()):
            in_block = True
            yield from ("::", "")
        yield line


_ALIASES = {
    "ArrayLike": (numpy.typing.ArrayLike, jax.typing.ArrayLike),
    "DTypeLike": (numpy.typing.DTypeLike, jax.typing.DTypeLike),
}
_LONG_NAMES = {
    stringify_annotation(kind, "smart"): name for name, kinds in _ALIASES.items() for kind in kinds
} | {"~jaxlib._jax.Array": "Array", "jaxlib._jax.Array": "Array"}


def with_short_types(app, what, name, obj, options, signature, returns):
    """Writes unions of array types as their aliases."""
    del app, what, name, obj, options
    return _shortened(signature), _shortened(returns)


def _shortened(text):
    for long, short in _LONG_NAMES.items() if text else ():
        text = text.replace(long, short)
    return text


def setup(app):
    """Reads docstrings as plain text, before napoleon reads their sections."""
    app.connect("autodoc-process-signature", with_short_types)
    app.connect("autodoc-process-docstring", from_plain_text, priority=400)
