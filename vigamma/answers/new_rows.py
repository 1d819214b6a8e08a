"""Answers for many rows that were not in the run: recommendations, factors and scores."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from vigamma.answers.export import factor_table
from vigamma.answers.recommendation import posterior_of_new, recommend_folded
from vigamma.data.files import SparseCounts
from vigamma.data.new_counts import NewCounts, read_new_counts
from vigamma.errors import ConfigError
from vigamma.inference.split_half import split_half_log_likelihoods
from vigamma.models.factor_model import Posterior
from vigamma.runs.fitted import FittedRun
from vigamma.terminal.pace import Pace

_LATENTS_AT_ONCE = 2**22
"""Of rows that are folded in together; many, as the program is compiled anew for other rows."""

_ROWS_AT_ONCE = 2**12


class NewRowAnswers(NamedTuple):
    """What there is to say of some new rows.

    Attributes:
      recommendations: as `recommend_new` returns them: user, rank, item, rate, sd, low, high.
      factors: a line for each row: name, mean_0, ..., sd_0, ..., and rate_mean and rate_sd where
        the model has rates, as `export` writes them; of several starts, in the best.
      scores: a line for each row: name, the sum of its counts, and log_likelihood, in nats: that of
        each half of the columns, predicted from the other. None if nobody asked for them.
    """

    recommendations: pd.DataFrame
    factors: pd.DataFrame
    scores: pd.DataFrame | None


def read_new_rows(run: FittedRun, path: Path) -> NewCounts:
    """Reads counts of rows that were not in the run, as its own counts were read.

    A list of the counts of one row, or whatever `SparseCounts` reads; the thresholds and the layer
    of the run hold for them too. Columns are those of the run by their names, or, where the file
    has none, by their numbers.

    Args:
      run: from `load_run`.
      path: of a file or a folder.

    Returns:
      canonical counts (U, M), the names of the rows, and notes.

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: for a file that is broken or does not fit the run.
    """
    data = run.config.data
    rules = data if isinstance(data, SparseCounts) else SparseCounts()
    return read_new_counts(path, run.factors.column_names, rules)


def answer_new_rows(
    run: FittedRun,
    counts: csr_array,
    names: Sequence[str],
    *,
    exposures: np.ndarray | None = None,
    include_seen: bool = False,
    top: int = 20,
    interval: float = 0.9,
    draws: int = 0,
    seed: int = 0,
    with_scores: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[NewRowAnswers]:
    """Yields the answers for rows that were not in the run, in blocks of rows.

    A row does not depend on the others. One without any count has the factors of somebody who has
    counted nothing; where exposures are sums of rows it is 0, and the factors are the prior's.

    Args:
      run: from `load_run`.
      counts: canonical counts of the new rows; shape (U, M).
      names: what to call them; shape (U,).
      exposures: e_n, `load_run_data(run).exposures_of(counts)`; shape (U,); by default 1. Rates of
        recommendations are at exposure 1.
      include_seen: whether items in `counts` may be recommended.
      top: the most items of a row.
      interval: the probability of the credible intervals.
      draws: Monte Carlo draws behind an interval; 0 for that of the Gamma with the same moments.
      seed: of the draws, which depend on the number of the row too.
      with_scores: whether to score the rows, which takes twice as long as their factors.
      say: is told, now and then, how far it is.

    Raises:
      ConfigError: if there are scores to be made of a single column.
    """
    if with_scores and counts.shape[1] < 2:
        raise ConfigError("a score needs two columns or more, to predict one from another")
    all_names = np.asarray(names, object)
    pace = Pace(all_names.size, "rows", say)
    options: dict[str, Any] = {"top": top, "interval": interval, "draws": draws, "seed": seed}
    for block, q, scores in _folded(run, counts, all_names, exposures, with_scores):
        seen = None if include_seen else counts[block]
        recommendations = recommend_folded(
            run, q, all_names[block], seen=seen, first=block.start, **options
        )
        factors = factor_table(all_names[block], q[0]["rows"], q[0].get("row_rates"))
        yield NewRowAnswers(recommendations, factors, scores)
        pace.update(block.stop)


def _folded(
    run: FittedRun,
    counts: csr_array,
    names: np.ndarray,
    exposures: np.ndarray | None,
    with_scores: bool,
) -> Iterator[tuple[slice, list[Posterior], pd.DataFrame | None]]:
    """Blocks of rows, their posterior in every start, and their scores."""
    size = max(_LATENTS_AT_ONCE // run.factors.q["columns"].rate.shape[1], _ROWS_AT_ONCE)
    for start in range(0, names.size, size):
        many = slice(start, min(start + size, names.size))
        exposed = None if exposures is None else exposures[many]
        q = posterior_of_new(run, counts[many], exposed)
        scores = _scores(run, counts[many], names[many], exposed) if with_scores else None
        for first in range(start, many.stop, _ROWS_AT_ONCE):
            block = slice(first, min(first + _ROWS_AT_ONCE, many.stop))
            here = slice(block.start - start, block.stop - start)
            own = jax.tree.map(lambda leaf, here=here: leaf[here], q)
            yield block, own, None if scores is None else scores[here]


def _scores(
    run: FittedRun, counts: csr_array, names: np.ndarray, exposures: np.ndarray | None
) -> pd.DataFrame:
    starts = [(start.model, start.q["columns"]) for start in run.starts]
    scores = split_half_log_likelihoods(starts, counts, exposures)
    sums = counts.sum(axis=1).astype(np.int64)
    return pd.DataFrame({"name": names, "counts": sums, "log_likelihood": scores})
