"""Reads shards in order, while those that are not built yet are built.

`datasets` copies a corpus from Parquet to Arrow with one processor, and reading Parquet takes most
of that time. So whoever needs many shards gets the rows of a new one straight from the thread that
writes it, and the shards after it are built meanwhile. What does not fit into memory is read from
the shard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from multiprocess import parent_process

from builders.shards.feed import Feed, Room
from builders.shards.wanted import Wanted
from builders.threads import Threads, in_turn, run_beside

#: How many jobs are begun before their shards are read.
MOST_JOBS = 3
#: Bytes of rows that wait in memory for their reader.
MOST_WAITING = 48 << 20
#: How many row groups are read from files at once.
READ_AT_ONCE = 2
_READING = Threads(READ_AT_ONCE)


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
        by_job.setdefault(_job_of(each), []).append(each)
    room = Room(MOST_WAITING)
    builds = {of: _Build(shards, room) for of, shards in by_job.items()}
    coming = set(builds)
    # A worker of `datasets` runs one: the other workers run theirs.
    window = threading.Semaphore(1 if parent_process() else MOST_JOBS)
    is_over = False

    def coming_job(shard: Wanted) -> tuple[Path, str] | None:
        of = _job_of(shard)
        return of if of in coming else None

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
        for of, shards in groupby(enumerate(wanted), lambda pair: coming_job(pair[1])):
            if of is None:
                yield from _read((number, each, 0) for number, each in shards)
                continue
            for number, each in shards:
                yield from builds[of].tables(number, each)
                pa.default_memory_pool().release_unused()  # what this thread has freed
            builds[of].leave()
            coming.remove(of)
            window.release()
    finally:
        is_over = True
        window.release()


def _job_of(shard: Wanted) -> tuple[Path, str]:
    """What is the same for all shards of one job, and different for others."""
    return shard.cache.root, shard.job.name


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

    def tables(self, number: int, shard: Wanted) -> Iterator[tuple[int, pa.Table]]:
        """The row groups of a shard: those that its feed gives, and the others from its file."""
        feed, n_read = self._unread.pop(shard.path, None), 0
        for table in feed or ():
            yield number, table
            n_read += 1
        if not (feed and feed.is_whole):
            self._wait()
            yield from _read([(number, shard, n_read)])

    def leave(self) -> None:
        """Wait for its end, raise if it has failed, and drop what the feeds still hold."""
        self._wait()
        for feed in self._unread.values():
            for _ in feed:
                pass
        self._unread.clear()

    def _wait(self) -> None:
        self._begun.result().result()
        self._first.check()


def _read(shards: Iterable[tuple[int, Wanted, int]]) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of some shards from their files; of each shard, from a number on."""

    def reads() -> Iterator[Callable[[], tuple[int, pa.Table]]]:
        for number, shard, first in shards:
            file = shard.open(lambda file: pa.memory_map(str(file)))  # readable if it is deleted
            metadata = pq.read_metadata(file)
            for group in range(first, metadata.num_row_groups):
                yield partial(read, number, file, metadata, group)

    def read(number: int, file: Any, metadata: pq.FileMetaData, group: int) -> tuple[int, pa.Table]:
        # A reader of its own: two threads cannot use the same one.
        with pq.ParquetFile(file, metadata=metadata) as reader:
            return number, reader.read_row_group(group, use_threads=False)

    return in_turn(reads(), _READING, READ_AT_ONCE)
