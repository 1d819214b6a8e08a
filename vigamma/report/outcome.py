"""The model, the data and the outcome of a run in the report."""

import dataclasses
import math
from typing import Any, cast

from vigamma.figures import factors as plotting_factors
from vigamma.models.factor_model import PROBABILITIES
from vigamma.models.poisson_factorization import row_shape_of
from vigamma.report.rendering import picture
from vigamma.report.results import Results

_MOST_NATS = 700.0
"""The exponential of a larger number would overflow."""


def outcome_of(results: Results) -> dict[str, Any]:
    """Data, model, inference and results; None for unknown or absent values."""
    config, fit, gain = results.run.config, results.data, results.gain
    best, train, data = results.best_step, fit.split.train, cast(Any, config.data)
    return {
        "words": fit.words,
        "shape": train.shape,
        "num_counts": train.sum(dtype=float),
        "num_nonzeros": train.nnz,
        "share_of_zeros": results.share_of_zeros,
        "data": type(data).__name__,
        "data_fields": {
            field.name: value
            for field in dataclasses.fields(data)
            if (value := getattr(data, field.name)) != field.default
        },
        "model": type(config.model).__name__,
        "num_factors": config.model.num_factors,
        "row_shape": row_shape_of(config.model),
        "column_shape": config.model.column_shape,
        "rate_shape": getattr(config.model, "rate_shape", None),
        "is_poisson": PROBABILITIES not in results.run.factors.q,
        "probability_prior": getattr(results.run.factors.model, "probability_prior", None),
        "has_exposures": config.model.row_sum_exposures,
        "learns_priors": getattr(config.inference, "learn_priors", False),
        "inference": type(config.inference).__name__,
        "protocol": fit.split.protocol,
        "scores": results.scores,
        "times_as_probable": None if gain is None else math.exp(min(gain, _MOST_NATS)),
        "num_sweeps": results.run.last_step / results.run.steps_per_sweep,
        "best_sweep": None if best is None else best / results.run.steps_per_sweep,
        "elbo": _elbo(results),
        "summary": results.summary,
    }


def course_of(results: Results) -> dict[str, Any] | None:
    """A figure of the convergence of the run, and what was lost by going on; None without metrics.

    The loss is the held-out score of the best sweep above that of the kept one, in nats.
    """
    if not results.metrics:
        return None
    independent = results.scores["independent"].log_likelihood if results.scores else None
    per_sweep, best_step = results.run.steps_per_sweep, results.best_step
    figure = plotting_factors.convergence(results.metrics, independent, per_sweep, best_step)
    name = "heldout_log_likelihood"
    scores = {line["step"]: line[name] for line in results.metrics if name in line}
    best, loss = max(scores, key=scores.__getitem__, default=None), 0.0
    if best is not None and results.scores:
        loss = scores[best] - results.scores["factors"].log_likelihood
    return {
        "convergence": picture(figure),
        "best_sweep": None if best is None else best / per_sweep,
        "loss": loss,
        "has_validation": results.data.split.valid is not None,
    }


def _elbo(results: Results) -> float | None:
    if (elbo := results.summary.get("elbo")) is not None:
        return elbo
    return {line["step"]: line["elbo"] for line in results.metrics}.get(results.run.step)
