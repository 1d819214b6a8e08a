"""The fit of any model that defines its log joint, by gradient ascent of a Monte Carlo ELBO."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from vigamma.contracts import SparseData, StartingModel
from vigamma.data.checksums import checksum_of
from vigamma.data.layout.minibatches import Minibatches, row_latents_of
from vigamma.devices.mesh import in_default_float
from vigamma.devices.processes import whole
from vigamma.families.gamma import Gamma
from vigamma.inference.passes import distribution_of_family
from vigamma.inference.train_state import TrainState
from vigamma.random.keys import key_of_seed
from vigamma.runs.experiment import Experiment
from vigamma.runs.fit import NOTHING_LOGGED, OneStart, Report, RunLog
from vigamma.typing import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LATENTS = 12
"""The number of latents of each name that reports show."""

_Line = tuple[str, float, float, float, float]

_MOST_CELLS = 2**30
"""The largest dense data: 4 GiB of float32."""


class BlackBoxFit(OneStart):
    """The fit of a `StartingModel` to rows of data.

    Attributes:
      identity: a checksum of the data and of the initial distributions.
      names: empty.
      model: the model.
    """

    def __init__(self, config: Experiment, data: PyTree):
        """Checks the model and the data; raises TypeError or ValueError if they do not fit."""
        if config.heldout is not None:
            raise ValueError("held-out counts need a factorization")
        self._config, self.model = config, config.model
        self.names: dict[str, list[str]] = {}
        self._laid_out: dict[Mesh, Minibatches] = {}
        self._rows = _dense(data) if isinstance(data, SparseData) else data
        self._initial = _checked(self.model, config.model.initial(self._rows), self._rows)
        self.identity = checksum_of(jax.tree.leaves((self._rows, self._initial)))

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """The state with the family at the initial distributions of the model."""
        del index
        config, batches = self._config, self._batches(mesh)
        rows = row_latents_of(self.model)
        initial = {
            name: jax.tree.map(batches.stored, gamma) if name in rows else gamma
            for name, gamma in self._initial.items()
        }
        return TrainState(
            config.inference,
            self.model,
            in_default_float(initial),
            batches,
            key=key_of_seed(config.seed),
            mesh=mesh,
            fused_steps=config.log_every,
        )

    def _batches(self, mesh: Mesh) -> Minibatches:
        """The rows in minibatches, laid out once for steps, report and figures."""
        if mesh not in self._laid_out:
            config, leaves = self._config, jax.tree.leaves(self._rows)
            num_batches = config.inference.num_batches(len(leaves[0])) or 1
            layout = {"num_batches": num_batches, "num_shards": mesh.size, "seed": config.seed}
            self._laid_out[mesh] = Minibatches.of_arrays(self._rows, **layout)
        return self._laid_out[mesh]

    def posterior(self, state: TrainState) -> dict[str, Gamma]:
        """The distributions of the latents by name, rows in the order of the data, in NumPy."""
        rows, batches = row_latents_of(self.model), self._batches(state.mesh)
        found = distribution_of_family(state.arrays.q, batches, rows, state.mesh)
        found = jax.tree.map(whole, found)
        return {
            name: jax.tree.map(batches.in_order, q) if name in rows else q
            for name, q in found.items()
        }

    def report(
        self, state: TrainState, ends: Sequence[Any] = (), log: RunLog = NOTHING_LOGGED
    ) -> Report:
        """The ELBO, and the posterior of the latents."""
        del ends, log
        batches = self._batches(state.mesh)
        _, outcome = state.algorithm.outcome(state, state.arrays)
        lines = _latent_lines(self.posterior(state))
        summary = {
            "model": type(self.model).__name__,
            "num_rows": batches.num_rows,
            **outcome,
            "latents": {name: {"mean": m, "sd": sd} for name, m, sd, *_ in lines},
        }
        return Report(summary, _table(summary, lines))

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The path of the ELBO, and the intervals of the latents."""
        from vigamma.figures import posteriors as plotting

        if metrics:
            yield (
                "elbo",
                plotting.elbo_path(*zip(*((m["step"], m["elbo"]) for m in metrics), strict=True)),
            )
        lines = _latent_lines(self.posterior(state))
        yield "latents", plotting.intervals([(n, m, low, high) for n, m, _, low, high in lines])


def _dense(data: SparseData) -> dict[str, np.ndarray]:
    """Sparse counts as a dense array, which a black-box model takes."""
    num_rows, num_columns = data.counts.shape
    if num_rows * num_columns > _MOST_CELLS:
        raise ValueError(
            f"a model that states its log joint alone takes all cells, zeros too, and "
            f"{num_rows:,} x {num_columns:,} are too many"
        )
    return {"counts": data.counts.toarray()}


def _checked(model: StartingModel, initial: Any, rows: PyTree) -> dict[str, Gamma]:
    """The initial distributions; raises TypeError or ValueError if they violate the contract."""
    if not isinstance(initial, Mapping) or not all(isinstance(q, Gamma) for q in initial.values()):
        raise TypeError(f"{type(model).__name__}.initial must return Gammas by name, got {initial}")
    if unknown := set(row_latents_of(model)) - set(initial):
        raise ValueError(f"row_latents names {', '.join(sorted(unknown))}, but initial does not")
    num_rows = len(jax.tree.leaves(rows)[0])
    for name, gamma in initial.items():
        gamma.validate(f"initial {name}")
        if name in row_latents_of(model) and len(gamma.rate) != num_rows:
            raise ValueError(f"{name} is of rows: it needs {num_rows}, got {len(gamma.rate)}")
    return {name: jax.tree.map(np.asarray, gamma) for name, gamma in initial.items()}


def _latent_lines(posterior: Mapping[str, Gamma]) -> list[_Line]:
    """Name, mean, standard deviation and 90 % interval of the first latents of each name."""
    lines: list[_Line] = []
    for name, gamma in posterior.items():
        ends = (np.asarray(gamma.quantile(p)) for p in (0.05, 0.95))
        values = [np.ravel(v) for v in (np.asarray(gamma.mean), np.sqrt(gamma.variance), *ends)]
        for index in range(min(values[0].size, _MOST_LATENTS)):
            mean, sd, low, high = (float(value[index]) for value in values)
            place = ",".join(map(str, np.unravel_index(index, np.shape(gamma.rate))))
            label = f"{name}[{place}]" if place else name
            lines.append((label, mean, sd, low, high))
    return lines


def _table(summary: Mapping[str, Any], lines: Sequence[_Line]) -> str:
    width = max(len(name) for name, *_ in lines)
    rows = [
        f"  {name:<{width}}  {mean:>10.4g} ± {sd:<9.3g} {low:>10.4g} to {high:.4g}"
        for name, mean, sd, low, high in lines
    ]
    return "\n".join(
        [
            f"{summary['model']}, {summary['num_rows']:,} rows",
            f"  ELBO {summary['elbo']:,.3f} ± {summary['elbo_standard_error']:.2g} nats",
            f"  {'latent':<{width}}  {'mean':>10} ± {'sd':<9} {'90 % interval':>17}",
            *rows,
        ]
    )
