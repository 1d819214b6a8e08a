"""The interface of fits, through which the training loop and runs use them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh

from vigamma.inference.train_state import TrainState

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report(NamedTuple):
    """The result of a fit.

    Attributes:
      summary: its entries in `summary.json`.
      table: the same as human-readable text.
    """

    summary: dict[str, Any]
    table: str


class RunLog(NamedTuple):
    """What was logged of the steps of a fit, and where.

    Attributes:
      metrics: the lines of `metrics.jsonl`, or those of a fit in memory.
      workdir: the directory of the run; None in memory.
    """

    metrics: Sequence[dict[str, Any]] = ()
    workdir: Path | None = None


NOTHING_LOGGED = RunLog()


class Fit(Protocol):
    """The data and the model of one experiment, and the start of its algorithm.

    Attributes:
      identity: what a resumed run must share with the earlier run beside the config: a checksum of
        all numbers that the fit starts from, and whatever else determines its steps.
      model: the model, built for the data.
      names: the content of `names.json`: the names of "rows" and "columns", if they have any.
      exposures: the content of `exposures.npz`: those of the rows; None if all are 1.
    """

    identity: dict[str, int | str]
    model: Any
    names: dict[str, list[str]]
    exposures: np.ndarray | None

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """The state before the first step, on the devices; a checkpoint may replace its arrays.

        `index` is the number of the start, if the experiment has several.
        """

    def prepare(self) -> None:
        """Imports and compiles what `report` and `figures` need.

        It is called in a thread of its own while the steps are compiled and taken, so that a second
        core does this in the meantime. It changes nothing else.
        """

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Changes the state of `start` to the one from which a run without a checkpoint starts."""

    def next_look(self, step: int) -> float:
        """The next step after which `look` is due; infinity for never."""

    def look(self, state: TrainState) -> dict[str, float]:
        """The validation score, for `metrics.jsonl`; the state is updated with it."""

    def observe(self, state: TrainState) -> dict[str, float]:
        """Further metrics for `metrics.jsonl`, beside the ELBO."""

    def is_whole(self, summary: Mapping[str, Any]) -> bool:
        """Whether all is there that `look` wrote in a run that has finished with this summary."""

    def posterior(self, state: TrainState) -> Any:
        """The fitted posterior: a `Gamma`, or several by name, in NumPy, without padding.

        Factors are in the order of `models.factor_order`.
        """

    def end(self, state: TrainState) -> Any:
        """The result of a finished start, to be compared and mixed with those of other starts.

        The state keeps what `report` and `figures` need.
        """

    def report(
        self, state: TrainState, ends: Sequence[Any] = (), log: RunLog = NOTHING_LOGGED
    ) -> Report:
        """The result. With several starts, `ends` holds their `end`s, and `state` is the best.

        The best start is the one whose end has the highest `score`; `log` is of its steps.
        """

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The entries of `summary.json` for the seconds per step; None if no step was taken."""

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The figures in `figures/`, by name."""


class OneStart:
    """A base class of `Fit`s with a single start, nothing held out, and exposures of 1."""

    exposures: np.ndarray | None = None

    def prepare(self) -> None:
        """Imports Matplotlib."""
        import vigamma.figures.posteriors  # noqa: F401

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Leaves the state unchanged."""
        del state, say, index

    def next_look(self, step: int) -> float:
        """Infinity: there are no validation counts."""
        del step
        return math.inf

    def look(self, state: TrainState) -> dict[str, float]:
        """No validation score."""
        del state
        return {}

    def observe(self, state: TrainState) -> dict[str, float]:
        """Nothing."""
        del state
        return {}

    def is_whole(self, summary: Mapping[str, Any]) -> bool:
        """True: nothing was written."""
        del summary
        return True

    def end(self, state: TrainState) -> None:
        """None: there is no other start."""
        del state

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step."""
        return {"seconds_per_step": seconds_per_step}
