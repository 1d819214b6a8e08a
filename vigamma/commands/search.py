r"""Chooses the shapes of the priors, K and the likelihood by validation on held-out counts.

vigamma search --config counts_factors --config.data.path=counts.npz
vigamma search --config counts_factors --config.data.path=counts.npz \
    --row_shapes 0.1,0.3,1 --column_shapes 0.3,1 --num_factors 10,20,50 \
    --likelihoods poisson,negative_binomial
vigamma search --config counts_factors --config.data.path=counts.npz --num_factors auto

Without a grid it tries shapes of 0.1, 0.3 and 1 with 20 and 50 factors, and then the neighbors of
the best, all with the likelihood of the config. What a grid does not name is that of the config, so
that --likelihoods alone compares two models. The model of the config is always a candidate. Where
the best of a grid is at an edge of it, the grid grows there, up to three times.

With --num_factors=auto, K is the smallest one that predicts held-out counts as well as any, and the
winner is then fitted, in the folder `fit` of the workdir.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags, logging

import vigamma
from vigamma.command_line.flags import define_config, load_config
from vigamma.command_line.statuses import status_of_run
from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.runs.experiment import config_file
from vigamma.runs.search import write_search
from vigamma.runs.signals import StopSignals
from vigamma.terminal.console import complain, end_with_a_closed_pipe

define_config()
_LIKELIHOODS = flags.DEFINE_list(
    "likelihoods", [], "Likelihoods of the counts to try: poisson, negative_binomial."
)
_ROW_SHAPES = flags.DEFINE_list("row_shapes", [], "Values of config.model.row_shape to try.")
_COLUMN_SHAPES = flags.DEFINE_list("column_shapes", [], "Of config.model.column_shape.")
_NUM_FACTORS = flags.DEFINE_list(
    "num_factors", [], "Of config.model.num_factors; auto for the fewest that serve."
)
_GROW = flags.DEFINE_bool(
    "grow", True, "Whether a grid grows on the side where its best candidate is at the edge."
)
_WORKDIR = flags.DEFINE_string("workdir", "checkpoints/search", "Where the outcome is written.")


@end_with_a_closed_pipe()
def main(argv: list[str]) -> int:
    """Searches, writes and prints the outcome and the command that fits the winner."""
    del argv
    logging.set_verbosity(logging.WARNING)
    flag: Any = flags.FLAGS["config"]
    workdir = Path(_WORKDIR.value)
    where, is_auto = "before the end; nothing is written", _NUM_FACTORS.value == ["auto"]
    try:
        _, config = load_config(flag)
        choices = {
            "likelihoods": _LIKELIHOODS.value,
            "row_shapes": _numbers(_ROW_SHAPES, float),
            "column_shapes": _numbers(_COLUMN_SHAPES, float),
            "num_factors": [] if is_auto else _numbers(_NUM_FACTORS, int),
        }
        use_all_cores()
        keep_freed_memory()
        with StopSignals() as stop, stop.interruptible(where):
            is_named = any(choices.values())
            candidates = vigamma.model_grid(config.model, **choices) if is_named else None
            if _LIKELIHOODS.value:
                config_file(config)  # raises now if it cannot be written in the end

            def say(line: str) -> None:
                # Libraries catch exceptions, also what a signal raises within them.
                stop.raise_if_requested(where)
                print(line, flush=True)

            options: dict[str, Any] = {"num_factors": "auto"} if is_auto else {}
            outcome = vigamma.search(config, candidates, grow=_GROW.value, say=say, **options)
            workdir.mkdir(parents=True, exist_ok=True)
            command = write_search(outcome, workdir, flag.config_filename, flag.override_values)
    except vigamma.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signum
    except BrokenPipeError:
        raise
    except (vigamma.RunError, OSError) as error:
        complain(error)
        return 1
    print(outcome.table)
    print(f"written: {workdir / 'search.json'} and {workdir / 'search.png'}")
    if is_auto:
        print(f"now the fit of the first, in {workdir / 'fit'}", flush=True)
        fit = workdir / "fit"
        return status_of_run(
            lambda: (vigamma.run_experiment(outcome.config, fit, print_table=True), fit)
        )
    print(f"to fit the first: {command}")
    return 0


def _numbers(flag: flags.FlagHolder[list[str]], kind: type) -> list[Any]:
    try:
        return [kind(word) for word in flag.value]
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise vigamma.ConfigError(
            f"--{flag.name} must be {wanted} with commas between, got {','.join(flag.value)!r}"
        ) from None
