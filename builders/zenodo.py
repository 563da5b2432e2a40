"""A corpus' release on Zenodo: fetched on demand, file by file, and by ranges inside the big zips.

It fills ``$BUILDERS_HOME/releases/<corpus>/`` in the release's own layout. Of a zip, the directory
is fetched once, and then each member that is asked for in one range; a published zip that lies
there as a whole is read in its place.

The API: https://developers.zenodo.org/#records
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from datasets.utils import tqdm
from filelock import FileLock

from builders.download import Changed, Failed, NoRanges, etag_of, fetch, forget, get_json
from builders.errors import CorpusError, unknown
from builders.release import Archive, Release, archives_in_zip, digest, home, replace_file
from builders.zips import BAD_ZIP, Index, MissingPart, Sparse, member_key, read_index

# Where the directory of a zip is looked for at first: that of 500 archives has 64 KiB.
TAIL = 1 << 16


@dataclass(frozen=True)
class Published:
    """A file of a record: its size in bytes, and its md5."""

    size: int
    md5: str


class ZenodoRelease(Release):
    """A release that is fetched as it is read.

    Parameters
    ----------
    corpus : str
        Name of the corpus.
    source : str
        Where the release is published, for the error messages.
    record : int
        The Zenodo record.
    published : mapping of str to str
        The record's files that the corpus reads, and their md5 where it is known beforehand: the
        API must agree.
    """

    def __init__(self, corpus: str, source: str, record: int, published: Mapping[str, str]) -> None:
        super().__init__(corpus, home() / "releases" / corpus, source)
        self.record = record
        self.published = published
        self.bar: tqdm | None = None  # one for all that is fetched, or else one for each

    def stamp(self) -> object:
        return self.record

    def file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            with self._missing(path) as missing:
                if missing:
                    self._fetch_file(name)
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
        if not self.known() and path.exists():  # put there by hand
            return super().archive(name)
        file = self._file(name)
        return Archive(name, path, key=file.md5, size=file.size, fetch=partial(self.file, name))

    def archives(self, directory: str, suffix: str = ".tgz") -> list[Archive]:
        outer = f"{directory}.zip"
        if not (self.folder / outer).is_file():
            try:
                return self._archives(outer, suffix)
            except NoRanges:
                self.file(outer)
        found = archives_in_zip(self.folder / outer, suffix)
        return [found[name] for name in sorted(found)]

    def files(self) -> dict[str, Published]:
        """The record's files that the corpus reads; the API is asked once."""
        if not (known := self.known()):
            with self._missing(self._note):
                if not (known := self.known()):
                    known = self._ask()
                    text = {name: vars(file) for name, file in known.items()}
                    replace_file(self._note, json.dumps(text).encode())
        return known

    def known(self) -> dict[str, Published]:
        """The same without a request: nothing before the first one."""
        try:
            listed = json.loads(self._note.read_bytes())
            return {name: Published(file["size"], file["md5"]) for name, file in listed.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def members_of(self, outer: str) -> list[Archive]:
        """The files in a zip; none before its directory has been fetched."""
        return self._archives(outer, "") if self._directory(outer).exists() and self.known() else []

    def damaged(self) -> Iterator[Path]:
        """What lies here and is not what was published, every byte of it read."""
        for name, file in self.known().items():
            if (path := self.folder / name).is_file() and digest(path, "md5") != file.md5:
                yield path
            for archive in self.members_of(name):
                if archive.path.exists() and _crc_key(archive.path) != archive.key:
                    yield archive.path

    @property
    def _note(self) -> Path:
        return self.folder / f".record-{self.record}.json"

    def _directory(self, outer: str) -> Path:
        return self.folder / f".{outer}.directory"

    def _url(self, name: str = "") -> str:
        endpoint = os.environ.get("ZENODO_ENDPOINT", "https://zenodo.org").rstrip("/")
        content = f"/files/{quote(name)}/content" if name else ""
        return f"{endpoint}/api/records/{self.record}{content}"

    def _ask(self) -> dict[str, Published]:
        try:
            listed = {str(each["key"]): each for each in get_json(self._url())["files"]}
            files = {
                name: Published(int(listed[name]["size"]), _md5_of(listed[name]["checksum"]))
                for name in self.published
            }
        except Failed as error:
            raise self._failed("the list of files", error.why) from error
        except (ValueError, KeyError, TypeError) as error:
            why = f"not what the record API answers for it: {error!r}"
            raise self._failed("the list of files", why) from error
        for name, expected in self.published.items():
            if expected not in ("", files[name].md5):
                raise CorpusError(
                    f"Zenodo record {self.record} is not the release that {self.corpus} reads",
                    where=self._url(),
                    why=f"{name}: expected md5 {expected}, found {files[name].md5}",
                    fix="look for a newer version of this package",
                )
        return files

    def _file(self, name: str) -> Published:
        files = self.known()
        if not files:
            self._online(name)
            files = self.files()
        if name not in files:
            raise unknown(f"file of Zenodo record {self.record}", name, files)
        return files[name]

    def _archives(self, outer: str, suffix: str) -> list[Archive]:
        """The files in a zip on the server, or fetched from there."""
        index = self._index(outer)
        folder = self.folder / outer.removesuffix(".zip")
        archives = []
        for name, info in sorted(index.members.items()):
            if name.endswith(suffix):
                start, stop = index.spans[info.filename]
                get_it = partial(self._fetch_member, outer, info.filename, folder / name)
                archives.append(
                    Archive(name, folder / name, "", member_key(info), stop - start, get_it)
                )
        return archives

    def _index(self, outer: str) -> Index:
        path, size = self._directory(outer), self._file(outer).size
        if not path.exists():
            with self._missing(path) as missing:
                start = max(0, size - TAIL)
                while missing:
                    part = path.with_name(f"{path.name}.{start}")
                    try:
                        self._fetch(outer, part, start, size)
                        read_index(part, size)
                        path.with_name(f"{path.name}.etag").write_text(etag_of(part))
                        part.replace(path)
                        missing = False
                    except MissingPart as error:
                        start = error.position
                    finally:
                        forget(part)
        return read_index(path, size)

    def _fetch_member(self, outer: str, member: str, path: Path) -> None:
        """One member of a zip on the server, in one range; its CRC is checked."""
        if path.is_file():
            return
        with self._missing(path) as missing:
            if not missing:
                return
            (start, stop), size = self._index(outer).spans[member], self._file(outer).size
            part, directory = path.with_name(f".{path.name}.part"), self._directory(outer)
            try:
                self._fetch(outer, part, start, stop, etag=etag_of(directory))
            except NoRanges:
                parts = {0: self.file(outer)}
            except Changed as error:
                forget(directory)
                raise self._failed(outer, error.why) from error
            else:
                parts = {start: part, size - directory.stat().st_size: directory}
            plain = path.with_name(f".{path.name}.plain")
            try:
                with (
                    Sparse(size, parts) as sparse,
                    zipfile.ZipFile(cast(BinaryIO, sparse)) as file,
                    file.open(member) as content,
                    plain.open("wb") as copy,
                ):
                    shutil.copyfileobj(content, copy, 1 << 20)
            except (*BAD_ZIP, MissingPart) as error:
                raise self._damaged(f"{outer}: {member}", error) from error
            else:
                plain.replace(path)
            finally:
                plain.unlink(missing_ok=True)
                forget(part)

    def _fetch_file(self, name: str) -> None:
        """A whole file; its size and md5 are checked."""
        file, path = self._file(name), self.folder / name
        part = path.with_name(f".{name}.part")
        self._fetch(name, part, 0, file.size)
        try:
            if (found := digest(part, "md5")) != file.md5:
                raise self._damaged(name, f"expected md5 {file.md5}, found {found}")
            part.replace(path)
        finally:
            forget(part)

    def _fetch(self, name: str, part: Path, start: int, stop: int, etag: str = "") -> None:
        self._online(name)
        size = self._file(name).size
        label = part.name.strip(".").removesuffix(".part")
        with ExitStack() as stack:
            bar = self.bar or stack.enter_context(
                tqdm(
                    desc=f"Fetching {label}",
                    total=stop - start,
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    delay=1,
                )
            )
            try:
                fetch(self._url(name), part, start, stop, size, bar.update, etag)
            except Changed:
                raise
            except Failed as error:
                raise self._failed(name, error.why) from error

    def _online(self, name: str) -> None:
        for variable in ("BUILDERS_OFFLINE", "HF_HUB_OFFLINE"):
            if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
                raise self._failed(name, f"it is not on this machine, and {variable} is set")

    def _failed(self, name: str, why: object) -> CorpusError:
        return CorpusError(
            f"cannot fetch {name} of Zenodo record {self.record}",
            where=self._url(),
            why=why,
            fix="try again: what has been fetched is kept; or download the files by hand from "
            f"{self.source} into {self.folder}, or into a folder that "
            f"{self.corpus.upper()}_DATA names",
        )

    def _damaged(self, name: str, why: object) -> CorpusError:
        return CorpusError(
            "a file of the release arrived damaged, and was thrown away",
            where=f"{self._url()}: {name}",
            why=why,
            fix="load again; if it stays so, download it with a browser and compare",
        )

    @contextmanager
    def _missing(self, path: Path) -> Iterator[bool]:
        """Whether a file is missing still, now that this process is the one to fetch it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name.lstrip('.')}.lock")):
                yield not path.exists()
        except OSError as error:
            raise CorpusError(
                "cannot store a file of the release",
                where=path,
                why=error,
                fix="make room and check permissions, or set BUILDERS_HOME to another folder",
            ) from error


def _md5_of(checksum: object) -> str:
    found = re.fullmatch(r"md5:([0-9a-f]{32})", str(checksum))
    if not found:
        raise ValueError(f"checksum {checksum}")
    return found[1]


def _crc_key(path: Path) -> str:
    """What `member_key` is of a file that has this content."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}-{path.stat().st_size}"
