"""What a report is made from: a run, its data loaded again, and what it has written down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vigamma import page
from vigamma.data.split_data import SplitData
from vigamma.diagnostics.predictive import Score
from vigamma.runs.fitted import FittedRun

_UNITS = {"thinning": "count", "cells": "cell", "entries": "nonzero"}


class Results(NamedTuple):
    """A run, its data, and what it has written down.

    Attributes:
      workdir: of the run.
      run: the posterior that it has come to.
      fit: its data, loaded again.
      metrics: the lines of `metrics.jsonl` up to that checkpoint.
      summary: what `summary.json` holds of that checkpoint; {} if the run has not come to its end.
      theta: e_n E[θ_nk], float64 of shape (N, K).
      beta: E[β_mk], float64 of shape (M, K).
      scores: of the held-out counts, under "factors" and "independent"; {} if there are none.
    """

    workdir: Path
    run: FittedRun
    fit: SplitData
    metrics: list[dict[str, Any]]
    summary: Mapping[str, Any]
    theta: np.ndarray
    beta: np.ndarray
    scores: Mapping[str, Score]

    @property
    def best_step(self) -> int | None:
        """When validation counts were predicted best, if the posterior is that of then."""
        return self.run.step if self.run.step < self.run.last_step else None

    @property
    def unit(self) -> str:
        """What a held-out score is for each of."""
        return _UNITS[self.fit.split.protocol]

    @property
    def gain(self) -> float:
        """The held-out log-likelihood over that of independent columns, in nats."""
        return self.scores["factors"].log_likelihood - self.scores["independent"].log_likelihood

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """The shape of a row that is an image."""
        return getattr(self.run.config.data, "image_shape", None)

    def row(self, index: int) -> str:
        """What a row is called."""
        return _label("row", self.run.factors.row_names[index], index)

    def column(self, index: int) -> str:
        """What a column is called; a pixel of an image by its place."""
        if self.image_shape is not None:
            down, across = divmod(int(index), self.image_shape[1])
            return f"pixel {index} (row {down}, column {across})"
        return _label("column", self.run.factors.column_names[index], index)

    @property
    def num_cells(self) -> int:
        """The cells that training observed."""
        train, missing = self.fit.split.train, self.fit.split.missing
        return train.shape[0] * train.shape[1] - (0 if missing is None else missing.nnz)

    @property
    def share_of_zeros(self) -> float:
        """Of the cells that training observed."""
        return 1 - self.fit.split.train.nnz / self.num_cells


def _label(side: str, name: str, index: int) -> str:
    return f"{side} {index}" if name == str(index) else page.name(name)
