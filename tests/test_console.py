"""The console command `vigamma`: what it starts, what it lists, and its help."""

import ast
import importlib.util
import subprocess
import sys
import types

import pytest

from tests.command import ROOT, environment, run
from tests.test_train_factors import experiment
from vigamma import RunError, SparseCounts
from vigamma.answers.intervals import of_mean_field
from vigamma.command_line import cards, help, main
from vigamma.command_line.flags import load_config
from vigamma.terminal import invocation

COMMANDS, CONFIGS = (sorted((ROOT / f).glob("[!_]*.py")) for f in ("vigamma/commands", "configs"))

CONFIG = experiment()


def console(*words: str) -> subprocess.CompletedProcess:
    code = "import sys; from vigamma.command_line.main import main; status = main(); "
    code += "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=100, check=False
    )


def first_line(path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]


@pytest.mark.parametrize(
    ("words", "listed"), [((), COMMANDS), (("--help",), COMMANDS), (("configs",), CONFIGS)]
)
def test_what_there_is_is_listed_without_slow_imports(words, listed):
    done = console(*words)
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert len(listed) >= 10
    for path in listed:
        assert lines[path.stem].split(maxsplit=1)[1] == first_line(path)
    imported = set(done.stderr.split())
    assert "vigamma" in imported
    assert not imported & {"jax", "numpy", "absl", "pandas", "ml_collections"}


def test_a_word_that_is_no_command_is_one_line(monkeypatch, capsys):
    for word, hint in (("topic", "; did you mean topics?"), ("config", "; did you mean configs?")):
        monkeypatch.setattr("sys.argv", ["vigamma", word])
        assert main.main() == 1
        error = f"error: there is no command {word}{hint} vigamma --help lists all\n"
        assert capsys.readouterr() == ("", error)
    monkeypatch.setattr("sys.argv", ["vigamma", "--version"])
    assert main.main() == 0
    assert capsys.readouterr().out.startswith("vigamma 0.")


def test_a_command_is_started_with_its_flags(monkeypatch):
    started = []
    monkeypatch.setattr(main, "start", lambda name: started.append((name, sys.argv)))
    monkeypatch.setattr("sys.argv", ["vigamma", "topics", "--workdir", "a b", "--help"])
    main.main()
    assert started == [("topics", ["vigamma topics", "--workdir", "a b", "--help"])]


def test_every_command_has_a_script():
    for path in COMMANDS:
        script = (ROOT / "scripts" / path.name).read_text(encoding="utf-8")
        assert f'start("{path.stem}", as_script=True)' in script


def test_signals_are_caught_before_the_first_slow_import(tmp_path):
    (tmp_path / "absl.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    for command in (
        ["-c", "from vigamma.command_line.main import main; main()", "topics"],
        [ROOT / "scripts" / "report.py"],
    ):
        path = f"{tmp_path}:{ROOT}"
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            env=environment() | {"PYTHONPATH": path},
            check=False,
        )
        assert (done.returncode, done.stdout) == (143, "")
        assert done.stderr == "stopped by SIGTERM: before the first step\n"


def test_a_config_is_found_by_its_name_or_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zero").write_text("a file in the way")
    (tmp_path / "mine.py").write_text("")
    for path in CONFIGS:
        assert cards.config_path(path.stem).read_bytes() == path.read_bytes()
    assert cards.config_path("mine.py").samefile(tmp_path / "mine.py")
    for word in ("nero", "configs/zer0.py"):
        with pytest.raises(RunError, match=r"no config file .*; did you mean zero\? .*vae"):
            cards.config_path(word)
    with pytest.raises(RunError, match=r"no config file mine; the configs of .* zero_natural"):
        cards.config_path("mine")


def test_a_command_takes_a_config_by_its_name_and_tells_the_nearest(tmp_path):
    flag = "--config.data.digit=12"
    found = run("train.py", "--config", "zero_natural", flag, cwd=tmp_path)
    assert found == (1, "", "error: config.data.digit must be 0 to 9, got 12\n")
    status, out, err = run("train.py", "--config=zerro", flag, cwd=tmp_path)
    assert (status, out) == (1, "")
    assert err.startswith("error: there is no config file zerro; did you mean zero? the configs")
    named = types.SimpleNamespace(value=CONFIG, config_filename="digits_black_box:adam")
    assert load_config(named) == ("digits_black_box_adam", CONFIG)


def test_help_is_of_the_command_and_of_the_config():
    done = console("train", "--config", "zero", "--help")
    assert done.returncode == 0
    assert "\nvigamma train --config zero\n" in done.stdout
    flags, fields = done.stdout.split("Fields of zero:")
    assert "  --heartbeat_seconds (default 30)\n      A process silent for so long" in flags
    shown = {line.split()[0] for line in flags.splitlines() if line.startswith("  --")}
    assert shown == {
        "--config", "--workdir", "--[no]distributed", "--coordinator", "--num_processes",
        "--process_id", "--heartbeat_seconds", "--[no]cache",
    }  # fmt: skip
    assert "  --config.num_steps (int, default 5000)\n      the largest number of steps" in fields
    assert "config.inference.optimizer, Adam:" in fields
    status, out, _ = run("recommend.py", "--help")
    assert status == 0
    assert "python scripts/recommend.py --workdir checkpoints/counts_factors --user" in out
    assert "vigamma recommend" not in out
    assert "  --intervals (variational, sampled)\n      sampled, by the draws of python sc" in out
    assert "  --user\n      Names or ids of rows, with commas between; repeatable.\n\n" in out
    assert "  --seed (default 0)" in out


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_help_describes_every_field_of_every_config(path):
    found = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    entries = list(help._fields(module.get_config(), "config"))
    of_fields = [entry for entry in entries if entry.startswith("  --config.")]
    assert len(of_fields) > 6
    described = [entry for entry in of_fields if ")\n" in entry]
    assert described == of_fields or path.stem == "digits_vae"  # which has a class of its own
    if isinstance(module.get_config().data, SparseCounts):
        assert any(entry.startswith("  --config.data.path (str, default '')") for entry in entries)


def test_messages_name_commands_as_the_user_types_them(monkeypatch):
    monkeypatch.setattr(invocation, "_form", invocation._form)
    assert "`vigamma sample` mends that" in of_mean_field(60, "shares")
    invocation.type_as_scripts()
    assert "`python scripts/sample.py` mends that" in of_mean_field(60, "shares")
