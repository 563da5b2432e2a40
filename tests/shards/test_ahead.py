"""Shards read while others are built: the same rows, from memory or from files, or an error."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders.errors import CorpusError
from builders.shards import ahead
from builders.shards.ahead import read_ahead
from builders.shards.feed import Feed, Room
from builders.shards.wanted import Wanted
from tests.releases import copy_release

A1, PEG = "corpus://wingert2026/data/A1/*/est.parquet", "corpus://wingert2026/data/PEG/*/*.parquet"
#: No row group, the first few of the shards, and all.
ROOMS = (0, 12 << 20, 1 << 40)


def wanted(*globs: str) -> list[Wanted]:
    filesystem: Any = fsspec.filesystem("corpus")
    return [filesystem.wanted(path) for glob in globs for path in filesystem.glob(glob)]


def rows(
    shards: list[Wanted], reads: list[int] | None = None, slowly: bool = False
) -> list[pa.Table]:
    """The rows of each shard; `reads` gets the numbers from which on files were read.

    If `slowly`, a shard is written to its end before more than its first row group is taken.
    """
    plain = ahead._read

    def read(parts: Iterable[tuple[int, Wanted, int]]) -> Iterator[tuple[int, pa.Table]]:
        parts = list(parts)
        if reads is not None:
            reads.extend(first for _, _, first in parts)
        yield from plain(parts)

    tables: list[list[pa.Table]] = [[] for _ in shards]
    order = [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "_read", read)
        for number, table in read_ahead(shards):
            tables[number].append(table)
            order.append(number)
            if slowly:
                shards[number].cache.shard(shards[number].job, shards[number].path)
    assert all(before <= after for before, after in pairwise(order))
    return [pa.concat_tables(each).combine_chunks() for each in tables]


def expected(shards: list[Wanted]) -> list[pa.Table]:
    return [pq.read_table(each.cache.shard(each.job, each.path)) for each in shards]


def rewrite(shard: Wanted, change: Callable[[bytes], bytes]) -> None:
    """Change the archive of a shard, which is a link to one that all tests share."""
    path = shard.job.archives()[0].path
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content))


@pytest.fixture
def release(own_home: Path, releases: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_release(releases("wingert2026"), own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


@pytest.mark.parametrize("most", ROOMS)
def test_the_rows_are_those_of_the_files(
    release: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(ahead, "MOST_WAITING", most)
    shards, reads = wanted(A1), list[int]()
    found = rows(shards, reads, slowly=True)
    assert all(a.equals(b) for a, b in zip(found, expected(shards), strict=True))
    assert (reads.count(0) == len(shards)) == (most == 0)
    assert bool(reads) == (most < 1 << 40)
    # Now all are built, so that files are read from their beginning.
    reads.clear()
    assert all(a.equals(b) for a, b in zip(rows(shards, reads), found, strict=True))
    assert reads == [0] * len(shards)


@pytest.mark.parametrize("n_fitting", [1, 2])
def test_a_shard_whose_first_row_groups_alone_find_room(
    release: Path, monkeypatch: pytest.MonkeyPatch, n_fitting: int
) -> None:
    def groups(shard: Wanted) -> list[int]:
        with pq.ParquetFile(shard.cache.shard(shard.job, shard.path)) as file:
            return [file.read_row_group(group).nbytes for group in range(file.num_row_groups)]

    shard, reads = max(wanted(A1), key=lambda each: len(groups(each))), list[int]()
    sizes = groups(shard)
    assert len(sizes) > n_fitting, sizes
    shutil.rmtree(shard.cache.root)
    # Arrays that are built may take a little more room than the same arrays when they are read.
    monkeypatch.setattr(ahead, "MOST_WAITING", int(sum(sizes[:n_fitting]) + 0.5 * sizes[n_fitting]))
    found = rows([shard], reads, slowly=True)
    assert reads == [n_fitting]
    assert found[0].equals(expected([shard])[0])


@pytest.mark.parametrize("most_jobs", [1, 3])
def test_jobs_with_shards_in_many_places_and_a_shard_twice(
    release: Path, monkeypatch: pytest.MonkeyPatch, most_jobs: int
) -> None:
    """Sessions that have cells in both areas, both subsets of a session, both probes of one."""
    monkeypatch.setattr(ahead, "MOST_JOBS", most_jobs)
    shards = wanted(A1, PEG)
    shards += [*shards[::-1], shards[0], shards[0]]
    found = rows(shards)
    assert all(a.equals(b) for a, b in zip(found, expected(shards), strict=True))


def test_shards_of_two_corpora(release: Path, home: Path) -> None:
    shards = wanted("corpus://nat4/data/A1/*/val.parquet", PEG)
    assert all(a.equals(b) for a, b in zip(rows(shards), expected(shards), strict=True))


def test_no_shards() -> None:
    assert rows([]) == []


def test_a_damaged_archive_ends_it_where_its_shard_would_come(release: Path) -> None:
    shards = wanted(A1)
    rewrite(shards[1], lambda content: content[:-1000])
    seen = set()

    def read() -> None:
        for number, _ in read_ahead(shards):
            seen.add(number)

    with pytest.raises(CorpusError, match=shards[1].job.session):
        read()
    assert 0 in seen
    assert max(seen) <= 1
    others = [each for each in shards if each.job.session != shards[1].job.session]
    assert all(a.equals(b) for a, b in zip(rows(others), expected(others), strict=True))


def test_an_archive_that_changes_while_it_is_read_gives_no_data(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows may have been handed on before that is known: then the reader gets the error."""
    monkeypatch.setattr(ahead, "MOST_WAITING", 1 << 40)
    shards = wanted(A1)[:1]

    class Changing(Feed):
        def end(self) -> None:
            rewrite(shards[0], lambda content: content + b"\0")
            super().end()

    monkeypatch.setattr(ahead, "Feed", Changing)
    seen: list[Any] = []
    with pytest.raises(CorpusError, match="changed"):
        seen.extend(read_ahead(shards))
    assert not [path for path in own_home.rglob("*.parquet") if path.parent.name == "CLT027c"]


@pytest.mark.parametrize("most", ROOMS)
def test_the_cache_may_be_deleted_while_it_is_read(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    shards = wanted(A1)
    correct = expected(shards)
    monkeypatch.setattr(ahead, "MOST_WAITING", most)
    tables: list[list[pa.Table]] = [[] for _ in shards]
    for number, table in read_ahead(shards):
        for file in (own_home / "builders" / "shards").rglob("*.parquet"):
            file.unlink()
        tables[number].append(table)
    assert all(pa.concat_tables(a).equals(b) for a, b in zip(tables, correct, strict=True))


def test_no_shard_is_read_that_changed_after_it_was_listed(release: Path) -> None:
    """The second time that a job is needed, its archive is another one."""
    shards = [replace(each, etag=each.cache.etag(each.job)) for each in wanted(A1)]
    shards.append(shards[0])
    seen = []

    def read() -> None:
        for number, _ in read_ahead(shards):
            seen.append(number)
            if number == 1:
                rewrite(shards[0], lambda content: content + b"\0")

    with pytest.raises(CorpusError, match="changed since it was listed"):
        read()
    assert max(seen) == len(shards) - 2


def test_whoever_leaves_early_leaves_no_thread_behind(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[threading.Thread] = []

    def run_beside(function: Callable[[], object]) -> None:
        beside.append(threading.Thread(target=function))
        beside[0].start()

    monkeypatch.setattr(ahead, "run_beside", run_beside)
    reading = read_ahead(wanted(A1))
    next(reading)
    reading.close()
    beside[0].join(60)
    assert not beside[0].is_alive()


def test_a_feed_is_cut_at_the_first_table_without_room() -> None:
    tables = [pa.table({"a": range(n)}) for n in (10, 100, 10)]
    room = Room(tables[0].nbytes + tables[2].nbytes)
    feed = Feed(room)
    for table in tables:
        feed.put(table)
    feed.end()
    assert list(feed) == tables[:1]
    assert not feed.is_whole
    again = Feed(room)
    for table in (tables[0], tables[2]):
        again.put(table)
    again.end()
    assert list(again) == [tables[0], tables[2]]
    assert again.is_whole
    stopped = Feed(room)
    stopped.put(tables[0])
    stopped.stop()
    assert list(stopped) == tables[:1]
    assert not stopped.is_whole
