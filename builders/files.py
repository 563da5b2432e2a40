"""File helpers: atomic writes, locks between processes, checksums, sizes, the cache folder."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
import xxhash
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from builders.errors import CorpusError, CorpusWarning

#: Error codes of a disk without file locks. `FileLock` itself handles ENOSYS.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(content)
    settle(temporary, path)


def settle(temporary: Path, path: Path) -> None:
    """Rename a completely written temporary file to its final name.

    The content is flushed to disk first: otherwise a power cut could leave the final name with
    incomplete content.
    """
    _sync(temporary)
    temporary.replace(path)
    with suppress(OSError):  # where a folder cannot be opened, as on Windows
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock that one process at a time can have; the lock's file is not deleted.

    On a disk without file locks, the existence of a second file, ``<name>.held``, is the lock. If
    the process is killed, this second file may stay behind.

    Parameters
    ----------
    path : Path
        The lock's file; its folder is created if needed.
    timeout : float
        Seconds to wait; without limit if negative.

    Raises
    ------
    filelock.Timeout
        If another process still holds the lock after `timeout`.
    OSError
        If the lock's file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock: BaseFileLock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.held"), timeout=timeout)
        warnings.warn(
            f"the disk of {path.parent} has no locks: {lock.lock_file} is used in their place; if "
            "nothing goes on although no other process is at work, delete it, or set BUILDERS_HOME "
            "to a folder on another disk",
            CorpusWarning,
            stacklevel=3,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


#: Bytes that are read at once for a checksum: they stay in the processor's cache.
DIGEST_BLOCK = 1 << 18
#: Hash that detects changed raw files, fifteen times faster than sha256. It is not secure against
#: forgery, but an attacker who can change these files can write all of the user's files anyway.
FINGERPRINT = "xxh3_128"


def home() -> Path:
    """The folder of all caches: ``$BUILDERS_HOME``, or ``builders`` in the user's cache folder."""
    if named := os.environ.get("BUILDERS_HOME"):
        return user_path("BUILDERS_HOME", named)
    return Path(platformdirs.user_cache_dir("builders"))


def user_path(variable: str, path: str) -> Path:
    """Expand ``~`` in a path that was read from an environment variable.

    Raises
    ------
    CorpusError
        If ``~`` names an unknown user, or the file system cannot have such a path.
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


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal checksum of a file; `algorithm` is a name of hashlib, or `FINGERPRINT`."""
    found = (
        xxhash.xxh3_128()
        if algorithm == FINGERPRINT
        else hashlib.new(algorithm, usedforsecurity=False)
    )
    block = memoryview(bytearray(DIGEST_BLOCK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            found.update(block[:size])
    return found.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, sorted; links to folders are followed."""
    found, seen = [], set()
    for top, folders, names in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(top)) in seen:  # a link to a folder that was visited already
            folders.clear()
            continue
        seen.add(place)
        found += [Path(top) / name for name in names]
    return sorted(found)


def folder_size(folder: Path) -> int:
    """Total size of all files in a folder, in bytes; 0 if the folder does not exist."""
    return total_size(files_below(folder))


def total_size(files: Iterable[Path]) -> int:
    """Total size of these files in bytes; a broken link counts 0."""
    size = 0
    for path in files:
        with suppress(OSError):
            size += path.stat().st_size
    return size


def megabytes(size: int) -> str:
    """A number of bytes as text for people, in MB."""
    return f"{size / 1e6:,.1f} MB"
