"""The result of a factorization as human-readable text: its size, and a certificate."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from vigamma.diagnostics.verdicts import factors_verdict, gain_verdict, overfit_verdict
from vigamma.terminal.invocation import command


class _Fact(NamedTuple):
    """A line of the certificate: a name, a value, its unit, and a note on it."""

    name: str
    value: str
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"  {self.name:<28}{self.value:>18} {self.unit:<4}  {self.note}".rstrip()


def table_of(summary: dict[str, Any], workdir: Path | None = None) -> str:
    """The text that a run prints at its end.

    Args:
      summary: that of the run.
      workdir: its directory, which commands name; None for a fit in memory.
    """
    starts = f", mixture of {len(summary['starts'])} starts" if "starts" in summary else ""
    size = (
        f"Factorization{starts}: {summary['num_rows']:,} rows × {summary['num_columns']:,} columns,"
        f" {summary['num_nonzeros']:,} nonzeros, {summary['num_factors']} factors"
    )
    facts = [
        _Fact("ELBO", f"{summary['elbo']:,.1f}", "nats"),
        *_of_scores(summary),
        _of_steps(summary),
        *_of_validation(summary),
        _of_factors(summary),
        *_of_truth(summary),
        _of_intervals(summary),
    ]
    return "\n".join([size, "Certificate", *map(str, facts), *_advice(summary, workdir)])


def _of_scores(summary: dict[str, Any]) -> list[_Fact]:
    """The score of the test counts, and those that it is compared with."""
    if "num_heldout" not in summary:
        return []
    what = f"{summary['heldout_protocol']}, {summary['num_heldout']:,}"
    scores = [("held-out log-likelihood", "", what), ("of independent columns", "_independent", "")]
    if "starts" in summary:
        scores.insert(1, ("of the best start alone", "_best_start", ""))
    facts = [
        _Fact(name, f"{summary[f'heldout_log_likelihood{key}']:.4f}", "nats", note)
        for name, key, note in scores
    ]
    gain = summary["heldout_gain"]
    note = "" if not gain_verdict(gain).is_off else "NOT better than independent columns"
    return [*facts, _Fact("gain over these", f"{gain:.4f}", "nats", note)]


def _of_steps(summary: dict[str, Any]) -> _Fact:
    reasons = {
        "converged": "converged",
        "validation": "stopped, as validation counts were predicted no better any more",
        "num_steps": "NOT converged" if "converged" in summary else "all that it was to take",
    }
    return _Fact("sweeps", f"{summary['sweeps']:g}", note=reasons[summary["stopped"]])


def _of_validation(summary: dict[str, Any]) -> list[_Fact]:
    if "valid_log_likelihood" not in summary:
        return []
    note = "the best by validation; so it is kept"
    score = _Fact("validation log-likelihood", f"{summary['valid_log_likelihood']:.4f}", "nats")
    return [score, _Fact("  at sweep", f"{summary['best_sweep']:g}", note=note)]


def _of_factors(summary: dict[str, Any]) -> _Fact:
    number, idle = summary["num_factors"], len(summary["idle_factors"])
    repeated = number - idle - summary["num_distinct_factors"]
    notes = [f"{repeated} nearly equal to others"] * (repeated > 0)
    notes += [f"{idle} idle"] * (idle > 0)
    distinct = f"{summary['num_distinct_factors']} of {number}"
    return _Fact("distinct factors in use", distinct, note=", ".join(notes))


def _of_truth(summary: dict[str, Any]) -> list[_Fact]:
    if "smallest_cosine" not in summary:
        return []
    covered = f"{summary['coverage_of_90_percent']:.1%}"
    return [
        _Fact("cosine with true factors", f"{summary['smallest_cosine']:.4f}", note="the smallest"),
        _Fact("true rates in 90 % intervals", covered, note="mean-field"),
    ]


def _of_intervals(summary: dict[str, Any]) -> _Fact:
    is_sampled = summary["intervals"] == "sampled"
    note = "too narrow: those of 90 % hold about 75 % of rates"
    return _Fact("intervals", summary["intervals"], note="" if is_sampled else note)


def _advice(summary: dict[str, Any], workdir: Path | None) -> list[str]:
    """What does not hold, and what to type next."""
    found = []
    if summary["stopped"] == "num_steps" and "converged" in summary:
        found.append(_how_to_go_on(summary, workdir))
    if not summary.get("sees_convergence", True):
        found.append(
            "counts are so large that rises of the ELBO as small as the tolerance are lost in its "
            "rounding, in fewer cases with JAX_ENABLE_X64=1"
        )
    found += _how_to_choose(summary, workdir)
    if summary["intervals"] == "mean-field":
        how = "vg.sample_posterior"
        if workdir is not None:
            how = f"{command('sample')} --workdir {shlex.quote(str(workdir))}"
        found.append(f"for intervals that hold: {how}")
    return [f"  {line}" for line in found]


def _how_to_go_on(summary: dict[str, Any], workdir: Path | None) -> str:
    flag = "num_steps" if workdir is None else "the same command with --config.num_steps"
    rise = ""
    if "elbo_rise" in summary:
        number, share = summary["elbo_rise_sweeps"], summary["elbo_rise"] / abs(summary["elbo"])
        rise = f"the last {number:g} sweeps raised the ELBO by {share:.1g} of it; "
    return f"{rise}to go on: {flag}={2 * summary['steps']}"


def _how_to_choose(summary: dict[str, Any], workdir: Path | None) -> list[str]:
    """How to choose the number of factors, and the sweep, if another one may serve better.

    It is too early to say before coordinate ascent has stopped by itself; and the search, which
    would choose, is by coordinate ascent.
    """
    if summary["stopped"] == "num_steps":
        return []
    reasons, found, overfits = [], [], _overfits(summary)
    if factors_verdict(summary["num_distinct_factors"], summary["num_factors"]).is_off:
        reasons.append("fewer factors may serve")
    if "heldout_gain" in summary and gain_verdict(summary["heldout_gain"]).is_off:
        reasons.append("the factors predict nothing")
    if overfits:
        sweep = f"{summary['best_scored_sweep']:g}"
        reasons.append(f"held-out counts are predicted worse after sweep {sweep}")
    if reasons:
        how = f"{command('search')} with the same --config flags, and --num_factors=auto"
        how = "vg.search(config, num_factors='auto')" if workdir is None else how
        found.append(f"{', and '.join(reasons)}; their number is chosen by\n    {how}")
    if overfits and "valid_log_likelihood" not in summary:
        found.append("the best sweep is kept by --config.heldout.valid_fraction=0.1")
    return found


def _overfits(summary: dict[str, Any]) -> bool:
    """Whether held-out scores fell at last, by much of what the factors had gained."""
    if "lost_since_best" not in summary:
        return False
    lost = summary["lost_since_best"]
    if "valid_log_likelihood" in summary:
        best, independent = (summary[f"valid_log_likelihood{e}"] for e in ("", "_independent"))
        return overfit_verdict(lost, best - independent).is_off
    return overfit_verdict(lost, summary["heldout_gain"] + lost).is_off
