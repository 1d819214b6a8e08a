"""What to do about a fit in which something looks wrong: the next commands to type."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from vigamma.data.files import SparseCounts
from vigamma.diagnostics.verdicts import Verdict
from vigamma.models.factor_model import PROBABILITIES
from vigamma.report.results import Results
from vigamma.terminal.invocation import command

AGAIN = "again.py"
"""The file that the page tells to save the config of the run as."""


class Step(NamedTuple):
    """One thing to do.

    Attributes:
      aim: what it is good for.
      command: the command to type.
      change: what is changed in `AGAIN` before, or "".
    """

    aim: str
    command: str
    change: str = ""


def next_steps(results: Results, wrong: Sequence[Verdict]) -> list[Step]:
    """What to do about the verdicts that are off, the most important first; [] for none.

    Results of a run that has not ended are not judged: it goes on first. Counts that vary more than
    Poisson counts go to negative binomials, and all else is a question of K and the priors. Counts
    that vary less, such as those of 0 and 1, have no better model here.
    """
    checks = {verdict.check: verdict for verdict in wrong}
    if "end" in checks or "convergence" in checks:
        return [_go_on(results, has_ended="end" not in checks)]
    is_poisson = PROBABILITIES not in results.run.factors.q
    too_even = {name for name in ("dispersion", "zeros") if name in checks and not _varies(checks)}
    steps = []
    if is_poisson and _varies(checks):
        steps.append(_with_negative_binomials(results))
    elif checks.keys() - too_even:
        steps.append(_with_other_priors(results))
    return steps


def _varies(checks: dict[str, Verdict]) -> bool:
    """Whether counts vary more than the model expects: more between rows, or more zeros."""
    return any(
        checks[name].observed > checks[name].expected
        for name in ("dispersion", "zeros")
        if name in checks
    )


def _go_on(results: Results, has_ended: bool) -> Step:
    more = [f"--config.num_steps={2 * results.run.config.num_steps}"] if has_ended else []
    words = ["--config", AGAIN, "--workdir", str(results.workdir), *more]
    return Step("Let the run go on where it stopped", _typed("train", words))


def _with_negative_binomials(results: Results) -> Step:
    """A run of the same data by the model whose counts vary more, beside this one."""
    config = results.run.config
    workdir, aim = (
        f"{results.workdir}-negative-binomial",
        "Let the model learn how much counts vary",
    )
    if not isinstance(config.data, SparseCounts):
        model = f"HierarchicalNegativeBinomialFactorization(num_factors={config.model.num_factors})"
        return Step(aim, _typed("train", ["--config", AGAIN, "--workdir", workdir]), model)
    words = ["--config", "counts_negative_binomial", *_changed_fields(config.data)]
    words.append(f"--config.model.num_factors={config.model.num_factors}")
    if config.heldout is not None and config.heldout.protocol != "thinning":
        words.append(f"--config.heldout.protocol={config.heldout.protocol}")
    return Step(aim, _typed("train", [*words, "--workdir", workdir]))


def _with_other_priors(results: Results) -> Step:
    k = results.run.config.model.num_factors
    sizes = ",".join(str(size) for size in (max(1, k // 2), k, 2 * k))
    grid = ["--row_shapes", "0.1,0.3,1", "--column_shapes", "0.1,0.3,1", "--num_factors", sizes]
    aim = "Let held-out counts choose the priors and the number of factors"
    return Step(aim, _typed("search", ["--config", AGAIN, *grid]))


def _changed_fields(data: Any) -> list[str]:
    """The flags of the fields of a data source that differ from their defaults."""
    return [
        f"--config.data.{field.name}={value}"
        for field in dataclasses.fields(data)
        if (value := getattr(data, field.name)) != field.default
    ]


def _typed(name: str, words: Sequence[str]) -> str:
    return f"{command(name)} {shlex.join(words)}"
