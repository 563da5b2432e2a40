"""Files that others rely on: written as a whole or not at all, by one process at a time."""

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

#: How a disk says that it has no locks. `FileLock` itself makes do where it says ENOSYS.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, and never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(content)
    settle(temporary, path)


def settle(temporary: Path, path: Path) -> None:
    """Give a file that has been written its name, by which others will take it for whole.

    Its bytes reach the disk first: else a power cut might leave the name, and not the content.
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
    """Be the only process that holds this lock; the file stays where it is.

    On a disk that has no locks, a second file stands for the lock. A process that is killed there
    may leave it behind.

    Parameters
    ----------
    path : Path
        The lock's file; its folder is made.
    timeout : float
        Seconds to wait; for ever if negative.

    Raises
    ------
    filelock.Timeout
        If it took longer.
    OSError
        If the file cannot be written.
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


#: Tells one content of a raw file from another, fifteen times faster than sha256 does; whoever can
#: forge it can write the user's files anyway.
FINGERPRINT = "xxh3_128"


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


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and those below it; each of them may be a link to a folder."""
    found, seen = [], set()
    for top, folders, names in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(top)) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        found += [Path(top) / name for name in names]
    return sorted(found)


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where there is none."""
    return total_size(files_below(folder))


def total_size(files: Iterable[Path]) -> int:
    """Bytes of these files; a link that leads nowhere has none."""
    size = 0
    for path in files:
        with suppress(OSError):
            size += path.stat().st_size
    return size


def megabytes(size: int) -> str:
    """A number of bytes, to be read."""
    return f"{size / 1e6:,.1f} MB"
