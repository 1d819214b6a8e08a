"""Folders with a manifest: what differs from it is named."""

import json

import numpy as np
import pytest

from vigamma.storage.manifest import (
    MANIFEST,
    DamageError,
    check_files,
    commit,
    read_manifest,
    size_on_disk,
)


@pytest.fixture
def folder(tmp_path):
    """A committed folder with three files, of which one is empty."""
    (tmp_path / "partial").mkdir()
    for name, text in {"first": "first", "second": "second", "empty": ""}.items():
        (tmp_path / "partial" / name).write_text(text)
    commit(tmp_path / "partial", tmp_path / "whole", {"step": 3})
    return tmp_path / "whole"


def check(folder):
    check_files(folder, read_manifest(folder))


def edit_manifest(folder):
    manifest = json.loads((folder / MANIFEST).read_text()) | {"step": 4}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_what_was_committed_is_intact(folder):
    check(folder)
    assert read_manifest(folder)["step"] == 3
    assert not (folder.parent / "partial").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), rf"^{MANIFEST} is missing"),
        (lambda folder: (folder / MANIFEST).write_text("{"), rf"^{MANIFEST} cannot be read: "),
        (lambda folder: (folder / MANIFEST).write_text("[1]"), rf"^{MANIFEST} cannot be read: "),
        (edit_manifest, rf"^{MANIFEST} has another checksum"),
        (lambda folder: (folder / "first").unlink(), "^first is missing"),
        (lambda folder: (folder / "empty").unlink(), "^empty is missing"),
        (lambda folder: (folder / "first").write_text("fir"), "^first has 3 bytes instead of 5"),
        (lambda folder: (folder / "first").write_text("fIrst"), "^first has another checksum"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(DamageError, match=message):
        check(folder)


def test_a_file_that_has_become_a_folder_cannot_be_read(folder):
    (folder / "first").unlink()
    (folder / "first").mkdir()
    manifest = read_manifest(folder)
    manifest["files"]["first"][0] = (folder / "first").stat().st_size
    with pytest.raises(DamageError, match=r"^first cannot be read: Is a directory"):
        check_files(folder, manifest)


def test_the_size_on_disk_is_that_of_all_files_in_all_folders(tmp_path):
    (tmp_path / "partial" / "a" / "b").mkdir(parents=True)
    (tmp_path / "partial" / "a" / "b" / "data").write_bytes(np.random.default_rng(0).bytes(102_400))
    commit(tmp_path / "partial", tmp_path / "whole", {})
    assert 102_400 <= size_on_disk(tmp_path / "whole") < 202_400
