"""A corpus' raw files, as its authors published them, in a folder.

It holds the release unpacked or with its zips as downloaded: ``recordings/X.tgz``,
``recordings/X/...`` (an archive unpacked), or ``recordings.zip``. What people and their programs
make of that when they unpack it is found as well; see `Release`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import platformdirs
import xxhash

from builders.errors import CorpusError
from builders.files import replace_file
from builders.folders import (
    ARCHIVE,
    SOUND,
    Folder,
    archive_name,
    find_archives,
    find_file,
    places,
    stamp,
    tops,
)
from builders.zips import LITTER, member_key, open_member, read_index

#: Tells one content of a raw file from another, fifteen times faster than sha256 does; whoever can
#: forge it can write the user's files anyway.
FINGERPRINT = "xxh3_128"
#: What is recorded of a file of the release.
RECORDED = ("path", "stat", FINGERPRINT, "key")


def home() -> Path:
    """Where the catalogue keeps its caches: ``$BUILDERS_HOME``, or the user's cache folder."""
    if named := os.environ.get("BUILDERS_HOME"):
        return user_path("BUILDERS_HOME", named)
    return Path(platformdirs.user_cache_dir("builders"))


def user_path(variable: str, path: str) -> Path:
    """The path that a variable of the environment holds; ``~`` stands for a home folder.

    Raises
    ------
    CorpusError
        If it is that of an unknown user, or no path that a file system can have.
    """
    try:
        expanded = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            expanded.lstat()
    except (RuntimeError, OSError) as error:
        raise CorpusError(
            f"{variable} names no folder", where=path, why=error, fix=f"correct {variable}"
        ) from error
    return expanded


def content_key(path: Path) -> str:
    """A key that changes when, and only when, the content of a raw file changes.

    Path, size and modification time tell the two apart without opening the file: two folders may
    hold files of one name, size and time, and of different contents. Once `confirm_key` has
    recorded the content's fingerprint, a file that was merely touched keeps its key: only one that
    has changed in any way, but for its size, is read again.
    """
    stat = _stat_key(path)
    size, modified, *_ = stat.split("-")
    key = hashlib.sha256(f"{size}-{modified}-{path.absolute()}".encode()).hexdigest()
    record = _record(path)
    try:
        seen = {name: str(json.loads(record.read_bytes())[name]) for name in RECORDED}
    except (OSError, ValueError, TypeError, KeyError):
        return key
    if seen["stat"] == stat:
        return seen["key"]
    with suppress(OSError):  # where it cannot be recorded, it is found out again the next time
        if seen["stat"].partition("-")[0] != size:
            record.unlink()
            return key
        found = digest(path, FINGERPRINT)
        known = seen["key"] if found == seen[FINGERPRINT] else found
        seen |= {"stat": stat, FINGERPRINT: found, "key": known}
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
    # Whoever puts another file of the same size and date in its place changes the last two.
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


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
    copies : tuple of Archive
        Others of this name in the release. The archive is not read if one of them differs.
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
        """The archive's bytes, to be read from the front to the end."""
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
        """The files on disk: the archive, or those it was unpacked into."""
        self._check_copies()
        return _files(self.path)

    def keys(self) -> dict[Path, str]:
        """`key`, or else the `content_key` of each of `files`."""
        if self.key:
            return {self.path / self.member: self.key}
        return {path: content_key(path) for path in _files(self.path)}

    def fingerprints(self) -> dict[Path, str]:
        """The fingerprint of each of `files`.

        A `key` needs none: it is made of a checksum, which fetching or reading has verified.
        """
        return {} if self.key else {path: digest(path, FINGERPRINT) for path in _files(self.path)}

    def confirm(self, keys: dict[Path, str], fingerprints: dict[Path, str]) -> None:
        """Record what `keys` stand for, now that the archive has been read as a whole.

        The `fingerprints` must have been found after the keys.
        """
        for path, fingerprint in fingerprints.items():
            confirm_key(path, keys[path], fingerprint)

    def _check_copies(self) -> None:
        for copy in self.copies:
            if self._differs(copy):
                raise _ambiguous(self.name, self, copy)

    def _differs(self, copy: Archive) -> bool:
        """Whether the content is another, where the two are of one kind.

        Of a packed one, its copy in a zip has the same content if it has the same size: the
        checksum inside tells whether it is whole.
        """
        if self.path.is_dir() != copy.path.is_dir():
            return False
        if self.key and copy.key:
            return self.key != copy.key
        if copy.key:
            return copy.key.partition("-")[2] != _stat_key(self.path).partition("-")[0]
        return _differ(self.path, copy.path)


def _files(path: Path) -> list[Path]:
    """The file, or all files in the folder but what macOS leaves there."""
    if path.is_dir():
        every = (file for file in path.rglob("*") if not file.name.startswith(LITTER))
        return sorted(file for file in every if file.is_file())
    return [path]


def _differ(*paths: Path) -> bool:
    """Whether two files, or all files in two folders, differ in content."""

    def contents(of: Callable[[Path], object]) -> list[object]:
        return [{file.relative_to(path): of(file) for file in _files(path)} for path in paths]

    try:
        sizes = contents(lambda file: file.stat().st_size)
        if sizes[0] != sizes[1]:
            return True
        one, other = contents(lambda file: digest(file, FINGERPRINT))
    except OSError as error:
        where = " and ".join(map(str, paths))
        raise CorpusError("cannot compare files of the release", where=where, why=error) from error
    return one != other


def _ambiguous(name: str, one: object, other: object) -> CorpusError:
    return CorpusError(
        f"{name} is there twice, with different contents",
        where=one,
        why=f"the other is {other}",
        fix="keep the one that was published, and move the other out of the folder",
    )


class Release:
    """A folder that holds a corpus' release. It is the user's, and only ever read.

    Files and archives are found where people and their programs put them.

    * Files, zips and archives may lie at the top of the folder. What is not there is looked for in
      the folder inside it that has the corpus' name, or in the only one.
    * The archives of ``recordings`` may also lie in ``recordings/``, in ``recordings/recordings/``
      or in ``recordings.zip``. At the top, an archive is known by a name that ends in a hash; those
      of ``A1_single_sites`` begin with ``A1_``, too.
    * An archive may be a ``.tgz``, a ``.tar.gz``, or the folder that it was unpacked into.
    * Names may have other letter case, or the ``(1)`` that browsers add.

    An archive that is there more than once counts once: packed before unpacked, and either before
    one in a zip. Copies of one kind must have the same content, and a packed archive the size of
    its copy in the zip; otherwise it is an error to read it.

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
        """Changes when files at the top of the release do, or names in the places below it."""
        return stamp(self.folder, self.corpus)

    def file(self, name: str) -> Path:
        """Path of one file of the release; a `CorpusError` names it where it is missing."""
        found = self._find(name)
        if not found:
            looked = ", ".join(str(top.path) for top in self._tops())
            raise CorpusError(
                f"the release of {self.corpus} lacks {name}",
                where=self.folder,
                why=f"no such file in {looked}",
                fix=self._fix(),
            )
        _stat_key(found[0])  # it may be a link that leads nowhere
        for copy in found[1:]:
            if _differ(found[0], copy):
                raise _ambiguous(name, found[0], copy)
        return found[0]

    def archive(self, name: str) -> Archive:
        """One recording archive at the top of the release, packed or unpacked."""
        found = _grouped(Archive(name, path) for path in self._find(name, unpacked=True))
        return found.get(name) or Archive(name, self.file(name))

    def archives(self, directory: str, suffix: str = ARCHIVE) -> list[Archive]:
        """The archives (or other files) of one directory of the release, sorted by name.

        Opens none of them. Their names end in `suffix`, whatever the files are called.
        """
        found = self._by_name(directory, suffix)
        if not found:
            raise self._no_archives(directory, suffix)
        return [found[name] for name in sorted(found)]

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Those of the published files that are not there, neither as such nor unpacked."""
        return [name for name in names if not self._holds(name)]

    def _holds(self, name: str) -> bool:
        if self._find(name, unpacked=True):
            return True
        directory = name.removesuffix(".zip")  # sounds are in `wav`, all others hold archives
        suffix = SOUND if directory == "wav" else ARCHIVE
        return directory != name and bool(self._by_name(directory, suffix))

    def _tops(self) -> Iterator[Folder]:
        return tops(self.folder, self.corpus)

    def _find(self, name: str, unpacked: bool = False) -> list[Path]:
        return next(
            (found for top in self._tops() if (found := find_file(top, name, unpacked))), []
        )

    def _by_name(self, directory: str, suffix: str) -> dict[str, Archive]:
        for top in self._tops():
            found = find_archives(top, directory, suffix)
            archives = [Archive(*each) for each in (*found.packed, *found.unpacked)]
            damaged = None
            for outer in found.zips:
                try:
                    archives += archives_in_zip(outer, suffix).values()
                except CorpusError as error:  # not needed where there are others
                    damaged = error
            if damaged and not archives:
                raise damaged
            if archives:
                return _grouped(archives)
        return {}

    def _no_archives(self, directory: str, suffix: str) -> CorpusError:
        looked = [place for top in self._tops() for place in (top, *places(top, directory))]
        kinds = f"{suffix} or .tar.gz files" if suffix == ARCHIVE else f"{suffix} files"
        why = f"neither {directory}/ with {kinds} in it nor {directory}.zip is there; looked into "
        why += ", ".join(str(place.path) for place in looked)
        if any(file.endswith(".tar") for place in looked for file in place.files):
            why += "; a .tar is not read: unpack it into a folder, or pack it with gzip"
        return CorpusError(
            f"the release of {self.corpus} has no {directory}",
            where=self.folder,
            why=why,
            fix=self._fix(),
        )

    def _fix(self) -> str:
        variable = f"{self.corpus.upper()}_DATA"
        return f"put it there as published ({self.source}), or correct {variable}"


def archives_in_zip(outer: Path, suffix: str = ARCHIVE) -> dict[str, Archive]:
    """The archives (or other files) in a zip of the release, by name."""
    return _in_zip(outer, suffix, _stat_key(outer))


@lru_cache(maxsize=16)
def _in_zip(outer: Path, suffix: str, _stat: str) -> dict[str, Archive]:
    return _grouped(
        Archive(name, outer, info.filename, member_key(info))
        for each, info in read_index(outer).members.items()
        if (name := archive_name(each, suffix))
    )


def _grouped(archives: Iterable[Archive]) -> dict[str, Archive]:
    """By name; the first of a name has the others as its copies."""
    found: dict[str, list[Archive]] = {}
    for archive in archives:
        found.setdefault(archive.name, []).append(archive)
    return {
        name: Archive(name, first.path, first.member, first.key, copies=(*first.copies, *others))
        if others
        else first
        for name, (first, *others) in found.items()
    }
