"""Reads shards in order, while those that are not built yet are built.

`datasets` copies a corpus from Parquet to Arrow with one processor, and reading Parquet takes most
of that time. So whoever needs many shards gets the rows of a new one straight from the thread that
writes it, and the shards after it are built meanwhile. What does not fit into memory is read from
the shard.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from multiprocess import parent_process

from builders.shards.cache import ShardCache
from builders.shards.feed import Feed, Room
from builders.shards.job import Job
from builders.threads import Threads, run_beside

#: How many jobs are begun before their shards are read.
MOST_JOBS = 3
#: Bytes of rows that wait in memory for their reader.
MOST_WAITING = 48 << 20
_READING = Threads(1)


@dataclass(frozen=True)
class Wanted:
    """A shard that is to be read."""

    cache: ShardCache
    job: Job
    path: str

    @property
    def of(self) -> tuple[Path, str]:
        """What is the same for all shards of one job, and different for others."""
        return self.cache.root, self.job.name


def read_ahead(wanted: Sequence[Wanted]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the row groups of some shards, in order; build those that are missing.

    Parameters
    ----------
    wanted : sequence of Wanted
        The shards.

    Yields
    ------
    (int, pyarrow.Table)
        The number of a shard in `wanted`, and a part of its rows.

    Raises
    ------
    CorpusError
        If a shard cannot be built. Some of its rows may have been yielded before.
    """
    by_job: dict[tuple[Path, str], list[Wanted]] = {}
    for each in wanted:
        by_job.setdefault(each.of, []).append(each)
    room = Room(MOST_WAITING)
    builds = {of: _Build(shards, room) for of, shards in by_job.items()}
    coming = set(builds)
    # A worker of `datasets` runs one: the other workers run theirs.
    window = threading.Semaphore(1 if parent_process() else MOST_JOBS)
    is_over = False

    def begin_all() -> None:
        for build in builds.values():
            window.acquire()
            if is_over:
                break
            build.begin()

    # A thread of its own, since beginning a build waits until the one before has ended.
    run_beside(begin_all)
    try:
        # A job may have shards further on, in another area: those are read from their files.
        for of, shards in groupby(enumerate(wanted), lambda pair: pair[1].of):
            for number, each in shards:
                for table in builds[of].tables(each):
                    yield number, table
                pa.default_memory_pool().release_unused()  # what this thread has freed
            builds[of].leave()
            if of in coming:
                coming.remove(of)
                window.release()
    finally:
        is_over = True
        window.release()


class _Build:
    """A job that builds some shards, and their feeds."""

    def __init__(self, shards: Sequence[Wanted], room: Room) -> None:
        self._first = shards[0]
        self._feeds = {each.path: Feed(room) for each in shards}
        self._unread = dict(self._feeds)
        self._begun: Future[Future[Path]] = Future()

    def begin(self) -> None:
        """Begin, once a thread is free. Errors are raised to the reader."""

        def stop(_: object = None) -> None:
            for feed in self._feeds.values():
                feed.stop()

        try:
            built = self._first.cache.begin(self._first.job, self._first.path, self._feeds)
            built.add_done_callback(stop)
            self._begun.set_result(built)
        except BaseException as error:
            self._begun.set_exception(error)
            stop()

    def tables(self, shard: Wanted) -> Iterator[pa.Table]:
        """The row groups of a shard: those that its feed gives, and the others from its file."""
        feed, n_read = self._unread.pop(shard.path, None), 0
        for table in feed or ():
            yield table
            n_read += 1
        if not (feed and feed.is_whole):
            yield from _one_ahead(row_groups(self._file(shard), n_read))

    def _file(self, shard: Wanted) -> Path:
        file = self._begun.result().result()
        return file if shard == self._first else shard.cache.shard(shard.job, shard.path)

    def leave(self) -> None:
        """Wait for its end, raise if it has failed, and drop what the feeds still hold."""
        self._begun.result().result()
        for feed in self._unread.values():
            for _ in feed:
                pass
        self._unread.clear()


def row_groups(file: Path, first: int) -> Iterator[pa.Table]:
    """The row groups of a shard, from a number on."""
    with pq.ParquetFile(file) as shard:
        for number in range(first, shard.num_row_groups):
            yield shard.read_row_group(number, use_threads=False)


def _one_ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Read the next table in a thread, while the one before is used."""
    coming = _READING.submit(next, tables, None)
    while (table := coming.result()) is not None:
        coming = _READING.submit(next, tables, None)
        yield table
