"""The first part of a report: what was fitted, and how it went; as HTML."""

import math
from typing import Any

from vigamma import page, plotting_factors
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.poisson_factorization import PoissonFactorization, row_shape_of
from vigamma.runs.config import Experiment
from vigamma.sections.results import Results

_HOW_HELD_OUT = {
    "thinning": "every count was split by a coin, so that all cells are scored",
    "cells": "random cells, blank ones too, were hidden from training",
    "entries": "random nonzeros were taken away, and training took them for zeros",
}

_PRIORS = {
    PoissonFactorization: (
        "θ<sub>nk</sub> ~ Gamma(a, a/s), &ensp; β<sub>mk</sub> ~ Gamma(c, c/s)",
    ),
    HierarchicalPoissonFactorization: (
        "θ<sub>nk</sub> ~ Gamma(a, ξ<sub>n</sub>), &ensp; ξ<sub>n</sub> ~ Gamma(r, r s/a)",
        "β<sub>mk</sub> ~ Gamma(c, η<sub>m</sub>), &ensp; η<sub>m</sub> ~ Gamma(r, r s/c)",
    ),
}

_INFERENCE = {
    "CoordinateAscent": "coordinate ascent: each sweep goes over all counts",
    "StochasticVariationalInference": "stochastic variational inference: each step takes a batch "
    "of rows",
}


def tiles(results: Results) -> str:
    """The most important numbers."""
    train = results.fit.split.train
    num_rows, num_columns = train.shape
    pairs = [
        (f"{num_rows:,}", "rows"),
        (f"{num_columns:,}", "columns"),
        (page.percent(results.share_of_zeros, 4), "of the cells are zero"),
        (f"{results.beta.shape[1]}", "factors"),
    ]
    if results.scores:
        score = page.number(results.scores["factors"].log_likelihood, 4)
        pairs.append((score, f"nats per held-out {results.unit}"))
        pairs.append(
            (f"{page.number(math.exp(results.gain))} ×", "as probable as by independent columns")
        )
    cells = (
        page.block(f"<b>{value}</b><span>{label}</span>", kind="tile") for value, label in pairs
    )
    return page.block(*cells, kind="tiles")


def what_was_fitted(results: Results) -> str:
    """Data, model, inference and outcome."""
    config, summary, train = results.run.config, results.summary, results.fit.split.train
    total = train.sum(dtype=float)
    pairs = [
        ("Data", _described(config.data)),
        ("Rows × columns", f"{train.shape[0]:,} × {train.shape[1]:,}"),
        (
            "Trained on",
            f"{total:,.0f} counts in {train.nnz:,} nonzero cells; "
            f"{page.percent(results.share_of_zeros, 5)} of the cells are zero",
        ),
        ("Held out", _held_out(results)),
        ("Model", f"{page.text(type(config.model).__name__)}, K = {config.model.num_factors}"),
        ("Inference", page.text(_INFERENCE[type(config.inference).__name__])),
        ("Took", _pace(results)),
        ("ELBO", _elbo(results)),
    ]
    if results.scores:
        pairs.append(("Held-out log-likelihood", _score(results)))
    if "smallest_cosine" in summary:
        pairs.append(
            (
                "Known truth",
                f"true factors matched with cosines of at least {summary['smallest_cosine']:.4f}; "
                f"{summary['coverage_of_90_percent']:.1%} of true rates in their 90 % intervals",
            )
        )
    return page.section(
        "fitted", "What was fitted", _in_words(results), equation(config), page.facts(pairs)
    )


def how_it_went(results: Results) -> str:
    """The curves of the run, and the weights of the factors."""
    parts = []
    if results.metrics:
        independent = results.scores["independent"].log_likelihood if results.scores else None
        figure = plotting_factors.convergence(
            results.metrics, independent, results.run.steps_per_sweep, results.best_step
        )
        figure.set_size_inches(6.4, 5.0 if results.scores else 3.2)
        alt = "The ELBO against the sweep" + (
            ", and below it the held-out log-likelihood." if results.scores else "."
        )
        caption = (
            "Both curves should have become flat. The first tenth of the run may lie below the "
            "frame."
        )
        parts.append(page.picture(figure, alt, caption))
    figure = plotting_factors.factor_weights(results.theta, results.beta)
    figure.set_size_inches(6.4, 3.2)
    caption = "Bars near zero are factors that the data did not need."
    alt = "The share of all expected counts that falls to each factor, largest first."
    parts.append(page.picture(figure, alt, caption))
    return page.section("course", "How it went", page.block(*parts, kind="pair"))


def _described(data: Any) -> str:
    """The class of the data and its fields."""
    fields = ", ".join(f"{key} = {value}" for key, value in vars(data).items())
    return page.text(f"{type(data).__name__}: {fields}")


def _held_out(results: Results) -> str:
    protocol = results.fit.split.protocol
    if not protocol:
        return "nothing"
    if not results.scores:
        return "nothing for the test"
    number = results.scores["factors"].num_heldout
    return f"{number:,} {results.unit}s: {_HOW_HELD_OUT[protocol]}"


def _pace(results: Results) -> str:
    """Sweeps, seconds, and whether the run came to its end."""
    summary, run = results.summary, results.run
    sweeps = page.number(run.last_step / results.run.steps_per_sweep, 4)
    if not summary:
        return f"{sweeps} sweeps so far; the run has not come to its end"
    words = [f"{sweeps} sweeps, {page.number(summary['seconds'])} s"]
    if results.best_step is not None:
        best = page.number(results.best_step / results.run.steps_per_sweep, 4)
        words.append(f"kept is the posterior after {best}, the best by validation")
    if summary["resumed_from"] is not None:
        words.append(f"of which the seconds are those after step {summary['resumed_from']:,}")
    if "converged" in summary:
        words.append("converged" if summary["converged"] else "not converged")
    return ", ".join(words)


def _elbo(results: Results) -> str:
    elbo = results.summary.get("elbo")
    if elbo is None:
        elbo = {line["step"]: line["elbo"] for line in results.metrics}.get(results.run.step)
    if elbo is None:
        return "not known of this checkpoint"
    return (
        f"{page.number(elbo)} nats, a lower bound of the log probability of the training counts; "
        "higher is better, among fits of the same counts"
    )


def _score(results: Results) -> str:
    factors, independent = (
        page.number(results.scores[n].log_likelihood, 4) for n in ("factors", "independent")
    )
    return (
        f"{factors} nats per {results.unit}; of independent columns {independent}. "
        f"{_gain_in_words(results)}"
    )


def _gain_in_words(results: Results) -> str:
    factor = page.number(math.exp(results.gain))
    return (
        f"A held-out {results.unit} is {factor} times as probable, in the geometric mean, as if "
        "every column had one rate of its own"
    )


def _in_words(results: Results) -> str:
    num_factors = results.beta.shape[1]
    exposure = (
        "scaled by the size of the row (its sum over the mean sum) "
        if results.run.config.model.row_sum_exposures
        else ""
    )
    return page.paragraph(
        f"Each count x<sub>nm</sub> in row n and column m is taken to be Poisson, with a rate that "
        f"is {exposure or 'the sum of '}{'and the sum of ' if exposure else ''}K = {num_factors} "
        "parts: how much row n uses factor k, θ<sub>nk</sub>, times how much factor k gives column "
        "m, β<sub>mk</sub>. All are positive, so that factors only ever add counts."
    )


def equation(config: Experiment) -> str:
    """The model, and its hyperparameters."""
    exposed = config.model.row_sum_exposures
    lines = [
        f"x<sub>nm</sub> ~ Poisson({'e<sub>n</sub> ' if exposed else ''}"
        "Σ<sub>k</sub> θ<sub>nk</sub> β<sub>mk</sub>)",
        *_PRIORS[type(config.model)],
    ]
    names = [f"a = {row_shape_of(config.model):g}", f"c = {config.model.column_shape:g}"]
    if hasattr(config.model, "rate_shape"):
        names.append(f"r = {config.model.rate_shape:g}")
    names.append("K s² the mean count of a cell")
    learned = getattr(config.inference, "learn_priors", False)
    names += ["where a, c and the rates only start: they were learned"] if learned else []
    if exposed:
        names.append("e<sub>n</sub> the sum of row n over the mean sum")
    words = page.paragraph(f"with {', '.join(names)}", kind="where")
    return page.block(*(page.paragraph(line) for line in lines), words, kind="equation")
