"""A release on the web: fetched on demand, whole files or single members of big zips.

Files are stored in ``$BUILDERS_HOME/releases/<corpus>/``, in the release's own layout. The
directory of a zip is fetched once; then each requested member is fetched as one range of bytes. If
the whole zip is in that folder, it is read instead.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from builders.errors import CorpusError, CorpusWarning
from builders.files import FINGERPRINT, digest, megabytes, replace_file, settle
from builders.release.archive import Archive
from builders.release.download import NoRanges, forget
from builders.release.local import Release, archives_in_zip
from builders.release.record import Published, RemoteFiles, making
from builders.release.tars import archives_in_tar
from builders.release.zips import Damaged, Index, MissingPart, extract, member_key, read_index

# Bytes at the end of a zip to fetch first for its directory; 500 archives need 64 KiB.
TAIL = 1 << 16
#: Number of archives fetched at once.
CONNECTIONS = 4


def warn_user(text: str) -> None:
    """Warn the user; the default of `FetchedRelease.before_whole`."""
    warnings.warn(text, CorpusWarning, stacklevel=2)


class FetchedRelease(Release):
    """A release that is fetched on demand.

    Parameters
    ----------
    remote : RemoteFiles
        Where the release is fetched from, and the folder that it is fetched into.
    """

    is_fetched = True

    def __init__(self, remote: RemoteFiles) -> None:
        super().__init__(remote.corpus, remote.folder, remote.source)
        self.remote = remote
        self.before_whole = warn_user

    def status(self) -> dict[str, Any]:
        files = {name: self._file_status(name) for name in self.remote.published}
        return {**super().status(), "source": self.source, "files": files}

    def _file_status(self, name: str) -> dict[str, Any]:
        path, known = self.folder / name, self.known()
        if path.is_file():
            return {"bytes": path.stat().st_size, "missing": 0}
        if members := self.members_of(name):
            here = [each for each in members if each.path.is_file()]
            missing = sum(each.size for each in members) - sum(each.size for each in here)
            size = sum(each.path.stat().st_size for each in here)
            return {"bytes": size, "missing": missing, "archives": [len(here), len(members)]}
        return {"bytes": 0, "missing": known[name].size if name in known else None}

    def stamp(self) -> object:
        return self.remote.number

    def file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            with making(path):
                if not path.is_file():
                    self._fetch_file(name, path)
        elif (file := self.known().get(name)) and path.stat().st_size != file.size:
            raise CorpusError(
                "a file of the release is not the published one",
                where=path,
                why=f"it has {path.stat().st_size} bytes, the published one {file.size}",
                fix="delete it, then load again",
            )
        return path

    def archive(self, name: str) -> Archive:
        path = self.folder / name
        if not self.known() and path.exists():  # the user put it there
            return super().archive(name)
        file = self.remote.file(name)
        return Archive(
            name, path, key=file.checksum, size=file.size, fetch=partial(self.file, name)
        )

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Always empty: missing files are fetched."""
        return []

    def whole(self, directory: str) -> list[Archive]:
        if (packed := f"{directory}.tgz") in self.remote.published:
            return [self.archive(packed)]
        return self.archives(directory)

    def archives(self, directory: str, suffix: str = ".tgz") -> list[Archive]:
        outer = f"{directory}.zip"
        if (packed := f"{directory}{suffix}") in self.remote.published:
            whole = self._fetch_whole(packed, "a tar has no parts that could be fetched alone")
            found = archives_in_tar(self.corpus, whole, suffix)
            return [found[name] for name in sorted(found)]
        if not (self.folder / outer).is_file():
            try:
                return self._archives(outer, self._index(outer), suffix)
            except NoRanges as error:
                self._fetch_whole(outer, _no_parts(error))
        found = archives_in_zip(self.file(outer), suffix)
        return [found[name] for name in sorted(found)]

    def files(self) -> dict[str, Published]:
        """The record's files that the corpus reads; the API is asked once."""
        return self.remote.files()

    def known(self) -> dict[str, Published]:
        """The record's files without a request; empty until the API has been asked once."""
        return self.remote.known()

    def members_of(self, outer: str) -> list[Archive]:
        """The files in a zip; empty until its directory has been fetched."""
        index = self._known_index(outer)
        return self._archives(outer, index, "") if index else []

    def fetch_all(self, wanted: Sequence[Archive]) -> list[CorpusError]:
        failures = []
        pool = ThreadPoolExecutor(CONNECTIONS)
        try:
            with self.remote.one_bar(sum(each.size for each in wanted)):
                running = [pool.submit(each.fetch) for each in wanted if each.fetch]
                for each in as_completed(running):
                    try:
                        each.result()
                    except CorpusError as error:
                        failures.append(error)
        finally:  # Ctrl-C: what runs is not waited for, and what waits does not begin
            pool.shutdown(wait=False, cancel_futures=True)
        return failures

    def damaged(self) -> Iterator[Path]:
        """Files on disk that differ from the published ones; reads every byte."""
        for name, file in self.known().items():
            if (path := self.folder / name).is_file() and digest(
                path, file.algorithm
            ) != file.checksum:
                yield path
            for archive in self.members_of(name):
                if archive.path.exists() and _crc_key(archive.path) != archive.key:
                    yield archive.path

    def _archives(self, outer: str, index: Index, suffix: str) -> list[Archive]:
        """The files in a zip on the server, whether fetched yet or not."""
        folder = self.folder / outer.removesuffix(".zip")
        archives = []
        for name, info in sorted(index.members.items()):
            if name.endswith(suffix):
                start, stop = index.spans[info.filename]
                get_it = partial(self._fetch_member, outer, info, folder / name)
                archives.append(
                    Archive(name, folder / name, "", member_key(info), stop - start, get_it)
                )
        return archives

    def _directory(self, outer: str) -> Path:
        return self.folder / f".{outer}.directory"

    def _seal(self, outer: str) -> Path:
        return self.folder / f".{outer}.directory.checksum"

    def _index(self, outer: str) -> Index:
        self.remote.file(outer)  # fetches the list of files, which has the zip's md5
        if (index := self._known_index(outer)) is None:
            with making(self._directory(outer)):
                index = self._known_index(outer) or self._fetch_index(outer)
        return index

    def _known_index(self, outer: str) -> Index | None:
        """The stored directory of a zip; None if missing, or if its checksum does not match."""
        directory, file = self._directory(outer), self.known().get(outer)
        with suppress(OSError, UnicodeError):
            if file and self._seal(outer).read_text() == _seal(directory, file):
                return read_index(directory, file.size)
        return None

    def _fetch_index(self, outer: str) -> Index:
        """Fetch the directory of a zip on the server, which is at the zip's end."""
        directory, file = self._directory(outer), self.remote.file(outer)
        start = max(0, file.size - TAIL)
        while True:
            part = directory.with_name(f"{directory.name}.{start}")
            try:
                self.remote.fetch(outer, part, start, file.size)
                read_index(part, file.size)
            except MissingPart as error:
                start = error.position
            else:
                replace_file(self._seal(outer), _seal(part, file).encode())
                settle(part, directory)
                return read_index(directory, file.size)
            finally:
                forget(part)

    def _fetch_member(self, outer: str, info: zipfile.ZipInfo, path: Path) -> None:
        """Fetch one member of a zip as one range of bytes; its CRC is checked."""
        if path.is_file():
            return
        with making(path):
            if path.is_file():
                return
            start, stop = self._span(outer, info)
            size, directory = self.remote.file(outer).size, self._directory(outer)
            part = path.with_name(f".{path.name}.part")
            parts = {start: part, size - directory.stat().st_size: directory}

            def check() -> None:
                extract(size, parts, info.filename, path)
                forget(part)

            try:
                self.remote.fetch(outer, part, start, stop, check)
            except NoRanges as error:
                self._copy_member(self._fetch_whole(outer, _no_parts(error)), info.filename, path)
            except Damaged as error:
                forget(directory)  # the stored directory may be the cause
                raise CorpusError(
                    "a member of a zip arrived damaged, and was thrown away",
                    where=f"{self.remote.where}: {outer}: {info.filename}",
                    why=error,
                    fix="load again; if it stays so, the published zip is damaged there: tell its "
                    f"authors ({self.source})",
                ) from error

    def _span(self, outer: str, info: zipfile.ZipInfo) -> tuple[int, int]:
        """First byte of a member and the one after its last, by the present directory."""
        index = self._index(outer)
        now = index.members.get(info.filename.rpartition("/")[2])
        if now is None or (now.filename, member_key(now)) != (info.filename, member_key(info)):
            raise CorpusError(
                f"{outer} changed while it was being read",
                where=self._directory(outer),
                why=f"the list of its members has another {info.filename} now, or none",
                fix="load again",
            )
        return index.spans[info.filename]

    def _copy_member(self, whole: Path, member: str, path: Path) -> None:
        """Unpack one member of a zip that is on disk."""
        try:
            extract(whole.stat().st_size, {0: whole}, member, path)
        except Damaged as error:
            raise CorpusError(
                "cannot read a member of a zip of the release",
                where=f"{whole}: {member}",
                why=error,
                fix=f"the zip is as it was published: tell its authors ({self.source})",
            ) from error

    def _fetch_file(self, name: str, path: Path) -> None:
        """Fetch a whole file; its size and md5 are checked."""
        file = self.remote.file(name)
        part = path.with_name(f".{name}.part")

        def check() -> None:
            if (found := digest(part, file.algorithm)) != file.checksum:
                raise Damaged(f"expected {file.algorithm} {file.checksum}, found {found}")
            settle(part, path)

        try:
            self.remote.fetch(name, part, 0, file.size, check)
        except Damaged as error:
            raise CorpusError(
                "a file of the release arrived damaged, and was thrown away",
                where=f"{self.remote.where}: {name}",
                why=error,
                fix="load again; if it stays so, something on the way from there changes the "
                f"file: {self.remote.by_hand}",
            ) from error

    def _fetch_whole(self, outer: str, why: str) -> Path:
        """Fetch a whole zip or tar, for the reason that is given."""
        if not (self.folder / outer).is_file():
            size = megabytes(self.remote.file(outer).size)
            self.before_whole(f"all of {outer} has to be fetched, {size}: {why}")
        return self.file(outer)


def _no_parts(error: NoRanges) -> str:
    return f"the server does not send parts of it now ({error})"


def _seal(directory: Path, file: Published) -> str:
    """A text that identifies a stored zip directory and the zip that it belongs to."""
    return f"{digest(directory, FINGERPRINT)} {file.checksum}"


def _crc_key(path: Path) -> str:
    """The `member_key` of a zip member with the content of this file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}-{path.stat().st_size}"
