"""What a run needs to know of a fit: the loop in `vigamma.train` knows nothing else."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh

from vigamma.inference.info import StepInfo
from vigamma.typing import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Advance = Callable[[PyTree, int], tuple[PyTree, StepInfo]]
"""(arrays, last_step) -> (arrays, infos); the arrays that it takes are used up."""


NAMES_CHECKSUM = "names of rows and columns (checksum)"
"""The field of `Fit.identity`, of runs with names."""


class Report(NamedTuple):
    """What a fit has come to.

    Attributes:
      summary: what `summary.json` says of it.
      table: the same for people.
    """

    summary: dict[str, Any]
    table: str


class Fit(Protocol):
    """Data, a model and an algorithm, of one experiment.

    Attributes:
      identity: what a run that resumes must share beside the config: a checksum of all numbers
        that the fit starts from, and what else decides its steps.
      names: what `names.json` says: the names of "rows" and "columns", if they have any.
    """

    identity: dict[str, int | str]
    names: dict[str, list[str]]

    def start(self, mesh: Mesh, index: int = 0) -> PyTree:
        """Arrays for `compile`, and for a checkpoint to replace, on the devices.

        `index` is the number of the start, of those that an experiment has.
        """

    def before_the_first_step(
        self,
        arrays: PyTree,
        advance: Advance,
        mesh: Mesh,
        say: Callable[[str], None],
        index: int = 0,
    ) -> PyTree:
        """What a run without a checkpoint starts from, given `start`; `say` prints a line.

        `advance` is the program of `compile`.
        """

    def compile(self, arrays: PyTree, mesh: Mesh, most_steps: int) -> Advance:
        """The program that takes up to `most_steps` steps."""

    def step_of(self, arrays: PyTree) -> int:
        """The number of completed steps."""

    def is_done(self, arrays: PyTree) -> bool:
        """Whether the algorithm's own rule says to stop."""

    def next_look(self, step: int) -> float:
        """The next step after which `look` is due; infinity for never."""

    def look(self, arrays: PyTree) -> tuple[PyTree, dict[str, float]]:
        """The arrays that have noted what validation counts say, and that for `metrics.jsonl`."""

    def observe(self, arrays: PyTree) -> dict[str, float]:
        """What else `metrics.jsonl` says, beside the ELBO."""

    def end(self, arrays: PyTree) -> tuple[Any, PyTree]:
        """What is left of a start that has ended, to be compared with others, and mixed.

        And the arrays, as far as `report` and `figures` need them.
        """

    def report(self, arrays: PyTree, ends: Sequence[Any] = ()) -> Report:
        """The outcome; `ends` are those of all starts, of which `arrays` is the best, if several.

        The best is the one with the highest `score` of its end.
        """

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """How `summary.json` calls the seconds per step; None if no step was left to take."""

    def figures(
        self, arrays: PyTree, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The pictures of `figures/`, by name."""


def checksum_of_names(names: Mapping[str, list[str]]) -> int | None:
    """A checksum of the names of rows and columns; None without names."""
    return zlib.crc32(json.dumps(names).encode()) if names else None


def checksum_of(leaves: Iterable[Any]) -> dict[str, int | str]:
    """A checksum of arrays, named for `Fit.identity`."""
    value = 0
    for leaf in leaves:
        value = zlib.crc32(np.ascontiguousarray(leaf), value)
    return {"data and prior (checksum)": value}
