"""What lies in a folder that a person put a release into, whatever it is called by now.

Browsers and file managers rename what they download and unpack, and leave files of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from builders.conventions import HASHED
from builders.errors import CorpusError
from builders.release.zips import LITTER

#: How an archive's name ends in the release. On disk it may end in ``.tar.gz`` as well.
ARCHIVE = ".tgz"
SOUND = ".wav"
#: What a browser adds to the name of a second copy; and what macOS does, which is less certain.
SECOND, SECOND_OR_MACOS = r"(?: ?\(\d+\))?", r"(?: ?\(\d+\)|[- ]\d)?"
#: How the names of downloads end that are still under way.
UNDER_WAY = (".part", ".partial", ".crdownload", ".download")
#: Folders that belong to a disk and not to its user.
OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir")


@dataclass(frozen=True)
class Folder:
    """The names of what a folder holds: folders, and files; the shortest first."""

    path: Path
    folders: tuple[str, ...]
    files: tuple[str, ...]


def look(path: Path) -> Folder:
    """What a folder holds. Links are followed.

    A link that leads nowhere, or in a circle, counts as a file: it is refused when it is opened.
    Left out are downloads under way, what the system keeps there, pipes and devices.

    Raises
    ------
    CorpusError
        If the folder cannot be listed.
    """
    folders, files = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(LITTER) or name.endswith(UNDER_WAY) or name in OF_THE_DISK:
                    continue
                if entry.is_file(follow_symlinks=False):
                    files.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_symlink() and (kind := _behind(entry.path)):
                    (folders if kind == "folder" else files).append(name)
    except OSError as error:
        raise CorpusError(
            "cannot list a folder of the release",
            where=path,
            why=error,
            fix="check that it is there, and its permissions",
        ) from error
    for names in (folders, files):
        names.sort(key=lambda name: (len(name), name))
    return Folder(path, tuple(folders), tuple(files))


def _behind(link: str) -> str:
    try:
        mode = os.stat(link).st_mode  # noqa: PTH116
    except OSError:
        return "nothing"
    return "folder" if S_ISDIR(mode) else "file" if S_ISREG(mode) else ""


def _few(folder: Folder) -> Folder:
    """All but archives and sounds, which are many."""
    folders, files = (
        tuple(name for name in names if not (HASHED.fullmatch(name) or name.endswith(SOUND)))
        for names in (folder.folders, folder.files)
    )
    return Folder(folder.path, folders, files)


@lru_cache(maxsize=64)
def _look_once(path: Path, mtime: int) -> Folder:
    """`_few` of a folder that was last changed then."""
    return _few(look(path))


def tops(path: Path, name: str) -> Iterator[Folder]:
    """A release's folder, then the one in it that may hold the release in its place.

    That is the one called `name`, or the only one.
    """
    top = look(path)
    yield top
    if inner := _inner(top, name):
        yield look(path / inner)


def stamp(path: Path, name: str) -> object:
    """Changes when files at the top of a release do, or the names in the `places` below it."""
    top = look(path)
    looked = [_few(top)]
    with suppress(OSError, CorpusError):
        if inner := _inner(top, name):
            looked.append(_look_once(path / inner, (path / inner).stat().st_mtime_ns))
    stamps: list[object] = [*top.folders, *top.files]
    for each in looked:
        below = [f"{name}/{inner}" for name in each.folders for inner in _nested(name)]
        for name in (*each.folders, *each.files, *below):
            with suppress(OSError):  # a link that leads nowhere, a file that has just gone
                stat = (each.path / name).stat()
                stamps.append((each.path / name, stat.st_size, stat.st_mtime_ns))
    return tuple(stamps)


def _inner(top: Folder, name: str) -> str:
    named = [each for each in top.folders if spelling(name).fullmatch(each)]
    folders = named or [each for each in top.folders if not HASHED.fullmatch(each)]
    return folders[0] if len(folders) == 1 else ""


def places(top: Folder, directory: str) -> Iterator[Folder]:
    """The folders that a zip of this name was unpacked into: ``recordings/recordings``, too."""
    for name in top.folders:
        if spelling(directory).fullmatch(name):
            yield (place := look(top.path / name))
            yield from (look(place.path / each) for each in _nested(name) if each in place.folders)


def _nested(folder: str) -> set[str]:
    """What a zip is called that was unpacked into ``recordings (1)``."""
    return {folder, re.sub(f"{SECOND_OR_MACOS}$", "", folder)}


@dataclass(frozen=True)
class Found:
    """The archives of one directory of a release: name and path of each, and zips of them."""

    packed: list[tuple[str, Path]] = field(default_factory=list)
    unpacked: list[tuple[str, Path]] = field(default_factory=list)
    zips: list[Path] = field(default_factory=list)


def find_archives(top: Folder, directory: str, suffix: str) -> Found:
    """The archives (or other files) of ``recordings``, from its `places` and from the top.

    At the top, among other files, an archive is known by a name that ends in a hash; that of
    ``A1_single_sites`` begins with ``A1_``, too.
    """
    return _find_archives((top, *places(top, directory)), directory, suffix)


# Folders are listed each time, and what is in them is sorted out anew only where it has changed.
@lru_cache(maxsize=16)
def _find_archives(listed: tuple[Folder, ...], directory: str, suffix: str) -> Found:
    found, outer = Found(), spelling(directory, ".zip")
    area = directory[: directory.find("_") + 1]
    for place in listed:
        every = place is not listed[0] or suffix != ARCHIVE
        for file in place.files:
            if name := archive_name(file, suffix):
                if every or (name.startswith(area) and HASHED.fullmatch(name)):
                    found.packed.append((name, place.path / file))
            elif outer.fullmatch(file):
                found.zips.append(place.path / file)
        for folder in place.folders if suffix == ARCHIVE else ():
            name = archive_name(folder.removesuffix(suffix) + suffix, suffix)
            known = every or (name.startswith(area) and HASHED.fullmatch(name))
            if known and not spelling(directory).fullmatch(folder):
                found.unpacked.append((name, place.path / folder))
    return found


def find_file(top: Folder, name: str, unpacked: bool = False) -> list[Path]:
    """A file at the top, its copies, and the folders that an archive was `unpacked` into."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    found = [each for each in top.files if spelling(stem, ending).fullmatch(each)]
    if unpacked and ending == ARCHIVE:
        found += [each for each in top.folders if spelling(stem).fullmatch(each)]
    return [top.path / each for each in found]


@cache
def spelling(stem: str, ending: str = "") -> re.Pattern[str]:
    """Matches the names that a published file may have on disk.

    Those of ``recordings.zip`` are ``recordings.ZIP``, ``recordings (1).zip`` (Chrome),
    ``recordings(1).zip`` (Firefox), ``recordings-1.zip`` and ``recordings 2.zip`` (macOS).
    """
    return re.compile(f"{re.escape(stem)}{SECOND_OR_MACOS}{_ending(ending)}", re.I)


def archive_name(file: str, suffix: str) -> str:
    """The name in the release of an archive, or other file, on disk; empty if it is none.

    ``X.tgz`` for ``X.TGZ``, ``X.tar.gz`` and ``X (1).tgz``.
    """
    if file.endswith(suffix) and ")" not in file:
        return file
    found = _any_archive(suffix).fullmatch(file)
    return found[1] + suffix if found else ""


@cache
def _any_archive(suffix: str) -> re.Pattern[str]:
    second = SECOND if suffix == ARCHIVE else ""  # a sound may be called "birds (2).wav"
    return re.compile(f"(.+?){second}{_ending(suffix)}", re.I)


def _ending(suffix: str) -> str:
    return r"\.(?:tgz|tar\.gz)" if suffix == ARCHIVE else re.escape(suffix)
