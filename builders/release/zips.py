"""The zips of a release: which members they have, and where each lies."""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from builders.errors import CorpusError
from builders.files import settle

#: What reading a zip or a member of it can end in.
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a method of compression that Python's zip reader lacks
    RuntimeError,  # a zip that asks for a password
    # What `zipfile` lets through when numbers and texts in its directory are none.
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
#: Bytes of a member, unpacked; published ones have 65 MB on average.
LARGEST_MEMBER = 1 << 30
#: How the names begin of what macOS strews about: ``._CLT027c.tgz``, ``__MACOSX``.
LITTER = (".", "__")

#: What to do about a zip that is here, and about one whose end has been fetched.
COMPARE = (
    "compare its md5 with the published one: if they differ, replace it; if they agree, it was "
    "published like this, which its authors should know"
)
LOAD_AGAIN = "load again; if it stays so, it was published like this, which its authors should know"


class MissingPart(Exception):
    """A byte was asked for that is not at hand."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Damaged(Exception):
    """Bytes that do not have their checksum."""


class Sparse(io.RawIOBase):
    """A large file of which some parts are at hand.

    Parameters
    ----------
    size : int
        Of the whole file.
    parts : mapping of int to Path
        Files that hold parts of it, by the position where each begins.
    """

    def __init__(self, size: int, parts: Mapping[int, Path]) -> None:
        self._size = size
        self._position = 0
        self._parts = {start: path.open("rb") for start, path in parts.items()}
        self._ends = {start: start + path.stat().st_size for start, path in parts.items()}

    def close(self) -> None:
        for file in self._parts.values():
            file.close()
        super().close()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the start of the file")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        if self._position >= self._size:
            return b""
        for start, file in self._parts.items():
            if start <= self._position < self._ends[start]:
                file.seek(self._position - start)
                content = file.read(size)
                self._position += len(content)
                return content
        raise MissingPart(self._position)


@dataclass(frozen=True)
class Index:
    """What a zip holds: its members by base name, and where each lies, by full name."""

    members: dict[str, zipfile.ZipInfo]
    spans: dict[str, tuple[int, int]]


def member_key(info: zipfile.ZipInfo) -> str:
    """A key that changes with the content of a member: what the zip's directory says of it."""
    return f"{info.CRC:08x}-{info.file_size}"


def read_index(path: Path, size: int = 0) -> Index:
    """The directory of a zip.

    Parameters
    ----------
    path : Path
        The zip; or the end of one, that has `size` bytes as a whole.
    size : int

    Raises
    ------
    CorpusError
        If it is no zip; if a member's name is not one to be used: absolute, with ``..`` in it, or
        that of another member; or if it is larger than `LARGEST_MEMBER`.
    MissingPart
        If the directory begins before the end that is at hand.
    """
    stat = path.stat()
    return _read_index(path, size or stat.st_size, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=16)
def _read_index(path: Path, size: int, stat: tuple[int, int]) -> Index:
    fix = COMPARE if size == stat[0] else LOAD_AGAIN

    def refused(member: str, why: str) -> CorpusError:
        return CorpusError(
            "refused a zip of the release", where=f"{path}: {member}", why=why, fix=fix
        )

    try:
        with (
            Sparse(size, {size - stat[0]: path}) as sparse,
            zipfile.ZipFile(cast(BinaryIO, sparse)) as file,
        ):
            infos, start_dir = file.infolist(), file.start_dir
    except (*BAD_ZIP, OSError) as error:
        raise CorpusError(
            "cannot read a zip of the release", where=path, why=error, fix=fix
        ) from error
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        invalid = info.filename.startswith("/") or ".." in parts or "\\" in info.orig_filename
        if invalid or not parts:
            raise refused(info.filename, "its path leads out of the zip, or nowhere")
        if info.is_dir() or any(part.startswith(LITTER) for part in parts):
            continue
        if parts[-1] in members:
            raise refused(info.filename, "another member has the same name")
        if info.file_size > LARGEST_MEMBER:
            why = f"it has {info.file_size} bytes unpacked; {LARGEST_MEMBER} is the limit"
            raise refused(info.filename, why)
        members[parts[-1]] = info
    ends = dict(pairwise([*sorted(info.header_offset for info in infos), start_dir]))
    spans = {info.filename: (info.header_offset, ends[info.header_offset]) for info in infos}
    return Index(members, spans)


def open_member(file: zipfile.ZipFile, member: str) -> IO[bytes]:
    """The content of a member, which must be packed as a release's are: with deflate, or not."""
    method = file.getinfo(member).compress_type
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"it is packed by method {method}; only deflate is read")
    return file.open(member)


def extract(size: int, parts: Mapping[int, Path], member: str, path: Path) -> None:
    """Unpack a member from parts of its zip; its CRC is checked."""
    plain = path.with_name(f".{path.name}.plain")
    try:
        with (
            Sparse(size, parts) as sparse,
            zipfile.ZipFile(cast(BinaryIO, sparse)) as file,
            open_member(file, member) as content,
            plain.open("wb") as copy,
        ):
            shutil.copyfileobj(content, copy, 1 << 20)
    except (*BAD_ZIP, MissingPart) as error:
        raise Damaged(error) from error
    else:
        settle(plain, path)
    finally:
        plain.unlink(missing_ok=True)
