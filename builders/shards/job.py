"""A job: one pass over raw files that writes a set of shards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from datasets import Features

from builders.errors import CorpusError
from builders.release.archive import Archive
from builders.shards.notes import Notes

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,99}")


@dataclass(frozen=True)
class Job:
    """One pass over raw files that writes a set of shards.

    Attributes
    ----------
    name : str
        For messages and for the lock: unique in the corpus, and fit for a file name.
    paths : tuple of str
        The shards, relative to the repository.
    features : Features
        Of all of them.
    archives : callable
        The archives that decide what is written. Opens none of them.
    cache_key : callable
        Whatever else decides what is written, as a text.
    tables : callable
        Reads what all shards need, and gives the rows of each, in their order, as tables that are
        made when they are asked for. Two shards are asked at once, by two threads. It takes the
        `Notes` to which it adds what is to be noted of a shard.
    session : str
        The session that `builders exclude` must name to leave the job's archives out.
    """

    name: str
    paths: tuple[str, ...]
    features: Features
    archives: Callable[[], Sequence[Archive]]
    cache_key: Callable[[], str]
    tables: Callable[[Notes], Mapping[str, Iterable[pa.Table]]]
    session: str = ""

    def __post_init__(self) -> None:
        for path in self.paths:
            if not all(map(_SAFE_NAME.fullmatch, path.split("/"))):
                raise CorpusError(
                    f"a name in the cell list cannot be a folder: {path!r}",
                    why="sites and areas are made of at most 100 letters, digits, dots, + and -",
                    fix="compare the cell list with the published one",
                )
