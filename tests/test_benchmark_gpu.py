"""The table of `scripts/benchmark_gpu.py`, at small sizes, and what it says of rows it skips."""

import importlib
import sys

import jax
import pytest

from tests.command import ROOT

COLUMNS = ["what", "size", "host s", "compile s", "s", "repeats", "size a second", "floor s"]
SHAPES = "0.05", "1", "30"


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module; those that it imports from its folder go again."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    before = set(sys.modules)
    yield importlib.import_module("benchmark_gpu")
    for name in set(sys.modules) - before:
        if name.startswith("benchmark_"):
            del sys.modules[name]


def parsed(text: str) -> tuple[str, dict[str, list[str]]]:
    """The line above the table, and the cells of each row by what it is of."""
    header, empty, *lines = text.splitlines()
    assert empty == ""
    cells = [line.strip("| ").split(" | ") for line in lines]
    assert cells[0] == [*COLUMNS, "ratio"]
    assert {len(row) for row in cells} == {9}
    return header, {row[0]: row[1:] for row in cells[2:]}


MEASURED = {
    *(f"vigamma.random.gamma{g}, shape {a}" for g in ("", " with gradients") for a in SHAPES),
    *(f"jax.random.gamma{g}, shape {a}" for g in ("", " with gradients") for a in SHAPES),
    *(f"sweep of {what}, K = 4" for what in ("coordinate ascent", "a Gibbs chain")),
    "step of the digit zero, 64 pixels",
}
APPROXIMATE = {f'jax.random.gamma, method="approximate", shape {a}' for a in SHAPES}


@pytest.mark.slow
@pytest.mark.parametrize(
    "dear", [("Gibbs", "jax.random.gamma with"), pytest.param((), marks=pytest.mark.nightly)]
)
def test_rows_are_measured(benchmark, tmp_path, capsys, monkeypatch, dear):
    def is_dear(what):
        return any(word in what for word in dear)

    all_rows = list(benchmark.rows_of(benchmark.SMALL))
    cheap = [row for row in all_rows if not is_dear(row.what)]
    monkeypatch.setattr(benchmark, "rows_of", lambda sizes: cheap)
    path = tmp_path / "gpu.md"
    benchmark.main(["--small", f"--output={path}"])
    printed = capsys.readouterr().out
    assert path.read_text() == printed
    header, rows = parsed(printed)
    assert f"(cpu), JAX {jax.__version__}, float{8 * benchmark._float_bytes()}" in header
    assert {row.what for row in all_rows} == MEASURED | APPROXIMATE
    measured = {what for what in MEASURED if not is_dear(what)}
    assert set(rows) == {"triad", *measured, *APPROXIMATE}
    bandwidth = float(header.split()[-2]) * 1e9
    for what in measured | {"triad"}:
        seconds, repeats, each_second, floor, ratio = map(float, rows[what][3:])
        size = int(rows[what][0].replace(",", ""))
        assert seconds > 0
        assert repeats >= 1
        assert each_second == pytest.approx(size / seconds, rel=0.01)
        assert ratio == pytest.approx(seconds / floor, rel=0.02)
    for what in (what for what in measured if "random" in what):
        width = benchmark._float_bytes() * (2 if "gradients" in what else 1)
        assert float(rows[what][6]) == pytest.approx(width * 1e4 / bandwidth, rel=0.01)
    of_sweep = float(rows["sweep of coordinate ascent, K = 4"][6]) * bandwidth
    assert of_sweep > 2 * 3 * 1e4  # by row and by column, 3 bytes at least


def test_a_row_that_is_skipped_says_why(benchmark, capsys, monkeypatch):
    benchmark.main(["--small", "--budget_s=0"])
    _, rows = parsed(capsys.readouterr().out)
    reasons = {what: cells[1] for what, cells in rows.items() if what != "triad"}
    assert len(reasons) == 18
    assert set(reasons.values()) <= {
        "skipped: no time is left", f"skipped: JAX {jax.__version__} does not have it"
    }  # fmt: skip
    monkeypatch.setattr(benchmark, "memory_bytes", lambda: 100_000)
    benchmark.main(["--small"])
    _, rows = parsed(capsys.readouterr().out)
    assert (
        rows["sweep of a Gibbs chain, K = 4"][1]
        == "skipped: needs 0.00024 GB of memory, not 0.0001"
    )


def test_a_larger_row_is_skipped_if_it_would_take_longer_than_is_left(benchmark):
    done = {
        "first": benchmark.Measured(10, host=3.0, compile=1.0, each=0.1, repeats=7, moved_bytes=1),
        "second": benchmark.Measured(10, host=1.0, compile=5.0, each=0.1, repeats=7, moved_bytes=1),
    }
    row = benchmark.Row("second", 100, 0, lambda: None)
    expected = benchmark.expected_seconds(row, done)
    assert expected == pytest.approx(30 + 5 + 2 * 1.0 + (5.0 + 1.0))
    assert benchmark.expected_seconds(row._replace(what="third"), done) == 0
    reason = benchmark._reason_to_skip(row, expected, 40.0, 1)
    assert reason == "would take 43 s, 40 s are left"
    assert not benchmark._reason_to_skip(row, expected, 45.0, 1)


def test_memory_that_does_not_suffice_is_said_and_other_errors_are_raised(benchmark):
    def failing(error):
        def prepare():
            raise error

        return benchmark.Row("draws", 1, 0, prepare)

    exhausted = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    said = benchmark._measured_or_reason(failing(exhausted))
    assert said == "the memory of the device did not suffice"
    assert "host" in benchmark._measured_or_reason(failing(MemoryError()))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        benchmark._measured_or_reason(failing(jax.errors.JaxRuntimeError("INTERNAL: broken")))
