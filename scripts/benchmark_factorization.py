"""Compares the times of Poisson factorization with scHPF and hpfrec, each in its own process.

    python scripts/benchmark_factorization.py --only sweeps --num_factors 20,50
    python scripts/benchmark_factorization.py --only stop --counts FOLDER --num_factors 20
    python scripts/benchmark_factorization.py --only scaling --nonzeros 1e5,1e6,1e7 --num_factors 50

`sweeps` prints seconds per full sweep and the peak memory of each, for the matrix --counts (an
.npz), by default 8 million synthetic counts, 50,000 × 20,000. `stop` prints the time from start to
the held-out score at which the peers stop by their own rules (FOLDER has train.npz, valid.npz and
test.npz). `scaling` prints seconds per sweep, memory, and the cost of the input pipeline and of the
start in sweeps, for synthetic counts of increasing size. Peers that are not installed are skipped.
"""

import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import scipy.sparse
from absl import flags, logging
from benchmark_problems import synthetic_counts

import vigamma
from vigamma.command_line.start import start_script
from vigamma.data.files import LoadedCounts
from vigamma.devices.host import keep_freed_memory, peak_memory_bytes, use_all_cores
from vigamma.devices.mesh import make_mesh
from vigamma.runs.factors import FactorFit
from vigamma.runs.metrics import read_metrics

_ONLY = flags.DEFINE_enum("only", "sweeps", ["sweeps", "stop", "scaling"], "Which table.")
_COUNTS = flags.DEFINE_string("counts", None, "An .npz of scipy.sparse, or a folder of three.")
_NUM_FACTORS = flags.DEFINE_list("num_factors", ["20", "50"], "Numbers of factors.")
_NUM_SWEEPS = flags.DEFINE_integer("num_sweeps", 50, "Sweeps to time, of each system.")
_NONZEROS = flags.DEFINE_list("nonzeros", ["1e5", "1e6", "1e7"], "For --only scaling.")
_CHILD = flags.DEFINE_string("child", None, "Used by the benchmark itself.")
_SCRIPTS = Path(__file__).parent
_PEERS = {"schpf": "schpf", "hpfrec": "hpfrec"}
_CHUNK = 10  # the `log_every` of the configs: the sweeps between two lines of metrics


def main(argv):
    """Prints one table."""
    del argv
    logging.set_verbosity(logging.WARNING)
    if _CHILD.value:
        print(json.dumps(sweep_seconds(Path(_CHILD.value), int(_NUM_FACTORS.value[0]))))
        return
    {"sweeps": compare_sweeps, "stop": compare_stops, "scaling": scale}[_ONLY.value]()


def sweep_seconds(counts: Path, num_factors: int) -> dict[str, float]:
    """Seconds per sweep of vigamma in this process, and of the preparation before the first."""
    use_all_cores()
    keep_freed_memory()
    matrix = vigamma.check_sparse_counts(scipy.sparse.load_npz(counts))
    config = vigamma.Experiment(
        data=vigamma.SparseCounts(path=str(counts)),
        model=vigamma.HierarchicalPoissonFactorization(num_factors=num_factors),
        inference=vigamma.CoordinateAscent(tolerance=0.0),
        num_steps=_NUM_SWEEPS.value,
        log_every=_CHUNK,
    )
    started = time.perf_counter()
    mesh = make_mesh()
    fit = FactorFit(config, LoadedCounts(matrix))
    jax.block_until_ready(fit.batches(mesh))
    piped = time.perf_counter()
    state = fit.start(mesh)
    jax.block_until_ready(state.arrays)
    begun = time.perf_counter()
    state.compile()
    compiled = time.perf_counter()
    seconds = []
    for _ in range(1 + math.ceil(_NUM_SWEEPS.value / _CHUNK)):
        began = time.perf_counter()
        state.step(_CHUNK)
        jax.block_until_ready(state.arrays)
        seconds.append((time.perf_counter() - began) / _CHUNK)
    return {
        "num_nonzeros": int(matrix.nnz),
        "median_seconds": statistics.median(seconds[1:]),
        "pipeline_seconds": piped - started,
        "start_seconds": begun - piped,
        "compile_seconds": compiled - begun,
        "peak_mb": peak_memory_bytes() / 1e6,
    }


def compare_sweeps() -> None:
    """Prints one row for each package and number of factors; vigamma before and after its peers."""
    with tempfile.TemporaryDirectory() as folder:
        counts = _COUNTS.value or _synthetic(folder, 8_000_000, 50_000, 20_000)
        _compare_sweeps(counts)


def _compare_sweeps(counts: str) -> None:
    print(f"{'K':>4}  {'system':<10}{'s a sweep':>10}{'times ours':>12}{'peak MB':>9}")
    for num_factors in _NUM_FACTORS.value:
        before = _ours(counts, num_factors)
        rows = {name: _peer_sweeps(name, counts, num_factors) for name in _installed()}
        after = _ours(counts, num_factors)
        ours = statistics.mean([before["median_seconds"], after["median_seconds"]])
        for name, row in {"vigamma": before, **rows, "vigamma ": after}.items():
            ratio = row["median_seconds"] / ours
            print(
                f"{num_factors:>4}  {name:<10}{row['median_seconds']:>10.4f}{ratio:>12.1f}"
                f"{row['peak_mb']:>9.0f}",
                flush=True,
            )


def compare_stops() -> None:
    """Prints the seconds from start that vigamma needs to reach the score at which a peer stops."""
    folder = Path(_COUNTS.value)
    for num_factors in _NUM_FACTORS.value:
        seconds, scores = _our_trace(folder, num_factors)
        print(f"K {num_factors}: vigamma ends after {seconds[-1]:.1f} s at {scores[-1]:.4f} nats")
        for name in _installed():
            parts = [str(folder / f"{part}.npz") for part in ("train", "valid", "test")]
            peer = _json_of("benchmark_peers.py", "fit_to_stop", name, *parts, num_factors, "0")
            score = peer["scores"]["pop_ll_exact"]
            reached = [s for s, value in zip(seconds, scores, strict=True) if value >= score]
            ours = f"{reached[0]:.1f} s, 1/{peer['seconds'] / reached[0]:.0f}" if reached else "-"
            print(f"  {name}: {peer['seconds']:.1f} s to {score:.4f} nats; vigamma {ours}")


def _our_trace(folder: Path, num_factors: str) -> tuple[list[float], list[float]]:
    """(seconds since the start of the process, held-out score) for each line of the metrics."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [
            sys.executable, str(_SCRIPTS / "train.py"), "--workdir", workdir,
            "--config", str(_SCRIPTS.parent / "configs" / "counts_factors.py"),
            f"--config.data.path={folder}", "--config.heldout.protocol=entries",
            f"--config.model.num_factors={num_factors}", "--config.log_every=5",
        ]  # fmt: skip
        seconds: list[float] = []
        lines: list[dict] = []
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(0.05)
                lines = read_metrics(Path(workdir) / "metrics.jsonl")
                seconds += [time.perf_counter() - started] * (len(lines) - len(seconds))
        if process.returncode:
            raise RuntimeError(f"training ended with status {process.returncode}")
        name = "heldout_log_likelihood"
        scored = [(s, line[name]) for s, line in zip(seconds, lines, strict=True) if name in line]
        return tuple(map(list, zip(*scored, strict=True)))


def scale() -> None:
    """Prints the times and memory of vigamma on synthetic counts of increasing size."""
    columns = ("s a sweep", 11), ("ns/(nnz K)", 12), ("pipeline", 10), ("start", 8), ("MB", 8)
    print(f"{'nonzeros':>12}{'K':>5}", *(f"{name:>{width}}" for name, width in columns), sep="")
    for nonzeros in map(float, _NONZEROS.value):
        with tempfile.TemporaryDirectory() as folder:
            path = _synthetic(folder, int(nonzeros))
            for num_factors in _NUM_FACTORS.value:
                row = _ours(path, num_factors)
                each = 1e9 * row["median_seconds"] / row["num_nonzeros"] / int(num_factors)
                pipeline, start = (
                    row[f"{part}_seconds"] / row["median_seconds"] for part in ("pipeline", "start")
                )
                print(
                    f"{row['num_nonzeros']:>12,}{num_factors:>5}{row['median_seconds']:>11.4f}"
                    f"{each:>12.3f}{pipeline:>10.1f}{start:>8.1f}{row['peak_mb']:>8.0f}",
                    flush=True,
                )


def _synthetic(folder: str, num_nonzeros: int, *shape: int) -> str:
    """The path of a file with synthetic counts."""
    path = Path(folder) / "counts.npz"
    scipy.sparse.save_npz(path, synthetic_counts(num_nonzeros, *shape), compressed=False)
    return str(path)


def _installed() -> list[str]:
    return [name for name, module in _PEERS.items() if importlib.util.find_spec(module)]


def _ours(counts: str, num_factors: str) -> dict[str, float]:
    return _json_of(
        "benchmark_factorization.py", f"--child={counts}", f"--num_factors={num_factors}",
        f"--num_sweeps={_NUM_SWEEPS.value}",
    )  # fmt: skip


def _peer_sweeps(name: str, counts: str, num_factors: str) -> dict[str, float]:
    num_sweeps = min(_NUM_SWEEPS.value, 4)
    return _json_of(
        "benchmark_peers.py", "sweep_seconds", name, counts, num_factors, num_sweeps, "0"
    )


def _json_of(script: str, *arguments: object) -> dict:
    command = [sys.executable, str(_SCRIPTS / script), *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    start_script(main)
