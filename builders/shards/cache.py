"""Builds shards, and caches those that have been built.

A shard is a Parquet file, which is small, for whoever opens it; or an Arrow file, which is fast,
for a load that maps it into memory. A build writes each shard in the one way that is asked for, so
that a load does not write it twice.

The file name of a cached shard contains its ETag and its checksum. Only a complete shard gets such
a name: it is written under a temporary name and then renamed, under a lock that processes share. A
shard that no longer matches its checksum is built again.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils import tqdm
from filelock import Timeout

from builders.conventions import SUBSETS
from builders.errors import CorpusError, RecordingError
from builders.files import home, locked, replace_file
from builders.shards.job import Job
from builders.shards.named import checksum_of, is_beside, is_sound, named, notes_file, suffix
from builders.shards.notes import Note, Notes, from_json, to_json
from builders.shards.writer import Form, Writer
from builders.threads import Threads, renewed_in_children

#: Digits of an ETag, and of its prefix, which all ETags of one version of the code share.
ETAG_DIGITS, MARK_DIGITS = 32, 8
#: How long shards of another version of the code are kept, in seconds: 30 days.
KEPT = 30 * 24 * 3600
#: How long Arrow files are kept that no data set uses any more, in seconds: a day.
KEPT_UNUSED = 24 * 3600
#: Freed memory is returned to the system once this many bytes of tables were built. Not after each
#: build: asking for the same memory again makes a load of one site some 15 % slower.
GIVEN_BACK = 128 << 20


def _give_memory_back() -> None:
    """Return to the system the freed memory that Arrow and glibc keep for later requests."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


# `datasets` opens shards in 16 threads at once. Sixteen recordings would take too much memory, and
# even one after the other, sixteen threads would leave sixteen fragmented heaps. With two threads,
# one recording is read while the other is written.
_BUILDING = Threads(2)
# Two shards are written at once. The thread that writes a row group also makes it, and so reuses
# the memory that its previous row group has freed.
_WRITING = Threads(2)


def _renew_bars() -> None:
    """Renew the locks of progress bars: at the fork, another thread may have held one."""
    for each in tqdm.mro():
        if "_lock" in vars(each):
            each.set_lock(threading.RLock())


renewed_in_children(_renew_bars)
# A collection writes to every object it looks at. In a worker it would so copy the memory that the
# worker shares with its parent.
renewed_in_children(gc.freeze)


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
        # The prefix of all ETags of this code.
        self._mark = hashlib.sha256(code.encode()).hexdigest()[:MARK_DIGITS]
        self._built_bytes = 0  # since memory was last given back

    def etag(self, job: Job) -> str:
        """The ETag of a job: changes exactly when its shards' content may. Opens no archive."""
        return self._etag(job, [archive.keys() for archive in job.archives()])

    def is_pinned(self, job: Job, etag: str) -> bool:
        """Whether the content is still the one that was listed with this ETag.

        Archives that are not named after the session are found only while its first shard is built.
        The job then has more archives than when it was listed; this alone is no change of content.
        """
        keys = [archive.keys() for archive in job.archives()]
        return any(etag == self._etag(job, keys[:n]) for n in range(len(keys), -1, -1))

    def find(self, path: str, etag: str, form: Form | None = None) -> Path | None:
        """The shard's file, or None if it is not built; only `shard` verifies the checksum."""
        place = self.root / path
        return next(place.parent.glob(f"{place.stem}.{etag}.*{suffix(form)}"), None)

    def has_any(self, path: str) -> bool:
        """Whether there is a file of a shard, of any version."""
        place = self.root / path
        return next(place.parent.glob(f"{place.stem}.*"), None) is not None

    def notes(self, path: str, etag: str) -> list[Note] | None:
        """The notes on a shard; None if it is not built, or its notes are damaged."""
        place = self.root / path
        try:
            # They stay true if the shard is removed: a data set may have a copy of it.
            return from_json(notes_file(place, etag).read_bytes())
        except FileNotFoundError:
            files = place.parent.glob(f"{place.stem}.{etag}.*")
            return [] if any(file.suffix in (".parquet", ".arrow") for file in files) else None
        except (ValueError, TypeError):  # damaged by a failing disk
            return None

    def shard(
        self,
        job: Job,
        path: str,
        form: Form | None = None,
        beside: Collection[str] = (),
        timeout: float = -1,
    ) -> Path:
        """The shard's file. If it is missing or damaged, it is built, with others of its job.

        An error in another shard of the job does not stop this one from being built.

        Parameters
        ----------
        job : Job
        path : str
            One of the job's paths.
        form : Form, optional
            Of an Arrow file; by default, it is a Parquet file.
        beside : collection of str
            The paths that will be asked for in the same form. The others are not built if the job
            is of one session, and are written as Parquet if it is of many.
        timeout : float
            How long to wait for another process that builds the job, in seconds; without limit if
            negative.

        Raises
        ------
        CorpusError
            If it cannot be built. No partial file is left.
        filelock.Timeout
            If another process is still building the job after `timeout`.
        """
        file = self.find(path, self.etag(job), form)
        if file and is_sound(file):
            return file
        in_form = {path, *beside}
        return _BUILDING.submit(self._find_or_build, job, path, form, in_form, timeout).result()

    def _find_or_build(
        self, job: Job, path: str, form: Form | None, in_form: Collection[str], timeout: float
    ) -> Path:
        try:
            with locked(self.root / "locks" / f"{job.name}.lock", timeout):
                etag = self.etag(job)
                if found := self._find_sound(path, etag, form):
                    return found
                if form and (parquet := self._find_sound(path, etag)):
                    return self._convert(job, path, etag, parquet, form)
                return self._build(job, path, form, in_form)
        except RecordingError as error:
            raise error.of(self.corpus, job.session) from error
        except Timeout:
            raise
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

    def _find_sound(self, path: str, etag: str, form: Form | None = None) -> Path | None:
        file = self.find(path, etag, form)
        return file if file and is_sound(file) else None

    def _convert(self, job: Job, path: str, etag: str, parquet: Path, form: Form) -> Path:
        """Make an Arrow file of a Parquet file."""
        partial = (self.root / path).with_suffix(f".{etag}.partial")
        try:
            with (
                pq.ParquetFile(parquet, memory_map=True) as reader,
                Writer(partial, job.features, form) as writer,
            ):
                for group in range(reader.num_row_groups):
                    writer.append(reader.read_row_group(group, use_threads=False))
            return named(partial, checksum_of(partial, is_arrow=True), form)
        finally:
            partial.unlink(missing_ok=True)

    def _build(self, job: Job, path: str, form: Form | None, in_form: Collection[str]) -> Path:
        archives = job.archives()
        keys = [archive.keys() for archive in archives]
        etag = self._etag(job, keys)
        # To read a session again is fast, so a load leaves out what it does not need. To read what
        # many sessions share is not, so the other shards are written, too.
        wanted = [each for each in job.paths if each in in_form or not (form and job.session)]
        forms = {each: form if each in in_form else None for each in wanted}
        missing = [
            each
            for each in forms
            if not (self._find_sound(each, etag, forms[each]) or self._find_sound(each, etag))
        ]
        finals = {}
        partials = {each: (self.root / each).with_suffix(f".{etag}.partial") for each in missing}
        for partial in partials.values():
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
        try:
            notes = Notes()
            written, errors = self._write(job, partials, forms, notes)
            for archive, seen in zip(archives, keys, strict=True):
                archive.confirm(seen)
            for each, checksum in written.items():
                noted = notes_file(self.root / each, etag)
                if of_shard := notes.of(each):
                    replace_file(noted, to_json(of_shard))
                final = finals[each] = named(partials[each], checksum, forms[each])
                for other in final.parent.glob(f"{Path(each).stem}.*"):
                    is_kept = other in (final, noted) or is_beside(other, final)
                    if not is_kept and self._is_done_with(other):
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

    def drop_unused(self) -> None:
        """Remove the Arrow files that no data set of `datasets` has been using for a day.

        Their data sets have other names for the same files; what has no other name is unused.
        """
        for file in self.root.rglob("*.arrow"):
            with suppress(OSError):  # removed by another process, or not ours to remove
                stat = file.stat()
                if stat.st_nlink == 1 and time.time() - stat.st_ctime > KEPT_UNUSED:
                    file.unlink()

    def _is_done_with(self, file: Path) -> bool:
        """Whether a file can be removed: this code wrote it, or it is older than `KEPT`.

        Files of this code are of another version of the archive, damaged or unfinished. Newer files
        of other code are kept: two installations of the package would otherwise remove each other's
        shards in turn.
        """
        _, _, rest = file.name.partition(".")
        try:
            return rest.startswith(self._mark) or time.time() - file.stat().st_mtime > KEPT
        except FileNotFoundError:
            return False

    def _write(
        self, job: Job, files: dict[str, Path], forms: dict[str, Form | None], notes: Notes
    ) -> tuple[dict[str, str], dict[str, CorpusError]]:
        """Write the shards; returns each one's checksum, or the error that prevented it."""

        def write(tables: Iterable[pa.Table], path: str, file: Path) -> str:
            with Writer(file, job.features, forms[path]) as writer:
                for table in tables:
                    _check_subset(table, path)
                    writer.append(table)
                    self._built_bytes += table.nbytes
                    del table  # free it before the next one is made
                    progress.update()
            return checksum_of(file, forms[path] is not None)

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
    """Raise if rows belong to another subset than the shard: no split may mix subsets."""
    subset = Path(path).name.partition(".")[0].partition("-")[0]
    if subset in SUBSETS and "subset" in table.column_names:
        others = set(table["subset"].unique().to_pylist()) - {subset}
        if others:
            raise CorpusError(f"rows of {others} were made for {path}", fix="please report this")
