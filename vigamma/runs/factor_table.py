"""The result of a factorization as human-readable text."""

from typing import Any


def table_of(summary: dict[str, Any]) -> str:
    """The text that a run prints at its end, from its summary."""
    lines = [
        f"{summary['num_rows']:,} rows × {summary['num_columns']:,} columns, "
        f"{summary['num_nonzeros']:,} nonzeros, {summary['num_factors']} factors",
        f"  {summary['sweeps']:g} sweeps{_which(summary)}"
        f"{'' if summary.get('converged', True) else ', not yet converged'}",
        *_if_blind(summary),
        f"  ELBO                      {summary['elbo']:>18,.1f} nats",
    ]
    if "valid_log_likelihood" in summary:
        score = summary["valid_log_likelihood"]
        lines.append(f"  validation log-likelihood {score:>18.4f} nats")
    if "num_heldout" in summary:
        lines += [
            f"  held-out log-likelihood   {summary['heldout_log_likelihood']:>18.4f} nats  "
            f"({summary['heldout_protocol']}, {summary['num_heldout']:,})",
            *_of_best_start(summary),
            f"  of independent columns    "
            f"{summary['heldout_log_likelihood_independent']:>18.4f} nats",
        ]
    if "smallest_cosine" in summary:
        lines += [
            f"  true factors matched with cosines of at least {summary['smallest_cosine']:.4f}",
            f"  true rates within their 90 % intervals: {summary['coverage_of_90_percent']:.1%}",
        ]
    starts = f", mixture of {len(summary['starts'])} starts" if "starts" in summary else ""
    return "\n".join([f"Factorization{starts}", *lines])


def _of_best_start(summary: dict[str, Any]) -> list[str]:
    if "starts" not in summary:
        return []
    score = summary["heldout_log_likelihood_best_start"]
    return [f"  of the best start alone   {score:>18.4f} nats"]


def _if_blind(summary: dict[str, Any]) -> list[str]:
    if summary.get("sees_convergence", True):
        return []
    return [
        "  counts are so large that rises of the ELBO as small as the tolerance are lost in its",
        "  rounding, in fewer cases with JAX_ENABLE_X64=1",
    ]


def _which(summary: dict[str, Any]) -> str:
    """The sweep of the kept posterior, if it is not the last."""
    if summary.get("best_sweep", summary["sweeps"]) == summary["sweeps"]:
        return ""
    return f"; kept is sweep {summary['best_sweep']:g}, the best by validation"
