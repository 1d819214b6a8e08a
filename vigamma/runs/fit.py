"""What a run needs to know of a fit: the loop in `vigamma.runs` knows nothing else."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jax.sharding import Mesh

from vigamma.inference.train_state import TrainState

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report(NamedTuple):
    """What a fit has come to.

    Attributes:
      summary: what `summary.json` says of it.
      table: the same, human-readable.
    """

    summary: dict[str, Any]
    table: str


class Fit(Protocol):
    """Data and a model, of one experiment, and how its algorithm starts.

    Attributes:
      identity: what a run that resumes must share beside the config: a checksum of all numbers
        that the fit starts from, and what else decides its steps.
      model: the model, built for the data.
      names: what `names.json` says: the names of "rows" and "columns", if they have any.
    """

    identity: dict[str, int | str]
    model: Any
    names: dict[str, list[str]]

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """The state before the first step, or for a checkpoint to replace, on the devices.

        `index` is the number of the start, of those that an experiment has.
        """

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Moves the state of `start` to what a run without a checkpoint starts from."""

    def next_look(self, step: int) -> float:
        """The next step after which `look` is due; infinity for never."""

    def look(self, state: TrainState) -> dict[str, float]:
        """What validation counts say, for `metrics.jsonl`; the state notes it."""

    def observe(self, state: TrainState) -> dict[str, float]:
        """What else `metrics.jsonl` says, beside the ELBO."""

    def posterior(self, state: TrainState) -> Any:
        """What the fit has come to: a `Gamma`, or several by name, in NumPy, without padding."""

    def end(self, state: TrainState) -> Any:
        """What is left of a start that has ended, to be compared with others, and mixed.

        The state keeps what `report` and `figures` need.
        """

    def report(self, state: TrainState, ends: Sequence[Any] = ()) -> Report:
        """The outcome; `ends` are those of all starts, of which `state` is the best, if several.

        The best is the one with the highest `score` of its end.
        """

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """How `summary.json` calls the seconds per step; None if no step was left to take."""

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The pictures of `figures/`, by name."""


class OneStart:
    """What a fit says that has one start, and holds nothing out: a base of such `Fit`s."""

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Leaves the state as it is."""
        del state, say, index

    def next_look(self, step: int) -> float:
        """Never: there are no validation counts."""
        del step
        return math.inf

    def look(self, state: TrainState) -> dict[str, float]:
        """Nothing."""
        del state
        return {}

    def end(self, state: TrainState) -> None:
        """Nothing: there is no other start."""
        del state

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step."""
        return {"seconds_per_step": seconds_per_step}
