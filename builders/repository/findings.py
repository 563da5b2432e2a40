"""Collects the notes on the shards built so far, and what the user has excluded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import code_key
from builders.errors import CorpusError, CorpusWarning
from builders.shards.cache import ShardCache
from builders.shards.excluded import read_excluded
from builders.shards.notes import Note
from builders.texts import shown
from builders.urls import pinned_url, split_path


@dataclass(frozen=True)
class Findings:
    """What is known about a release without opening an archive.

    Attributes
    ----------
    notes : list of Note
        Notes on the cell lists and on the shards that are built; no duplicates.
    built, of : int
        Number of shards that are built, and of all shards.
    excluded : dict of str to str
        What the user has excluded -> the reason.
    """

    notes: list[Note]
    built: int
    of: int
    excluded: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The findings as JSON values, for programs."""
        return {**asdict(self), "notes": [asdict(note) for note in self.notes]}

    def lines(self) -> Iterator[str]:
        """The findings as lines of text, for people."""
        for unit, why in self.excluded.items():
            yield shown(f"left out: {unit}: {why}")
        yield f"notes: {len(self.notes)}, of the {self.built} of {self.of} shards built so far"
        for note in self.notes:
            yield f"  {note}"


def find(corpus: type[CorpusBuilder]) -> Findings:
    """Collect the findings of a corpus, for its release in its present state."""
    cache = ShardCache(corpus.corpus, code_key(corpus))
    release = corpus.release()
    notes = dict.fromkeys(corpus.list_notes(release))
    built = of = 0
    for job in corpus.jobs(release):
        of += len(job.paths)
        if not any(map(cache.has_any, job.paths)):
            continue  # computing an ETag takes longer than this check
        try:
            etag = cache.etag(job)
        except CorpusError:  # its archives are missing now
            continue
        for path in job.paths:
            if (found := cache.notes(path, etag)) is not None:
                built += 1
                notes |= dict.fromkeys(found)
    return Findings(sorted(notes), built, of, read_excluded(corpus.corpus))


@dataclass
class _Stream:
    """A streamed load, and whether the user has been warned of its notes."""

    is_warned: bool = False


# Pinned URL of each watched shard -> its streamed load, which began without any known note.
_WATCHED: dict[str, _Stream] = {}


def of_files(urls: Iterable[str]) -> tuple[str, list[Note]]:
    """The corpus of some pinned shards, and the notes on the built ones among them."""
    corpus, notes = "", set()
    for url in urls:
        corpus, etag, path = split_path(url)
        notes |= set(ShardCache(corpus, "").notes(path, etag) or ())
    return corpus, sorted(notes)


def watch(urls: list[str]) -> None:
    """Register a streamed load of pinned shards: it warns once, as soon as there is a note."""
    stream = _Stream()
    corpus, notes = of_files(urls)
    if notes:
        warn_of(corpus, notes)
    else:
        _WATCHED.update(dict.fromkeys(urls, stream))


def opened(corpus: str, etag: str, path: str, notes: list[Note] | None) -> None:
    """Warn of the notes on an opened shard, at most once for each streamed load.

    Parameters
    ----------
    etag : str
        What the shard is pinned to; empty if it is read directly, not by a load.
    notes : list of Note
        The notes on the shard.
    """
    if not etag:
        warn_of(corpus, notes or ())
    elif (stream := _WATCHED.pop(pinned_url(corpus, etag, path), None)) and notes:
        if not stream.is_warned:
            warn_of(corpus, notes)
        stream.is_warned = True


def warn_of(corpus: str, notes: Iterable[Note]) -> None:
    """Warn the user, in one line, how many notes there are; no warning if there are none."""
    if n := len(set(notes)):
        warnings.warn(
            f"{n} {'note' if n == 1 else 'notes'} on {corpus}: something is left out, shortened or "
            f"missing; `builders info {corpus}` lists what",
            CorpusWarning,
            stacklevel=2,
        )
