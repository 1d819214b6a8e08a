"""Pictures of Markov chains."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from vigamma.figures.palette import COLORS
from vigamma.figures.posteriors import plain

_RATES_OF_EACH_KIND = 2


def traces(trace: Float[np.ndarray, "C S T"], num_cells: int, first_sweep: int) -> Figure:
    """The traces of the log joint and of the rates of some cells, a line for each chain.

    Args:
      trace: as of `runs.sampling.Samples`; the first `num_cells` quantities are rates, of which the
        first half are of cells with counts, and the last one is the log joint.
      num_cells: the watched cells.
      first_sweep: the number of the first sweep of the trace.
    """
    half = num_cells // 2
    cells = [*range(half)[:_RATES_OF_EACH_KIND], *range(half, num_cells)[:_RATES_OF_EACH_KIND]]
    figure = Figure(figsize=(7.5, 1.5 * (len(cells) + 1)), layout="constrained")
    panels = figure.subplots(len(cells) + 1, 1, sharex=True)
    sweeps = first_sweep + np.arange(trace.shape[1])
    labels = ["rate, entry\nwith count" if cell < half else "rate, any entry" for cell in cells]
    series = [(-1, "log joint (nats)"), *zip(cells, labels, strict=True)]
    for panel, (index, label) in zip(panels, series, strict=True):
        panel.set_prop_cycle(color=COLORS)
        panel.plot(sweeps, trace[:, :, index].T, linewidth=0.8)
        panel.set_ylabel(label, fontsize=8)
        plain(panel)
    panels[-1].set_xlabel("sweep")
    return figure
