"""The model, the data and the outcome of a run in the report."""

import math
from typing import Any

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
    best, train = results.best_step, fit.split.train
    return {
        "shape": train.shape,
        "num_counts": train.sum(dtype=float),
        "num_nonzeros": train.nnz,
        "share_of_zeros": results.share_of_zeros,
        "data": type(config.data).__name__,
        "data_fields": vars(config.data),
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


def course_of(results: Results) -> dict[str, str | None]:
    """Figures of the convergence of the run, if it has metrics, and of the factor weights."""
    curves = None
    if results.metrics:
        independent = results.scores["independent"].log_likelihood if results.scores else None
        figure = plotting_factors.convergence(
            results.metrics, independent, results.run.steps_per_sweep, results.best_step
        )
        figure.set_size_inches(6.4, 5.0 if results.scores else 3.2)
        curves = picture(figure)
    figure = plotting_factors.factor_weights(results.run.weights)
    figure.set_size_inches(6.4, 3.2)
    return {"convergence": curves, "weights": picture(figure)}


def _elbo(results: Results) -> float | None:
    if (elbo := results.summary.get("elbo")) is not None:
        return elbo
    return {line["step"]: line["elbo"] for line in results.metrics}.get(results.run.step)
