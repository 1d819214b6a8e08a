"""Runs other packages for Poisson factorization, scHPF and hpfrec, as their users would.

    python scripts/benchmark_peers.py sweep_seconds PEER TRAIN.npz K NUM_SWEEPS SEED
    python scripts/benchmark_peers.py fit_to_stop PEER TRAIN.npz VALID.npz TEST.npz K SEED
        [--cells CELLS.npz]
    python scripts/benchmark_peers.py split COUNTS.npz FOLDER SEED

PEER is schpf or hpfrec. Each process runs one fit, so that peak memory and compilation are those of
the fit. Standard output is one line of JSON; what a peer prints goes to standard error. Sampled
zeros can be scored too, with --cells CELLS.npz after SEED.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

NUM_THREADS = 2  # the cores of the machine of the README's figures
RATE_FLOOR = 1e-10  # keeps log r finite
PACKAGES = {"schpf": "scHPF", "hpfrec": "hpfrec"}


class Fit(NamedTuple):
    """The fit of a peer: posterior means of both sides, and how it stopped."""

    theta: np.ndarray  # rows × factors
    beta: np.ndarray  # columns × factors
    num_passes: int
    stopped: bool  # by its own rule, rather than at its largest number of passes


# Data


def split_nonzeros(
    counts: sp.csr_matrix, seed: int, fractions: tuple[float, ...] = (0.8, 0.05, 0.15)
) -> list[sp.csr_matrix]:
    """Splits the nonzeros into disjoint matrices of the same shape, by one seeded permutation."""
    entries = counts.tocoo()
    order = np.random.default_rng(seed).permutation(entries.nnz)
    ends = np.rint(np.cumsum(fractions)[:-1] * entries.nnz).astype(int)
    return [
        sp.csr_matrix(
            (entries.data[part], (entries.row[part], entries.col[part])), shape=counts.shape
        )
        for part in np.split(order, ends)
    ]


def seen(train: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows and of the columns that have a training nonzero."""
    return np.diff(train.indptr) > 0, np.bincount(train.indices, minlength=train.shape[1]) > 0


def only_seen(counts: sp.csr_matrix, train: sp.csr_matrix) -> sp.coo_matrix:
    """The counts without the rows and columns that have no training nonzero, renumbered."""
    rows, columns = seen(train)
    return counts[rows][:, columns].tocoo()


def seen_entries(counts: sp.csr_matrix, train: sp.csr_matrix) -> sp.coo_matrix:
    """The counts in rows and columns that have a training nonzero, not renumbered."""
    rows, columns = seen(train)
    entries = counts.tocoo()
    kept = rows[entries.row] & columns[entries.col]
    indices = (entries.row[kept], entries.col[kept])
    return sp.coo_matrix((entries.data[kept], indices), shape=counts.shape)


# Scores


def rates_at(
    theta: np.ndarray,
    beta: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    block: int = 100_000,
) -> np.ndarray:
    """Rates Σ_k θ_nk β_mk of the listed cells, computed in blocks."""
    rates = np.empty(len(rows))
    for start in range(0, len(rows), block):
        cells = slice(start, start + block)
        rates[cells] = np.einsum("ck,ck->c", theta[rows[cells]], beta[columns[cells]])
    return rates


def log_poisson(counts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Logarithms of Poisson probabilities, with rates floored."""
    rates = np.maximum(rates, RATE_FLOOR)
    return counts * np.log(rates) - rates - gammaln(counts + 1.0)


def mean_test_ll(
    theta: np.ndarray, beta: np.ndarray, train: sp.csr_matrix, test: sp.csr_matrix
) -> float:
    """Mean log likelihood of the test nonzeros."""
    entries = seen_entries(test, train)
    rates = rates_at(theta, beta, entries.row, entries.col)
    return float(log_poisson(entries.data, rates).mean())


def sampled_zero_ll(
    theta: np.ndarray, beta: np.ndarray, train: sp.csr_matrix, cells: dict[str, np.ndarray]
) -> float:
    """Mean log likelihood, minus the rate, of the listed zeros."""
    rows, columns = seen(train)
    kept = rows[cells["z_row"]] & columns[cells["z_col"]]
    rates = rates_at(theta, beta, cells["z_row"][kept], cells["z_col"][kept])
    return float(-np.maximum(rates, RATE_FLOOR).mean())


def exact_zero_ll(
    theta: np.ndarray, beta: np.ndarray, train: sp.csr_matrix, nonzeros: list[sp.csr_matrix]
) -> float:
    """Mean log likelihood, minus the rate, of all zeros.

    Their rates are the sum of all rates minus those of the nonzeros. The rate floor is left out of
    that sum, where it would add less than 1e-10 per cell.
    """
    rows, columns = seen(train)
    total = theta[rows].sum(0) @ beta[columns].sum(0)
    num_zeros = int(rows.sum()) * int(columns.sum())
    for part in nonzeros:
        entries = seen_entries(part, train)
        total -= rates_at(theta, beta, entries.row, entries.col).sum()
        num_zeros -= entries.nnz
    return float(-total / num_zeros)


def scores(
    theta: np.ndarray,
    beta: np.ndarray,
    train: sp.csr_matrix,
    valid: sp.csr_matrix,
    test: sp.csr_matrix,
    cells: dict[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Mean log likelihoods of test nonzeros and of zeros, and of a random sample of all cells.

    The last, `pop_ll`, is per nonzero of the sample. The zeros are all zeros (exact) and, if cells
    are given, these (sampled). Rows and columns without a training nonzero are excluded from the
    means, but included in the ratio of zeros to nonzeros.
    """
    theta, beta = np.asarray(theta, float), np.asarray(beta, float)
    test_ll = mean_test_ll(theta, beta, train, test)
    zero_ll = {"exact": exact_zero_ll(theta, beta, train, [train, valid, test])}
    if cells is not None:
        zero_ll["sampled"] = sampled_zero_ll(theta, beta, train, cells)
    num_nonzeros = train.nnz + valid.nnz + test.nnz
    ratio = (train.shape[0] * train.shape[1] - num_nonzeros) / num_nonzeros
    result = {"test_ll": test_ll}
    for name, value in zero_ll.items():
        result |= {f"zero_ll_{name}": value, f"pop_ll_{name}": test_ll + ratio * value}
    return result


# The machine


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB.

    On Linux `ru_maxrss` is inherited from the parent process, however large that was; `VmHWM` is
    not.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@contextlib.contextmanager
def standard_output_for_us() -> Iterator[TextIO]:
    """Redirects all output, including that of C code, to standard error; yields standard output."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as ours:
        os.dup2(2, 1)
        yield ours


def seconds_of(run: Callable[[], object]) -> tuple[float, object]:
    """Wall seconds of a call, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


# scHPF


def import_schpf() -> None:
    """Imports scHPF, with Numba limited to `NUM_THREADS`."""
    os.environ["NUMBA_NUM_THREADS"] = str(NUM_THREADS)
    import numba
    import schpf  # noqa: F401

    numba.set_num_threads(NUM_THREADS)


def compile_schpf() -> None:
    """Compiles all functions that a fit of scHPF calls, by three passes over twelve cells."""
    from schpf import scHPF

    counts = sp.coo_matrix(np.arange(12, dtype=np.int32).reshape(3, 4))
    scHPF(nfactors=2, max_iter=3, check_freq=1, verbose=False).fit(counts)


def schpf_pass_seconds(
    train: sp.coo_matrix, num_factors: int, num_sweeps: int, seed: int
) -> list[float]:
    """Seconds of each pass of scHPF's own loop except the first, which draws the start.

    Its computation of the loss is replaced by a constant, and its hook for checks reads the clock.
    """
    from schpf import scHPF

    np.random.seed(seed)
    model = scHPF(num_factors, max_iter=num_sweeps + 1, min_iter=num_sweeps + 2, check_freq=1)
    ends = []
    model.fit(
        train,
        loss_function=lambda **_: 1.0,
        checkstep_function=lambda **_: ends.append(time.perf_counter()),
        verbose=False,
    )
    return np.diff(ends).tolist()


def fit_schpf(train: sp.coo_matrix, valid: sp.coo_matrix, num_factors: int, seed: int) -> Fit:
    """Fits scHPF with all its defaults; the validation counts are not used."""
    del valid
    from schpf import scHPF

    np.random.seed(seed)
    model = scHPF(num_factors).fit(train)
    num_checks = len(model.loss)
    stopped = num_checks < -(-model.max_iter // model.check_freq)
    num_passes = (num_checks - 1) * model.check_freq + 1 if stopped else model.max_iter
    return Fit(model.theta.e_x, model.beta.e_x, num_passes, stopped)


# hpfrec


def hpfrec_model(num_factors: int, seed: int, **options: object) -> object:
    """An unfitted model of hpfrec; its seed is increased by 1, because 0 would mean none."""
    from hpfrec import HPF

    return HPF(k=num_factors, ncores=NUM_THREADS, random_seed=seed + 1, verbose=False, **options)


def hpfrec_pass_seconds(
    train: sp.coo_matrix, num_factors: int, num_sweeps: int, seed: int, repeats: int = 3
) -> list[float]:
    """Seconds per pass, from pairs of fits that differ in `num_sweeps` passes, without checks."""

    def fit_seconds(num_passes: int) -> float:
        model = hpfrec_model(num_factors, seed, maxiter=num_passes, check_every=None)
        return seconds_of(lambda: model.fit(train.copy()))[0]

    pairs = ((fit_seconds(1), fit_seconds(1 + num_sweeps)) for _ in range(repeats))
    return [(long - short) / num_sweeps for short, long in pairs]


def fit_hpfrec(train: sp.coo_matrix, valid: sp.coo_matrix, num_factors: int, seed: int) -> Fit:
    """Fits hpfrec with its defaults, until its likelihood of the validation counts converges.

    Its `niter` is the index of the last pass, counted from zero.
    """
    model = hpfrec_model(
        num_factors, seed, stop_crit="val-llk", check_every=10, stop_thr=1e-3, maxiter=500
    )
    model.fit(train.copy(), val_set=valid.copy())
    num_passes = int(model.niter) + 1
    return Fit(model.Theta, model.Beta, num_passes, num_passes < model.maxiter)


# The benchmark

IMPORTS = {"schpf": import_schpf, "hpfrec": lambda: importlib.import_module("hpfrec")}
COMPILATIONS = {"schpf": compile_schpf, "hpfrec": lambda: None}
PASS_SECONDS = {"schpf": schpf_pass_seconds, "hpfrec": hpfrec_pass_seconds}
FITS = {"schpf": fit_schpf, "hpfrec": fit_hpfrec}


def sweep_seconds(
    peer: str, train: sp.csr_matrix, num_factors: int, num_sweeps: int, seed: int
) -> dict[str, object]:
    """Seconds of a full pass without compilation, loading and checks, and the peak memory."""
    IMPORTS[peer]()
    COMPILATIONS[peer]()
    counts = only_seen(train, train)
    before_mb = peak_mb()
    seconds = PASS_SECONDS[peer](counts, num_factors, num_sweeps, seed)
    return {
        "peer": peer,
        "version": importlib.metadata.version(PACKAGES[peer]),
        "num_nonzeros": train.nnz,
        "num_factors": num_factors,
        "seed": seed,
        "median_seconds": float(np.median(seconds)),
        "seconds": seconds,
        "peak_mb_before": before_mb,
        "peak_mb": peak_mb(),
    }


def fit_to_stop(
    peer: str,
    train: sp.csr_matrix,
    valid: sp.csr_matrix,
    test: sp.csr_matrix,
    cells: dict[str, np.ndarray] | None,
    num_factors: int,
    seed: int,
) -> dict[str, object]:
    """Fits a peer until it stops by its own rule, and scores it.

    The seconds are those of its import (with NumPy and SciPy already imported), its compilation and
    its fit. Rows and columns without a training nonzero are removed, and are not scored.
    """
    import_seconds, _ = seconds_of(IMPORTS[peer])
    compile_seconds, _ = seconds_of(COMPILATIONS[peer])
    kept_train, kept_valid = only_seen(train, train), only_seen(valid, train)
    before_mb = peak_mb()
    cpu_start = time.process_time()
    fit_seconds, fit = seconds_of(lambda: FITS[peer](kept_train, kept_valid, num_factors, seed))
    cpu_seconds, after_mb = time.process_time() - cpu_start, peak_mb()
    rows, columns = seen(train)
    theta, beta = np.zeros((len(rows), num_factors)), np.zeros((len(columns), num_factors))
    theta[rows], beta[columns] = fit.theta, fit.beta
    return {
        "peer": peer,
        "version": importlib.metadata.version(PACKAGES[peer]),
        "num_nonzeros": train.nnz,
        "num_factors": num_factors,
        "seed": seed,
        "num_passes": fit.num_passes,
        "stopped": fit.stopped,
        "seconds": import_seconds + compile_seconds + fit_seconds,
        "import_seconds": import_seconds,
        "compile_seconds": compile_seconds,
        "fit_seconds": fit_seconds,
        "fit_cpu_seconds": cpu_seconds,
        "peak_mb_before": before_mb,
        "peak_mb": after_mb,
        "scores": scores(theta, beta, train, valid, test, cells),
    }


def load_counts(path: Path) -> sp.csr_matrix:
    """The counts as 32-bit integers in CSR format."""
    return sp.csr_matrix(sp.load_npz(path)).astype(np.int32)


def save_split(counts: Path, folder: Path, seed: int) -> dict[str, object]:
    """Splits the nonzeros 80 / 5 / 15 into train.npz, valid.npz and test.npz in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = dict(
        zip(("train", "valid", "test"), split_nonzeros(load_counts(counts), seed), strict=True)
    )
    for name, part in parts.items():
        sp.save_npz(folder / f"{name}.npz", part)
    return {name: part.nnz for name, part in parts.items()}


def parse_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sweep, fit, split = map(commands.add_parser, ("sweep_seconds", "fit_to_stop", "split"))
    for command in (sweep, fit):
        command.add_argument("peer", choices=PACKAGES)
        command.add_argument("train", type=load_counts)
    for name in ("valid", "test"):
        fit.add_argument(name, type=load_counts)
    for command in (sweep, fit):
        command.add_argument("num_factors", type=int)
    sweep.add_argument("num_sweeps", type=int)
    fit.add_argument("--cells", type=lambda path: dict(np.load(path)), default=None)
    split.add_argument("counts", type=Path)
    split.add_argument("folder", type=Path)
    for command in (sweep, fit, split):
        command.add_argument("seed", type=int)
    return parser.parse_args()


def main() -> None:
    """Runs one command, and prints its results as one line of JSON."""
    arguments = vars(parse_arguments())
    run = {"sweep_seconds": sweep_seconds, "fit_to_stop": fit_to_stop, "split": save_split}
    with standard_output_for_us() as output:
        print(json.dumps(run[arguments.pop("command")](**arguments)), file=output)


if __name__ == "__main__":
    main()
