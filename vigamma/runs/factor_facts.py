"""What holds of a fitted factorization, for `summary.json` and the certificate."""

from typing import Any

import numpy as np

from vigamma.diagnostics.redundant_factors import redundant_factors
from vigamma.errors import CheckpointError
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import FactorModel, Posterior
from vigamma.runs.fit import RunLog
from vigamma.runs.loop import what_stopped
from vigamma.runs.samples import has_samples_of

_SWEEPS_OF_RISE = 10


def facts_of_steps(state: TrainState, log: RunLog, steps_per_sweep: int) -> dict[str, Any]:
    """Why the steps ended, how far the ELBO rose at last, and what held-out scores lost at last.

    `elbo_rise` is in nats, over the last `elbo_rise_sweeps` sweeps: ten, or a few more, or all that
    were logged. `lost_since_best` is the highest held-out score minus the last one, in nats, and
    `best_scored_sweep` is that of the highest; of validation counts, or of test counts if there are
    none. What was not logged is left out.
    """
    facts: dict[str, Any] = {"steps": state.num_steps, "stopped": what_stopped(state)}
    lines = [line for line in log.metrics if "elbo" in line]
    if len(lines) > 1:
        last, wanted = lines[-1], lines[-1]["step"] - _SWEEPS_OF_RISE * steps_per_sweep
        before = [line for line in lines[:-1] if line["step"] <= wanted][-1:] or lines[:1]
        facts["elbo_rise"] = last["elbo"] - before[0]["elbo"]
        facts["elbo_rise_sweeps"] = (last["step"] - before[0]["step"]) / steps_per_sweep
    for name in ("valid_log_likelihood", "heldout_log_likelihood"):
        if scored := [line for line in log.metrics if name in line]:
            best = max(scored, key=lambda line: line[name])
            facts["lost_since_best"] = best[name] - scored[-1][name]
            facts["best_scored_sweep"] = best["step"] / steps_per_sweep
            break
    return facts


def facts_of_factors(theta: np.ndarray, beta: np.ndarray) -> dict[str, Any]:
    """The `redundant_factors`, whose arguments these are, by their numbers, and how many are not.

    A near duplicate is a pair of numbers: its own, and that of the heavier factor that it is like.
    """
    redundant = redundant_factors(theta, beta)
    return {
        "idle_factors": [k + 1 for k in redundant.idle],
        "near_duplicate_factors": [[k + 1, j + 1] for k, j, _ in redundant.duplicates],
        "num_distinct_factors": beta.shape[1] - redundant.number,
    }


def facts_of_intervals(log: RunLog, model: FactorModel, q: Posterior) -> dict[str, str]:
    """Whether intervals are "sampled", if the run has draws from its posterior, or "mean-field"."""
    try:
        is_sampled = log.workdir is not None and has_samples_of(log.workdir, model, q)
    except CheckpointError:  # commands that need them say why they cannot be used
        is_sampled = False
    return {"intervals": "sampled" if is_sampled else "mean-field"}
