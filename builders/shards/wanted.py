"""A shard that somebody wants to read, as it was listed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builders.errors import CorpusError
from builders.shards.cache import ShardCache
from builders.shards.job import Job
from builders.shards.writer import Form

T = TypeVar("T")

#: How often to try again if a shard is deleted before it can be opened.
OPEN_ATTEMPTS = 5


@dataclass(frozen=True)
class Wanted:
    """A shard that is to be read.

    Attributes
    ----------
    cache : ShardCache
    job : Job
        The job that builds it.
    path : str
        Its path in the repository.
    etag : str
        The ETag with which it was listed; empty if any content will do.
    """

    cache: ShardCache
    job: Job
    path: str
    etag: str = ""

    def open(
        self,
        how: Callable[[Path], T],
        form: Form | None = None,
        beside: Collection[str] = (),
        timeout: float = -1,
    ) -> T:
        """Call a function with the shard's file, which is built if it is missing or damaged.

        If the file is deleted before the function can open it, it is built again. `form`, `beside`
        and `timeout` are those of `ShardCache.shard`.

        Raises
        ------
        CorpusError
            If it cannot be built, or its content is no longer the one that was listed.
        filelock.Timeout
            If another process is still building it after `timeout`.
        """
        for _ in range(OPEN_ATTEMPTS):
            with suppress(FileNotFoundError):
                opened = how(self.cache.shard(self.job, self.path, form, beside, timeout))
                self.check()
                return opened
        place = f"{self.cache.corpus}/{self.path}"
        raise CorpusError(
            f"cannot open corpus://{place}",
            where=self.cache.root,
            why="its shard has been deleted as soon as it was built",
            fix="let whoever deletes the cache finish, then load again",
        )

    def is_missing(self, form: Form | None = None) -> bool:
        """Whether its file is not there yet."""
        return self.cache.find(self.path, self.cache.etag(self.job), form) is None

    def check(self) -> None:
        """Raise a `CorpusError` if its content is no longer the one that was listed."""
        if self.etag and not self.cache.is_pinned(self.job, self.etag):
            place = f"{self.cache.corpus}/{self.path}"
            raise CorpusError(
                f"cannot read corpus://{place}",
                why="the release, or the code that reads it, has changed since it was listed",
                fix="call load_dataset again",
            )
