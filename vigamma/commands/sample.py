"""Draws from the posterior of a finished run by Gibbs sampling.

vigamma sample --workdir checkpoints/counts_factors
vigamma sample --workdir checkpoints/counts_factors --num_sweeps 1000

The draws are written to the folder `samples` of the run. Chains start at the variational
posterior, inflated. The same command resumes samples that were interrupted; a larger --num_sweeps
goes on with finished ones.
"""

from pathlib import Path

from absl import flags, logging

import vigamma
from vigamma.command_line.statuses import status_of_run
from vigamma.devices.host import use_all_cores
from vigamma.runs.chains import NUM_SWEEPS
from vigamma.runs.train import Outcome
from vigamma.terminal.console import end_with_a_closed_pipe

_WORKDIR = flags.DEFINE_string("workdir", None, "The directory of a run; required.", required=True)
_SWEEPS = flags.DEFINE_integer(
    "num_sweeps", NUM_SWEEPS, "Sweeps of each chain, with burn-in.", lower_bound=1
)
_CHAINS = flags.DEFINE_integer(
    "num_chains", vigamma.Gibbs.num_chains, "Chains, side by side.", lower_bound=1
)
_BURN_IN = flags.DEFINE_integer(
    "burn_in", vigamma.Gibbs.burn_in, "Sweeps before the draws begin.", lower_bound=0
)
_THIN = flags.DEFINE_integer(
    "thin", vigamma.Gibbs.thin, "Sweeps between two draws that are kept.", lower_bound=1
)
_SAVE_EVERY = flags.DEFINE_integer("save_every", 80, "Sweeps between checkpoints.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "The seed of all random numbers.", lower_bound=0)
_DATA_PATH = flags.DEFINE_string("data_path", None, "Where the data are now, if they have moved.")


@end_with_a_closed_pipe()
def main(argv: list[str]) -> int:
    """Samples, and prints whether the chains agree."""
    del argv
    logging.set_verbosity(logging.WARNING)
    return status_of_run(_run)


def _run() -> tuple[Outcome, Path]:
    use_all_cores()
    workdir = Path(_WORKDIR.value)
    outcome = vigamma.sample(
        workdir,
        vigamma.Gibbs(num_chains=_CHAINS.value, burn_in=_BURN_IN.value, thin=_THIN.value),
        num_sweeps=_SWEEPS.value,
        save_every=_SAVE_EVERY.value,
        seed=_SEED.value,
        data_path=_DATA_PATH.value,
        print_table=True,
    )
    return outcome, workdir / vigamma.SAMPLES
