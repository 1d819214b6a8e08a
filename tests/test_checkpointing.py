"""Checkpoints are whole or absent, and only of the run that asks for them."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vigamma import (
    Adam,
    CheckpointError,
    Gamma,
    GradientAscent,
    MeanFieldGamma,
    NaturalGradient,
    PathwiseElbo,
    TrainState,
)
from vigamma.devices.mesh import make_mesh
from vigamma.storage import manifest
from vigamma.storage.checkpointing import Checkpointer, read_checkpoint
from vigamma.storage.workdir import folder_of_start, locked

IDENTITY = {"seed": 0, "model": "DomainKnowledge"}


def make_arrays(size=5, optimizer=None, num_devices=1, seed=0, scale=1.0):
    algorithm = GradientAscent(estimator=PathwiseElbo(), optimizer=optimizer or Adam())
    q = MeanFieldGamma(Gamma(scale * jnp.arange(1.0, size + 1), jnp.ones(size)))
    mesh = make_mesh(jax.devices()[:num_devices])
    return TrainState(algorithm, None, q, None, key=jax.random.key(seed), mesh=mesh).arrays


def leaves(arrays):
    return [
        np.asarray(
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        )
        for x in jax.tree.leaves(arrays)
    ]


@contextmanager
def opened(workdir, identity=IDENTITY) -> Iterator[Checkpointer]:
    with locked(workdir):
        yield Checkpointer(workdir, identity)


def assert_bit_equal(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimizer", [Adam(), NaturalGradient()])
@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 4), (4, 1), (2, 4), (4, 2), (1, 1)])
def test_any_number_of_devices_restores_any_other_bit_for_bit(
    tmp_path, optimizer, saved_on, restored_on
):
    saved = make_arrays(optimizer=optimizer, num_devices=saved_on, scale=np.pi)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, saved)
    target = make_arrays(optimizer=optimizer, num_devices=restored_on)
    with opened(tmp_path) as checkpoints:
        restored = checkpoints.restore(target, pytest.fail)
        assert checkpoints.last_saved == 3
    assert_bit_equal(restored, saved)
    assert jax.tree.structure(restored) == jax.tree.structure(target)
    for leaf in jax.tree.leaves(restored.q):
        assert len(leaf.sharding.device_set) == restored_on


def test_nothing_saved_is_nothing_restored(tmp_path):
    with opened(tmp_path / "new" / "folder") as checkpoints:
        assert checkpoints.restore(make_arrays(), pytest.fail) is None


def test_the_newest_steps_are_kept(tmp_path):
    with opened(tmp_path) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, make_arrays())
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["3", "4", "5"]


def test_the_time_of_all_saves_adds_up(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.seconds_saving = 1000.0
        checkpoints.save(1, make_arrays())
        assert 1000 < checkpoints.seconds_saving < 1100


def test_the_first_start_of_a_run_is_in_the_workdir_itself(tmp_path):
    folders = [folder_of_start(tmp_path, index) for index in (0, 1, 2)]
    assert folders == [tmp_path, tmp_path / "starts" / "1", tmp_path / "starts" / "2"]


def damage(path: Path, how: str) -> None:
    """Damages the array data, or the metadata, of a checkpoint in one of several ways."""
    (data,) = (path / "arrays" / "d").iterdir()
    manifest = path / "manifest.json"
    content = bytearray(data.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 4
        data.write_bytes(content)
    elif how == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif how == "no manifest":
        manifest.unlink()
    elif how == "flipped manifest":
        manifest.write_text(manifest.read_text().replace("DomainKnowledge", "DomainKnowledgf"))
    elif how == "bad manifest":
        manifest.write_text("{")
    elif how == "no arrays":
        data.unlink()


@pytest.mark.parametrize(
    "how", ["flip", "cut", "flipped manifest", "no manifest", "bad manifest", "no arrays"]
)
def test_a_damaged_newest_step_is_reported_and_the_one_before_is_used(tmp_path, how):
    older, newer = make_arrays(scale=2.0), make_arrays(scale=3.0)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, older)
        checkpoints.save(2, newer)
    damage(tmp_path / "2", how)
    said = []
    with opened(tmp_path) as checkpoints:
        restored = checkpoints.restore(make_arrays(), said.append)
        (line,) = said
        assert f"{tmp_path / '2'} is damaged" in line
        assert "\n" not in line
        assert_bit_equal(restored, older)
        checkpoints.save(2, newer)  # the run goes on, and saves that step again
    with opened(tmp_path) as checkpoints:
        assert_bit_equal(checkpoints.restore(make_arrays(), pytest.fail), newer)


def test_no_intact_checkpoint_is_an_error_and_never_a_fresh_start(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    damage(tmp_path / "1", "flip")
    with (
        opened(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match="not intact are 1"),
    ):
        checkpoints.restore(make_arrays(), lambda line: None)
    with pytest.raises(CheckpointError, match="not intact are 1"):
        read_checkpoint(tmp_path, lambda line: None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"size": 6}, r"optimizer\.0\.mu\.log_rate as float32\(5,\), but float32\(6,\)"),
        ({"optimizer": NaturalGradient()}, r"optimizer.* but None is wanted"),
    ],
)
def test_other_leaves_are_refused_by_name(tmp_path, target, message):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    with opened(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=message):
        checkpoints.restore(make_arrays(**target), pytest.fail)


def test_another_dtype_is_refused_and_not_cast(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    halves = jax.tree.map(
        lambda x: x.astype(jnp.float16) if x.dtype == jnp.float32 else x, make_arrays()
    )
    with (
        opened(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"float32.* but float16"),
    ):
        checkpoints.restore(halves, pytest.fail)


def test_another_run_is_refused_with_the_fields_that_differ(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    other = {"seed": 7, "model": "DomainKnowledge", "new": True}
    with opened(tmp_path, other) as checkpoints, pytest.raises(CheckpointError) as error:
        checkpoints.restore(make_arrays(), pytest.fail)
    assert "(new: None → True; seed: 0 → 7)" in str(error.value)
    assert (tmp_path / "1").is_dir()


def test_a_busy_workdir_is_refused_and_a_dead_holder_blocks_nobody(tmp_path):
    refused = pytest.raises(CheckpointError, match=f"another run \\(process {os.getpid()}\\)")
    with opened(tmp_path), refused, opened(tmp_path):
        pass
    holder = (
        "import fcntl, os, sys\n"
        f"lock = open({str(tmp_path / '.lock')!r}, 'a+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", holder], check=False)
    with opened(tmp_path):
        pass


def test_a_workdir_that_was_replaced_is_not_written_and_an_empty_one_goes(tmp_path):
    with locked(tmp_path / "new" / "folder"):
        pass
    assert list(tmp_path.iterdir()) == []
    with opened(tmp_path / "run") as checkpoints:
        (tmp_path / "run" / ".lock").write_text("1")  # by another process, in a folder made anew
        with pytest.raises(CheckpointError, match="was removed while the run was at work in it"):
            checkpoints.save(1, make_arrays())


def test_a_step_that_is_saved_or_restored_is_not_saved_again(tmp_path):
    arrays = make_arrays(size=2)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, arrays)
        checkpoints.save(3, arrays)
    with opened(tmp_path) as checkpoints:
        checkpoints.restore(arrays, pytest.fail)
        checkpoints.save(3, arrays)
        assert checkpoints.seconds_saving == 0
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "3"}


def test_what_a_killed_save_left_is_removed(tmp_path):
    (tmp_path / ".partial-7" / "arrays.orbax-checkpoint-tmp").mkdir(parents=True)
    (tmp_path / ".partial-config.json").write_text("{")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / ".partial-convergence.png").write_text("half")
    with opened(tmp_path) as checkpoints:
        assert checkpoints.restore(make_arrays(), pytest.fail) is None
        assert {path.name for path in tmp_path.rglob("*")} == {".lock", "figures"}


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(CheckpointError, match="cannot write in the workdir")
    with refused, opened(tmp_path / "file"):
        pass


def test_an_identity_is_compared_as_json_has_it(tmp_path):
    for _ in range(2):
        with opened(tmp_path, {"shape": (2, 3), "names": {1: "a"}}) as checkpoints:
            checkpoints.restore(arrays := make_arrays(), pytest.fail)
            checkpoints.save(1, arrays)


def test_a_step_that_has_gone_meanwhile_is_not_damaged(tmp_path, monkeypatch):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    monkeypatch.setattr("vigamma.storage.checkpointing.saved_steps", lambda _: [1, 5])
    assert read_checkpoint(tmp_path, pytest.fail)[0] == 1


def test_read_checkpoint_needs_no_template(tmp_path):
    arrays = make_arrays(scale=np.e)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(4, arrays)
    step, stored, identity = read_checkpoint(tmp_path, pytest.fail)
    assert step == 4
    assert identity == json.loads(json.dumps(IDENTITY))
    np.testing.assert_array_equal(stored["q.log_shape"], arrays.q.log_shape[...])


def test_any_step_that_is_kept_can_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path, pytest.fail)
    with opened(tmp_path) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, make_arrays(scale=step))

    def read(wanted):
        said = []
        step, stored, _ = read_checkpoint(tmp_path, said.append, wanted)
        np.testing.assert_array_equal(stored["q.log_shape"][0], np.log(np.float32(step)))
        return step, len(said)

    assert [read(wanted) for wanted in (None, 2, 3)] == [(4, 0), (2, 0), (3, 0)]
    with pytest.raises(CheckpointError, match=r"step 1 is not in .*; kept are 2, 3, 4"):
        read(1)
    damage(tmp_path / "4", "flip")
    assert read(None) == (3, 1)
    with pytest.raises(CheckpointError, match="not intact are 4"):
        read(4)


def test_folders_that_are_not_steps_are_let_be(tmp_path):
    for name in ("007", "2", "٣"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "notes").write_text("mine")
    with opened(tmp_path) as checkpoints:
        for step in range(3, 9):
            checkpoints.save(step, make_arrays())
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", "007", "2", "6", "7", "8", "٣"}


def test_leaves_that_are_not_what_was_saved_are_refused(tmp_path):
    """The files are as they were written, but what Orbax makes of them is not."""
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    facts = manifest.read_manifest(tmp_path / "1")
    saved = np.asarray(make_arrays().q.log_shape[...])
    assert facts["leaves"]["q.log_shape"]["crc32"] == zlib.crc32(saved)
    facts["leaves"]["q.log_shape"]["crc32"] += 1
    del facts["crc32"]
    (tmp_path / "1" / "manifest.json").write_text(json.dumps(manifest.sealed(facts)))
    with pytest.raises(CheckpointError, match=r"q\.log_shape is not what was saved"):
        read_checkpoint(tmp_path, pytest.fail)


def test_nothing_is_written_where_it_would_not_fit(tmp_path, monkeypatch):
    arrays, usage = make_arrays(), namedtuple("usage", "total used free")

    def with_free(free, total=10**9):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(total, 0, free))

    with opened(tmp_path) as checkpoints:
        nothing = sorted(tmp_path.iterdir())
        for fits, scale in ((2**16, arrays), (2**22, make_arrays(size=2**18))):
            with_free(fits)
            with pytest.raises(CheckpointError, match=r"could not save step 1.*no space left"):
                checkpoints.save(1, scale)
            assert sorted(tmp_path.iterdir()) == nothing
        with_free(2**17)
        checkpoints.save(1, arrays)
        newest = manifest.size_on_disk(tmp_path / "1")
        monkeypatch.setattr("vigamma.storage.checkpointing.size_on_disk", lambda _: 2**17 + newest)
        with pytest.raises(CheckpointError, match="no space left"):
            checkpoints.save(2, arrays)
        with_free(0, total=0)  # a file system without a limit
        checkpoints.save(2, arrays)
    assert sorted(path.name for path in tmp_path.glob("[0-9]")) == ["1", "2"]


def test_damaged_steps_are_set_aside_under_names_of_their_own(tmp_path):
    for _ in range(3):
        (tmp_path / "7").mkdir()
        manifest.set_aside(tmp_path / "7")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["damaged-7-1", "damaged-7-2", "damaged-7-3"]


def test_a_large_file_is_checked_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_READ_BYTES", 4)
    (tmp_path / "file").write_bytes(b"0123456789")
    assert manifest._checksum(tmp_path / "file") == zlib.crc32(b"0123456789")


def test_a_copy_under_another_number_is_not_that_step(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
    shutil.copytree(tmp_path / "1", tmp_path / "5")
    said = []
    assert read_checkpoint(tmp_path, said.append)[0] == 1
    assert said == [f"checkpoint {tmp_path / '5'} is damaged: it is a copy of step 1"]


def test_what_the_reader_of_arrays_says_is_one_line(tmp_path, monkeypatch):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())

    def fail(*_, **__):
        raise ValueError("no array [tensorstore_spec='...']\nand more")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with (
        opened(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"cannot be restored: no array$"),
    ):
        checkpoints.restore(make_arrays(), pytest.fail)


def raise_where_nobody_catches(error):
    """As TensorStore's threads do, whose errors Python can only print."""

    class Ends:
        def __del__(self):
            raise error

    Ends()


def test_threads_that_end_long_after_a_failed_save_print_nothing(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: printed.append(str(args.exc_value)))

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())
        raise_where_nobody_catches(RuntimeError("Event loop is closed"))  # and nothing failed
        monkeypatch.setattr(ocp.Checkpointer, "save", fail)
        with pytest.raises(CheckpointError, match="no space left"):
            checkpoints.save(2, make_arrays())
        raise_where_nobody_catches(RuntimeError("Event loop is closed"))
        raise_where_nobody_catches(RuntimeError("another"))
    assert printed == ["Event loop is closed", "another"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["save", "restore"])
def test_the_failure_of_another_process_is_not_taken_for_a_bad_disk(tmp_path, monkeypatch, method):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, make_arrays())

    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("heartbeat timeout")

    monkeypatch.setattr(ocp.Checkpointer, method, fail)
    monkeypatch.setattr("vigamma.storage.checkpointing.is_of_processes", lambda _: True)
    arguments = {"save": (2, make_arrays()), "restore": (make_arrays(), pytest.fail)}[method]
    with opened(tmp_path) as checkpoints, pytest.raises(jax.errors.JaxRuntimeError):
        getattr(checkpoints, method)(*arguments)
