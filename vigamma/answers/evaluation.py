"""Scores of a run on its held-out counts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vigamma.answers.tables import aligned
from vigamma.data.heldout import HeldOutCounts
from vigamma.data.split_data import SplitData
from vigamma.diagnostics.predictive import deviance, heldout_log_likelihood, perplexity
from vigamma.diagnostics.rankings import Rankings, heldout_rankings
from vigamma.errors import ConfigError
from vigamma.runs.fitted import FittedRun


class Measures(NamedTuple):
    """Scores of predicted rates on held-out counts.

    Attributes:
      log_likelihood: the mean per unit of the protocol, in nats; see
        `vigamma.diagnostics.predictive`.
      poisson_log_likelihood: the same if counts are taken for Poisson counts of the same rates;
        it differs only if the model has negative binomials.
      deviance: the Poisson deviance, per the same unit.
      perplexity: that of the column of a held-out count, given its row.
      rankings: see `vigamma.diagnostics.rankings`; None if no row has a held-out item to rank.
    """

    log_likelihood: float
    poisson_log_likelihood: float
    deviance: float
    perplexity: float
    rankings: Rankings | None


class Evaluation(NamedTuple):
    """The scores of a run, and those of a baseline without factors.

    Attributes:
      protocol: the protocol by which counts were held out.
      num_heldout: the number of held-out units: counts, cells or nonzeros, by the protocol.
      fitted: the scores of the posterior mean rates, under the mixture of all starts.
      independent: the scores of the baseline (popularity): the rate of a column times the exposure
        of the row.
      table: all scores as human-readable text.
    """

    protocol: str
    num_heldout: int
    fitted: Measures
    independent: Measures
    table: str


def evaluate(
    run: FittedRun,
    data: SplitData,
    at: Sequence[int] = (20,),
    say: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Scores a run on its test counts.

    Args:
      run: from `load_run`.
      data: from `load_run_data`.
      at: the cut-offs k of the ranking measures, each at least 1.
      say: called now and then with a line of progress.

    Raises:
      ConfigError: if the run has no held-out test counts.
    """
    if (test := data.split.test) is None:
        raise ConfigError("the run has no test counts: its config.heldout holds none out")
    tables = (*run.mean_factors(data.exposures), run.probabilities)
    fitted, num_heldout = _measures(*tables, data, test, at, say)
    independent, _ = _measures(*data.independent_columns(), None, data, test, at, say)
    protocol = data.split.protocol
    table = _table(protocol, num_heldout, fitted, independent)
    return Evaluation(protocol, num_heldout, fitted, independent, table)


def _measures(
    theta: np.ndarray,
    beta: np.ndarray,
    probabilities: np.ndarray | None,
    data: SplitData,
    test: HeldOutCounts,
    at: Sequence[int],
    say: Callable[[str], None],
) -> tuple[Measures, int]:
    split = data.split
    score = heldout_log_likelihood(theta, beta, split, test, probabilities)
    as_poisson = score
    if probabilities is not None:
        as_poisson = heldout_log_likelihood(theta, beta, split, test)
    measures = Measures(
        score.log_likelihood,
        as_poisson.log_likelihood,
        deviance(as_poisson, split, test),
        perplexity(theta, beta, split, test),
        heldout_rankings(theta, beta, split, test, at, say, data.dropped),
    )
    return measures, score.num_heldout


def _table(protocol: str, num_heldout: int, fitted: Measures, independent: Measures) -> str:
    unit = {"thinning": "counts", "cells": "cells", "entries": "nonzeros"}[protocol]
    both = fitted, independent
    lines = {
        "log-likelihood, nats": [f"{m.log_likelihood:.4f}" for m in both],
        "log-likelihood as Poisson": [f"{m.poisson_log_likelihood:.4f}" for m in both],
        "Poisson deviance, nats": [f"{m.deviance:.4f}" for m in both],
        "perplexity": [f"{m.perplexity:,.2f}" for m in both],
    }
    if all(m.log_likelihood == m.poisson_log_likelihood for m in both):
        del lines["log-likelihood as Poisson"]
    title = f"Test: {num_heldout:,} {unit} held out by {protocol}"
    if fitted.rankings is not None:
        title += f"; rankings of {fitted.rankings.num_rows:,} rows"
        rankings = [m.rankings for m in both if m.rankings is not None]
        for pair in zip(*(r.at for r in rankings), strict=True):
            for name in ("recall", "precision", "ndcg"):
                label = name.upper() if name == "ndcg" else name.capitalize()
                lines[f"{label}@{pair[0].k}"] = [f"{getattr(a, name):.4f}" for a in pair]
        lines["MAP"] = [f"{r.mean_average_precision:.4f}" for r in rankings]
    table = {"": list(lines)}
    for i, header in enumerate(("fitted", "independent columns")):
        column = [values[i] for values in lines.values()]
        width = max(map(len, [header, *column]))
        table[header.rjust(width)] = [text.rjust(width) for text in column]
    return "\n".join([title, *("  " + line for line in aligned(table))])
