"""What is noted of the shards that have been built so far, and what the user leaves out."""

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
    """What is known of a release without opening an archive.

    Attributes
    ----------
    notes : list of Note
        Of the lists of cells and of the shards that have been built, each once.
    built, of : int
        How many shards have been built, of how many.
    excluded : dict of str to str
        What the user leaves out, and why.
    """

    notes: list[Note]
    built: int
    of: int
    excluded: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "notes": [asdict(note) for note in self.notes]}

    def lines(self) -> Iterator[str]:
        """For people."""
        for unit, why in self.excluded.items():
            yield shown(f"left out: {unit}: {why}")
        yield f"notes: {len(self.notes)}, of the {self.built} of {self.of} shards built so far"
        for note in self.notes:
            yield f"  {note}"


def find(corpus: type[CorpusBuilder]) -> Findings:
    """The notes of a corpus, as its release stands now."""
    cache = ShardCache(corpus.corpus, code_key(corpus))
    release = corpus.release()
    notes = dict.fromkeys(corpus.list_notes(release))
    built = of = 0
    for job in corpus.jobs(release):
        of += len(job.paths)
        if not any(map(cache.has_any, job.paths)):
            continue  # the ETag of a job is dearer than a look
        try:
            etag = cache.etag(job)
        except CorpusError:  # its archives are no longer there
            continue
        for path in job.paths:
            if (found := cache.notes(path, etag)) is not None:
                built += 1
                notes |= dict.fromkeys(found)
    return Findings(sorted(notes), built, of, read_excluded(corpus.corpus))


@dataclass
class _Stream:
    """A streamed load, and whether it has been warned of."""

    is_warned: bool = False


# The shards of streamed loads that had not been built when the load began, pinned.
_WATCHED: dict[str, _Stream] = {}


def of_files(urls: Iterable[str]) -> tuple[str, list[Note]]:
    """The corpus of some pinned shards, and the notes on those that have been built."""
    corpus, notes = "", set()
    for url in urls:
        corpus, etag, path = split_path(url)
        notes |= set(ShardCache(corpus, "").notes(path, etag) or ())
    return corpus, sorted(notes)


def watch(urls: list[str]) -> None:
    """Begin a streamed load of some pinned shards: warn once, as soon as there is a note."""
    stream = _Stream()
    corpus, notes = of_files(urls)
    if notes:
        warn(corpus, notes)
    else:
        _WATCHED.update(dict.fromkeys(urls, stream))


def opened(corpus: str, etag: str, path: str, notes: list[Note] | None) -> None:
    """A shard is being read. It is warned of by whoever loads it, if that is known.

    Parameters
    ----------
    etag : str
        What the shard is pinned to; empty where it is read by itself, and not in a load.
    notes : list of Note
        Of the shard.
    """
    if not etag:
        warn(corpus, notes or ())
    elif (stream := _WATCHED.pop(pinned_url(corpus, etag, path), None)) and notes:
        if not stream.is_warned:
            warn(corpus, notes)
        stream.is_warned = True


def warn(corpus: str, notes: Iterable[Note]) -> None:
    """Tell the user, in one line, how many notes there are; nothing where there are none."""
    if n := len(set(notes)):
        warnings.warn(
            f"{n} {'note' if n == 1 else 'notes'} on {corpus}: something is left out, shortened or "
            f"missing; `builders info {corpus}` lists what",
            CorpusWarning,
            stacklevel=2,
        )
