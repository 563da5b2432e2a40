"""Reads the zips of a release: their members, and the position of each."""

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

#: Errors that reading a zip or one of its members can raise.
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression method that `zipfile` lacks
    RuntimeError,  # a zip with a password
    # Raised by `zipfile` for invalid numbers and texts in the zip's directory.
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
#: Limit for an unpacked member, in bytes; published ones have 65 MB on average.
LARGEST_MEMBER = 1 << 30
#: First characters of the names that macOS adds: ``._CLT027c.tgz``, ``__MACOSX``.
LITTER = (".", "__")

#: What a user can do about a zip on disk, and about a zip of which only the end was fetched.
COMPARE = (
    "compare its md5 with the published one: if they differ, replace it; if they agree, it was "
    "published like this, which its authors should know"
)
LOAD_AGAIN = "load again; if it stays so, it was published like this, which its authors should know"


class MissingPart(Exception):
    """A byte was read that is in none of the available parts."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Damaged(Exception):
    """Bytes do not match their checksum, or cannot be unpacked."""


class Sparse(io.RawIOBase):
    """A read-only view of a large file of which only some parts are available.

    Parameters
    ----------
    size : int
        Size of the whole file.
    parts : mapping of int to Path
        Position at which a part begins -> the file that holds the part.
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
    """Members of a zip: base name -> member; full name -> first byte and end of its span."""

    members: dict[str, zipfile.ZipInfo]
    spans: dict[str, tuple[int, int]]


def member_key(info: zipfile.ZipInfo) -> str:
    """A key for a member's content: its CRC and size, from the zip's directory."""
    return f"{info.CRC:08x}-{info.file_size}"


def read_index(path: Path, size: int = 0) -> Index:
    """Read the directory of a zip.

    Parameters
    ----------
    path : Path
        The zip, or only the end of it.
    size : int
        Bytes of the whole zip; 0 if `path` is the whole zip.

    Raises
    ------
    CorpusError
        If it is not a zip; if a member's name is not allowed (absolute, with ``..`` in it, or the
        same as another member's); or if a member is larger than `LARGEST_MEMBER`.
    MissingPart
        If the directory begins before the available end of the zip.
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
    """Open a member for reading; raises unless it is deflated or stored uncompressed."""
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
