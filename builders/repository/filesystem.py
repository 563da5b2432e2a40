"""``corpus://``: each corpus as a virtual dataset repository, whose shards are built when opened.

`fsspec` finds this class by its entry point; `datasets`, pandas and Dask use `fsspec`. A path may
be pinned to its content, ``corpus://<corpus>@<etag>/<path>``; see `builders.repository.pinning`.
"""

from __future__ import annotations

import atexit
import hashlib
import re
import time
import warnings
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, BinaryIO

from datasets import Features
from fsspec.spec import AbstractFileSystem

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import code_key, find_corpus, sound_corpora
from builders.errors import CorpusError, CorpusWarning, MissingError, unknown
from builders.files import home
from builders.release.local import Release
from builders.repository import findings, pinning
from builders.repository.card import CARD, repository_card
from builders.repository.opened import CardFile, ShardFile
from builders.shards.cache import ShardCache
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.shards.named import etag_of
from builders.shards.wanted import Wanted
from builders.threads import Once
from builders.urls import split_path

pinning.install()

# The size of a shard is unknown until it is built. Arrow's value for that is -1; None would make
# `datasets` fail when it chooses its number of threads.
UNKNOWN_SIZE = -1
#: The first character of a glob that is not taken as it is.
MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Repository:
    """The files of one corpus' repository, for the release in its present state."""

    builder: type[CorpusBuilder]
    release: Release
    where: str
    cache: ShardCache
    groups: Once[str, dict[str, Job]] = field(default_factory=lambda: Once(64))

    def jobs(self, path: str = "") -> dict[str, Job]:
        """Shard -> job, of all groups of jobs that may have shards below a path."""
        found = [
            self.groups.get(name, partial(self._group, name)) for name in self.builder.groups(path)
        ]
        if len(found) == 1:  # nearly always, and asked for each shard
            return found[0]
        return {shard: job for group in found for shard, job in group.items()}

    def _group(self, name: str) -> dict[str, Job]:
        return {path: job for job in self.builder.group(self.release, name) for path in job.paths}


class CorpusFileSystem(AbstractFileSystem):
    """Read-only file system of ``corpus://<corpus>/<path in the repository>``.

    Listing and `info` open no archive. Opening a shard builds it if necessary.
    """

    protocol = "corpus"
    root_marker = ""
    blocksize = 1 << 18  # bytes, for copying files; `datasets` copies sixteen at a time

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """List the files and folders in a folder, or the file itself; without ETags."""
        path = self._strip_protocol(path)
        found = self._below(path, 1) if path else _sound()
        entries = [found[name] for name in sorted(found)]
        return entries if detail else [entry["name"] for entry in entries]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As `AbstractFileSystem.find`, but in one pass instead of one `ls` per folder."""
        path = self._strip_protocol(path)
        if not path:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        below = self._below(path, maxdepth)
        if withdirs and path not in below:
            below[path] = _entry(path)
        found = {
            name: below[name] for name in sorted(below) if withdirs or below[name]["type"] == "file"
        }
        return found if detail else list(found)

    def _below(self, path: str, depth: int | None) -> dict[str, dict[str, Any]]:
        """The files and folders up to `depth` levels below a folder, or the file itself."""
        corpus, _, inside = split_path(path)
        found = {}
        for file in [CARD, *_repository(corpus).jobs(inside)]:
            if file == inside:
                found[path] = _entry(path, "file")
            elif not inside or file.startswith(f"{inside}/"):
                parts = file[len(inside) :].strip("/").split("/")
                for level, _ in enumerate(parts[:depth], 1):
                    name = f"{path}/{'/'.join(parts[:level])}"
                    if name not in found:
                        found[name] = _entry(name, "directory" if level < len(parts) else "file")
        if not found:
            self._explain(path)
        return found

    def features(self, path: str) -> Features:
        """The features of the rows of a shard; opens no archive."""
        corpus, _, inside = split_path(self._strip_protocol(path))
        return _repository(corpus).jobs(inside)[inside].features

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Name, type, size (-1 while unknown) and, for a file, its ETag."""
        path = self._strip_protocol(path)
        corpus, etag, inside = split_path(path)
        if not inside:
            if corpus:
                find_corpus(corpus)
            return _entry(path)
        entry: dict[str, Any] = {"name": path, "type": "file"}
        if inside == CARD:
            card = repository_card(find_corpus(corpus))
            return {**entry, "size": len(card), "ETag": hashlib.sha256(card).hexdigest()}
        repository = _repository(corpus)
        if (job := repository.jobs(inside).get(inside)) is None:
            self.ls(path)  # raises if there is no such folder either
            return _entry(path)
        size, now = UNKNOWN_SIZE, repository.cache.etag(job)
        with suppress(FileNotFoundError):  # deleted just now
            if file := repository.cache.find(inside, now):
                size = file.stat().st_size
        if etag != now:
            Wanted(repository.cache, job, inside, etag).check()
        return {**entry, "size": size, "ETag": etag or now}

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """As `AbstractFileSystem.glob`, but a name that does not exist raises an error."""
        path = self._strip_protocol(path)
        try:
            if not has_magic(path):  # `exists`, which fsspec calls, would hide the reason
                entry = self.info(path)
                return {path: entry} if kwargs.get("detail") else [path]
            found = super().glob(path, maxdepth=maxdepth, **kwargs)
            if not found:
                self._explain(path)
        except MissingError as error:  # `datasets` would hide the message of a FileNotFoundError
            raise CorpusError(str(error)) from error
        return found

    def isdir(self, path: str) -> bool:
        """Whether this is a folder; raises if there is nothing, so that pandas says what is."""
        return bool(self.info(path)["type"] == "directory")

    def walk(self, path: str, *args: Any, on_error: Any = "raise", **kwargs: Any) -> Any:
        """As `AbstractFileSystem.walk`, but a folder that does not exist raises an error."""
        return super().walk(path, *args, on_error=on_error, **kwargs)

    def modified(self, path: str) -> datetime:
        """A date that changes when, and only when, the file's content does; it is no real date.

        Tools such as DuckDB ask for it to find out whether a file has changed.
        """
        entry = self.info(path)
        if "ETag" not in entry:
            raise CorpusError(f"corpus://{entry['name']} has no date", why="it is a folder")
        return datetime.fromtimestamp(int(entry["ETag"][-8:], 16), timezone.utc)

    created = modified

    def _refuse(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        raise CorpusError(
            f"cannot change {path}", why="corpus:// is read-only", fix="write to a copy"
        )

    rm = rm_file = _rm = rmdir = mkdir = makedirs = touch = pipe_file = pipe = _refuse
    cp_file = copy = mv = put_file = put = _refuse

    def wanted(self, path: str) -> Wanted:
        """A shard that is to be read.

        Raises
        ------
        CorpusError
            If there is no such shard, or it is pinned to another content.
        """
        path = self._strip_protocol(path)
        corpus, etag, inside = split_path(path)
        repository = _repository(corpus)
        if (job := repository.jobs(inside).get(inside)) is None:
            self._explain(path)
            raise CorpusError(f"cannot open corpus://{path}", why="it is a folder")
        shard = Wanted(repository.cache, job, inside, etag)
        shard.check()
        return shard

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> BinaryIO:
        path = self._strip_protocol(path)
        if mode != "rb":
            self._refuse(path)
        corpus, etag, inside = split_path(path)
        if inside == CARD:
            return CardFile(path, repository_card(find_corpus(corpus)))
        shard = self.wanted(path)

        def opened(file: Path) -> BinaryIO:
            reader = ShardFile(path, file)
            _OPEN.add(reader)
            findings.opened(corpus, etag, inside, shard.cache.notes(inside, etag_of(file)))
            return reader

        return shard.open(opened)

    def _explain(self, pattern: str) -> None:
        """Raise for the first part of a path or glob that nothing matches; lists the valid names.

        A glob with ``**``, which could match at any level, is not checked from there on.
        """
        corpus, _, inside = split_path(pattern)
        repository = _repository(corpus)
        fixed = inside[: magic.start()] if (magic := MAGIC.search(inside)) else inside
        files = [file.split("/") for file in [CARD, *repository.jobs(fixed)]]
        for level, part in enumerate(inside.split("/") if inside else []):
            if part == "**":
                return
            below = [file for file in files if len(file) > level]
            files = [file for file in below if fnmatchcase(file[level], part)]
            if not files:
                valid = {file[level] for file in below} or {"nothing below it"}
                is_listed = part in repository.builder.builder_configs
                raise unknown(
                    f"name in corpus://{pattern}:",
                    part,
                    valid,
                    where=repository.where,
                    why="the card lists it, but this release does not have it" if is_listed else "",
                    error=MissingError,
                )


_OPEN: weakref.WeakSet[BinaryIO] = weakref.WeakSet()
#: How long the interpreter's exit is delayed at most, while a shard is still open.
LAST_READS = 1.0  # s


@atexit.register
def _let_last_reads_finish() -> None:
    """Wait for Arrow's threads to release their shards.

    The threads read ahead, and run for a moment after the last record was read. A thread that
    releases a Python file while the interpreter shuts down aborts the process.
    """
    end = time.monotonic() + LAST_READS
    while _OPEN and time.monotonic() < end:
        time.sleep(0.005)


def _sound() -> dict[str, dict[str, Any]]:
    """The folder of each corpus that can be used; a warning names the others."""
    sound, errors = sound_corpora()
    for error in errors:
        warnings.warn(f"skipped: {error}", CorpusWarning, stacklevel=2)
    return {name: _entry(name) for name in sound}


def _entry(name: str, kind: str = "directory") -> dict[str, Any]:
    return {"name": name, "size": 0 if kind == "directory" else UNKNOWN_SIZE, "type": kind}


_REPOSITORIES: Once[object, Repository] = Once(8)


def _repository(corpus: str) -> Repository:
    builder = find_corpus(corpus)
    release = builder.release()
    folder, stamp = str(release.folder), (release.stamp(), tuple(read_excluded(corpus).items()))

    def read() -> Repository:
        return Repository(builder, release, folder, ShardCache(corpus, code_key(builder)))

    return _REPOSITORIES.get((corpus, folder, home(), stamp), read)
