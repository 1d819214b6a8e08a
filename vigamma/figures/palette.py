"""The colors of all figures and of the page of a run, whose style sheet takes them from here.

The first seven of factors are those of Okabe & Ito (2008). Each of the others is the color whose
least distance to those before it is largest, in CIELAB, over normal vision, deuteranopia and
protanopia as simulated by Machado, Oliveira & Fernandes (2009), among those of a lightness from 22
to 86 and a chroma below 72. So any two of the first ten are at least 17 apart for all three, and
any two of all at least 15.
"""

INK = "#1f2933"
"""Text, and what is known exactly."""

SOFT = "#52606d"
"""Axes, and text of less weight."""

GUIDE = "#8a95a0"
"""Lines to compare with: priors, baselines, what would be perfect."""

MODEL = "#1f5f8b"
"""What the model says."""

PALE = "#a9c5dc"
"""What lies under the model: areas, and the line that it should follow."""

DATA = "#9c3520"
"""What the data say; on the page, what is off."""

VALIDATION = "#c98a12"
"""Counts held out for validation, beside those for the test."""

COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#770000",
    "#661144", "#77ee99", "#0077ee", "#003399", "#bbddcc", "#cc3344", "#bbaa55", "#66ddee",
    "#660066", "#772233", "#994477", "#aa3300", "#2299ee", "#ccdd66", "#ff5577", "#00cc99",
)  # fmt: skip
"""By the order of factors, the heaviest first."""

OTHERS = "#999999"
"""What is drawn together, without a color of its own."""
