"""Fits in memory, by the loop of runs, but without a directory and checkpoints."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from vigamma.contracts import DataSource, Factorization, SparseData
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOut
from vigamma.devices.mesh import make_mesh
from vigamma.inference.adam import Adam
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.gradient_ascent import GradientAscent
from vigamma.inference.train_state import TrainState
from vigamma.runs.experiment import Experiment, check_config
from vigamma.runs.fit import Fit, RunLog
from vigamma.runs.loading import fit_of, load_data
from vigamma.runs.loop import Pause, take_steps, what_stopped
from vigamma.typing import spec

_MOST_SWEEPS, _MOST_UPDATES = 500, 5000  # as in counts_factors.py and zero.py of configs/


class Fitted(NamedTuple):
    """The result of a fit.

    Attributes:
      posterior: a `Gamma`, or several by name, in NumPy, with rows in the order of the data; if
        there are validation counts, the best posterior by these. Factors are by their shares of all
        counts, the largest first.
      history: the pauses of the loop: the step, the ELBO or its estimate, in nats, and the
        validation score.
      stopped: why it stopped: "converged", "validation", or "num_steps".
      summary: the result, as in `summary.json` of a run.
      table: the same as human-readable text.
    """

    posterior: Any
    history: list[Pause]
    stopped: str
    summary: dict[str, Any]
    table: str


@spec
class InMemory:
    """A placeholder in a config for data passed in memory."""

    def load(self) -> None:
        """Raises ValueError: the data cannot be loaded again."""
        raise ValueError("these data were in memory, and no config can load them again")


def fit(
    model: Any,
    data: Any,
    inference: Any = None,
    *,
    num_steps: int | None = None,
    heldout: HeldOut | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Fits a model to data.

    Args:
      model: `PoissonFactorization` or any other `Factorization`, `DomainKnowledge`, or a
        `StartingModel` of your own.
      data: a data source, such as `Digits()`; or the data themselves: for a factorization a matrix
        of counts, sparse or dense, and for other models what they take, such as a dict of arrays.
      inference: the algorithm; by default `CoordinateAscent` for factorizations, and Adam on the
        pathwise ELBO for other models.
      num_steps: the largest number of steps; by default 500 sweeps, or 5,000 updates.
      heldout: which part of sparse counts is held out, to score the fit.
      seed: the seed of all random numbers.
      say: called with lines of progress.

    Raises:
      ConfigError: if model, data and inference do not fit together.
      NonFiniteError: for NaN or infinity in a step.
    """
    is_factorization = isinstance(model, Factorization)
    if num_steps is None:
        num_steps = _MOST_SWEEPS if is_factorization else _MOST_UPDATES
    if inference is None:
        by_gradients = GradientAscent(optimizer=Adam(decay_steps=num_steps))
        inference = CoordinateAscent() if is_factorization else by_gradients
    source = data if isinstance(data, DataSource) else InMemory()
    config = Experiment(
        data=source,
        model=model,
        inference=inference,
        num_steps=num_steps,
        heldout=heldout,
        seed=seed,
    )
    check_config(config)
    if source is data:
        data = load_data(source, say)
    elif is_factorization and not isinstance(data, SparseData):
        data = LoadedCounts(check_sparse_counts(data))
    built = fit_of(config, data, say)
    ((state, history),) = fitted_starts(built, config, say)
    metrics = [{"step": p.step, "elbo": p.elbo, **p.seen} for p in history]
    report = built.report(state, log=RunLog(metrics))
    return Fitted(
        built.posterior(state),
        history,
        what_stopped(state),
        report.summary,
        report.table,
    )


def fitted_starts(
    fit: Fit, config: Experiment, say: Callable[[str], None]
) -> Iterator[tuple[TrainState, list[Pause]]]:
    """Yields the final state of each start of a fit, and the pauses of the loop."""
    mesh = make_mesh()
    for index in range(config.num_starts):
        state, history = fit.start(mesh, index), list[Pause]()
        fit.before_the_first_step(state, say, index)
        for pause in take_steps(fit, state, config.num_steps, every=(config.log_every,)):
            history.append(pause)
            say(f"step {pause.step}: ELBO {pause.elbo:,.1f} nats")
        yield state, history
