"""Tars of archives: unpacked once, in one pass, into a folder of ``$BUILDERS_HOME``.

A gzip stream can only be read from its start. So its archives, which are packed themselves, are
copied out of it once. They count as there when the index is: it is written last, after the end of
the stream, whose checksum is there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from datasets.utils import tqdm
from isal import igzip, igzip_lib

from builders.errors import CorpusError
from builders.files import home, locked, replace_file
from builders.release.archive import Archive, stat_key
from builders.release.folders import archive_name
from builders.release.zips import BAD_ZIP, LITTER

#: The folders of unpacked archives begin so, below ``releases/<corpus>/``.
UNPACKED = "unpacked-"
LOCK = ".index.lock"
#: Limit in bytes for all archives in a tar; the largest published tar has 0.64 GB.
LARGEST_TAR = 64 << 30
BLOCK = 1 << 20
BAD_TAR = (gzip.BadGzipFile, tarfile.TarError, igzip_lib.IsalError, *BAD_ZIP)
#: Archive name -> its size, and the CRC-32 of its bytes.
Index = dict[str, tuple[int, int]]


def archives_in_tar(corpus: str, outer: Path, suffix: str) -> dict[str, Archive]:
    """Name -> archive in a tar of the release, which is unpacked now unless it is already.

    Raises
    ------
    CorpusError
        If the tar is damaged, holds a name twice, or exceeds `LARGEST_TAR`.
    """
    name = hashlib.sha256(str(outer.absolute()).encode()).hexdigest()[:16]
    folder = home() / "releases" / corpus / f"{UNPACKED}{name}"
    return {
        each: Archive(
            each,
            folder / each,
            key=f"{crc:08x}-{size}",
            size=size,
            fetch=partial(_unpacked, outer, folder, suffix),
        )
        for each, (size, crc) in _unpacked(outer, folder, suffix).items()
    }


def _unpacked(outer: Path, folder: Path, suffix: str) -> Index:
    """The index of an unpacked tar; unpacks it first if the index, or an archive, is missing."""
    index = folder / ".index.json"
    if (known := _known(index, outer)) is not None:
        return known
    try:
        with locked(folder / LOCK):
            if (known := _known(index, outer)) is not None:
                return known
            index.unlink(missing_ok=True)
            found = _unpack(outer, folder, suffix)
            for old in folder.iterdir():
                if old.name not in (*found, LOCK):
                    old.unlink()
            seen = {"stat": stat_key(outer), "archives": found}
            replace_file(index, json.dumps(seen).encode())
            return found
    except OSError as error:
        raise CorpusError(
            "cannot unpack a tar of the release",
            where=folder,
            why=error,
            fix="make room and check permissions, or set BUILDERS_HOME to another folder",
        ) from error


def _known(index: Path, outer: Path) -> Index | None:
    """The index, if it is of the present tar, and all archives are there."""
    try:
        seen = json.loads(index.read_bytes())
        known = {str(name): (int(size), int(crc)) for name, (size, crc) in seen["archives"].items()}
        is_whole = all(
            (index.parent / name).stat().st_size == size for name, (size, _) in known.items()
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return known if is_whole and seen["stat"] == stat_key(outer) else None


def _unpack(outer: Path, folder: Path, suffix: str) -> Index:
    """Copy the archives out of a tar, and read it to its end."""
    found: Index = {}
    with (
        _reading(outer),
        outer.open("rb") as raw,
        tqdm(
            desc=f"Unpacking {outer.name}",
            total=outer.stat().st_size,
            unit="B",
            unit_scale=True,
            leave=False,
            delay=1,
        ) as bar,
    ):
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with igzip.open(raw) if is_packed else raw as stream:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as tar:
                for info in tar:
                    if name := _wanted(info, suffix):
                        content = tar.extractfile(info)
                        total = sum(size for size, _ in found.values()) + info.size
                        if name in found:
                            raise ValueError(f"{name} is there twice")
                        if content is None or total > LARGEST_TAR:
                            raise ValueError(f"its archives have more than {LARGEST_TAR} bytes")
                        found[name] = info.size, _copy(content, folder / name, info.size)
                    bar.update(raw.tell() - bar.n)
            while stream.read(BLOCK):
                pass
    return found


def _wanted(info: tarfile.TarInfo, suffix: str) -> str:
    """The name of an archive; empty for all else in a tar."""
    parts = info.name.split("/")
    # On Windows, a backslash separates folders, and what follows a colon is another stream.
    if info.name.startswith("/") or ".." in parts or set(parts[-1]) & set("\\:"):
        raise ValueError(f"{info.name!r} leads out of the tar")
    is_file = info.isreg() and not info.issparse()
    if not is_file or any(part.startswith(LITTER) for part in parts):
        return ""
    return archive_name(parts[-1], suffix)


def _copy(content: IO[bytes], path: Path, size: int) -> int:
    """Copy an archive; returns its CRC-32."""
    part, crc = path.with_name(f".{path.name}.part"), 0
    with part.open("wb") as file:
        while block := content.read(BLOCK):
            crc = zlib.crc32(block, crc)
            file.write(block)
        if file.tell() != size:
            raise ValueError(f"{path.name} has {file.tell()} bytes of {size}")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return crc


@contextmanager
def _reading(outer: Path) -> Iterator[None]:
    try:
        yield
    except CorpusError:
        raise
    except BAD_TAR as error:  # type: ignore[misc]
        raise CorpusError(
            "cannot read a tar of the release",
            where=outer,
            why=error,
            fix="compare it with the published file, or delete it so that it is fetched again",
        ) from error
