"""The jobs of a session: its records and its stimuli."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import pyarrow as pa
from datasets import Features

from builders.conventions import RESPONSE, STIMULUS, SUBSETS, Conventions
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.excluded import of_session, read_excluded
from builders.shards.job import Job
from builders.shards.notes import Note, Notes
from builders.shards.records import record_tables
from builders.shards.spectrograms import StoredSpectrograms
from builders.shards.spikes import n_presentations, read_responses


@dataclass(frozen=True)
class SessionJobs:
    """The jobs of a session whose archives hold both responses and spectrograms.

    A subclass says which cells the session has, and which archives.

    Attributes
    ----------
    release : Release
        The release that holds the archives.
    session : str
        The session.
    folders : collection of (str, str)
        The folders below ``data/`` that hold the session's records: first an area or a set of
        archives, then the site.
    conventions : Conventions
        The conventions of the corpus.
    below : str
        The folder below ``stimuli/`` that holds the session's folder, with a slash; mostly empty.
    """

    release: Release
    session: str
    folders: Collection[tuple[str, str]]
    conventions: Conventions
    below: str

    def cells(self, responses: Sequence[Signal]) -> pa.Table:
        """The session's cells, in the order of their records, with the columns of records."""
        raise NotImplementedError

    def cells_in(self, cells: pa.Table, folder: str, site: str) -> pa.Table:
        """Those of the cells whose records are in ``data/<folder>/<site>/``."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise if what is known of the session's cells is not valid."""

    def notes(self) -> Sequence[Note]:
        """Notes on how the session's cells were found, for each of its shards."""
        return ()

    def cell_notes(self, cells: list[str], signals: Sequence[Signal]) -> list[tuple[str, str]]:
        """Odd cells of the session, each with a note."""
        return cell_notes(cells, signals, self.conventions.session_of)

    def list_key(self) -> list[Any]:
        """What is known of the session's cells without opening an archive."""
        raise NotImplementedError

    def archives(self) -> list[Archive]:
        """The archives that are read first; opens none of them."""
        raise NotImplementedError

    def signals(self, name: str) -> list[Signal]:
        """A signal of the session, from each archive that holds cells of it."""
        raise NotImplementedError

    def no_signals(self) -> str:
        """Why there are no signals."""
        raise NotImplementedError

    @cached_property
    def excluded(self) -> dict[str, str]:
        """What the user has excluded from the session."""
        return of_session(read_excluded(self.release.corpus), self.session)

    def records(self, features: Features) -> Job:
        """The job of ``data/<folder>/<site>/<subset>.parquet``, from the signal ``resp``."""
        shards = {
            f"data/{folder}/{site}/{subset}.parquet": (folder, site, subset)
            for folder, site in self.folders
            for subset in SUBSETS
        }

        def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
            self.check()
            signals = self._signals(RESPONSE)
            if not signals:
                return self._without_rows(shards, notes)
            described = self.cells(signals)
            every = described["cell_id"].to_pylist()
            wanted = [cell for cell in every if cell not in self.excluded]
            channels = {cell: in_signals(cell, signals) for cell in wanted}
            held = {cell: places for cell, places in channels.items() if places}
            of_subsets = self._subsets(signals)
            responses = read_responses(signals, held, self.conventions)
            of_cells = self.cell_notes(every, signals)

            def of_shard(path: str, folder: str, site: str, subset: str) -> Iterator[pa.Table]:
                add = partial(self._note, notes, path)
                for note in self.notes():
                    notes.add(path, note)
                cells = self.cells_in(described, folder, site)
                names = cells["cell_id"].to_pylist()
                for cell, text in of_cells:
                    if cell not in self.excluded and (cell in names or cell not in every):
                        add(cell, text)
                there = pa.array([cell in held for cell in names], pa.bool_())
                stimuli = [stim for stim in responses.stimuli() if of_subsets[stim] == subset]
                for unit, why in self.excluded.items():
                    if unit in names or unit in map(self._stim_id, stimuli):
                        add(unit, left_out(why))
                stimuli = [stim for stim in stimuli if self._stim_id(stim) not in self.excluded]
                yield from record_tables(
                    responses,
                    cells.filter(there),
                    stimuli,
                    partial(self._columns, of_subsets),
                    features,
                    add,
                )

            return {path: of_shard(path, *of) for path, of in shards.items()}

        def cache_key() -> str:
            cells = self.list_key()
            return json.dumps([cells, self.excluded] if self.excluded else cells)

        return self._job("records", tuple(shards), features, cache_key, tables)

    def stimuli(self, features: Features, bands: int, parts: Mapping[str, int]) -> Job:
        """Makes ``stimuli/<session>/<subset>-<part>-of-<parts>.parquet``, from signal ``stim``."""
        folder = f"stimuli/{self.below}{self.session}"
        shards = {
            f"{folder}/{subset}-{part:05d}-of-{of:05d}.parquet": (subset, part)
            for subset, of in parts.items()
            for part in range(of)
        }

        def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
            signals = self._signals(STIMULUS)
            if not signals:
                return self._without_rows(shards, notes)
            spectrograms = StoredSpectrograms(signals, self.conventions.joins)
            of_subsets = self._subsets(signals, spectrograms.names)

            def of_shard(path: str, subset: str, part: int) -> Iterator[pa.Table]:
                add = partial(self._note, notes, path)
                some = [stim for stim in spectrograms.names if of_subsets[stim] == subset]
                start, stop = (len(some) * i // parts[subset] for i in (part, part + 1))
                if part == 0:
                    for stim, text in spectrograms.missing().items():
                        if of_subsets[stim] == subset:
                            add(stim, text)
                    for stim in some:
                        if why := self.excluded.get(self._stim_id(stim)):
                            add(stim, left_out(why))
                kept = [s for s in some[start:stop] if self._stim_id(s) not in self.excluded]
                columns = partial(self._columns, of_subsets)
                return spectrograms.tables(kept, columns, bands, features, add)

            return {path: of_shard(path, *of) for path, of in shards.items()}

        def cache_key() -> str:
            return json.dumps(self.excluded) if self.excluded else ""

        return self._job("stimuli", tuple(shards), features, cache_key, tables)

    def _job(
        self,
        kind: str,
        paths: tuple[str, ...],
        features: Features,
        cache_key: Callable[[], str],
        tables: Callable[[Notes], Mapping[str, Iterable[pa.Table]]],
    ) -> Job:
        name = f"{self.below.replace('/', '-')}{self.session}-{kind}"
        return Job(name, paths, features, self._archives, cache(cache_key), tables, self.session)

    def _subsets(self, signals: Sequence[Signal], names: Iterable[str] = ()) -> dict[str, str]:
        """The subset of each stimulus that the signals present, and of each of `names`."""
        return self.conventions.subsets({**dict.fromkeys(names, 0), **n_presentations(signals)})

    def _stim_id(self, stim: str) -> str:
        return f"{self.session}/{stim}"

    def _columns(self, subsets: Mapping[str, str], stim: str) -> dict[str, str]:
        ids = {"stim_id": self._stim_id(stim), "stim": stim, "subset": subsets[stim]}
        return {**ids, "session": self.session}

    def _note(self, notes: Notes, path: str, subject: str, text: str) -> None:
        notes.add(path, Note(self.session, subject, text))

    def _without_rows(self, shards: Iterable[str], notes: Notes) -> dict[str, Iterable[pa.Table]]:
        """Empty shards, with a note why: the session is excluded, or no archive holds it."""
        why = self.excluded.get(self.session)
        text = left_out(why) if why else self.no_signals()
        for path in shards:
            self._note(notes, path, "", text)
        return {path: [] for path in shards}

    def _archives(self) -> list[Archive]:
        return [] if self.session in self.excluded else self.archives()

    def _signals(self, name: str) -> list[Signal]:
        return [] if self.session in self.excluded else self.signals(name)


def left_out(why: str) -> str:
    """The note on a part of the corpus that the user has excluded."""
    return f"left out by `builders exclude`: {why}"


def in_signals(cell: str, responses: Sequence[Signal]) -> list[tuple[int, str]]:
    """The recordings that hold a cell: number of each, and the cell's name in it."""
    return [(number, cell) for number, each in enumerate(responses) if cell in each.cells]


def cell_notes(
    listed: Collection[str], responses: Sequence[Signal], session_of: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Cells on which the cell list and the recordings disagree, each with a note."""
    named = {cell for each in responses for cell in each.channels}
    held = {cell for each in responses for cell in each.cells}
    sessions = {session_of(cell) for cell in listed}
    notes = []
    for cell in listed:
        if cell not in held:
            why = "its JSON names it, but there are no spike times" if cell in named else ""
            notes.append((cell, why or "the cell list names it, but no archive holds it"))
        elif named and cell not in named:
            notes.append((cell, "its spike times are there, though the JSON does not name it"))
    for cell in sorted(held.difference(listed)):
        if session_of(cell) in sessions:
            notes.append((cell, "an archive holds it, but the cell list does not name it"))
    return notes
