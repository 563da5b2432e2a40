"""One task of an export, for any worker: build the shards of a job and write them to `out`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from builders import __version__
from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import matches
from builders.corpus.registry import code_key, find_corpus
from builders.errors import CorpusError
from builders.export.folder import Folder
from builders.export.manifest import Shard, sha256
from builders.files import digest, home
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.cache import ShardCache
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.shards.named import etag_of


@dataclass(frozen=True)
class Task:
    """The description of one job to do; it can be sent to any worker.

    A job reads an archive once and writes all of its shards.

    Attributes
    ----------
    corpus, job : str
        Names of the corpus and the job.
    release : str
        Folder of the user's copy of the release; empty if the release is downloaded.
    code : str
        Key of the code that must write the shards.
    out : str
        Folder or address that the shards are written to.
    sizes : dict of str to (int or None)
        The shards to write, by path; and the size of the file at that path in `out` now.
    """

    corpus: str
    job: str
    release: str
    code: str
    out: str
    sizes: dict[str, int | None]


def user_folder(corpus: type[CorpusBuilder]) -> str:
    """The folder of the user's copy of the release; empty if the release is downloaded."""
    release = corpus.release()
    return "" if release.is_fetched else str(release.folder)


def read_jobs(corpus: str, release: str) -> dict[str, Job]:
    """The jobs of a corpus for the present state of its release, by the paths of their shards."""
    if release and not Path(release).is_dir():
        raise CorpusError(
            f"no release of {corpus} on this machine",
            where=release,
            why="no such folder",
            fix="put the release where all workers see it under the same name",
        )
    stamp = _release(corpus, release).stamp(), tuple(read_excluded(corpus).items())
    return _read_jobs(corpus, release, home(), stamp)


@lru_cache(maxsize=4)
def _read_jobs(corpus: str, release: str, home: Path, stamp: object) -> dict[str, Job]:
    jobs = find_corpus(corpus).jobs(_release(corpus, release))
    return {path: job for job in jobs for path in job.paths}


def _release(corpus: str, folder: str) -> Release:
    builder = find_corpus(corpus)
    return Release(corpus, Path(folder), builder.source) if folder else builder.release()


def write_job(task: Task) -> tuple[dict[str, Shard], list[str]]:
    """Build the shards of a task and write each one to `out`, unless it is there already.

    Returns
    -------
    dict of str to Shard
        All shards of the task, by path.
    list of str
        The paths of the shards that were written.
    """
    corpus, folder = find_corpus(task.corpus), Folder(task.out)
    if code_key(corpus) != task.code:
        raise CorpusError(
            "a worker has another version of this package",
            where=platform.node(),
            why=f"it is version {__version__}, with other code than where the export was started",
            fix="install the same version everywhere",
        )
    cache = ShardCache(task.corpus, task.code)
    job = {job.name: job for job in read_jobs(task.corpus, task.release).values()}[task.job]
    shards, written = {}, []
    for path, size in task.sizes.items():
        file = cache.shard(job, path)
        content = file.read_bytes()
        rows, memory, filtered = _measure(content, path, corpus)
        shards[path] = Shard(
            bytes=len(content),
            sha256=sha256(content),
            rows=rows,
            memory=memory,
            filtered=filtered,
            etag=etag_of(file),
            code=task.code,
            version=__version__,
            sources=_checksums(job.archives()),
            notes=cache.notes(path, etag_of(file)) or [],
        )
        if size != len(content) or folder.sha256(path) != shards[path].sha256:
            folder.write(path, content)
            written.append(path)
    return shards, written


def _measure(
    content: bytes, path: str, corpus: type[CorpusBuilder]
) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """Rows and bytes in memory of a shard; and the same after the filter of each config."""
    filters = {
        config.name: pq.filters_to_expression(config.filters)
        for config in corpus.BUILDER_CONFIGS
        if config.filters is not None
        and any(matches(path, glob) for globs in config.globs.values() for glob in globs)
    }
    sizes = dict.fromkeys(["", *filters], (0, 0))
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        for group in range(file.num_row_groups):
            whole = file.read_row_group(group)
            parts = {"": whole} | {name: whole.filter(each) for name, each in filters.items()}
            for name, part in parts.items():
                sizes[name] = sizes[name][0] + len(part), sizes[name][1] + part.nbytes
    rows, memory = sizes.pop("")
    return rows, memory, sizes


def _checksums(archives: Sequence[Archive]) -> dict[str, str]:
    """The checksum of each archive, or of each file that an archive was unpacked into."""
    found = {}
    for archive in archives:
        if archive.key:  # CRC and size from a zip's directory, or the md5 of a whole file
            found[archive.name] = ("crc32:" if "-" in archive.key else "md5:") + archive.key
            continue
        for file in archive.files():
            stat = file.stat()
            name = (
                archive.name
                if file == archive.path
                else f"{archive.name}/{file.relative_to(archive.path).as_posix()}"
            )
            found[name] = f"sha256:{_digest(file, stat.st_size, stat.st_mtime_ns)}"
    return dict(sorted(found.items()))


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, time: int) -> str:
    return digest(path, "sha256")
