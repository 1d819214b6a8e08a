"""The training loop: takes steps, scores validation counts when due, and pauses where requested.

Runs, restarts, searches, the scikit-learn estimator and `fit` differ in what they do at a pause.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from vigamma.errors import NonFiniteError
from vigamma.inference.best import is_past
from vigamma.inference.train_state import TrainState
from vigamma.runs.fit import Fit

Stop = Literal["converged", "validation", "num_steps"]
"""Why steps end: the algorithm is done, by its own rule or by validation, or all are taken."""


class Pause(NamedTuple):
    """A pause of the loop.

    Attributes:
      step: the number of completed steps.
      elbo: the ELBO of the last step, or its estimate, in nats.
      seen: the validation score, if it was due.
    """

    step: int
    elbo: float
    seen: dict[str, float]


def take_steps(
    fit: Fit, state: TrainState, last_step: int, *, every: Sequence[int] = (), where: str = ""
) -> Iterator[Pause]:
    """Takes steps up to `last_step`, or until the algorithm is done; yields at every pause.

    Args:
      fit: the fit.
      state: the current state, which is updated.
      last_step: the largest number of completed steps.
      every: the loop also pauses at the multiples of these.
      where: added to the step in the message of an error.

    Raises:
      NonFiniteError: for NaN or infinity in a step.
    """
    while (step := state.num_steps) < last_step and not state.is_done:
        look = fit.next_look(step)
        multiples = ((step // interval + 1) * interval for interval in every)
        infos = state.step(int(min(last_step, look, *multiples)) - step)
        if bad := infos.first_not_finite(len(infos.elbo)):
            raise NonFiniteError(f"not finite at step {step + bad[0] + 1}{where}: {bad[1]}")
        is_due = state.num_steps == look or state.is_done
        seen = fit.look(state) if is_due else {}
        yield Pause(state.num_steps, float(infos.elbo[-1]), seen)


def what_stopped(state: TrainState) -> Stop:
    """Why the loop has ended: a stopping rule of the algorithm, or the number of steps."""
    if not state.is_done:
        return "num_steps"
    looks = getattr(state.algorithm, "stop_on_validation", False) and state.arrays.best
    return "validation" if looks and is_past(state.arrays) else "converged"
