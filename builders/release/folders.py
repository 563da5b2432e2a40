"""Finds the files of a release in a folder that a person put them into, even if renamed.

Browsers and file managers rename what they download and unpack, and add files of their own.
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

#: The end of an archive's name in the release. On disk it may also be ``.tar.gz``.
ARCHIVE = ".tgz"
SOUND = ".wav"
#: What browsers add to the name of a second copy; and that or what macOS adds (less specific).
SECOND, SECOND_OR_MACOS = r"(?: ?\(\d+\))?", r"(?: ?\(\d+\)|[- ]\d)?"
#: The ends of the names of unfinished downloads.
UNDER_WAY = (".part", ".partial", ".crdownload", ".download")
#: Folders that the system creates on a disk.
OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir")


@dataclass(frozen=True)
class Listing:
    """The names of the folders and files in a folder; shortest first."""

    path: Path
    folders: tuple[str, ...]
    files: tuple[str, ...]


def look(path: Path) -> Listing:
    """List a folder. Links are followed.

    A broken or circular link counts as a file: opening it raises an error. Unfinished downloads,
    files of the system, pipes and devices are left out.

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
    return Listing(path, tuple(folders), tuple(files))


def _behind(link: str) -> str:
    try:
        mode = os.stat(link).st_mode  # noqa: PTH116
    except OSError:
        return "nothing"
    return "folder" if S_ISDIR(mode) else "file" if S_ISREG(mode) else ""


def _few(folder: Listing) -> Listing:
    """The folder without its archives and sounds, which are many."""
    folders, files = (
        tuple(name for name in names if not (HASHED.fullmatch(name) or name.endswith(SOUND)))
        for names in (folder.folders, folder.files)
    )
    return Listing(folder.path, folders, files)


@lru_cache(maxsize=64)
def _look_once(path: Path, mtime: int) -> Listing:
    """`_few` of a folder, listed again only if its modification time has changed."""
    return _few(look(path))


def tops(path: Path, name: str) -> Iterator[Listing]:
    """A release's folder, then an inner folder that may hold the release instead.

    The inner folder is the one called `name`, or the only one.
    """
    top = look(path)
    yield top
    if inner := _inner(top, name):
        yield look(path / inner)


def stamp(path: Path, name: str) -> object:
    """A value that changes with the files at a release's top, or names in its `archive_places`."""
    top = look(path)
    looked = [_few(top)]
    with suppress(OSError, CorpusError):
        if inner := _inner(top, name):
            looked.append(_look_once(path / inner, (path / inner).stat().st_mtime_ns))
    stamps: list[object] = [*top.folders, *top.files]
    for each in looked:
        below = [f"{name}/{inner}" for name in each.folders for inner in _nested(name)]
        for name in (*each.folders, *each.files, *below):
            with suppress(OSError):  # a broken link, or a file deleted just now
                stat = (each.path / name).stat()
                stamps.append((each.path / name, stat.st_size, stat.st_mtime_ns))
    return tuple(stamps)


def _inner(top: Listing, name: str) -> str:
    named = [each for each in top.folders if spelling(name).fullmatch(each)]
    folders = named or [each for each in top.folders if not HASHED.fullmatch(each)]
    return folders[0] if len(folders) == 1 else ""


def archive_places(top: Listing, directory: str) -> Iterator[Listing]:
    """The folders that a zip or tar called `directory` was unpacked into, up to two levels deep."""
    for name in top.folders:
        if spelling(directory).fullmatch(name):
            yield (place := look(top.path / name))
            for each in place.folders:
                if each in _nested(name):
                    yield look(place.path / each)
                elif not HASHED.fullmatch(each) and _has_archives(inner := look(place.path / each)):
                    yield inner


def _has_archives(folder: Listing) -> bool:
    """Whether a folder holds archives, and is none itself."""
    packed = (archive_name(file, ARCHIVE) for file in folder.files)
    return any(map(HASHED.fullmatch, (*packed, *folder.folders)))


def _nested(folder: str) -> set[str]:
    """Names of a folder inside its namesake: ``recordings (1)`` may hold ``recordings``."""
    return {folder, re.sub(f"{SECOND_OR_MACOS}$", "", folder)}


@dataclass(frozen=True)
class FoundArchives:
    """The archives of one directory of a release: (name, path) of each, and zips and tars."""

    packed: list[tuple[str, Path]] = field(default_factory=list)
    unpacked: list[tuple[str, Path]] = field(default_factory=list)
    zips: list[Path] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)


def find_archives(top: Listing, directory: str, suffix: str) -> FoundArchives:
    """Find the archives (or other files) of a directory, in its `archive_places` and at the top.

    At the top, among other files, an archive is recognized by a name that ends in a hash. An
    archive of ``A1_single_sites`` must also begin with ``A1_``.
    """
    return _find_archives((top, *archive_places(top, directory)), directory, suffix)


# Folders are listed each time, but their content is classified again only if it has changed.
@lru_cache(maxsize=16)
def _find_archives(listed: tuple[Listing, ...], directory: str, suffix: str) -> FoundArchives:
    found, outer = FoundArchives(), spelling(directory, ".zip")
    packed = spelling(directory, ARCHIVE), spelling(directory, ".tar")
    places = {place.path for place in listed}
    area = directory[: directory.find("_") + 1]
    for place in listed:
        every = place is not listed[0] or suffix == SOUND
        for file in place.files:
            if name := archive_name(file, suffix):
                if every or (name.startswith(area) and HASHED.fullmatch(name)):
                    found.packed.append((name, place.path / file))
            elif outer.fullmatch(file):
                found.zips.append(place.path / file)
            if suffix == ARCHIVE and any(each.fullmatch(file) for each in packed):
                found.tars.append(place.path / file)
        for folder in place.folders if suffix == ARCHIVE else ():
            name = archive_name(folder.removesuffix(suffix) + suffix, suffix)
            known = every or (name.startswith(area) and HASHED.fullmatch(name))
            is_place = place.path / folder in places
            if known and not is_place and not spelling(directory).fullmatch(folder):
                found.unpacked.append((name, place.path / folder))
    return found


def find_file(top: Listing, name: str, unpacked: bool = False) -> list[Path]:
    """Paths of a file at the top and its copies; with `unpacked`, also an archive's folders."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    found = [each for each in top.files if spelling(stem, ending).fullmatch(each)]
    if unpacked and ending == ARCHIVE:
        found += [each for each in top.folders if spelling(stem).fullmatch(each)]
    return [top.path / each for each in found]


@cache
def spelling(stem: str, ending: str = "") -> re.Pattern[str]:
    """Matches the names that a published file may have on disk.

    ``recordings.zip`` may be ``recordings.ZIP``, ``recordings (1).zip`` (Chrome),
    ``recordings(1).zip`` (Firefox), ``recordings-1.zip`` or ``recordings 2.zip`` (macOS).
    """
    return re.compile(f"{re.escape(stem)}{SECOND_OR_MACOS}{_ending(ending)}", re.I)


def archive_name(file: str, suffix: str) -> str:
    """The name in the release of a file on disk; empty if it is not such a file.

    For example ``X.tgz`` for ``X.TGZ``, ``X.tar.gz`` and ``X (1).tgz``.
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
