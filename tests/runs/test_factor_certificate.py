"""What a run of a factorization says of itself at its end, and writes to `summary.json`."""

import json

import jax
import numpy as np
import pytest

from tests.slow import slow_after
from tests.test_train_factors import SYNTHETIC, experiment
from vigamma import (
    CoordinateAscent,
    HeldOut,
    PoissonFactorization,
    StochasticVariationalInference,
    fit,
    run_experiment,
)
from vigamma.runs.factor_facts import facts_of_steps
from vigamma.runs.factor_table import table_of
from vigamma.runs.fit import RunLog
from vigamma.terminal.invocation import command

SUMMARY = {
    "num_rows": 90, "num_columns": 70, "num_nonzeros": 1200, "num_factors": 5, "elbo": -1234.5,
    "steps": 40, "sweeps": 40, "converged": True, "sees_convergence": True, "stopped": "converged",
    "idle_factors": [], "near_duplicate_factors": [], "num_distinct_factors": 5,
    "intervals": "mean-field",
}  # fmt: skip
TEST = {
    "heldout_protocol": "cells", "num_heldout": 1000, "heldout_log_likelihood": -1.5,
    "heldout_log_likelihood_independent": -2.0, "heldout_gain": 0.5,
}  # fmt: skip
VALID = {
    "valid_log_likelihood": -1.6, "valid_log_likelihood_independent": -2.1, "best_sweep": 30.0,
    "lost_since_best": 0.001, "best_scored_sweep": 30.0,
}  # fmt: skip
OVERFIT = {"lost_since_best": 0.02, "best_scored_sweep": 30.0}


def lines_of(folder=None, **changes) -> list[str]:
    return table_of(SUMMARY | changes, folder).splitlines()


def test_all_facts_are_aligned_in_few_lines(tmp_path):
    size, title, *lines = lines_of(tmp_path, **TEST, **VALID)
    assert size == "Factorization: 90 rows × 70 columns, 1,200 nonzeros, 5 factors"
    assert title == "Certificate"
    *facts, advice = lines
    assert 8 <= len(facts) <= 12
    values = {line[:30].strip(): line[30:48].strip() for line in facts}
    assert values == {
        "ELBO": "-1,234.5", "held-out log-likelihood": "-1.5000",
        "of independent columns": "-2.0000", "gain over these": "0.5000", "sweeps": "40",
        "validation log-likelihood": "-1.6000", "at sweep": "30",
        "distinct factors in use": "5 of 5", "intervals": "mean-field",
    }  # fmt: skip
    assert {line[48:53] for line in facts} <= {" nats", "     ", ""}
    assert advice == f"  for intervals that hold: {command('sample')} --workdir {tmp_path}"


def test_what_does_not_hold_is_said_with_the_command_to_type(tmp_path):
    folder = tmp_path / "of mine"
    stopped = {"converged": False, "stopped": "num_steps"}
    text = "\n".join(lines_of(folder, **stopped, elbo_rise=12.3, elbo_rise_sweeps=10.0))
    assert "40       NOT converged" in text
    assert (
        "the last 10 sweeps raised the ELBO by 0.01 of it; to go on: the same command with "
        "--config.num_steps=80" in text
    )
    assert f"{command('sample')} --workdir '{folder}'" in text
    blind = "\n".join(lines_of(folder, sees_convergence=False))
    assert "JAX_ENABLE_X64=1" in blind
    none = "\n".join(lines_of(folder, intervals="sampled"))
    assert "too narrow" not in none
    assert "sample --workdir" not in none


REPEATED = {"near_duplicate_factors": [[3, 1]], "num_distinct_factors": 3, "idle_factors": [5]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        (REPEATED, "fewer factors may serve"),
        (TEST | {"heldout_gain": -0.1}, "the factors predict nothing"),
        (TEST | VALID, None),
        (TEST | VALID | OVERFIT, "held-out counts are predicted worse after sweep 30"),
        (VALID | OVERFIT | REPEATED, "serve, and held-out counts are predicted worse after"),
        (TEST | OVERFIT, "held-out counts are predicted worse after sweep 30"),
        (TEST | {"lost_since_best": 0.004, "best_scored_sweep": 30.0}, None),
    ],
)
def test_a_search_is_named_where_it_would_serve(tmp_path, changes, reason):
    wanted = f"{command('search')} with the same --config flags, and --num_factors=auto"
    text = "\n".join(lines_of(tmp_path, **changes))
    assert (wanted in text) == (reason is not None)
    assert reason is None or reason in text
    keeps_best = "heldout.valid_fraction" in text
    assert keeps_best == ("lost_since_best" in changes and reason is not None and
                          "valid_log_likelihood" not in changes)  # fmt: skip
    early = "\n".join(lines_of(tmp_path, **changes, stopped="num_steps"))
    assert "--num_factors" not in early


def test_idle_and_repeated_factors_are_counted():
    (line,) = (line for line in lines_of(**REPEATED) if "distinct" in line)
    assert (
        line.split()[-9:]
        == ["3", "of", "5", "1", "nearly", "equal", "to", "others,", "1", "idle"][-9:]
    )


def test_a_fit_in_memory_names_functions_and_no_commands():
    text = "\n".join(lines_of(None, **REPEATED, **TEST | OVERFIT))
    assert "vg.search(config, num_factors='auto')" in text
    assert "vg.sample_posterior" in text
    text = "\n".join(lines_of(None, converged=False, stopped="num_steps"))
    assert "to go on: num_steps=80" in text


class Ended:
    """A state that has ended, and a rule by which it has."""

    num_steps, is_done = 30, False


def test_the_rise_is_of_ten_sweeps_or_of_all_that_were_logged():
    def rise(steps, steps_per_sweep=1):
        log = RunLog([{"step": step, "elbo": -100.0 + step} for step in steps])
        facts = facts_of_steps(Ended(), log, steps_per_sweep)
        return facts.get("elbo_rise"), facts.get("elbo_rise_sweeps")

    assert rise([10, 20, 30]) == (10.0, 10.0)
    assert rise([10, 19, 21, 30]) == (11.0, 11.0)
    assert rise([28, 30]) == (2.0, 2.0)
    assert rise([10, 20, 30], 5) == (20.0, 4.0)
    assert rise([30]) == rise([]) == (None, None)


def test_the_loss_is_of_validation_counts_or_else_of_test_counts():
    def lost(*names):
        lines = [{"step": s, "elbo": 0.0} | dict.fromkeys(names, -abs(s - 20) / 10)
                 for s in (10, 20, 30)]  # fmt: skip
        if len(names) == 2:
            for line in lines:
                line["heldout_log_likelihood"] *= 7
        facts = facts_of_steps(Ended(), RunLog(lines), 10)
        return facts.get("lost_since_best"), facts.get("best_scored_sweep")

    assert lost("valid_log_likelihood", "heldout_log_likelihood") == (1.0, 2.0)
    assert lost("heldout_log_likelihood") == (1.0, 2.0)
    assert lost() == (None, None)


def test_a_run_writes_the_facts_and_finds_them_again(tmp_path, no_figures):
    config = experiment(inference=CoordinateAscent(stop_on_validation=True), num_steps=100)
    first = run_experiment(config, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == first.summary
    assert first.summary["stopped"] in ("converged", "validation")
    assert first.summary["heldout_gain"] == (
        first.summary["heldout_log_likelihood"]
        - first.summary["heldout_log_likelihood_independent"]
    )
    assert first.summary["valid_log_likelihood"] > first.summary["valid_log_likelihood_independent"]
    assert 0 <= first.summary["lost_since_best"] < 0.5
    assert first.summary["best_scored_sweep"] == first.summary["best_sweep"]
    assert first.summary["elbo_rise_sweeps"] >= 10
    assert first.summary["num_distinct_factors"] == 3
    assert first.summary["intervals"] == "mean-field"
    again = run_experiment(config, tmp_path).summary
    for name in ("elbo_rise", "lost_since_best", "stopped", "heldout_gain", "idle_factors"):
        assert again[name] == first.summary[name], name


@pytest.mark.parametrize(
    "heldout", slow_after(1, [HeldOut(protocol="cells", test_fraction=0.2), None])
)
def test_a_fit_in_memory_has_a_certificate(heldout):
    counts = SYNTHETIC.load().counts
    found = fit(PoissonFactorization(num_factors=3), counts, heldout=heldout)
    assert found.table.splitlines()[1] == "Certificate"
    assert found.summary["stopped"] == found.stopped == "converged"
    assert ("heldout_gain" in found.summary) == (heldout is not None)
    plain = CoordinateAscent(tolerance=0)
    found = fit(PoissonFactorization(num_factors=3), counts, plain, heldout=heldout, num_steps=200)
    assert found.summary["elbo_rise_sweeps"] == 100
    assert 0 <= found.summary["elbo_rise"] < 0.01 * abs(found.summary["elbo"])
    assert "to go on: num_steps=400" in found.table


@pytest.mark.slow
def test_an_algorithm_without_a_rule_to_stop_takes_all_its_steps(no_figures, tmp_path):
    inference = StochasticVariationalInference(batch_rows=30)
    config = experiment(inference=inference, num_steps=6)
    outcome = run_experiment(config, tmp_path)
    assert outcome.summary["stopped"] == "num_steps"
    assert "all that it was to take" in outcome.table
    assert "NOT converged" not in outcome.table


def test_counts_of_one_row_or_column_have_a_certificate():
    for shape in ((1, 9), (9, 1), (1, 1)):
        counts = np.arange(1, 1 + np.prod(shape)).reshape(shape)
        found = fit(PoissonFactorization(num_factors=2), counts, num_steps=5)
        assert found.table.splitlines()[1] == "Certificate"
        assert all(np.isfinite(x) for x in jax.tree.leaves(found.summary) if isinstance(x, float))
