"""The search for prior shapes and K: all candidates start, and the better ones on validation go on.

This is successive halving (Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization", AISTATS), warm: a candidate goes on from where it stood.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vigamma.config import Experiment, check_config, flatten
from vigamma.errors import ConfigError, NonFiniteError
from vigamma.fits.base import Advance
from vigamma.fits.coordinate_ascent import CoordinateAscentFit
from vigamma.inference.coordinate_ascent import AscentState, CoordinateAscent
from vigamma.mesh import make_mesh
from vigamma.metrics import write_json
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.poisson_factorization import PoissonFactorization
from vigamma.train import load_fit

VALID_FRACTION = 0.1
"""Held out for validation where the config holds out nothing."""

Factorization = PoissonFactorization | HierarchicalPoissonFactorization


class Rung(NamedTuple):
    """Where candidates are compared.

    Attributes:
      sweeps: so many sweeps each has taken by then, unless it has stopped before.
      keep: the share that goes on, rounded up.
    """

    sweeps: int
    keep: float


RUNGS = (Rung(10, 2 / 5), Rung(16, 1 / 2), Rung(30, 1 / 2))
"""Of 20 candidates, 8, then 4, then 2 go on, and the 2 are fitted to their ends.

Found on ten full grids over text, digits and synthetic counts: no rungs that cost less chose the
best of every grid. On text the order stands after 5 sweeps; where many factors are nearly alike the
winner was 16th of 20 after 6 sweeps, 8th after 10 and first after 16."""


def halve(
    num_candidates: int,
    climb: Callable[[int, int | None], float],
    rungs: Sequence[Rung] = RUNGS,
    after_rung: Callable[[Rung, list[int], list[int]], None] = lambda *_: None,
) -> int:
    """The candidate that scores best, of those that are never dropped.

    Args:
      num_candidates: they are numbered from 0.
      climb: (candidate, sweeps) -> score, higher is better, NaN is worst; takes the candidate on to
        so many sweeps, or with None to its end.
      rungs: where they are compared, in ascending order.
      after_rung: called with every rung, the candidates that go on, best first, and those dropped.
    """
    alive = list(range(num_candidates))
    for rung in rungs:
        if len(alive) == 1:
            break
        ranked = _ranked(alive, climb, rung.sweeps)
        num_kept = math.ceil(rung.keep * len(ranked))
        alive = ranked[:num_kept]
        after_rung(rung, alive, ranked[num_kept:])
    return _ranked(alive, climb, None)[0]


def _ranked(
    candidates: list[int], climb: Callable[[int, int | None], float], sweeps: int | None
) -> list[int]:
    scores = {candidate: climb(candidate, sweeps) for candidate in candidates}
    worst_last = {c: -math.inf if math.isnan(score) else score for c, score in scores.items()}
    return sorted(candidates, key=worst_last.__getitem__, reverse=True)


class Trial(NamedTuple):
    """What became of a candidate.

    Attributes:
      model: the candidate.
      scores: (sweeps, validation log-likelihood in nats), whenever it was looked at.
      dropped_at: the sweeps of the rung after which it did not go on; None if it was fitted to its
        end.
    """

    model: Factorization
    scores: list[tuple[int, float]]
    dropped_at: int | None

    @property
    def sweeps(self) -> int:
        """The sweeps that it has taken."""
        return self.scores[-1][0]

    @property
    def valid_log_likelihood(self) -> float:
        """The validation log-likelihood that it has come to, in nats."""
        return self.scores[-1][1]


class SearchOutcome(NamedTuple):
    """What a search ends with.

    Attributes:
      config: the experiment of the winner: a run of it fits the same factors again.
      changes: what was searched for, and the other fields in which it differs from the given one;
        named as by `flatten`.
      trials: all candidates, best first: those fitted to their end, then those dropped last.
      summary: the fit of the winner, as in `summary.json` of a run, its test score included.
      seconds: the time of it all.
    """

    config: Experiment
    changes: dict[str, Any]
    trials: list[Trial]
    summary: dict[str, Any]
    seconds: float

    @property
    def best(self) -> Trial:
        """The winner."""
        return self.trials[0]

    @property
    def table(self) -> str:
        """The candidates and the test log-likelihood of the winner, for people."""
        names = varied_fields([trial.model for trial in self.trials])
        header = (*names, "sweeps", "validation (nats)", "dropped at")
        rows = [
            (
                *(f"{getattr(trial.model, name):g}" for name in names),
                str(trial.sweeps),
                f"{trial.valid_log_likelihood:.4f}",
                "" if trial.dropped_at is None else str(trial.dropped_at),
            )
            for trial in self.trials
        ]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ]
        if "heldout_log_likelihood" in self.summary:
            score, independent = (
                self.summary[f"heldout_log_likelihood{end}"] for end in ("", "_independent")
            )
            lines += [f"test of the first: {score:.4f} nats; independent columns {independent:.4f}"]
        return "\n".join(lines)


def model_grid(
    model: Factorization,
    *,
    row_shapes: Sequence[float] = (),
    column_shapes: Sequence[float] = (),
    num_factors: Sequence[int] = (),
) -> list[Factorization]:
    """All combinations, each once; what is not named stays as in `model`."""
    choices = {"row_shape": row_shapes, "column_shape": column_shapes, "num_factors": num_factors}
    named = {name: values for name, values in choices.items() if values}
    combinations = (dict(zip(named, v, strict=True)) for v in itertools.product(*named.values()))
    return list(dict.fromkeys(dataclasses.replace(model, **fields) for fields in combinations))


def search(
    config: Experiment,
    candidates: Sequence[Factorization],
    *,
    rungs: Sequence[Rung] = RUNGS,
    say: Callable[[str], None] = lambda _: None,
) -> SearchOutcome:
    """Chooses among models by the log-likelihood of validation counts.

    The counts are split and laid out once, and one program serves all candidates of the same K.
    Candidates start from the seed of the config, once each, and take at most `config.num_steps`
    sweeps. Until half of them are dropped, the posteriors of all are kept on the devices. The test
    counts are looked at when the winner stands.

    Args:
      config: the experiment; with `heldout.valid_fraction` 0 the search takes `VALID_FRACTION`.
      candidates: models to take the place of `config.model`, such as from `model_grid`; they may
        differ from it in K and the shapes.
      rungs: where the candidates are compared.
      say: called with lines of progress.

    Raises:
      ConfigError: for a config or a candidate that cannot run, before any compilation.
      NonFiniteError: if no candidate comes to a finite score.
    """
    started = time.monotonic()
    searched = _for_search(config, candidates, say)
    trials = _Trials(searched, candidates, say)
    winner = halve(len(candidates), trials.climb, rungs, trials.after_rung)
    summary = trials.report(winner)
    chosen = dataclasses.replace(searched, model=candidates[winner])
    named = {f"model.{name}" for name in varied_fields(candidates)}
    given = flatten(config)
    return SearchOutcome(
        config=chosen,
        changes={n: v for n, v in flatten(chosen).items() if n in named or v != given[n]},
        trials=trials.best_first(winner),
        summary=summary,
        seconds=time.monotonic() - started,
    )


def write_search(outcome: SearchOutcome, workdir: Path, command: str) -> None:
    """Writes `search.json` and `search.png`; `command` is what fits the winner."""
    trials = [
        {
            "model": flatten(trial.model),
            "sweeps": trial.sweeps,
            "valid_log_likelihood": _finite(trial.valid_log_likelihood),
            "dropped_at": trial.dropped_at,
            "scores": [(sweeps, _finite(score)) for sweeps, score in trial.scores],
        }
        for trial in outcome.trials
    ]
    values = {
        "config": flatten(outcome.config),
        "command": command,
        "summary": outcome.summary,
        "seconds": outcome.seconds,
        "trials": trials,
    }
    write_json(workdir / "search.json", values)
    names = varied_fields([trial.model for trial in outcome.trials])
    from vigamma import plotting, plotting_factors  # and Matplotlib, only when it is needed

    figure = plotting_factors.search_paths(
        [trial.scores for trial in outcome.trials], _label(outcome.best.model, names)
    )
    plotting.save(figure, workdir / "search.png")


def varied_fields(models: Sequence[Factorization]) -> list[str]:
    """The names of the fields in which models of one kind are not all the same."""
    names = [field.name for field in dataclasses.fields(models[0])]
    return [name for name in names if len({getattr(model, name) for model in models}) > 1]


def _label(model: Factorization, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {getattr(model, name):g}" for name in names)


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _for_search(
    config: Experiment, candidates: Sequence[Factorization], say: Callable[[str], None]
) -> Experiment:
    """The config with validation counts and a single start; raises ConfigError."""
    check_config(config)
    if not isinstance(config.inference, CoordinateAscent) or config.heldout is None:
        raise ConfigError(
            "a search needs a config with coordinate ascent and held-out counts, "
            "for example configs/counts_factors.py"
        )
    if not candidates:
        raise ConfigError("a search needs at least one candidate")
    for model in candidates:
        check_config(dataclasses.replace(config, model=model))
        if _fixed(model) != _fixed(config.model):
            raise ConfigError(
                f"candidates may differ from config.model in K and the shapes only, got {model}"
            )
    heldout = config.heldout
    if heldout.valid_fraction == 0:
        heldout = dataclasses.replace(heldout, valid_fraction=VALID_FRACTION)
        say(f"config.heldout.valid_fraction is 0; the search takes {VALID_FRACTION}")
    inference = dataclasses.replace(config.inference, num_restarts=1)
    searched = dataclasses.replace(config, heldout=heldout, inference=inference)
    check_config(searched)
    return searched


def _fixed(model: Factorization) -> tuple[Any, ...]:
    """What `CoordinateAscentFit.with_model` cannot change, and the kind of the model."""
    return type(model), model.row_sum_exposures


class _Trials:
    """The candidates on their way: their posteriors, their scores, and one program for each K."""

    def __init__(
        self, config: Experiment, candidates: Sequence[Factorization], say: Callable[[str], None]
    ):
        self._config, self._candidates, self._say = config, candidates, say
        self._fit, self._mesh = load_fit(config, say), make_mesh()
        if self._fit.split.valid is None:
            raise ConfigError("config.data: a split of its own needs a valid.npz for a search")
        self._names = varied_fields(candidates)
        self._programs: dict[int, Advance] = {}
        self._tilts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._arrays: dict[int, AscentState] = {}
        self._scores: dict[int, list[tuple[int, float]]] = {i: [] for i in range(len(candidates))}
        self._dropped_at: dict[int, int] = {}

    def climb(self, candidate: int, sweeps: int | None) -> float:
        """Takes a candidate on, as `halve` asks for it; looks at it as a run of it would."""
        config, model = self._config, self._candidates[candidate]
        fit = self._fit.with_model(model)
        arrays = self._arrays.pop(candidate, None)
        if arrays is None:
            arrays = self._start(fit, model.num_factors)
        advance = self._program(fit, model.num_factors, arrays)
        last = config.num_steps if sweeps is None else min(sweeps, config.num_steps)
        while (step := fit.step_of(arrays)) < last and not fit.is_done(arrays):
            arrays, _ = advance(
                arrays, min((step // config.log_every + 1) * config.log_every, last)
            )
            step, score = fit.step_of(arrays), fit.log_likelihood(arrays, fit.split.valid)
            self._scores[candidate].append((step, score))
            if step % config.log_every == 0:
                arrays = config.inference.after_validation(arrays, score)
        self._arrays[candidate] = arrays
        step, score = self._scores[candidate][-1]
        self._say(f"{_label(model, self._names)}: {step} sweeps, validation {score:.4f} nats")
        return score

    def _start(self, fit: CoordinateAscentFit, num_factors: int) -> AscentState:
        if num_factors not in self._tilts:
            self._tilts[num_factors] = fit.tilts(0, self._mesh)
        return fit.start_from(self._tilts[num_factors], self._mesh)

    def _program(self, fit: CoordinateAscentFit, num_factors: int, arrays: AscentState) -> Advance:
        if num_factors not in self._programs:
            most_steps = min(self._config.log_every, self._config.num_steps)
            self._programs[num_factors] = fit.compile(arrays, self._mesh, most_steps)
        return self._programs[num_factors]

    def after_rung(self, rung: Rung, kept: list[int], dropped: list[int]) -> None:
        """Lets go of the posteriors of those that are dropped, and of where all have started."""
        self._tilts.clear()
        for candidate in dropped:
            del self._arrays[candidate]
            self._dropped_at[candidate] = rung.sweeps
        self._say(f"after {rung.sweeps} sweeps, {len(kept)} of {len(kept) + len(dropped)} go on")

    def report(self, winner: int) -> dict[str, Any]:
        """The summary of the winner, its test score included."""
        if not math.isfinite(self._scores[winner][-1][1]):
            raise NonFiniteError("no candidate has come to a finite validation log-likelihood")
        fit = self._fit.with_model(self._candidates[winner])
        return fit.report(self._arrays[winner]).summary

    def best_first(self, winner: int) -> list[Trial]:
        """The winner, the others that were fitted to their end, then those dropped last."""
        trials = [
            Trial(model, self._scores[index], self._dropped_at.get(index))
            for index, model in enumerate(self._candidates)
        ]

        def rank(index: int) -> tuple[bool, float, float]:
            trial = trials[index]
            return (
                index == winner,
                math.inf if trial.dropped_at is None else trial.dropped_at,
                trial.valid_log_likelihood,
            )

        return [trials[index] for index in sorted(range(len(trials)), key=rank, reverse=True)]
