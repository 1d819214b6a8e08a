"""Measures the time from a command to its answer, without and with compiled programs in the cache.

    python scripts/benchmark_start.py [--against CHECKOUT] [--counts FOLDER] [--repeats 3]

Every command runs in a fresh process: first with an empty compilation cache ("cold"), then again
with what the first run left there ("warm"). `--against` runs the same commands of another checkout
in turn with this one. Wall times are medians; CPU seconds are more reliable on a busy machine.
`--stages` also prints where the time of this checkout goes: tracing, lowering, compilation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_STAGES = """
import atexit, json, os, runpy, sys, time
start = time.perf_counter()
import jax
seconds = {"import jax": time.perf_counter() - start}
names = {
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling, or reading the cache",
}
def add(event, duration, **_):
    if name := names.get(event.rpartition("/")[2]):
        seconds[name] = seconds.get(name, 0) + duration
        if name.startswith("compiling"):
            seconds["programs"] = seconds.get("programs", 0) + 1
jax.monitoring.register_event_duration_secs_listener(add)
def say():
    seconds["in all"] = time.perf_counter() - start
    with open(os.environ["STAGES"], "w") as file:
        json.dump(seconds, file)
atexit.register(say)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def commands(counts: Path | None) -> dict[str, list[str]]:
    """The arguments of the Python interpreter for each command; WORKDIR is a fresh folder."""
    found = {
        "import vigamma": ["-c", "import vigamma"],
        "import jax": ["-c", "import jax"],
        "the digit zero": ["scripts/train.py", "--config", "configs/zero.py"],
    }
    if counts:
        path = f"--config.data.path={counts.resolve()}"
        found["counts"] = ["scripts/train.py", "--config", "configs/counts_factors.py", path]
    return found


def seconds_of(arguments: list[str], checkout: Path, cache: Path) -> tuple[float, float]:
    """Runs Python in a fresh process; returns its wall and CPU seconds."""
    variables = {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache)}
    with tempfile.TemporaryDirectory() as workdir:
        where = ["--workdir", workdir] if arguments[0].endswith(".py") else []
        before, start = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments, *where],
            cwd=checkout,
            env=os.environ | variables,
            check=True,
            capture_output=True,
        )
        wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def measure(arguments: list[str], checkouts: list[Path], repeats: int) -> None:
    """Prints the cold and warm seconds of a command for every checkout, run in turn."""
    found: dict[tuple[Path, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for checkout in checkouts:
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    pair = seconds_of(arguments, checkout, Path(cache))
                    found.setdefault((checkout, kind), []).append(pair)
    for kind in ("cold", "warm"):
        medians = [
            [statistics.median(values) for values in zip(*found[checkout, kind], strict=True)]
            for checkout in checkouts
        ]
        parts = [f"{wall:6.2f} s ({cpu:.2f} CPU)" for wall, cpu in medians]
        ratio = f"  {medians[0][0] / medians[-1][0]:.2f} ×" if len(medians) > 1 else ""
        print(f"  {kind}  " + "  against ".join(parts) + ratio, flush=True)


def print_stages(arguments: list[str]) -> None:
    """Prints the seconds of each stage of a command of this checkout, cold and warm."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cold", "warm"):
            os.environ["STAGES"] = str(Path(folder, "stages.json"))
            seconds_of(
                ["-c", _STAGES, *arguments, "--workdir", f"{folder}/{kind}"], _HERE, Path(folder)
            )
            stages = json.loads(Path(os.environ["STAGES"]).read_text())
            shown = ", ".join(f"{name} {value:.4g}" for name, value in stages.items())
            print(f"  {kind}: {shown}")


def main() -> None:
    """Runs the selected measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout of the package")
    parser.add_argument("--counts", type=Path, help="a file or folder of counts to factorize")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="a word of the name of a command")
    parser.add_argument("--stages", action="store_true")
    flags = parser.parse_args()
    checkouts = [_HERE, *([flags.against.resolve()] if flags.against else [])]
    for name, arguments in commands(flags.counts).items():
        if not flags.only or flags.only in name:
            print(name, flush=True)
            measure(arguments, checkouts, flags.repeats)
            if flags.stages and arguments[0].endswith(".py"):
                print_stages(arguments)


if __name__ == "__main__":
    main()
