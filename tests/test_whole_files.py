"""Files that are whole or not there."""

import errno
import os
import re
from pathlib import Path

import pytest

from vigamma.storage import atomic_files as whole_files
from vigamma.storage.atomic_files import replace_file, room


def test_what_takes_the_place_is_on_the_disk_before(tmp_path, monkeypatch):
    path, flushed = tmp_path / "new" / "a.txt", []
    replace_file(path, b"old")

    def fsync(descriptor):
        flushed.append((os.pread(descriptor, 9, 0), path.read_bytes()))

    monkeypatch.setattr(whole_files.os, "fsync", fsync)
    replace_file(path, b"new")
    assert flushed == [(b"new", b"old")]
    assert path.read_bytes() == b"new"


def test_a_full_disk_says_how_much_room_there_is(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OSError, match=r"no space \(5,000 bytes needed, [\d,]+ bytes free\)"
    ) as error:
        replace_file(tmp_path / "a", bytes(5000))
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


def test_room_is_told_of_a_folder_that_is_not_there_yet(tmp_path):
    said = room(tmp_path / "a" / "b", 1234)
    assert re.fullmatch(r"1,234 bytes needed, [\d,]+ bytes free", said)
