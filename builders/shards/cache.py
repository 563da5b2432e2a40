"""Tables to Parquet, and the cache of the shards built so far.

A shard's file name in the cache carries its ETag and its checksum, and only a shard that was
written whole gets such a name: it is written under a temporary name and renamed, under a lock that
processes share. A shard that no longer has its checksum is built again.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from datasets.utils import tqdm

from builders.conventions import SUBSETS
from builders.errors import CorpusError, RecordingError
from builders.files import digest, home, locked, replace_file
from builders.shards.job import Job
from builders.shards.notes import Note, Notes, from_json, to_json
from builders.shards.parquet import Writer
from builders.threads import Threads, renewed_in_children

#: Digits of the checksum in a shard's name.
SHA256_DIGITS = 32
#: Digits of an ETag, and of how those of one version of the code begin.
ETAG_DIGITS, MARK_DIGITS = 32, 8
#: How long shards of another version of the code are kept, in seconds: 30 days.
KEPT = 30 * 24 * 3600
#: After how many bytes of tables the memory they took is given back. It is not after each build,
#: since it takes a load of one site some 15 % longer to ask for the same memory again.
GIVEN_BACK = 128 << 20


def _give_memory_back() -> None:
    """What threads have freed, and Arrow and glibc keep for the next to ask for memory."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


#: Of the shards that this process has found to have their checksum: inode, size and time.
_CHECKED: dict[Path, tuple[int, int, int]] = {}
# `datasets` opens shards in 16 threads at once. Sixteen recordings in memory would be no help to
# anyone, and even one after the other they leave sixteen fragmented heaps behind. Of two, one is
# read while the other is written.
_BUILDING = Threads(2)
# Two shards are written at once, and each row group is made by the thread that writes it: it takes
# the memory that the last one has just left.
_WRITING = Threads(2)
_BESIDE = Threads(2)  # one for each of those that build


def _renew_bars() -> None:
    """Renew the locks of progress bars: a thread that drew one while forking has kept its lock."""
    for each in tqdm.mro():
        if "_lock" in vars(each):
            each.set_lock(threading.RLock())


renewed_in_children(_renew_bars)


class ShardCache:
    """The shards of one corpus, built when they are first asked for.

    Parameters
    ----------
    corpus : str
        Name of the corpus.
    code : str
        Key of the code that writes the shards; see `builders.corpus.registry.code_key`.
    """

    def __init__(self, corpus: str, code: str) -> None:
        self.corpus = corpus
        self.root = home() / "shards" / corpus
        self._code = code
        # How all its ETags begin.
        self._mark = hashlib.sha256(code.encode()).hexdigest()[:MARK_DIGITS]
        self._built_bytes = 0  # since memory has been given back

    def etag(self, job: Job) -> str:
        """Changes when, and only when, the content of the job's shards may. Opens no archive."""
        return self._etag(job, [archive.keys() for archive in job.archives()])

    def is_pinned(self, job: Job, etag: str) -> bool:
        """Whether the content is the one that had this ETag when it was listed.

        A session that is found in archives of other names becomes known to be there while its
        first shard is built: it then has more archives than when it was listed.
        """
        keys = [archive.keys() for archive in job.archives()]
        return any(etag == self._etag(job, keys[:n]) for n in range(len(keys), -1, -1))

    def find(self, path: str, etag: str) -> Path | None:
        """The shard's file, if it has been built; whether it is sound, only `shard` asks."""
        place = self.root / path
        return next(place.parent.glob(f"{place.stem}.{etag}.*.parquet"), None)

    def has_any(self, path: str) -> bool:
        """Whether there is a file of a shard, of whatever version."""
        place = self.root / path
        return next(place.parent.glob(f"{place.stem}.*.parquet"), None) is not None

    def notes(self, path: str, etag: str) -> list[Note] | None:
        """What is noted of a shard; None as long as nobody knows, since it has not been built."""
        if self.find(path, etag) is None:
            return None
        try:
            return from_json(_notes_file(self.root / path, etag).read_bytes())
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):  # spoilt by a failing disk
            return None

    def shard(self, job: Job, path: str) -> Path:
        """The shard's file; built first, with all others of its job, where it is missing or spoilt.

        An error in another shard of the job does not keep this one from being built.

        Raises
        ------
        CorpusError
            If it cannot be built. Nothing is left behind.
        """
        file = self.find(path, self.etag(job))
        if file and _is_sound(file):
            return file
        return _BUILDING.submit(self._find_or_build, job, path).result()

    def _find_or_build(self, job: Job, path: str) -> Path:
        try:
            with locked(self.root / "locks" / f"{job.name}.lock"):
                file = self.find(path, self.etag(job))
                return file if file and _is_sound(file) else self._build(job, path)
        except RecordingError as error:
            raise error.of(self.corpus, job.session) from error
        except OSError as error:
            raise CorpusError(
                "cannot write a shard",
                where=self.root,
                why=error,
                fix="make room and check permissions, or set BUILDERS_HOME to another folder",
            ) from error
        except MemoryError as error:
            raise CorpusError(
                "not enough memory to write a shard",
                where=f"{self.root}: {job.name}",
                why=error,
                fix="end other programs, or raise the limit (ulimit -v); a site takes some 400 MB",
            ) from error

    def _build(self, job: Job, path: str) -> Path:
        archives = job.archives()
        keys = [archive.keys() for archive in archives]
        etag = self._etag(job, keys)
        missing = [
            each for each in job.paths if not ((file := self.find(each, etag)) and _is_sound(file))
        ]
        finals = {}
        partials = {each: (self.root / each).with_suffix(f".{etag}.partial") for each in missing}
        for partial in partials.values():
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
        try:
            # While the first of the archives is inflated.
            fingerprints = _BESIDE.submit(lambda: [each.fingerprints() for each in archives])
            notes = Notes()
            written, errors = self._write(job, partials, notes)
            for archive, seen, found in zip(archives, keys, fingerprints.result(), strict=True):
                archive.confirm(seen, found)
            for each, checksum in written.items():
                partial = partials[each]
                final = finals[each] = partial.with_suffix(f".{checksum}.parquet")
                noted = _notes_file(self.root / each, etag)
                if of_shard := notes.of(each):
                    replace_file(noted, to_json(of_shard))
                partial.replace(final)
                for other in final.parent.glob(f"{Path(each).stem}.*"):
                    if other not in (final, noted) and self._is_done_with(other):
                        other.unlink(missing_ok=True)
        finally:
            for partial in partials.values():
                partial.unlink(missing_ok=True)
            if self._built_bytes > GIVEN_BACK:
                self._built_bytes = 0
                _give_memory_back()
        if path in errors:
            raise errors[path]
        return finals[path]

    def _is_done_with(self, file: Path) -> bool:
        """Whether a file is of another version of the archive, or a ruin.

        What other code has written is left to it: it may be another installation of the package,
        and the two would remove each other's shards in turn. In `KEPT` it is done with, too.
        """
        _, _, rest = file.name.partition(".")
        try:
            return rest.startswith(self._mark) or time.time() - file.stat().st_mtime > KEPT
        except FileNotFoundError:
            return False

    def _write(
        self, job: Job, files: dict[str, Path], notes: Notes
    ) -> tuple[dict[str, str], dict[str, CorpusError]]:
        """Write the shards; the checksum of each, or why it cannot be made."""

        def write(tables: Iterable[pa.Table], path: str, file: Path) -> str:
            with Writer(file, job.features) as writer:
                for table in tables:
                    _check_subset(table, path)
                    writer.append(table)
                    self._built_bytes += table.nbytes
                    del table  # before the next is made
                    progress.update()
            return digest(file, "sha256")[:SHA256_DIGITS]

        written: dict[str, Future[str]] = {}
        with tqdm(desc=f"Building {job.name}", unit=" tables", leave=False, delay=2) as progress:
            tables = job.tables(notes)
            try:
                for path, file in files.items():
                    written[path] = _WRITING.submit(write, tables[path], path, file)
            finally:
                wait(written.values())
        checksums, errors = {}, {}
        for path, future in written.items():
            try:
                checksums[path] = future.result()
            except CorpusError as error:
                errors[path] = error
        return checksums, errors

    def _etag(self, job: Job, keys: list[dict[Path, str]]) -> str:
        known = sorted(key for each in keys for key in each.values())
        text = json.dumps([self._code, job.cache_key(), job.paths, known])
        return self._mark + hashlib.sha256(text.encode()).hexdigest()[len(self._mark) : ETAG_DIGITS]


def _check_subset(table: pa.Table, path: str) -> None:
    """Raise for rows that belong into the shard of another subset; no split may have them."""
    subset = Path(path).name.partition(".")[0].partition("-")[0]
    if subset in SUBSETS and "subset" in table.column_names:
        others = set(table["subset"].unique().to_pylist()) - {subset}
        if others:
            raise CorpusError(f"rows of {others} were made for {path}", fix="please report this")


def _notes_file(place: Path, etag: str) -> Path:
    return place.with_suffix(f".{etag}.notes")


def etag_of(file: Path) -> str:
    """The ETag that a shard in the cache was built for."""
    return _name_parts(file)[0]


def _name_parts(file: Path) -> tuple[str, str]:
    """ETag and checksum in the name of a shard in the cache."""
    etag, sha256, _ = file.name.split(".")[-3:]
    return etag, sha256


def _is_sound(file: Path) -> bool:
    """Whether a shard has the checksum in its name; read once, as long as it is not touched.

    A disk that fills up, fails or loses power, and whoever opens the file with another program,
    may change it after it has been written.
    """
    try:
        stat = file.stat()
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if _CHECKED.get(file) != seen:
            if digest(file, "sha256")[:SHA256_DIGITS] != _name_parts(file)[1]:
                return False
            _CHECKED[file] = seen
    except OSError:  # gone this very moment, or no longer to be read
        return False
    return True
