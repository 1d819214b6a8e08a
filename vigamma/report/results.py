"""The inputs of a report: a run, its data and its recorded metrics."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vigamma.data.split_data import SplitData
from vigamma.diagnostics.predictive import Score, heldout_log_likelihood
from vigamma.diagnostics.residuals import FactorMoments, factor_moments
from vigamma.errors import CheckpointError
from vigamma.models.factor_model import PROBABILITIES
from vigamma.runs.fitted import FittedRun, WantedStep, load_run
from vigamma.runs.loading import load_run_data
from vigamma.runs.metrics import read_metrics


class Results(NamedTuple):
    """A run, its data and its recorded metrics.

    Attributes:
      workdir: the directory of the run.
      run: the run with its fitted posterior.
      data: its data, loaded again.
      metrics: the lines of `metrics.jsonl` up to the last checkpoint.
      summary: the content of `summary.json` for that checkpoint; {} if the run has not finished.
      rows: the moments of e_n θ_nk; shape (N, K).
      columns: the moments of β_mk; shape (M, K).
      scores: the scores on held-out counts of "factors" and "independent" columns, and for negative
        binomials "poisson", of Poisson counts with the same means; {} if there are no such counts.
    """

    workdir: Path
    run: FittedRun
    data: SplitData
    metrics: list[dict[str, Any]]
    summary: Mapping[str, Any]
    rows: FactorMoments
    columns: FactorMoments
    scores: Mapping[str, Score]

    @property
    def theta(self) -> np.ndarray:
        """e_n E[θ_nk], float64 of shape (N, K)."""
        return self.rows.mean

    @property
    def beta(self) -> np.ndarray:
        """E[β_mk], float64 of shape (M, K)."""
        return self.columns.mean

    @property
    def best_step(self) -> int | None:
        """The step of the best validation score, if the posterior is from there; else None."""
        return self.run.step if self.run.step < self.run.last_step else None

    @property
    def gain(self) -> float | None:
        """The held-out log-likelihood minus that of independent columns, in nats, or None."""
        if not self.scores:
            return None
        return self.scores["factors"].log_likelihood - self.scores["independent"].log_likelihood

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """The shape of the image in a row; None if rows are not images."""
        return getattr(self.run.config.data, "image_shape", None)

    def row(self, index: int) -> str:
        """The label of a row."""
        return _label(self.data.words.row, self.run.factors.row_names[index], index)

    def column(self, index: int) -> str:
        """The label of a column; of a pixel in an image, its position."""
        if self.image_shape is not None:
            down, across = divmod(int(index), self.image_shape[1])
            return f"pixel {index} (row {down}, column {across})"
        return _label(self.data.words.column, self.run.factors.column_names[index], index)

    @property
    def share_of_zeros(self) -> float:
        """The share of zeros among the entries observed in training."""
        train, missing = self.data.split.train, self.data.split.missing
        num_missing = 0 if missing is None else missing.nnz
        return 1 - train.nnz / (train.shape[0] * train.shape[1] - num_missing)


def load_results(workdir: Path, say: Callable[[str], None], step: WantedStep = "best") -> Results:
    """Reads a run and loads its data again; raises the errors of `write_report`."""
    run = load_run(workdir, say, step)
    say("loading the data of the run")
    fit = load_run_data(run)
    metrics = [
        m for m in read_metrics(workdir / "metrics.jsonl", say) if m["step"] <= run.last_step
    ]
    q = run.factors.q
    return Results(
        workdir,
        run,
        fit,
        metrics,
        _read_summary(workdir / "summary.json", run.last_step),
        factor_moments(q["rows"], fit.exposures),
        factor_moments(q["columns"], probabilities=q.get(PROBABILITIES)),
        _scores(run, fit),
    )


def _scores(run: FittedRun, data: SplitData) -> dict[str, Score]:
    if (test := data.split.test) is None:
        return {}
    means, probabilities = run.mean_factors(data.exposures), run.probabilities
    scored = {"factors": (means, probabilities), "independent": (data.independent_columns(), None)}
    if probabilities is not None:
        scored["poisson"] = means, None
    scores = {}
    for name, (tables, p) in scored.items():
        theta, beta = (table.astype("float32") for table in tables)
        scores[name] = heldout_log_likelihood(theta, beta, data.split, test, p)
    return scores


def _read_summary(path: Path, step: int) -> dict[str, Any]:
    """The content of `summary.json` if it is of this step; else {}."""
    if not path.exists():
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return summary if summary.get("steps") == step else {}


def _label(word: str, name: str, index: int) -> str:
    return f"{word} {index}" if name == str(index) else name
