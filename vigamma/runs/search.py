"""The search for prior shapes, K and the likelihood by successive halving on validation counts.

See Jamieson & Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter
optimization", AISTATS. Candidates are warm-started: each continues from its previous state.
"""

import dataclasses
import itertools
import math
import os
import shlex
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vigamma.devices.mesh import make_mesh
from vigamma.errors import ConfigError, NonFiniteError
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.train_state import TrainState
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.likelihoods import Factorization, with_likelihood
from vigamma.models.poisson_factorization import SMALLEST_SHAPE, row_shape_of
from vigamma.runs.experiment import Experiment, check_config, config_file, flatten
from vigamma.runs.factors import FactorFit
from vigamma.runs.grid_edges import beyond
from vigamma.runs.loading import load_fit
from vigamma.runs.loop import take_steps
from vigamma.runs.metrics import write_json
from vigamma.runs.num_factors import MOST_FACTORS, SAME_GAIN, fewest_factors, standard_error
from vigamma.terminal import invocation

VALID_FRACTION = 0.1
"""The fraction held out for validation if the config holds out nothing for it."""


class Rung(NamedTuple):
    """A comparison of the candidates.

    Attributes:
      sweeps: the number of sweeps that each candidate has taken, unless it has stopped earlier.
      keep: the share of candidates that are kept, rounded up.
    """

    sweeps: int
    keep: float


RUNGS = (Rung(10, 2 / 5), Rung(16, 1 / 2), Rung(30, 1 / 2))
"""Of 20 candidates, 8, then 4, then 2 are kept, and these 2 are fitted until they stop.

Chosen on ten full grids over text, digits and synthetic counts: no cheaper rungs chose the best of
every grid. On text the order is final after 5 sweeps; where many factors are nearly equal the
winner was 16th of 20 after 6 sweeps, 8th after 10 and first after 16."""


_SHAPES = (0.1, 0.3, 1.0)
_NUMBERS_OF_FACTORS = (20, 50)
_MOST_GROWTHS = 3
_NONE_IS_FINITE = "no candidate has come to a finite validation log-likelihood"
_STEP = 3**0.5  # half a step of the grid of shapes, on the log scale


def halve(
    candidates: Sequence[int],
    climb: Callable[[int, int | None], float],
    rungs: Sequence[Rung] = RUNGS,
    after_rung: Callable[[Rung, list[int], list[int]], None] = lambda *_: None,
    never_dropped: Container[int] = (),
) -> int:
    """The candidate with the highest best score so far, by successive halving.

    As the best score of a candidate never decreases, those that are kept remain at least as good as
    those that were dropped.

    Args:
      candidates: the numbers of the candidates.
      climb: (candidate, sweeps) -> its best score so far, where higher is better and NaN is worst;
        fits the candidate up to that many sweeps, or until it stops if `sweeps` is None.
      rungs: the comparisons, in ascending order of sweeps.
      after_rung: called with each rung, the kept candidates, best first, and the dropped ones.
      never_dropped: candidates that are kept whatever their scores are.
    """
    alive = list(candidates)
    for rung in rungs:
        if len(alive) == 1:
            break
        ranked = _ranked(alive, climb, rung.sweeps)
        num_kept = math.ceil(rung.keep * len(ranked))
        dropped = [c for c in ranked[num_kept:] if c not in never_dropped]
        alive = [c for c in ranked if c not in dropped]
        after_rung(rung, alive, dropped)
    return _ranked(alive, climb, None)[0]


def _ranked(
    candidates: list[int], climb: Callable[[int, int | None], float], sweeps: int | None
) -> list[int]:
    scores = {candidate: climb(candidate, sweeps) for candidate in candidates}
    return sorted(candidates, key=lambda c: _worst_if_nan(scores[c]), reverse=True)


def _worst_if_nan(score: float) -> float:
    return -math.inf if math.isnan(score) else score


class Trial(NamedTuple):
    """The result of a candidate.

    Attributes:
      model: the candidate.
      scores: (sweeps, validation log-likelihood in nats) at every validation.
      sweeps: the number of sweeps it has taken.
      dropped_at: the sweeps of the rung that dropped it; None if it was fitted until it stopped.
    """

    model: Factorization
    scores: list[tuple[int, float]]
    sweeps: int
    dropped_at: int | None

    @property
    def best(self) -> tuple[int, float]:
        """The sweep and the validation log-likelihood, in nats, of its best validation."""
        return max(self.scores, key=lambda look: (_worst_if_nan(look[1]), -look[0]))

    @property
    def valid_log_likelihood(self) -> float:
        """The best validation log-likelihood so far, in nats."""
        return self.best[1]


class SearchOutcome(NamedTuple):
    """The result of a search.

    Attributes:
      config: the experiment of the winner; a run of it fits the same factors again.
      changes: the fields of `config` that were searched over, or differ from the given config;
        named as by `flatten`. "model" is one of them if the winner has another likelihood.
      trials: all candidates, the winner first, and then the best by validation.
      summary: the fit of the winner, as in `summary.json` of a run, with its test score.
      seconds: the time of the whole search.
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
        """The candidates and the test log-likelihood of the winner, as human-readable text."""
        names = varied_fields([trial.model for trial in self.trials])
        header = (*names, "validation (nats)", "at sweep", "of", "dropped at")
        rows = [
            (
                *(_text(_described(trial.model).get(name, "")) for name in names),
                f"{trial.valid_log_likelihood:.4f}",
                str(trial.best[0]),
                str(trial.sweeps),
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
    likelihoods: Sequence[str] = (),
    row_shapes: Sequence[float] = (),
    column_shapes: Sequence[float] = (),
    num_factors: Sequence[int] = (),
) -> list[Factorization]:
    """All distinct combinations of the given values; other fields are those of `model`.

    Raises:
      ConfigError: for an unknown likelihood, or a model that is no factorization of this package.
    """
    _check_factorization(model)
    try:
        models = [with_likelihood(model, name) for name in likelihoods or (model.likelihood,)]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    choices = {"row_shape": row_shapes, "column_shape": column_shapes, "num_factors": num_factors}
    named: dict[str, Sequence[Any]] = {name: v for name, v in choices.items() if v}
    combinations = [dict(zip(named, v, strict=True)) for v in itertools.product(*named.values())]
    pairs = itertools.product(models, combinations)
    return list(dict.fromkeys(dataclasses.replace(of, **fields) for of, fields in pairs))


def default_grid(model: Factorization) -> list[Factorization]:
    """The default candidates: small, medium and large shapes of both sides, 20 or 50 factors.

    All have the likelihood of `model`.
    """
    return model_grid(
        model, row_shapes=_SHAPES, column_shapes=_SHAPES, num_factors=_NUMBERS_OF_FACTORS
    )


def neighbours(model: Factorization) -> list[Factorization]:
    """The neighbors of a model: each shape a step up or down, and half or twice as many factors."""
    near: list[dict[str, Any]] = [
        {name: max(round(getattr(model, name) * step, 3), SMALLEST_SHAPE)}
        for name in ("row_shape", "column_shape")
        for step in (1 / _STEP, _STEP)
    ]
    near += [{"num_factors": k} for k in (model.num_factors // 2, 2 * model.num_factors) if k]
    return list(dict.fromkeys(dataclasses.replace(model, **fields) for fields in near))


def search(
    config: Experiment,
    candidates: Sequence[Factorization] | None = None,
    *,
    num_factors: Literal["auto"] | None = None,
    grow: bool = True,
    rungs: Sequence[Rung] = RUNGS,
    say: Callable[[str], None] = lambda _: None,
) -> SearchOutcome:
    """Chooses the model with the highest validation log-likelihood.

    The counts are split and laid out once, and candidates with the same K and likelihood share one
    program. All scores are log-probabilities of the same counts, so that likelihoods compare. Each
    candidate has a single start, from the seed of the config, and takes at most `config.num_steps`
    sweeps. `config.model` is a candidate that is never dropped. The posteriors of all candidates
    that were not dropped are on the devices. The test counts are used for the winner only.

    Args:
      config: the experiment; if it holds out nothing for validation, `VALID_FRACTION` is used.
      candidates: alternatives to `config.model`, for example from `model_grid`; they may differ
        from it in K, the shapes and the likelihood only. By default those of `default_grid`, and
        then the `neighbours` of the best of these; with `num_factors`, none.
      num_factors: "auto" for the smallest K whose score is as good as the best, by
        `fewest_factors`, with all else as in the best of the candidates: within one standard error
        of the difference of their scores, or within a thousandth of the gain over independent
        columns, by which different starts of one K may differ.
      grow: whether the grid grows, at most three times, where the best of it is at an edge.
      rungs: the comparisons of the candidates.
      say: called with lines of progress.

    Raises:
      ConfigError: for a config or a candidate that cannot run, before any compilation.
      NonFiniteError: if no candidate has a finite score.
    """
    started = time.monotonic()
    if num_factors not in (None, "auto"):
        raise ConfigError(f'num_factors must be "auto" or None, got {num_factors!r}')
    grid = list(default_grid(config.model) if candidates is None else candidates)
    searched = _for_search(config, grid, say)
    trials, winner = _Trials(searched, say), None
    if candidates is not None or num_factors is None:
        winner = trials.choose(trials.add([config.model, *grid]), rungs, never_dropped=(0,))
        if candidates is None:
            say(f"the best so far is {trials.label(winner)}; now what is near")
            grid += neighbours(trials.models[winner])
            winner = trials.choose([winner, *trials.add(grid)], rungs, never_dropped=(0,))
        winner = trials.grown(winner, grid) if grow else winner
    if num_factors is not None or winner is None:
        winner = trials.with_fewest_factors(winner)
    summary = trials.report(winner)
    chosen = dataclasses.replace(searched, model=trials.models[winner])
    named = {f"model.{name}" for name in varied_fields(trials.models)}
    given = flatten(config)
    return SearchOutcome(
        config=chosen,
        changes={n: v for n, v in flatten(chosen).items() if n in named or v != given.get(n)},
        trials=trials.best_first(winner),
        summary=summary,
        seconds=time.monotonic() - started,
    )


def write_search(
    outcome: SearchOutcome, workdir: str | os.PathLike[str], filename: str, given: Mapping[str, Any]
) -> str:
    """Writes `search.json` and `search.png`, and returns the command that fits the winner.

    No flag changes the class of a model. So the config of a winner with another likelihood is
    written to `winner.py`, which the command then names.

    Args:
      outcome: the outcome of the search.
      workdir: where to write.
      filename: the config file of the search.
      given: the fields that were set by flags.
    """
    workdir, fields = Path(workdir), dict(given) | outcome.changes
    if "model" in outcome.changes:
        filename, fields = str(workdir / "winner.py"), {}
        text = f'"""The winner of a search."""\n\n{config_file(outcome.config)}'
        Path(filename).write_text(text, encoding="utf-8")
    settings = (f"--config.{name}={value}" for name, value in fields.items())
    command = f"{invocation.command('train')} {shlex.join(['--config', filename, *settings])}"
    trials = [
        {
            "likelihood": trial.model.likelihood,
            "model": flatten(trial.model),
            "sweeps": trial.sweeps,
            "valid_log_likelihood": _finite(trial.valid_log_likelihood),
            "best_sweep": trial.best[0],
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
    labels = [_label(outcome.best.model, names) or "config.model"]
    for trial in outcome.trials[1:]:
        of = f", {trial.model.likelihood}" if "likelihood" in names else ""
        labels.append(f"other candidates{of}")
    from vigamma.figures import (
        factors as plotting_factors,  # imports Matplotlib, hence only when needed
    )
    from vigamma.figures import posteriors as plotting

    figure = plotting_factors.search_paths([trial.scores for trial in outcome.trials], labels)
    plotting.save(figure, workdir / "search.png")
    return command


def _with_shapes(model: Factorization) -> Factorization:
    """The same model with an explicit row shape in place of the default None."""
    return dataclasses.replace(model, row_shape=row_shape_of(model))


def varied_fields(models: Sequence[Factorization]) -> list[str]:
    """The names of what differs: "likelihood", and fields, among the models that have them."""
    all_described = [_described(model) for model in models]
    names = dict.fromkeys(itertools.chain(*all_described))
    return [n for n in names if len({d[n] for d in all_described if n in d}) > 1]


def _described(model: Factorization) -> dict[str, Any]:
    """The likelihood and the fields of a model."""
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return {"likelihood": model.likelihood} | fields


def _label(model: Factorization, names: Sequence[str]) -> str:
    described = _described(model)
    return ", ".join(f"{name} {_text(described[name])}" for name in names if name in described)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _for_search(
    config: Experiment, candidates: Sequence[Factorization], say: Callable[[str], None]
) -> Experiment:
    """The config with validation counts and a single start; raises ConfigError."""
    check_config(config)
    _check_factorization(config.model)
    if not isinstance(config.inference, CoordinateAscent) or config.heldout is None:
        raise ConfigError(
            "a search needs a config with coordinate ascent and held-out counts, "
            "for example configs/counts_factors.py"
        )
    if not candidates:
        raise ConfigError("a search needs at least one candidate")
    for model in candidates:
        check_config(dataclasses.replace(config, model=model))
        _check_factorization(model)
        if _fixed(model) != _fixed(config.model):
            raise ConfigError(
                "candidates may differ from config.model in K, the shapes and the likelihood only, "
                f"got {model}"
            )
    heldout = config.heldout
    if not heldout.holds_out_validation:
        heldout = dataclasses.replace(heldout, valid_fraction=VALID_FRACTION)
        say(f"nothing is held out for validation; the search takes {VALID_FRACTION}")
    inference = dataclasses.replace(config.inference, num_restarts=1)
    searched = dataclasses.replace(config, heldout=heldout, inference=inference)
    check_config(searched)
    return searched


def _check_factorization(model: Any) -> None:
    if not isinstance(model, Factorization):
        raise ConfigError(
            "config.model: a search needs a Poisson or negative-binomial factorization, "
            f"got {type(model).__name__}"
        )


def _fixed(model: Factorization) -> tuple[Any, ...]:
    """The kind of the priors, and what `FactorFit.with_model` cannot change."""
    return isinstance(model, HierarchicalPoissonFactorization), model.row_sum_exposures


class _Trials:
    """The candidates of a search, with their states and scores."""

    def __init__(self, config: Experiment, say: Callable[[str], None]):
        self._config, self._say = config, say
        fit, self._mesh = load_fit(config, say), make_mesh()
        assert isinstance(fit, FactorFit)
        self._fit = fit
        if fit.data.split.valid is None:
            raise ConfigError("config.data: a split of its own needs a valid.npz for a search")
        self.models: list[Factorization] = []
        self._given: dict[Factorization, Factorization] = {}
        self._perturbations: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._states: dict[int, TrainState] = {}
        self._scores: dict[int, list[tuple[int, float]]] = {}
        self._sweeps: dict[int, int] = {}
        self._dropped_at: dict[int, int] = {}

    def add(self, models: Sequence[Factorization]) -> list[int]:
        """Adds candidates, with explicit row shapes, and returns the numbers of the new ones."""
        first = len(self.models)
        for model in models:
            if (explicit := _with_shapes(model)) not in self.models:
                self.models.append(explicit)
            if explicit not in self._given or model.row_shape is not None:
                self._given[explicit] = model
        numbers = list(range(first, len(self.models)))
        self._scores |= {number: [] for number in numbers}
        return numbers

    def label(self, candidate: int) -> str:
        """The description of a candidate."""
        names = varied_fields(self.models) or ["num_factors"]
        return _label(self.models[candidate], names)

    def choose(
        self, candidates: Sequence[int], rungs: Sequence[Rung], never_dropped: Container[int] = ()
    ) -> int:
        """The number of the winner, by `halve`. Only the winner's state is kept.

        Raises:
          NonFiniteError: if no candidate has a finite score.
        """
        winner = halve(candidates, self._climb, rungs, self._after_rung, never_dropped)
        if not math.isfinite(self._scores[winner][-1][1]):
            raise NonFiniteError(_NONE_IS_FINITE)
        self._perturbations.clear()
        self._states = {winner: self._states[winner]}
        return winner

    def grown(self, winner: int, grid: Sequence[Factorization]) -> int:
        """The best of the winner and of candidates beyond the grid, where it is at an edge."""
        tried = list(grid)
        for _ in range(_MOST_GROWTHS):
            more = beyond(self._given[self.models[winner]], tried)
            if not (new := self.add(more)):
                break
            labels = " and ".join(map(self.label, new))
            self._say(f"{self.label(winner)} is at the edge of what was tried; now also {labels}")
            winner = self.choose([winner, *new], rungs=())
            tried += more
        return winner

    def with_fewest_factors(self, winner: int | None) -> int:
        """The number of the winner, with K chosen by `fewest_factors`.

        Args:
          winner: the candidate that has all but K; None for that of the config.

        Raises:
          NonFiniteError: if its score is not finite.
        """
        given = self._config.model if winner is None else self._given[self.models[winner]]
        baseline = self._fit.independent_validation
        numbers: dict[int, int] = {}
        of_rows: dict[int, np.ndarray] = {}

        def score(k: int) -> float:
            if k not in numbers:
                numbers[k] = self._fit_to_the_end(dataclasses.replace(given, num_factors=k))
                if (state := self._states.get(numbers[k])) is not None:
                    fit = self._fit.with_model(self.models[numbers[k]])
                    of_rows[k] = fit.validation_of_rows(state)
            return self._best_score(numbers[k])

        def is_as_good(fewer: int, more: int) -> bool:
            gain = -score(fewer) + score(more)
            is_small = gain <= 0
            if not is_small and math.isfinite(gain):
                error = standard_error(of_rows[more] - of_rows[fewer])
                is_small = gain <= max(error, SAME_GAIN * (score(more) - baseline))
            if fewer != more:  # the other one is not chosen any more
                self._states.pop(numbers[more if is_small else fewer], None)
            return is_small

        most = min(MOST_FACTORS, *self._fit.data.split.train.shape)
        chosen = numbers[fewest_factors(score, is_as_good, most)]
        if not math.isfinite(self._best_score(chosen)):
            raise NonFiniteError(_NONE_IS_FINITE)
        best = max(numbers.values(), key=self._best_score)
        if self.models[chosen].num_factors == MOST_FACTORS:
            self._say(f"{MOST_FACTORS} factors are the most that are tried; name more for more")
        if chosen != best:
            self._say(f"{self.label(chosen)} is as good as {self.label(best)}, with fewer factors")
        return chosen

    def _fit_to_the_end(self, model: Factorization) -> int:
        """The number of a candidate, fitted until it stops; anew if its state was dropped."""
        self.add([model])
        number = self.models.index(_with_shapes(model))
        if number not in self._states:
            self._scores[number] = []
            self._dropped_at.pop(number, None)
        self._climb(number, None)
        self._perturbations.clear()
        return number

    def _best_score(self, number: int) -> float:
        return max(_worst_if_nan(score) for _, score in self._scores[number])

    def _climb(self, candidate: int, sweeps: int | None) -> float:
        """Fits a candidate further, as `halve` requires, with the validation schedule of a run."""
        looks, most = self._scores[candidate], self._config.num_steps
        if looks and math.isnan(looks[-1][1]):
            return math.nan
        fit = self._fit.with_model(self.models[candidate])
        state = self._states.pop(candidate, None) or self._start(fit, candidate)
        label, before = self.label(candidate), state.num_steps
        last = most if sweeps is None else min(sweeps, most)
        try:
            for pause in take_steps(fit, state, last, where=f" of {label}"):
                looks += [(pause.step, score) for score in pause.seen.values()]
        except NonFiniteError as error:
            self._say(f"{label}: {error}; nothing was saved yet")
            looks.append((before + 1, math.nan))
            return math.nan
        self._states[candidate] = state
        step, best = state.num_steps, float(state.arrays.best.log_likelihood)
        self._sweeps[candidate] = step
        if step > before:
            at = int(state.arrays.best.step)
            self._say(f"{label}: best validation {best:.4f} nats at sweep {at} of {step}")
        return best

    def _start(self, fit: FactorFit, candidate: int) -> TrainState:
        num_factors = self.models[candidate].num_factors
        if num_factors not in self._perturbations:
            self._perturbations[num_factors] = fit.perturbations(0, self._mesh)
        return fit.start_from(self._perturbations[num_factors], self._mesh)

    def _after_rung(self, rung: Rung, kept: list[int], dropped: list[int]) -> None:
        """Frees the states of dropped candidates, and the perturbations of the starts."""
        self._perturbations.clear()
        for candidate in dropped:
            self._states.pop(candidate, None)
            self._dropped_at[candidate] = rung.sweeps
        self._say(f"after {rung.sweeps} sweeps, {len(kept)} of {len(kept) + len(dropped)} go on")

    def report(self, winner: int) -> dict[str, Any]:
        """The summary of the winner, with its test score."""
        return self._fit.with_model(self.models[winner]).report(self._states[winner]).summary

    def best_first(self, winner: int) -> list[Trial]:
        """All candidates, the best by validation first, but the winner before them."""
        trials = {
            number: Trial(
                model,
                self._scores[number],
                self._sweeps.get(number, 0),
                self._dropped_at.get(number),
            )
            for number, model in enumerate(self.models)
        }

        def rank(number: int) -> tuple[bool, float]:
            return number == winner, _worst_if_nan(trials[number].valid_log_likelihood)

        return [trials[number] for number in sorted(trials, key=rank, reverse=True)]
