"""The files in a recording's archive: a gzip tar, or the folder it was unpacked into.

A tar stream is read once, from its start to its end, where its checksum is. Nothing is unpacked to
disk, and the sizes that an archive states are checked before memory is allocated for them.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from isal import igzip_lib

from builders.errors import CorpusError, RecordingError
from builders.release.archive import Archive
from builders.release.zips import BAD_ZIP

if TYPE_CHECKING:
    from typing_extensions import Self


#: Names to skip: later views of a signal (``01.X.json``) and files of macOS (``._X.json``).
LEFT_ALONE = re.compile(r"\d\d\.|\.")
GZIP_BLOCK, TAR_BLOCK = 1 << 18, 1 << 20  # bytes: compressed, uncompressed
#: The first bytes of a gzip stream; the bytes at position 257 of a tar header.
GZIP_MAGIC, TAR_MAGIC = b"\x1f\x8b", b"ustar"
#: Limit for all members, in bytes, uncompressed: four times the largest published recording.
#: `LARGEST_HEADER` limits everything else: the headers of one member, the padding at the end.
LARGEST_ARCHIVE, LARGEST_HEADER = 8 << 30, 4 << 20
#: Limit for files in an archive; a published archive has three for each signal.
MAX_MEMBERS = 10_000
#: Limit for gzip streams in one archive; a published archive is a single stream.
MAX_STREAMS = 100_000
#: Errors that reading an archive can raise; `tarfile` passes on as many kinds as `zipfile`.
BAD_ARCHIVE = (OSError, tarfile.TarError, igzip_lib.IsalError, *BAD_ZIP)
#: Limit for text from a file that a message quotes, in characters.
LONGEST_QUOTE = 500


def recording_error(archive: Archive, member: str, why: object, unit: str = "") -> RecordingError:
    """The error for something wrong inside an archive.

    Text from a file may be long, and a terminal may not be able to show it: it is cut and escaped.

    Parameters
    ----------
    archive : Archive
    member : str
        The file inside it.
    why : object
        What is wrong.
    unit : str
        The smallest part of the corpus that the error affects: a cell id or a ``stim_id``. Empty
        if it affects everything in the archive.
    """
    where, reason = (
        text.encode("utf-8", "backslashreplace").decode() for text in (member, str(why))
    )
    return RecordingError(
        "cannot read a recording",
        where=f"{archive}: {where[:LONGEST_QUOTE]}",
        why=reason if len(reason) <= LONGEST_QUOTE else f"{reason[:LONGEST_QUOTE]} ...",
        unit=unit,
        # Not `bool(archive.key)`: an archive in a zip has a key, too, but not a published one.
        is_published=bool(archive.fetch),
    )


class ReadPosition:
    """How far an archive has been read: the name of the current member."""

    member = "the archive itself"


@contextmanager
def reading(archive: Archive) -> Iterator[ReadPosition]:
    """Turn errors of reading an archive into a `CorpusError` that says where they occurred."""
    position = ReadPosition()
    try:
        yield position
    except CorpusError:
        raise
    except BAD_ARCHIVE as error:  # type: ignore[misc]
        why = f"the archive is damaged or incomplete: {error or type(error).__name__}"
        raise recording_error(archive, f"at or after {position.member}", why) from error


class Inflated(io.RawIOBase):
    """The decompressed content of a gzip file, verified against the checksum at its end.

    ISA-L inflates a raster of 1.9 GB five times faster than zlib does. ISA-L's own file object, at
    damaged data, withholds the bytes before the damage. This class returns them first, and so
    the error can say where the damage is.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        #: How many more bytes may be read; None for no limit.
        self.allowed: int | None = None
        self._packed = packed
        self._position = 0
        self._streams = 1
        self._stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        if self.allowed is not None:
            if not 0 <= size <= self.allowed:
                raise tarfile.ReadError(f"headers or padding of more than {LARGEST_HEADER} bytes")
            self.allowed -= size
        return self._read(size)

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing and (piece := self._piece(missing)):
            pieces.append(piece)
            missing -= len(piece) if size > 0 else 0
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._position += len(content)
        return content

    def _piece(self, size: int) -> bytes:
        while True:
            more = b""
            if self._stream.eof:
                more = self._stream.unused_data or self._packed.read(GZIP_BLOCK)
                while len(more := more.lstrip(b"\0")) < len(GZIP_MAGIC) and (
                    block := self._packed.read(GZIP_BLOCK)
                ):
                    more += block
                if not more.startswith(GZIP_MAGIC):  # padding, or bytes that gzip readers ignore
                    return b""
                # Another stream follows: the content is that of all streams in a row.
                self._streams += 1
                if self._streams > MAX_STREAMS:
                    raise tarfile.ReadError(f"it has more than {MAX_STREAMS} gzip streams")
                self._stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            elif self._stream.needs_input and not (more := self._packed.read(GZIP_BLOCK)):
                raise EOFError("it ends before the end of its gzip stream")
            if content := self._stream.decompress(more, size):
                return bytes(content)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek forward only; `tarfile` needs no more between two members."""
        if whence != io.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("a gzip stream is read from the front to the end")
        while self._position < offset and self._read(min(TAR_BLOCK, offset - self._position)):
            pass
        return self._position


class _Header(tarfile.TarInfo):
    """A member's header; raises if it is damaged, where `tarfile` would see the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):  # the end of the archive, or a part of the end
                raise
            raise tarfile.ReadError(f"no header where a member should begin: {error}") from error


def members(
    archive: Archive, position: ReadPosition
) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    """Base name, content and size of each file, except empty files and names in `LEFT_ALONE`.

    The content of a link or a device is None. A tar may hold a file more than once: the last one
    counts.

    Raises
    ------
    CorpusError
        If a member's path leads out of the archive.
    tarfile.ReadError
        If a header is damaged, or a limit of this module is exceeded.
    """
    if archive.path.is_dir():
        for path in archive.files():
            position.member = path.name
            size = path.stat().st_size
            if size and not LEFT_ALONE.match(path.name):
                with path.open("rb") as file:
                    yield path.name, file, size
        return
    with archive.open() as packed:
        stream = Inflated(packed)
        stream.allowed, total = LARGEST_HEADER, 0
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
            for count, info in enumerate(tar, 1):
                position.member = info.name.rpartition("/")[2]
                if why := _why_refused(info):
                    raise recording_error(archive, info.name, why)
                total += info.size
                if total > LARGEST_ARCHIVE or count > MAX_MEMBERS:
                    raise tarfile.ReadError(f"{count} members of {total} bytes unpacked, or more")
                is_plain = info.isfile() and not info.issparse()
                content = tar.extractfile(info) if is_plain and info.size else None
                if (content or not (is_plain or info.isdir())) and not LEFT_ALONE.match(
                    position.member
                ):
                    stream.allowed = None
                    yield position.member, content, info.size
                stream.allowed = LARGEST_HEADER
        while rest := stream.read(TAR_BLOCK):  # to the gzip trailer, where the checksum is
            # Tar readers ignore this part, but a member in it would be lost: refuse it.
            if any(
                rest[at : at + len(TAR_MAGIC)] == TAR_MAGIC for at in range(257, len(rest), 512)
            ):
                raise tarfile.ReadError("more members follow after the end of its members")


def _why_refused(info: tarfile.TarInfo) -> str:
    """Why a member is refused, even if no caller needs it; empty if it is accepted."""
    if info.name.startswith("/") or ".." in PurePosixPath(info.name).parts:
        return "its path leads out of the archive"
    if info.size < 0:
        return f"its size is {info.size}"
    return ""
