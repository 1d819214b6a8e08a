import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests import command
from vigamma.devices import compilation_cache
from vigamma.devices.compilation_cache import use_compilation_cache

PROGRAM = """
import jax, jax.numpy as jnp
from vigamma.devices.compilation_cache import use_compilation_cache
print(use_compilation_cache())
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.rpartition("/")[2]))
print(jax.jit(lambda x: jnp.sin(x).sum())(jnp.arange(1e3)).item().hex())
print(hits.count("cache_hits"), hits.count("cache_misses"))
"""


def run(**variables) -> list[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=kept | variables
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_next_process_compiles_nothing_and_gets_the_same_bits(tmp_path):
    first, second = (run(XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert Path(first[0]).parent == tmp_path / "vigamma"
    assert first[:2] == second[:2]
    misses = first[2].split()[1]
    assert int(misses) > 0
    assert (first[2], second[2]) == (f"0 {misses}", f"{misses} 0")


def test_a_program_that_cannot_be_read_is_compiled_again_without_a_word(tmp_path):
    first = run(HOME=str(tmp_path))
    entries = list((tmp_path / ".cache" / "vigamma").rglob("*-cache"))
    assert entries
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    assert run(HOME=str(tmp_path))[1] == first[1]


@pytest.fixture
def no_cache_yet():
    before = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIGAMMA_CACHE", "off"),
        ("XDG_CACHE_HOME", "/dev/null"),
        ("HOME", "/dev/null"),
    ],
)
def test_there_is_no_cache_and_no_complaint(tmp_path, monkeypatch, no_cache_yet, name, value):
    monkeypatch.delenv("VIGAMMA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    assert use_compilation_cache() is None
    assert not jax.config.jax_compilation_cache_dir
    assert not (tmp_path / ".cache").exists()


def test_a_folder_that_the_user_gave_to_jax_stays(tmp_path, no_cache_yet):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


def test_a_folder_that_cannot_be_written_is_not_used(tmp_path, monkeypatch, no_cache_yet):
    monkeypatch.setenv("VIGAMMA_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert use_compilation_cache() is None
    assert not jax.config.jax_compilation_cache_dir


def test_the_folder_stays_small(tmp_path, monkeypatch, no_cache_yet):
    monkeypatch.setenv("VIGAMMA_CACHE", str(tmp_path))
    folder = use_compilation_cache()
    assert folder is not None
    jax.config.update("jax_compilation_cache_dir", None)
    for age, name in enumerate("abcd"):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1e9 - age, 1e9))
    monkeypatch.setattr(compilation_cache, "_MOST_BYTES", 250)
    use_compilation_cache()
    assert {path.name for path in folder.iterdir()} == {"a", "b"}


@pytest.mark.slow
def test_commands_use_the_cache_unless_told_not_to(tmp_path, monkeypatch):
    monkeypatch.setenv("VIGAMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    for flag, is_used in (("--nocache", False), ("--cache", True)):
        status, _, err = command.run("generate.py", "--workdir", tmp_path / "nothing", flag)
        assert (status, err.count("\n")) == (1, 1)
        assert (tmp_path / "cache").exists() == is_used
