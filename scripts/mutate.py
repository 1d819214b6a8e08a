"""Makes small changes in the package, one by one, and reports whether the tests notice them.

python scripts/mutate.py                            # all of scripts/mutations.txt: 1 to 2 hours
python scripts/mutate.py --jobs 4 --only inference  # those with "inference" in what is printed
python scripts/mutate.py --quick --every 10         # every tenth, by what `pytest` alone runs

Each change is made in a temporary copy of the checkout, and the tests listed with it run there.
All listed tests must first pass without any change. The exit status is 1 if fewer than 95 % of the
changes are noticed; changes listed as equivalent, with a reason, are neither tried nor counted.

    [vigamma/special.py | tests/test_special.py]
    - the old text, of one or several lines, which must occur exactly once in the file
    + the new text
    = why it is equivalent, if it is
"""

import concurrent.futures
import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

_WANTED = 0.95
_NONE_IS_QUICK = 5  # the exit status of pytest that has collected nothing
_LEFT_OUT = ".*", "__pycache__", "checkpoints", "venv"
_IMPORTED = (
    "anndata chex flax.nnx hypothesis.extra.numpy jax.numpy matplotlib.pyplot mpmath optax "
    "orbax.checkpoint pandas pyarrow.feather pyarrow.parquet pytest rich.console scipy.stats "
    "sklearn.utils.estimator_checks"
)
"""Imported by the process that all tests are forked from: imports take longer than most tests."""

_SETTINGS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # files that change within a second look unchanged
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}

_HERE = Path(__file__).resolve()
_ROOT = flags.DEFINE_string("root", str(_HERE.parents[1]), "The checkout; nothing in it changes.")
_CHANGES = flags.DEFINE_string("changes", str(_HERE.with_name("mutations.txt")), "Their list.")
_ONLY = flags.DEFINE_string("only", "", "Leave out changes without this text in their line.")
_EVERY = flags.DEFINE_integer("every", 1, "Try each N-th change only.", lower_bound=1)
_QUICK = flags.DEFINE_bool("quick", False, "Leave out tests that `pytest` alone leaves out.")
_JOBS = flags.DEFINE_integer("jobs", 1, "How many changes to try at once.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 300.0, "Tests that take longer have noticed a change.")


class Change(NamedTuple):
    """A small change of a file.

    Attributes:
      path: the path of the file.
      tests: the tests to run: files, or tests in them.
      old: a text that occurs once in the file.
      new: its replacement.
      reason: why no test can detect the change; "" if one should.
    """

    path: str
    tests: tuple[str, ...]
    old: str
    new: str
    reason: str

    def __str__(self) -> str:
        """The file and the change, on one line."""
        old, new = (" ".join(text.split()) or "nothing" for text in (self.old, self.new))
        return f"{self.path}: {old} → {new}"


def read_changes(path: Path) -> list[Change]:
    """The changes of a list, in the format of the docstring of this module."""
    changes, where, parts = [], ("", ()), {"-": [], "+": [], "=": []}
    for line in [*path.read_text(encoding="utf-8").splitlines(), "[end |]"]:
        kind, text = line[:1], line[2:]
        if parts["+"] and kind in ("[", "-"):
            changes.append(Change(*where, *("\n".join(parts[k]) for k in "-+=")))
            parts = {"-": [], "+": [], "=": []}
        if kind == "[":
            file, tests = line.strip()[1:-1].split("|")
            where = file.strip(), tuple(tests.split())
        elif kind in parts:
            parts[kind].append(text)
        elif line and kind != "#":
            raise SystemExit(f"{path}: a line must begin with one of [ - + = #, got {line!r}")
    return changes


def check_changes(root: Path, changes: Sequence[Change]) -> None:
    """Exits with a message unless every old text occurs exactly once in its file."""
    found = [(c, (root / c.path).read_text(encoding="utf-8").count(c.old)) for c in changes]
    wrong = [f"{c.path} has {n} times, not once: {c.old}" for c, n in found if n != 1]
    if wrong:
        raise SystemExit("\n".join(wrong))


def run_tests(
    copy: Path, tests: Sequence[str], seconds: float | None, quick: bool
) -> tuple[bool, str]:
    """Whether all tests pass in a copy within some seconds, and the last lines of pytest."""
    report = copy.with_suffix(".txt")
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run_pytest, args=(copy, tests, report, quick))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        return False, f"not done after {seconds:g} s"
    said = report.read_text(encoding="utf-8", errors="replace")
    passed = [0, _NONE_IS_QUICK] if quick else [0]
    if process.exitcode not in (*passed, 1):
        raise SystemExit(f"pytest cannot run {' '.join(tests)}:\n{said}")
    return process.exitcode in passed, said[-3000:]


def _run_pytest(copy: Path, tests: Sequence[str], report: Path, quick: bool) -> None:
    """Runs pytest in this process, which exits with the status of pytest."""
    import pytest

    with report.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)  # for the scripts that tests start
    sys.path.insert(0, str(copy))
    markers = [] if quick else ["-m", ""]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *markers, *tests]))


def outcome_of(change: Change, copy: Path, seconds: float, quick: bool) -> str:
    """Makes a change in a copy, runs its tests, and reverts it."""
    if change.reason:
        return "equivalent"
    file = copy / change.path
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(change.old, change.new), encoding="utf-8")
    try:
        return "NOT noticed" if run_tests(copy, change.tests, seconds, quick)[0] else "noticed"
    finally:
        file.write_text(text, encoding="utf-8")


def main(argv: list[str]) -> int:
    """Tries the changes, prints a line for each, and a summary."""
    del argv
    root, changes = Path(_ROOT.value), read_changes(Path(_CHANGES.value))
    changes = [change for change in changes if _ONLY.value in str(change)][:: _EVERY.value]
    check_changes(root, changes)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(_SETTINGS, JAX_COMPILATION_CACHE_DIR=f"{folder}/programs")
        multiprocessing.set_forkserver_preload(_IMPORTED.split())
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(_JOBS.value):
            copy = Path(folder, str(number))
            copies.put(shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT)))
        tests = sorted({test for change in changes if not change.reason for test in change.tests})
        passed, said = run_tests(copy, tests, None, _QUICK.value) if tests else (True, "")
        if not passed:
            raise SystemExit(f"{said}\nthe tests fail without any change")

        def outcome(change: Change) -> str:
            copy = copies.get()
            try:
                return outcome_of(change, copy, _SECONDS.value, _QUICK.value)
            finally:
                copies.put(copy)

        counted: Counter[str] = Counter()
        with concurrent.futures.ThreadPoolExecutor(_JOBS.value) as pool:
            for change, found in zip(changes, pool.map(outcome, changes), strict=True):
                counted[found] += 1
                because = f" ({change.reason})" if change.reason else ""
                print(f"{found:<12}{change}{because}", flush=True)
    noticed, tried = counted["noticed"], len(changes) - counted["equivalent"]
    share = noticed / tried if tried else 1.0
    print(f"{noticed} of {tried} noticed, {share:.1%}; {counted['equivalent']} equivalent")
    return int(share < _WANTED)


if __name__ == "__main__":
    from vigamma.command_line.start import start_script  # not in tests, which import a copy

    start_script(main)
