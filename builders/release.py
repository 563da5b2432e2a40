"""A corpus' raw files, as its authors published them, in a folder.

It holds the release unpacked or with its zips as downloaded: ``recordings/X.tgz``,
``recordings/X/...`` (an archive unpacked), or ``recordings.zip``.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import platformdirs
import xxhash

from builders.errors import CorpusError
from builders.zips import LITTER, member_key, read_index

#: Tells one content of a raw file from another, fifteen times faster than sha256 does; whoever can
#: forge it can write the user's files anyway.
FINGERPRINT = "xxh3_128"
#: What is recorded of a file of the release.
RECORDED = ("path", "stat", FINGERPRINT, "key")


def home() -> Path:
    """Where the catalogue keeps its caches: ``$BUILDERS_HOME``, or the user's cache folder."""
    return Path(os.environ.get("BUILDERS_HOME") or platformdirs.user_cache_dir("builders"))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, and never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def content_key(path: Path) -> str:
    """A key that changes when, and only when, the content of a raw file changes.

    Size and modification time tell the two apart without opening the file. Once `confirm_key` has
    recorded the content's fingerprint, a file that was merely touched keeps its key: only a file
    whose time changed and whose size did not is read again.
    """
    key = _stat_key(path)
    record = _record(path)
    try:
        seen = {name: str(json.loads(record.read_bytes())[name]) for name in RECORDED}
    except (OSError, ValueError, TypeError, KeyError):
        return key
    if seen["stat"] == key:
        return seen["key"]
    with suppress(OSError):  # where it cannot be recorded, it is found out again the next time
        if seen["stat"].partition("-")[0] != key.partition("-")[0]:
            record.unlink()
            return key
        found = digest(path, FINGERPRINT)
        known = seen["key"] if found == seen[FINGERPRINT] else found
        seen |= {"stat": key, FINGERPRINT: found, "key": known}
        key = known
        replace_file(record, json.dumps(seen).encode())
    return key


def confirm_key(path: Path, key: str, fingerprint: str) -> None:
    """Record the fingerprint of the content that `key` stands for, found since `key` was given.

    Raises
    ------
    CorpusError
        If the file is no longer the one that `key` was given to.
    """
    if content_key(path) != key:
        raise CorpusError(
            "a file changed while it was being read",
            where=path,
            fix="let the copy or the download that writes it finish, then load again",
        )
    seen = {"path": str(path), "stat": _stat_key(path), FINGERPRINT: fingerprint, "key": key}
    replace_file(_record(path), json.dumps(seen).encode())


def _stat_key(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError as error:
        raise CorpusError("cannot read a file of the release", where=path, why=error) from error
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _record(path: Path) -> Path:
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
    return home() / "releases" / "keys" / f"{name}.json"


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file's content, in hexadecimal: one of hashlib's, or `FINGERPRINT`."""
    found = (
        xxhash.xxh3_128()
        if algorithm == FINGERPRINT
        else hashlib.new(algorithm, usedforsecurity=False)
    )
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@dataclass(frozen=True)
class Archive:
    """One recording archive of a release.

    Attributes
    ----------
    name : str
        Its file name in the release, e.g. ``CLT027c_<40 hex>.tgz``.
    path : Path
        The archive, the folder it was unpacked into, or the zip it lies in.
    member : str
        Its name inside the zip; empty where it lies in none.
    key : str
        What stands for its content, where that is known without the file: of a published archive.
    size : int
        How many bytes `fetch` fetches.
    fetch : callable or None
        Makes `path` exist.
    """

    name: str
    path: Path
    member: str = ""
    key: str = ""
    size: int = field(default=0, compare=False)
    fetch: Callable[[], object] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The archive's bytes, to be read from the front to the end."""
        if self.fetch:
            self.fetch()
        if self.member:
            with zipfile.ZipFile(self.path) as outer, outer.open(self.member) as file:
                yield cast(BinaryIO, file)
        else:
            with self.path.open("rb") as file:
                yield file

    def files(self) -> list[Path]:
        """The files on disk: the archive, or those it was unpacked into."""
        if self.path.is_dir():
            return sorted(path for path in self.path.rglob("*") if path.is_file())
        return [self.path]

    def keys(self) -> dict[Path, str]:
        """`key`, or else the `content_key` of each of `files`."""
        if self.key:
            return {self.path / self.member: self.key}
        return {path: content_key(path) for path in self.files()}

    def fingerprints(self) -> dict[Path, str]:
        """The fingerprint of each of `files`.

        A `key` needs none: it is made of a checksum, which fetching or reading has verified.
        """
        return {} if self.key else {path: digest(path, FINGERPRINT) for path in self.files()}

    def confirm(self, keys: dict[Path, str], fingerprints: dict[Path, str]) -> None:
        """Record what `keys` stand for, now that the archive has been read as a whole.

        The `fingerprints` must have been found after the keys.
        """
        for path, fingerprint in fingerprints.items():
            confirm_key(path, keys[path], fingerprint)


class Release:
    """A folder that holds a corpus' release. It is the user's, and only ever read.

    Parameters
    ----------
    corpus : str
        Name of the corpus.
    folder : Path
        Where the files are.
    source : str
        Where the release is published, for the error messages.
    """

    def __init__(self, corpus: str, folder: Path, source: str) -> None:
        self.corpus = corpus
        self.folder = folder.absolute()
        self.source = source

    def stamp(self) -> object:
        """Changes when the files at the top of the release do, or the names below it."""
        stamp = []
        for entry in sorted(self.folder.iterdir()):
            with suppress(OSError):  # a link that leads nowhere, a file that has just gone
                stat = entry.stat()
                stamp.append((entry.name, stat.st_size, stat.st_mtime_ns))
        return tuple(stamp)

    def file(self, name: str) -> Path:
        """Path of one file of the release; a `CorpusError` names it where it is missing."""
        path = self.folder / name
        if not path.is_file():
            raise CorpusError(
                f"the release of {self.corpus} lacks {name}",
                where=self.folder,
                why="no such file",
                fix=self._fix(),
            )
        return path

    def lacking(self, names: Iterable[str]) -> list[str]:
        return [
            n
            for n in names
            if not (self.folder / n).exists()
            and not (self.folder / n.removesuffix(".zip")).exists()
        ]

    def archive(self, name: str) -> Archive:
        """One recording archive at the top of the release, packed or unpacked."""
        folder = self.folder / name.removesuffix(".tgz")
        unpacked = folder.is_dir() and not (self.folder / name).exists()
        return Archive(name, folder if unpacked else self.file(name))

    def archives(self, directory: str, suffix: str = ".tgz") -> list[Archive]:
        """The archives (or other files) in one directory of the release, sorted by name.

        Opens none of them. Where the folder holds an archive packed and unpacked, the packed one
        counts; where it has no such directory, ``<directory>.zip`` is looked into.
        """
        folder = self.folder / directory
        found: dict[str, Archive] = {}
        if folder.is_dir():
            with os.scandir(folder) as entries:
                kept = [entry for entry in entries if not entry.name.startswith(LITTER)]
            folders = [entry.name for entry in kept if entry.is_dir()]
            found = {
                f"{name}{suffix}": Archive(f"{name}{suffix}", folder / name) for name in folders
            }
            packed = [entry.name for entry in kept if entry.name.endswith(suffix)]
            found |= {name: Archive(name, folder / name) for name in packed}
        elif (outer := self.folder / f"{directory}.zip").is_file():
            found = archives_in_zip(outer, suffix)
        if not found:
            raise CorpusError(
                f"the release of {self.corpus} has no {directory}",
                where=self.folder,
                why=f"neither {directory}/ with {suffix} files in it nor {directory}.zip is there",
                fix=self._fix(),
            )
        return [found[name] for name in sorted(found)]

    def _fix(self) -> str:
        variable = f"{self.corpus.upper()}_DATA"
        return f"put it there as published ({self.source}), or correct {variable}"


def archives_in_zip(outer: Path, suffix: str = ".tgz") -> dict[str, Archive]:
    """The archives (or other files) in a zip of the release, by name."""
    return {
        name: Archive(name, outer, info.filename, member_key(info))
        for name, info in read_index(outer).members.items()
        if name.endswith(suffix)
    }
