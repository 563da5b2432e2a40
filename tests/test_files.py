"""Files that others rely on: whole, of one process at a time, and on the disk before their name."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from filelock import Timeout

from builders.errors import CorpusWarning
from builders.files import NO_LOCKS, locked, replace_file


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, bool]] = []
    path, sync = tmp_path / "folder" / "a", os.fsync

    def spy(descriptor: int) -> None:
        seen.append((Path("/proc/self/fd", str(descriptor)).readlink(), path.exists()))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", spy)
    replace_file(path, b"content")
    (part, was_there), folder = seen
    assert part.parent == path.parent
    assert part != path
    assert not was_there
    assert folder == (path.parent, True)
    assert [each.name for each in path.parent.iterdir()] == ["a"]


def test_two_do_not_hold_one_lock(tmp_path: Path) -> None:
    lock = tmp_path / "x" / "a.lock"
    with locked(lock), pytest.raises(Timeout), locked(lock, timeout=0):
        pass
    with locked(lock, timeout=0):
        pass


@pytest.mark.parametrize("code", sorted({*NO_LOCKS}), ids=errno.errorcode.get)
def test_on_a_disk_without_locks_a_file_stands_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = tmp_path / "a.lock"
    warned = pytest.warns(CorpusWarning, match=f"the disk of {tmp_path} has no locks")
    with warned, locked(lock), pytest.raises(Timeout), locked(lock, timeout=0):
        pass
    with warned, locked(lock, timeout=0):
        pass


def test_another_error_of_a_lock_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), locked(tmp_path / "a.lock"):
        pass
