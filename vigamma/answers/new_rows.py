"""Recommendations, factors and scores of many rows that were not in the run."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from vigamma.answers.export import factor_table
from vigamma.answers.intervals import samples_for
from vigamma.answers.recommendation import posterior_of_new, recommend_folded, recommend_new
from vigamma.data.files import SparseCounts
from vigamma.data.new_counts import NewCounts, read_new_counts
from vigamma.errors import ConfigError
from vigamma.inference.split_half import split_half_log_likelihoods
from vigamma.models.factor_model import Posterior, columns_of
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals
from vigamma.terminal.pace import Pace

_LATENTS_AT_ONCE = 2**22
"""Latents folded in together; large, because a batch with another number of rows is recompiled."""

_ROWS_AT_ONCE = 2**12  # bounds the size of the yielded tables


class NewRowAnswers(NamedTuple):
    """The answers for some new rows.

    Attributes:
      recommendations: the table of `recommend_new`: user, rank, item, rate, sd, low, high.
      factors: one line per row: name, mean_1, ..., sd_1, ..., and rate_mean and rate_sd if the
        model has rates, as `export` writes them; from the best of several starts.
      scores: one line per row: name, counts (their sum), and log_likelihood in nats, with each half
        of the columns predicted from the other. None if scores were not requested.
    """

    recommendations: pd.DataFrame
    factors: pd.DataFrame
    scores: pd.DataFrame | None


def read_new_rows(run: FittedRun, path: str | os.PathLike[str]) -> NewCounts:
    """Reads counts of rows that were not in the run, by the same rules as its own counts.

    The file lists the counts of one row, or has any format of `SparseCounts`. The thresholds and
    the layer of the run apply. Columns are matched to those of the run by name or, if the file has
    no names, by number. Names are ids where another file gave the columns of the run their names.

    Args:
      run: from `load_run`.
      path: a file or a folder.

    Returns:
      canonical counts (U, M), the names of the rows, notes, and the cells that are listed without
        a count.

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: for a file that is broken or does not fit the run.
    """
    data = run.config.data
    rules = data if isinstance(data, SparseCounts) else SparseCounts()
    factors = run.factors
    return read_new_counts(Path(path), factors.column_names, rules, factors.column_ids)


def answer_new_rows(
    run: FittedRun,
    counts: csr_array,
    names: Sequence[str],
    *,
    exposures: np.ndarray | None = None,
    seen: csr_array | None = None,
    include_seen: bool = False,
    top: int = 20,
    interval: float = 0.9,
    draws: int = 0,
    seed: int = 0,
    with_scores: bool = True,
    say: Callable[[str], None] = lambda _: None,
    intervals: Intervals | None = "variational",
) -> Iterator[NewRowAnswers]:
    """Yields the answers for rows that were not in the run, in blocks of rows.

    The answers for a row do not depend on the other rows. A row without counts has the posterior
    given zero counts; but where exposures are row sums, its exposure is 0, and it has the prior.

    Args:
      run: from `load_run`.
      counts: canonical counts of the new rows; shape (U, M).
      names: their names; shape (U,).
      exposures: e_n, for example `load_run_data(run).exposures_of(counts)`; shape (U,); by default
        1. Recommended rates are at exposure 1.
      seen: a matrix (U, M), for example `read_new_rows(run, path).seen`, whose items are not
        recommended to its rows; by default `counts`.
      include_seen: whether those items may be recommended.
      top: the maximum number of items per row.
      interval: the probability of the credible intervals.
      draws: Monte Carlo draws per interval; 0 to use the Gamma with the same moments.
      seed: the seed of the draws, which also depend on the number of the row.
      with_scores: whether to score the rows, which takes twice as long as their factors.
      say: called now and then with a line of progress.
      intervals: of the recommendations, as for `recommend_new`; "sampled" takes as many times as
        long as there are draws. Factors and scores are variational.

    Raises:
      ConfigError: if scores are requested and there is only one column, or for sampled intervals of
        a run without samples.
    """
    if with_scores and counts.shape[1] < 2:
        raise ConfigError("a score needs two columns or more, to predict one from another")
    seen = counts if seen is None else seen
    all_names = np.asarray(names, object)
    pace = Pace(all_names.size, "rows", say)
    options: dict[str, Any] = {"top": top, "interval": interval, "draws": draws, "seed": seed}
    is_sampled = samples_for(run, intervals) is not None
    for block, q, scores in _folded(run, counts, all_names, exposures, with_scores):
        if is_sampled:
            recommendations = recommend_new(
                run,
                counts[block],
                all_names[block],
                exposures=None if exposures is None else exposures[block],
                seen=seen[block],
                include_seen=include_seen,
                intervals="sampled",
                **options,
            )
        else:
            left_out = None if include_seen else seen[block]
            recommendations = recommend_folded(
                run, q, all_names[block], seen=left_out, first=block.start, **options
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
    """Yields blocks of rows, their posterior in every start, and their scores."""
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
    starts = [(start.model, columns_of(start.q)) for start in run.starts]
    scores = split_half_log_likelihoods(starts, counts, exposures)
    sums = counts.sum(axis=1).astype(np.int64)
    return pd.DataFrame({"name": names, "counts": sums, "log_likelihood": scores})
