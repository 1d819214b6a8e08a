import io
import itertools
import json
import re
import resource
from pathlib import Path

import numpy as np
import pytest

from vigamma.devices.host import peak_memory_bytes
from vigamma.runs.metrics import (
    MetricsLog,
    ProgressLine,
    read_metrics,
    write_json,
)
from vigamma.terminal.console import PlainConsole


def test_lines_come_back_and_steps_not_saved_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        for step in (10, 20, 30):
            log.write(step, elbo=-step)
    with MetricsLog(path, 20) as log:  # as after a crash at step 30, saved at 20
        log.write(30, elbo=-31.0)
    lines = read_metrics(path)
    assert [(line["step"], line["elbo"]) for line in lines] == [(10, -10), (20, -20), (30, -31.0)]
    assert lines[2]["seconds"] >= lines[1]["seconds"]


@pytest.mark.parametrize("usual", [["step"], ["step", "elbo"], ["step", "elbo", "more"]])
def test_lines_may_have_more_names_than_most_or_less(tmp_path, usual):
    path = tmp_path / "metrics.jsonl"
    lines = [usual, ["step", "elbo"], usual, usual]
    path.write_text("".join(json.dumps(dict.fromkeys(names, 1)) + "\n" for names in lines))
    assert list(map(list, read_metrics(path, pytest.fail))) == lines


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "elbo": 2, "seconds": 0}\n{"step": 2, "el')
    assert [line["step"] for line in read_metrics(path)] == [1]


@pytest.mark.parametrize(
    "damaged",
    [b'{"step": 2, "elcn": 5, "seconds": 0}', b'{"step": 2, "elbo": "5, "seconds": 0}', b"\xff",
     b'{"step": "2", "elbo": 5, "seconds": 0}', b"7", b""],
)  # fmt: skip
def test_a_damaged_line_is_passed_over_and_told(tmp_path, damaged):
    path, said = tmp_path / "metrics.jsonl", []
    good = [b'{"step": %d, "elbo": 2, "seconds": 0}' % step for step in (1, 3)]
    path.write_bytes(b"\n".join([good[0], damaged, good[1], b""]))
    assert [line["step"] for line in read_metrics(path, said.append)] == [1, 3]
    assert said == [f"{path}: passed over 1 damaged of 3 lines"]
    with MetricsLog(path, 3) as log:
        log.write(4, elbo=3.0)
    assert [line["step"] for line in read_metrics(path, pytest.fail)] == [1, 3, 4]


def test_without_a_path_nothing_is_written(tmp_path):
    with MetricsLog(None, 0) as log:
        log.write(1, elbo=1.0)
    assert list(tmp_path.iterdir()) == []


def test_json_files_hold_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "summary.json", {"elbo": float("nan")})
    write_json(tmp_path / "summary.json", {"elbo": 1.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"elbo": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def shown(terminal: bool, **options) -> str:
    stream = io.StringIO()
    console = PlainConsole(file=stream, force_terminal=terminal, width=120)
    with ProgressLine(40, console=console, **options) as progress:
        progress.start(0)
        for step in (10, 20):
            progress.update(step, -1234.5)
        progress.phase("scoring")
        progress.start(20)
        progress.update(30, -1234.5, "converged")
    return stream.getvalue()


def test_plain_lines_outside_of_a_terminal():
    lines = shown(terminal=False, seconds_between_lines=0).splitlines()
    assert [line.split()[1] for line in lines] == ["10/40", "20/40", "30/40"]
    assert [line.split("steps/s")[1] for line in lines[1:]] == ["  0 s left", "  converged"]
    assert all("ELBO -1,234.500 nats" in line and "steps/s" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_plain_lines_are_not_too_many_but_the_last_comes():
    lines = shown(terminal=False, seconds_between_lines=1000).splitlines()
    assert [line.split()[1] for line in lines] == ["10/40", "30/40"]


def test_the_pace_is_that_of_the_steps_since_the_start(monkeypatch):
    now = itertools.count(0, 2)
    monkeypatch.setattr("vigamma.runs.metrics.time.monotonic", lambda: next(now))
    stream = io.StringIO()
    with ProgressLine(150, console=PlainConsole(file=stream, width=120)) as progress:
        progress.start(100)
        progress.update(110, -1.0)
    assert "5.0 steps/s  8 s left" in stream.getvalue()


def test_a_live_line_on_a_terminal():
    stream = io.StringIO()
    console = PlainConsole(file=stream, force_terminal=True, width=120)
    with ProgressLine(40, console=console) as progress:

        def drawn() -> str:
            progress._live.refresh()
            text = re.sub(r"\x1b\[[0-9;?]*\w", "", stream.getvalue())
            stream.truncate(stream.seek(0))
            return text

        progress.phase("compiling")
        assert "compiling 0:00:00" in drawn()
        progress.start(10)
        progress.update(20, -1234.5)
        assert "step 20/40 ━" in (text := drawn())
        assert "ELBO -1,234.500 nats" in text
        progress.update(30, -1234.5, "converged")
        assert re.search(r"step 30/40  ELBO -1,234.500 nats  .* steps/s  converged\n", drawn())
        progress.phase("drawing figures")
        assert "drawing figures 0:00:00" in (text := drawn())
        assert "step" not in text
        progress.say("the table")
    assert "the table" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[1A\x1b[2K")  # the live line is gone


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux has /proc")
def test_the_peak_of_memory_is_at_least_what_is_resident_now():
    block = np.ones(2**22)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert resident > block.nbytes
    # The kernel counts in batches of pages. Its other peak may be that of a parent process.
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 0.95 * resident < peak_memory_bytes() < 1.05 * peak
