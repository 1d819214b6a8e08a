"""Export of the posterior of a run to files for other programs.

.npz      `rows_shape`, `rows_rate` and `rows_mean`, (N, K); likewise for `columns`, (M, K), and for
          `row_rates` and `column_rates` if the model has them; `row_names`, `column_names`, `step`,
          `config` (JSON). If the run has several starts, also `start_1_rows_shape`, ... for the
          others, whose factors are in the order of their own weights. Loads without pickle.
.csv      two tables, NAME.rows.csv and NAME.columns.csv: `name`, then `mean_1`, `mean_2`, ... and
          `sd_1`, `sd_2`, ..., and `rate_mean` and `rate_sd` if the model has rates. The shape of a
          Gamma is (mean / sd)², and its rate mean / sd².
.parquet  the same two tables; extra `parquet`.
.h5ad     an AnnData without counts: E[θ] in `obsm["X_vigamma"]`, E[β] in `varm["vigamma"]`, shapes
          and rates in `vigamma_shape` and `vigamma_rate`; extra `anndata`.
.nc       an ArviZ InferenceData of posterior draws of `theta` (chain, draw, row, factor), `beta`
          (chain, draw, column, factor), and of `row_rates`, `column_rates` and
          `column_probabilities` if the model has them, with names as coordinates; one chain per
          start, its factors matched to those of the best start; extra `arviz`. If the run has
          posterior samples, the chains and draws are theirs, all of them. The coordinate `factor`
          counts from 1.

Formats with only one posterior hold that of the best start. Factors have the heaviest first, and
the numbers, from 1, that they have in all results; factor k is at index k - 1 of arrays.
"""

import importlib
import json
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vigamma.answers.tables import write_csv
from vigamma.diagnostics.recovery import matched_factors
from vigamma.errors import ConfigError
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.models.factor_model import PROBABILITIES, Posterior
from vigamma.runs.experiment import flatten
from vigamma.runs.fitted import FittedFactors, FittedRun
from vigamma.storage.atomic_files import replacing
from vigamma.terminal.invocation import pip_install

_ROWS_AT_ONCE = 2**14  # bounds the memory for tables
_SIDES = "rows", "columns"


def export(
    run: FittedRun, path: str | os.PathLike[str], draws: int = 500, seed: int = 0
) -> list[Path]:
    """Writes the posterior of a run in the format given by the suffix of `path`.

    Args:
      run: from `load_run`.
      path: the output file; its suffix is one of `FORMATS`.
      draws: the number of posterior draws in .nc; at least 1.
      seed: the seed of the draws.

    Returns:
      the files written.

    Raises:
      ConfigError: for another suffix, or if a package is missing; the message says what to type.
      ValueError: if `draws` is below 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    path = Path(path)
    write = FORMATS.get(path.suffix)
    if write is None:
        raise ConfigError(f"the output must end with {', '.join(FORMATS)}, got {str(path)!r}")
    if write is _write_draws:
        return write(run, path, draws, seed)
    return write(run, path)


def _write_npz(run: FittedRun, path: Path) -> list[Path]:
    factors = run.factors
    arrays: dict[str, Any] = {"step": run.step, "config": json.dumps(flatten(run.config))}
    for side in ("row", "column"):
        arrays[f"{side}_names"] = np.array(_names(factors, side), dtype=str)  # objects need pickle
    for number, start in enumerate(run.starts):
        prefix = f"start_{number}_" if number else ""
        for name, q in start.q.items():
            if isinstance(q, Beta):
                parts = {"shape1": q.concentration1, "shape0": q.concentration0, "mean": q.mean}
            else:
                parts = {"shape": q.concentration, "rate": q.rate, "mean": q.mean}
            arrays |= {f"{prefix}{name}_{part}": values for part, values in parts.items()}
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)
    return [path]


def _write_csv(run: FittedRun, path: Path) -> list[Path]:
    paths = {side: path.with_suffix(f".{side}s.csv") for side in ("row", "column")}
    for side, of_side in paths.items():
        write_csv(_tables(run.factors, side, _ROWS_AT_ONCE), of_side)
    return list(paths.values())


def _write_parquet(run: FittedRun, path: Path) -> list[Path]:
    _needed("pyarrow", "parquet")
    paths = {side: path.with_suffix(f".{side}s.parquet") for side in ("row", "column")}
    for side, of_side in paths.items():
        (table,) = _tables(run.factors, side, len(_names(run.factors, side)))
        with replacing(of_side) as partial:
            table.to_parquet(partial, engine="pyarrow", index=False)
    return list(paths.values())


def _write_h5ad(run: FittedRun, path: Path) -> list[Path]:
    anndata = _needed("anndata", "anndata")
    factors = run.factors
    frames = [pd.DataFrame(index=_names(factors, side)) for side in ("row", "column")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*names are not unique")
        data = anndata.AnnData(obs=frames[0], var=frames[1])
    for side, prefix, frame, tables in (
        ("row", "X_", data.obs, data.obsm),
        ("column", "", data.var, data.varm),
    ):
        q = factors.q[f"{side}s"]
        tables[f"{prefix}vigamma"] = q.mean
        tables["vigamma_shape"], tables["vigamma_rate"] = q.concentration, q.rate
        rates = factors.q.get(f"{side}_rates")
        if rates is not None:
            frame["vigamma_rate_shape"], frame["vigamma_rate_rate"] = (
                rates.concentration,
                rates.rate,
            )
    if (probabilities := factors.q.get(PROBABILITIES)) is not None:
        data.var["vigamma_probability_shape1"] = probabilities.concentration1
        data.var["vigamma_probability_shape0"] = probabilities.concentration0
    data.uns["vigamma"] = {"step": run.step, "config": json.dumps(flatten(run.config))}
    with replacing(path) as partial:
        data.write_h5ad(partial)
    return [path]


def _write_draws(run: FittedRun, path: Path, draws: int, seed: int) -> list[Path]:
    xarray = _needed("xarray", "arviz")
    _needed("h5netcdf", "arviz")
    factors, samples = run.factors, None if run.others else run.samples
    starts = [_in_order_of(factors.q, start.q) for start in run.starts]
    rng = np.random.default_rng(seed)

    def drawn(latent: str) -> np.ndarray:
        if samples is not None:
            return np.stack([draw[latent] for draw in samples.draws], axis=1)
        return np.stack([_draws(rng, q[latent], draws) for q in starts])

    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for latent, name in {"rows": "theta", "columns": "beta"}.items():
        dims = "chain", "draw", latent.removesuffix("s"), "factor"
        variables[name] = dims, drawn(latent)
    for latent in ("row_rates", "column_rates"):
        if latent in factors.q:
            variables[latent] = ("chain", "draw", latent.removesuffix("_rates")), drawn(latent)
    if PROBABILITIES in factors.q:
        variables[PROBABILITIES] = ("chain", "draw", "column"), drawn(PROBABILITIES)
    num_chains, num_draws = variables["theta"][1].shape[:2]
    coords = {
        "chain": np.arange(num_chains),
        "draw": np.arange(num_draws),
        "row": _names(factors, "row"),
        "column": _names(factors, "column"),
        "factor": np.arange(factors.q["rows"].rate.shape[1]) + 1,
    }
    kind = "variational" if samples is None else "sampled"
    attributes = {"inference_library": "vigamma", "step": run.step, "seed": seed, "draws": kind}
    dataset = xarray.Dataset(variables, coords, attributes)
    with replacing(path) as partial:
        dataset.to_netcdf(partial, group="posterior", engine="h5netcdf")
    return [path]


FORMATS: dict[str, Callable[..., list[Path]]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".h5ad": _write_h5ad,
    ".nc": _write_draws,
}
"""The writer for each suffix."""


def factor_table(
    names: ArrayLike, q: Gamma, rates: Gamma | None, probabilities: Beta | None = None
) -> pd.DataFrame:
    """The table of .csv: names, means and standard deviations of factors and, if any, of others.

    Args:
      names: the names of N rows or columns.
      q: the posterior of their factors; shape (N, K).
      rates: the posterior of their rates, shape (N,), if the model has rates.
      probabilities: the posterior of p_m of columns, if the model has negative binomials.
    """
    columns: dict[str, Any] = {"name": names}
    for word, values in (("mean", q.mean), ("sd", np.sqrt(q.variance))):
        columns |= {f"{word}_{k}": value for k, value in enumerate(values.T, start=1)}
    if rates is not None:
        columns |= {"rate_mean": rates.mean, "rate_sd": np.sqrt(rates.variance)}
    if probabilities is not None:
        spread = np.sqrt(probabilities.variance)
        columns |= {"probability_mean": probabilities.mean, "probability_sd": spread}
    return pd.DataFrame(columns)


def _names(factors: FittedFactors, side: str) -> list[str]:
    return (factors.row_names if side == "row" else factors.column_names).tolist()


def _tables(factors: FittedFactors, side: str, size: int) -> Iterator[pd.DataFrame]:
    """Yields the table of the rows or the columns in blocks of `size` lines."""
    names, others = _names(factors, side), (f"{side}s", f"{side}_rates", f"{side}_probabilities")
    latents = tuple(factors.q.get(name) for name in others)
    for start in range(0, len(names), size):
        block = slice(start, start + size)
        of_block = jax.tree.map(operator.itemgetter(block), latents)
        yield factor_table(names[block], *of_block)


def _draws(rng: np.random.Generator, q: Gamma | Beta, num_draws: int) -> np.ndarray:
    """Draws of a latent; float32 of shape (num_draws, ...)."""
    if isinstance(q, Beta):
        shapes = q.concentration1, q.concentration0
        return rng.beta(*shapes, (num_draws, len(shapes[0]))).astype(np.float32)
    drawn = np.empty((num_draws, *q.rate.shape), np.float32)
    rng.standard_gamma(q.concentration.astype(np.float32), None, np.float32, drawn)
    drawn /= q.rate
    return drawn


def _in_order_of(best: Posterior, q: Posterior) -> Posterior:
    """q with its factors reordered to match those of the posterior `best`."""
    if q is best:
        return q
    order = matched_factors(*(np.asarray(p["columns"].mean) for p in (q, best)))
    sides = {name: jax.tree.map(lambda leaf: leaf[:, order], q[name]) for name in _SIDES}
    return q | sides


def _needed(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"this format needs {package} ({error}): {pip_install(extra)}") from error
