"""Defines a job: one pass over raw files that writes a set of shards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from datasets import Features

from builders.errors import CorpusError
from builders.release.archive import Archive
from builders.shards.notes import Notes

#: What a folder or a file of the repository may be called.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Job:
    """One pass over raw files that writes a set of shards.

    Attributes
    ----------
    name : str
        Used in messages and for the lock: unique in the corpus, and valid as a file name.
    paths : tuple of str
        The shards, relative to the repository.
    features : Features
        The features of all shards.
    archives : callable
        Returns the archives that determine what is written. Opens none of them.
    cache_key : callable
        Returns a text of everything else that determines what is written.
    tables : callable
        Reads what all shards need. Returns, for each path, the shard's rows in order, as tables
        that are made when iterated; two threads iterate two shards at once. Takes the `Notes` to
        which it adds notes on the shards.
    session : str
        The session whose archives are read, which `builders exclude` can leave out; empty if they
        hold many sessions, or none.
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
            if not all(map(is_folder_name, path.split("/"))):
                raise CorpusError(
                    f"a name in the cell list cannot be a folder: {path!r}",
                    why="sites and areas are made of at most 100 letters, digits, dots, _, + and -",
                    fix="compare the cell list with the published one",
                )


def is_folder_name(name: str) -> bool:
    """Whether a name can be that of a folder or file of the repository."""
    return bool(_SAFE_NAME.fullmatch(name))
