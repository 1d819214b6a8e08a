"""Pictures of Markov chains."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

_MOST_RATES = 4


def traces(trace: Float[np.ndarray, "C S T"], num_cells: int, first_sweep: int) -> Figure:
    """The traces of the log joint and of the rates of some cells, a line for each chain.

    Args:
      trace: as of `runs.sampling.Samples`; the first `num_cells` quantities are rates, of which the
        first half are of cells with counts, and the last one is the log joint.
      num_cells: the watched cells.
      first_sweep: the number of the first sweep of the trace.
    """
    half = num_cells // 2
    cells = [*range(min(_MOST_RATES // 2, half)), *range(half, min(half + 2, num_cells))]
    figure, panels = plt.subplots(
        len(cells) + 1, 1, figsize=(7, 1.4 * (len(cells) + 1)), sharex=True, layout="constrained"
    )
    sweeps = first_sweep + np.arange(trace.shape[1])
    labels = [f"rate of a cell\n{'with' if cell < half else 'without'} a count" for cell in cells]
    series = [(-1, "log joint (nats)"), *zip(cells, labels, strict=True)]
    for panel, (index, label) in zip(np.atleast_1d(panels), series, strict=True):
        panel.plot(sweeps, trace[:, :, index].T, linewidth=0.8)
        panel.set_ylabel(label, fontsize=8)
    panels[-1].set_xlabel("sweep")
    return figure
