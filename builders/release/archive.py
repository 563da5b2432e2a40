"""A recording archive, or other file of a release: its place, and the key of its content."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from builders.errors import CorpusError
from builders.files import FINGERPRINT, digest, home, replace_file
from builders.release.zips import LITTER, open_member

#: The fields of the record that is kept for a file of the release.
RECORDED = ("path", "stat", FINGERPRINT, "key")


def content_key(path: Path) -> str:
    """A key that changes when, and only when, the content of a raw file changes.

    The key is made of path, size and modification time, so the file is not opened. The path is
    included because two folders may hold files of the same name, size and time, but of different
    content. Once `confirm_key` has recorded the content's fingerprint, a file that was only touched
    keeps its key: a file whose status, but not its size, has changed is read again to find out.
    """
    stat = stat_key(path)
    size, modified, *_ = stat.split("-")
    key = hashlib.sha256(f"{size}-{modified}-{path.absolute()}".encode()).hexdigest()
    record = _record(path)
    try:
        seen = {name: str(json.loads(record.read_bytes())[name]) for name in RECORDED}
    except (OSError, ValueError, TypeError, KeyError):
        return key
    if seen["stat"] == stat:
        return seen["key"]
    with suppress(OSError):  # if recording fails, the file is read again next time
        if seen["stat"].partition("-")[0] != size:
            record.unlink()
            return key
        found = digest(path, FINGERPRINT)
        known = seen["key"] if found == seen[FINGERPRINT] else found
        seen |= {"stat": stat, FINGERPRINT: found, "key": known}
        key = known
        replace_file(record, json.dumps(seen).encode())
    return key


def confirm_key(path: Path, key: str) -> None:
    """Record the fingerprint of the content that `key` stands for, after it has been read.

    Raises
    ------
    CorpusError
        If the file has changed since `key` was computed, or is gone.
    """
    try:
        fingerprint = digest(path, FINGERPRINT)
    except OSError as error:
        raise CorpusError("cannot read a file of the release", where=path, why=error) from error
    if content_key(path) != key:
        raise CorpusError(
            "a file changed while it was being read",
            where=path,
            fix="let the copy or the download that writes it finish, then load again",
        )
    seen = {"path": str(path), "stat": stat_key(path), FINGERPRINT: fingerprint, "key": key}
    replace_file(_record(path), json.dumps(seen).encode())


def stat_key(path: Path) -> str:
    """Size, times and inode of a file; a `CorpusError` if it cannot be read."""
    try:
        stat = path.stat()
    except OSError as error:
        raise CorpusError("cannot read a file of the release", where=path, why=error) from error
    # Replacing the file by another of the same size and date changes the last two.
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def _record(path: Path) -> Path:
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
    return home() / "releases" / "keys" / f"{name}.json"


@dataclass(frozen=True)
class Archive:
    """One recording archive of a release.

    Attributes
    ----------
    name : str
        Its file name in the release, e.g. ``CLT027c_<40 hex>.tgz``.
    path : Path
        The archive, the folder it was unpacked into, or the zip that holds it.
    member : str
        Its name inside the zip; empty if it is not in a zip.
    key : str
        Identifies the content if known without reading it: from the record or a zip's directory.
    size : int
        Number of bytes that `fetch` fetches.
    fetch : callable or None
        Fetches the archive, so that `path` exists; None if the release is not fetched.
    copies : tuple of Archive
        Other archives of this name in the release. If one of them differs, reading raises.
    """

    name: str
    path: Path
    member: str = ""
    key: str = ""
    size: int = field(default=0, compare=False)
    fetch: Callable[[], object] | None = field(default=None, compare=False, repr=False)
    copies: tuple[Archive, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The archive's bytes as a file, to be read from start to end."""
        if self.fetch:
            self.fetch()
        self._check_copies()
        if self.member:
            with zipfile.ZipFile(self.path) as outer, open_member(outer, self.member) as file:
                yield cast(BinaryIO, file)
        else:
            with self.path.open("rb") as file:
                yield file

    def files(self) -> list[Path]:
        """The files on disk: the archive, or the files that it was unpacked into."""
        self._check_copies()
        return files_of(self.path)

    def keys(self) -> dict[Path, str]:
        """Path -> `key`; without a `key`, the `content_key` of each of `files`."""
        if self.key:
            return {self.path / self.member: self.key}
        return {path: content_key(path) for path in files_of(self.path)}

    def confirm(self, keys: dict[Path, str]) -> None:
        """Record the files' fingerprints for `keys`, after the whole archive has been read.

        With a `key` there is nothing to record: it contains a checksum, which fetching or reading
        has verified.
        """
        if not self.key:
            for path, key in keys.items():
                confirm_key(path, key)

    def _check_copies(self) -> None:
        for copy in self.copies:
            if self._differs(copy):
                raise ambiguous(self.name, self, copy)

    def _differs(self, copy: Archive) -> bool:
        """Whether a copy has other content; False if only one of the two is unpacked.

        A packed archive and its copy in a zip are compared by size only: the checksum inside the
        archive shows whether it is complete.
        """
        if self.path.is_dir() != copy.path.is_dir():
            return False
        if self.key and copy.key:
            return self.key != copy.key
        if copy.key:
            return copy.key.partition("-")[2] != stat_key(self.path).partition("-")[0]
        return differ(self.path, copy.path)


def files_of(path: Path) -> list[Path]:
    """The file, or all files in the folder, except files that macOS adds."""
    if path.is_dir():
        every = (file for file in path.rglob("*") if not file.name.startswith(LITTER))
        return sorted(file for file in every if file.is_file())
    return [path]


def differ(*paths: Path) -> bool:
    """Whether two files, or all files in two folders, differ in content."""

    def contents(of: Callable[[Path], object]) -> list[object]:
        return [{file.relative_to(path): of(file) for file in files_of(path)} for path in paths]

    try:
        sizes = contents(lambda file: file.stat().st_size)
        if sizes[0] != sizes[1]:
            return True
        one, other = contents(lambda file: digest(file, FINGERPRINT))
    except OSError as error:
        where = " and ".join(map(str, paths))
        raise CorpusError("cannot compare files of the release", where=where, why=error) from error
    return one != other


def ambiguous(name: str, one: object, other: object) -> CorpusError:
    """The error for a file that is there twice, with different contents."""
    return CorpusError(
        f"{name} is there twice, with different contents",
        where=one,
        why=f"the other is {other}",
        fix="keep the one that was published, and move the other out of the folder",
    )
