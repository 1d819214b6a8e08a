"""Text for every terminal, pipe and encoding."""

import codecs
import io
import json
import os
import shlex
import subprocess
import sys
import tomllib

import pytest

from tests.command import ROOT, call, environment
from vigamma.answers.tables import aligned
from vigamma.devices.mesh import start_devices
from vigamma.errors import RunError
from vigamma.terminal import console as terminal
from vigamma.terminal.invocation import pip_install

NATURAL = ROOT / "configs" / "zero_natural.py"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\b\x7f", r"over\rwritten\x08\x7f"),
        ("a\tb\x9b1m", r"a\tb\x9b1m"),
        ("abc\u202etxt\u2066", r"abc\u202etxt\u2066"),
        ("to the left \u200f and right \u200e", r"to the left \u200f and right \u200e"),
        ("half \udc80", r"half \udc80"),
        ("Größe 中 → 🙂\n", "Größe 中 → 🙂\n"),
    ],
)
def test_control_characters_are_escaped_and_letters_are_not(text, shown):
    assert terminal.printable(text) == shown
    stream = io.StringIO()
    print(text, end="", file=terminal.PrintableText(stream))
    assert stream.getvalue() == shown
    console = terminal.PlainConsole(file=io.StringIO(), force_terminal=True)
    console.print(text, end="")
    assert console.file.getvalue() == shown


def test_names_in_tables_stay_in_their_line():
    lines = aligned({"name": ["a\nb\x1b[2J", "c"], "x": [1, 2]})
    assert lines[1].startswith(r"a\nb\x1b[2J")
    assert lines[1].index("1", 12) == lines[2].index("2")


def test_an_error_is_one_printable_line(capsys):
    terminal.complain(RunError("no column 'a\x1b[2J'\nand more"))
    assert capsys.readouterr().err == "error: no column 'a\\x1b[2J'\\nand more\n"


def test_what_an_encoding_lacks_is_replaced(monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("ascii", "latin-1")]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    terminal.take_any_character()
    for stream in streams:
        print("KL(q ‖ θ) 3 × 4 中", end="", file=stream, flush=True)
    written = [stream.buffer.getvalue() for stream in streams]
    monkeypatch.undo()
    with pytest.raises(UnicodeDecodeError):  # what is read, it leaves alone
        b"\xff".decode("ascii", terminal._ERRORS)
    assert written == [b"KL(q || theta) 3 x 4 \\u4e2d", b"KL(q || theta) 3 \xd7 4 \\u4e2d"]


@pytest.mark.parametrize("error", [RuntimeError("no cuda\nmore"), AssertionError()])
def test_devices_that_do_not_exist_are_one_line(monkeypatch, error, capsys, tmp_path):
    def fail():
        raise error

    monkeypatch.setattr("jax.devices", fail)
    with pytest.raises(RunError, match=r"JAX cannot start .*(no cuda|AssertionError)\); without"):
        start_devices()
    status, out, err = call(capsys, "topics.py", "--workdir", tmp_path)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("error: JAX cannot start")


@pytest.mark.parametrize(
    "says",
    ["print('x' * 99)", "terminal.PlainConsole().print('x' * 99)", "print('x' * 99, flush=True)"],
)
def test_a_closed_pipe_ends_a_script_without_a_word(says):
    """And no other pipe does, such as asyncio's between the threads of Orbax."""
    code = (
        "import os\nfrom vigamma.terminal import console as terminal\n\n\n"
        "@terminal.end_with_a_closed_pipe()\n"
        "def main():\n    reader, writer = os.pipe()\n    os.close(reader)\n    try:\n"
        f"        os.write(writer, b'x')\n    except BrokenPipeError:\n        {says}\n\n\nmain()"
    )
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.slow
def test_a_run_in_a_strange_environment_ends_well(tmp_path):
    """ASCII, warnings as errors, float64, keys of another kind, and no home, all at once."""
    strange = {
        "LANG": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONWARNINGS": "error",
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "HOME": str(tmp_path / "nothing"),
        "MPLCONFIGDIR": str(tmp_path / "nothing"),
    }
    command = [sys.executable, ROOT / "scripts" / "train.py", "--config", NATURAL]
    command += ["--workdir", tmp_path / "run", "--config.num_steps=30"]
    run = subprocess.run(command, env=environment() | strange, capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"KL(q || exact), all latents" in run.stdout
    assert (tmp_path / "run" / "figures" / "convergence.png").exists()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["kl_to_exact"] < 1e-6


def test_bytes_that_are_no_text_are_still_an_error():
    terminal.take_any_character()
    broken = UnicodeDecodeError("ascii", b"\xe9", 0, 1, "not in range(128)")
    with pytest.raises(UnicodeDecodeError, match="not in range"):
        codecs.lookup_error(terminal._ERRORS)(broken)


def test_what_is_written_has_the_length_of_the_text():
    stream = io.StringIO()
    assert terminal.PrintableText(stream).write("a\x1b") == 2
    assert stream.getvalue() == "a\\x1b"


@pytest.mark.parametrize("extra", ["anndata", "arviz", "numpyro", "parquet"])
def test_the_packages_of_an_extra_are_installed_by_a_command_of_this_environment(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = project["optional-dependencies"][extra]
    words = shlex.split(pip_install(extra))
    assert words == [sys.executable, "-m", "pip", "install", *packages]
