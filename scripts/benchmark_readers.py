"""Measures the time and peak memory of the file readers, on synthetic ratings.

    python scripts/benchmark_readers.py [--lines 10000000] [--only integers|strings|...]

The ratings are similar to MovieLens: 65,000 users, 27,000 items of very unequal popularity, half
stars and a timestamp. Memory is the peak of a fresh process, minus its memory after its imports, as
a multiple of the size of the file. CPU seconds are more reliable than wall time on a busy machine.
"""

import argparse
import gzip
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse

from vigamma import SparseCounts
from vigamma.devices.host import peak_memory_bytes

_LINES_AT_ONCE = 2**18  # so that the ratings need not be in memory


def ratings(num_lines: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields users in ascending order, items, ratings and timestamps, in blocks."""
    for first in range(0, num_lines, _LINES_AT_ONCE):
        size = min(_LINES_AT_ONCE, num_lines - first)
        rng = np.random.default_rng(first)
        users = 1 + np.arange(first, first + size) * 65_000 // num_lines
        items = 1 + (20 * rng.pareto(0.6, size)).astype(int) % 27_000
        stamps = rng.integers(789_652_004, 1_574_327_703, size)
        yield users, items, rng.integers(1, 11, size) / 2, stamps


def write_ratings(path: Path, num_lines: int, line: str, header: str = "") -> None:
    """Writes ratings, each in the format `line`."""
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(header)
        for piece in ratings(num_lines):
            fields = zip(*(column.tolist() for column in piece), strict=True)
            file.write("".join(line.format(*rating) for rating in fields))


def matrix(num_lines: int) -> scipy.sparse.csr_array:
    """The ratings in half stars, with repeated ones summed."""
    columns = zip(*ratings(num_lines), strict=True)
    users, items, stars, _ = map(np.concatenate, columns)
    return scipy.sparse.coo_array((2 * stars, (users - 1, items - 1))).astype(np.int32).tocsr()


def write_bag(path: Path, num_lines: int) -> None:
    """Writes ratings as a UCI bag of words."""
    with path.open("w") as file:
        file.write(f"65000\n27000\n{num_lines}\n")
        for users, items, stars, _ in ratings(num_lines):
            fields = zip(users.tolist(), items.tolist(), (2 * stars).tolist(), strict=True)
            file.write("".join(f"{u} {i} {s:.0f}\n" for u, i, s in fields))


def write_lda_c(path: Path, num_lines: int) -> None:
    """Writes ratings as documents in LDA-C format."""
    counts = matrix(num_lines)
    with path.open("w") as file:
        for first, last in zip(counts.indptr, counts.indptr[1:], strict=False):
            entries = zip(counts.indices[first:last], counts.data[first:last], strict=True)
            file.write(" ".join([str(last - first), *(f"{t}:{c}" for t, c in entries)]) + "\n")


def write_h5ad(path: Path, num_lines: int) -> None:
    """Writes ratings as an AnnData file of single cells."""
    import anndata

    anndata.AnnData(scipy.sparse.csr_matrix(matrix(num_lines))).write_h5ad(path)


_HEADER = "userId,movieId,rating,timestamp\n"
KINDS = {
    "integers": ("ratings.csv", lambda p, n: write_ratings(p, n, "{},{},{},{}\n", _HEADER)),
    "strings": (
        "plays.tsv",
        lambda p, n: write_ratings(p, n, "user_{:08x}\titem-{:06d}-é\t{}\t{}\n"),
    ),
    "long delimiter": ("ratings.dat", lambda p, n: write_ratings(p, n, "{}::{}::{}::{}\n")),
    "two columns": ("pairs.txt", lambda p, n: write_ratings(p, n, "{} {}\n")),
    "gzip": ("ratings.csv.gz", lambda p, n: write_ratings(p, n, "{},{},{},{}\n", _HEADER)),
    "MatrixMarket": ("counts.mtx", lambda p, n: scipy.io.mmwrite(p, matrix(n))),
    "bag of words": ("docword.txt", write_bag),
    "LDA-C": ("documents.ldac", write_lda_c),
    "AnnData": ("cells.h5ad", write_h5ad),
    "SciPy": ("counts.npz", lambda p, n: scipy.sparse.save_npz(p, matrix(n), compressed=False)),
}


def print_load(path: Path) -> None:
    """Loads a file in this process, and prints the time and memory it took."""
    before, start, cpu_start = peak_memory_bytes(), time.perf_counter(), time.process_time()
    counts = SparseCounts(path=str(path), binary=True).load().counts
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    size = path.stat().st_size
    multiple = (peak_memory_bytes() - before) / size
    print(
        f"{size / 1e6:7.0f} MB {seconds:7.1f} s ({cpu_seconds:.1f} s of the CPU) "
        f"{multiple:7.1f} times its size   "
        f"{counts.shape[0]:,} × {counts.shape[1]:,}, {counts.nnz:,} nonzeros",
        flush=True,
    )


def main() -> None:
    """Writes a file of each kind, and loads it in a separate process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--load", type=Path, help="Only load this file.")
    arguments = parser.parse_args()
    if arguments.load:
        print_load(arguments.load)
        return
    print(f"{arguments.lines:,} lines")
    for kind, (name, write) in KINDS.items():
        if arguments.only in (None, kind):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder) / name, arguments.lines)
                print(f"{kind:>16}: ", end="", flush=True)
                subprocess.run(
                    [sys.executable, __file__, "--load", Path(folder) / name], check=True
                )


if __name__ == "__main__":
    main()
