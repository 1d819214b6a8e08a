"""Posterior samples of a finished run: Gibbs chains beside it, in its folder `samples`.

`samples` is the directory of a run of its own, with checkpoints, metrics and a summary, which is
resumed, refused and interrupted as any run. Its draws are in `samples/draws`.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vigamma.data.split_data import SplitData
from vigamma.devices.host import peak_memory_bytes
from vigamma.devices.processes import on_first_process
from vigamma.diagnostics.chains import (
    LARGEST_RHAT,
    SMALLEST_ESS,
    arviz,
    check_chains,
    matched_shares,
)
from vigamma.errors import ConfigError
from vigamma.inference.gibbs import Gibbs
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import PROBABILITIES
from vigamma.runs.chains import NUM_SWEEPS, ChainsFit, Observed, sweeps_per_line
from vigamma.runs.experiment import Experiment
from vigamma.runs.fit import NOTHING_LOGGED, Report, RunLog
from vigamma.runs.fitted import FittedRun, load_run
from vigamma.runs.loading import load_run_data
from vigamma.runs.samples import SAMPLES, Draw, Samples, identity_of_start, load_samples
from vigamma.runs.train import Outcome, run_fit
from vigamma.storage.draws import remove_draws, save_draw, saved_draws
from vigamma.terminal.invocation import pip_install

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sample(
    workdir: str | os.PathLike[str],
    inference: Gibbs | None = None,
    *,
    num_sweeps: int = NUM_SWEEPS,
    save_every: int = 80,
    seed: int = 0,
    data_path: str | os.PathLike[str] | None = None,
    print_table: bool = False,
) -> Outcome:
    """Draws from the posterior of a run, or goes on with it from the newest intact checkpoint.

    Args:
      workdir: of the run; it may not have ended, but its newest checkpoint is sampled from then.
      inference: the chains; by default `Gibbs()`.
      num_sweeps: of each chain, burn-in included; finished samples go on if it grows.
      save_every: sweeps between two checkpoints.
      seed: of all random numbers.
      data_path: where the data are now, if they have moved.
      print_table: whether to print the table of the outcome, before figures are drawn.

    Raises:
      ConfigError: for a setting that cannot be used, or if ArviZ is not installed.
      CheckpointError: if the run cannot be read, its data have changed, or the samples are of
        another run or another setting.
      NonFiniteError: for NaN or infinity in a sweep.
      Interrupted: after SIGTERM or Ctrl-C, with all finished sweeps saved.
    """
    _need_arviz()
    chains: Any = Gibbs() if inference is None else inference
    run, folder = load_run(workdir, with_samples=False), Path(workdir, SAMPLES)
    config = Experiment(
        data=run.config.data,
        model=run.config.model,
        inference=chains,
        num_steps=num_sweeps,
        heldout=run.config.heldout,
        log_every=sweeps_per_line(chains),
        save_every=save_every,
        seed=seed,
    )

    def load(say: Callable[[str], None]) -> SamplingFit:
        del say
        return SamplingFit(config, run, load_run_data(run, data_path), folder)

    return run_fit(config, folder, load, print_table)


def _need_arviz() -> None:
    try:
        arviz()
    except ImportError as error:
        raise ConfigError(
            "posterior samples are checked by ArviZ, which is not installed: "
            f"{pip_install('arviz')}"
        ) from error


class SamplingFit(ChainsFit):
    """Chains that start at the posterior of a run, with their draws on disk.

    Attributes:
      identity: that of the data, and a checksum of the posterior that the chains start at.
      names: empty; the names are those of the run.
      model: the priors, as the run has learned them.
    """

    def __init__(self, config: Experiment, run: FittedRun, data: SplitData, folder: Path):
        """Prepares chains; touches nothing. `folder` is the directory of the samples."""
        chains: Any = config.inference
        model, q, split = run.factors.model, run.factors.q, data.split
        observed = Observed(split.train, data.exposures, split.missing)
        super().__init__(chains, model, q, observed, config.seed, self._save)
        self._config, self._folder = config, folder
        self.identity = data.identity | identity_of_start(model, q)

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Removes draws of earlier samples that were deleted but for them."""
        del state, say, index

        def remove() -> int:
            remove_draws(self._folder / "draws")
            return 0

        on_first_process(remove)

    def _save(self, step: int, draw: Draw) -> None:
        def write() -> int:
            save_draw(self._folder / "draws", step, draw, self.identity)
            return 0

        on_first_process(write)

    def is_whole(self, summary: Mapping[str, Any]) -> bool:
        """Whether there are as many draws as there were."""
        num_saved = len(saved_draws(self._folder / "draws"))
        return self._chains.num_chains * num_saved == summary["num_draws"]

    def report(
        self, state: TrainState, ends: Sequence[Any] = (), log: RunLog = NOTHING_LOGGED
    ) -> Report:
        """Whether the chains have converged, and how many draws there are."""
        del ends, log
        summary: dict[str, Any] = {
            "model": type(self._config.model).__name__,
            "num_chains": self._chains.num_chains,
            "sweeps": state.num_steps,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        samples = self._samples
        if samples is None:
            return Report(summary | {"num_draws": 0}, "Posterior samples: none yet, all burn-in")
        summary["num_draws"] = samples.num_draws
        number = self._chains.num_watched
        rates, sums = np.split(samples.trace, [number], axis=2)
        shares, summary["switched"] = self._shares(samples)
        checked = {"rates": rates, "sums": sums, "shares": shares}
        if PROBABILITIES in self._q:
            _, columns = self.watched_cells()
            checked[PROBABILITIES] = np.stack(
                [draw[PROBABILITIES][:, np.unique(columns)] for draw in samples.draws], axis=1
            )
        for name, values in checked.items():
            if (check := check_chains(values)) is not None:
                rhat, ess = check.typical
                summary[name] = {"rhat": rhat, "ess": ess, "is_good": check.is_good}
        return Report(summary, _table(summary))

    @cached_property
    def _samples(self) -> Samples | None:
        """All draws, read and checked once, when the last sweep is done."""
        return load_samples(self._folder.parent)

    def _shares(self, samples: Samples) -> tuple[np.ndarray, float]:
        """The largest shares of every factor, by chain, and how often factors had another order."""
        reference = np.asarray(self._q["columns"].mean)
        of_chains = [
            matched_shares([draw["columns"][chain] for draw in samples.draws], reference)
            for chain in range(self._chains.num_chains)
        ]
        shares, switched = zip(*of_chains, strict=True)
        return np.array(shares), float(np.mean(switched))

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a sweep of all chains."""
        return {"seconds_per_sweep": seconds_per_step}

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The traces of the log joint and of some rates."""
        from vigamma.figures import chains as plotting

        del state, metrics
        if self._samples is not None:
            number = self._chains.num_watched
            first = self._chains.burn_in + 1
            yield "traces", plotting.traces(self._samples.trace, number, first)


_LABELS = {
    "rates": "rates of cells",
    "sums": "sums of rates, log joint",
    "shares": "shares of columns in factors",
    PROBABILITIES: "probabilities of columns",
}


def _table(summary: dict[str, Any]) -> str:
    lines = [
        f"Posterior samples: {summary['num_draws']} draws of {summary['num_chains']} chains, "
        f"{summary['sweeps']} sweeps each",
    ]
    if "rates" in summary:
        heads = "for 95 % of quantities", "R̂ below", "effective draws above"
        lines.append(f"  {heads[0]:<30} {heads[1]:>8} {heads[2]:>22}")
    lines += [
        f"  {label:<30} {summary[name]['rhat']:>8.3f} {summary[name]['ess']:>22.0f}"
        for name, label in _LABELS.items()
        if name in summary
    ]
    if "rates" not in summary:
        lines.append("  Too few to compare: R̂ takes two chains, and four sweeps after the burn-in.")
    elif summary["rates"]["is_good"]:
        lines.append("  The chains agree on rates: their intervals can be trusted.")
    else:
        lines += [
            f"  The chains do not agree on rates yet: R̂ below {LARGEST_RHAT:g} and more than "
            f"{SMALLEST_ESS:g} effective",
            f"  draws are wanted. Go on with --num_sweeps={_more_sweeps(summary)}.",
        ]
    if not summary.get("shares", {"is_good": True})["is_good"] or summary.get("switched", 0) > 0:
        lines.append("  They do not agree on single factors, which may have several solutions.")
    return "\n".join(lines)


def _more_sweeps(summary: dict[str, Any]) -> int:
    return 100 * math.ceil(summary["sweeps"] / 50)
