"""Jobs that several corpora share."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builders.conventions import RESPONSE, STIMULUS, SUBSETS, of_subset, subset_of
from builders.nems.sessions import candidates, no_archive, read_session
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.arrow import table
from builders.shards.cells import CellList, with_ids
from builders.shards.excluded import of_session, read_excluded
from builders.shards.job import Job
from builders.shards.notes import Note, Notes
from builders.shards.records import record_tables
from builders.shards.spectrograms import StoredSpectrograms
from builders.shards.spikes import Spikes

#: The area folder for cells without a stated area.
UNLABELED = "unlabeled"


def cells_job(
    corpus: str, read: Callable[[], CellList], features: Features, cache_key: Callable[[], str]
) -> Job:
    """The job of ``cells.parquet``, the cell list; `cache_key` identifies it; reads no archive."""
    excluded = read_excluded(corpus)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        listed = read()
        cells = with_ids(listed.checked(excluded=excluded))
        for note in listed.all_notes():
            notes.add("cells.parquet", note)
        columns = dict(zip(cells.column_names, cells, strict=True))
        return {"cells.parquet": [table(columns, features)]}

    def whole_key() -> str:
        return json.dumps([cache_key(), excluded]) if excluded else cache_key()

    return Job("cells", ("cells.parquet",), features, list, cache(whole_key), tables)


def places(cells: pa.Table) -> dict[str, dict[tuple[str, str], None]]:
    """Session -> the (area, site) folders that hold its records."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    columns = (cells[name].to_pylist() for name in ("session", "area", "site"))
    for session, area, site in zip(*columns, strict=True):
        found.setdefault(session, {})[area or UNLABELED, site] = None
    return found


@dataclass(frozen=True)
class SessionJobs:
    """The jobs of a session whose archive holds both spike times and spectrograms.

    Attributes
    ----------
    release : Release
        The release that holds the archives.
    directory : str
        The release's directory of archives.
    session : str
        The session.
    places : mapping
        The result of `places` for the cell list.
    listed : CellList
        The cell list: `builders.shards.cells.WHERE`, and the other columns that describe a cell
        in records.
    """

    release: Release
    directory: str
    session: str
    places: Mapping[str, Collection[tuple[str, str]]]
    listed: CellList

    @cached_property
    def described(self) -> pa.Table:
        """The session's cells, in the list's order."""
        cells = self.listed.table
        return with_ids(cells.filter(pc.equal(cells["session"], self.session)))

    @cached_property
    def excluded(self) -> dict[str, str]:
        """What the user has excluded from the session."""
        return of_session(read_excluded(self.release.corpus), self.session)

    def records(self, features: Features) -> Job:
        """The job of ``data/<area>/<site>/<subset>.parquet``, from the signal ``resp``."""
        shards = {
            f"data/{area}/{site}/{subset}.parquet": (area, site, subset)
            for area, site in self.places[self.session]
            for subset in SUBSETS
        }

        def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
            self.listed.checked(self.session, self.excluded)
            responses = self._signals(RESPONSE)
            if not responses:
                return self._without_rows(shards, notes)
            wanted = [cell for cell in self._all if cell not in self.excluded]
            channels = {cell: in_signals(cell, responses) for cell in wanted}
            held = {cell: places for cell, places in channels.items() if places}
            spikes = Spikes(responses, held)
            of_cells = cell_notes(self._all, responses)

            def of_shard(path: str, area: str, site: str, subset: str) -> Iterator[pa.Table]:
                add = partial(self._note, notes, path)
                for note in self.listed.notes:
                    notes.add(path, note)
                in_area = pc.equal(pc.fill_null(self.described["area"], UNLABELED), area)
                cells = self.described.filter(
                    pc.and_(in_area, pc.equal(self.described["site"], site))
                )
                names = cells["cell_id"].to_pylist()
                for cell, text in of_cells:
                    if cell not in self.excluded and (cell in names or cell not in self._all):
                        add(cell, text)
                there = pa.array([cell in held for cell in names], pa.bool_())
                stimuli = of_subset(spikes.stimuli(), subset)
                for unit, why in self.excluded.items():
                    if unit in names or unit in map(self._stim_id, stimuli):
                        add(unit, left_out(why))
                stimuli = [stim for stim in stimuli if self._stim_id(stim) not in self.excluded]
                yield from record_tables(
                    spikes, cells.filter(there), stimuli, self._columns, features, add
                )

            return {path: of_shard(path, *of) for path, of in shards.items()}

        def cache_key() -> str:
            cells = self.described.to_pylist()
            return json.dumps([cells, self.excluded] if self.excluded else cells)

        name = f"{self.session}-records"
        paths = tuple(shards)
        return Job(name, paths, features, self._archives, cache(cache_key), tables, self.session)

    def stimuli(self, features: Features, bands: int, parts: Mapping[str, int]) -> Job:
        """Makes ``stimuli/<session>/<subset>-<part>-of-<parts>.parquet``, from signal ``stim``."""
        shards = {
            f"stimuli/{self.session}/{subset}-{part:05d}-of-{of:05d}.parquet": (subset, part)
            for subset, of in parts.items()
            for part in range(of)
        }

        def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
            signals = self._signals(STIMULUS)
            if not signals:
                return self._without_rows(shards, notes)
            spectrograms = StoredSpectrograms(signals)

            def of_shard(path: str, subset: str, part: int) -> Iterator[pa.Table]:
                add = partial(self._note, notes, path)
                some = of_subset(spectrograms.names, subset)
                start, stop = (len(some) * i // parts[subset] for i in (part, part + 1))
                if part == 0:
                    for stim in of_subset(spectrograms.missing(), subset):
                        add(stim, "it was presented, but has no spectrogram")
                    for stim in some:
                        if why := self.excluded.get(self._stim_id(stim)):
                            add(stim, left_out(why))
                kept = [s for s in some[start:stop] if self._stim_id(s) not in self.excluded]
                return spectrograms.tables(kept, self._columns, bands, features, add)

            return {path: of_shard(path, *of) for path, of in shards.items()}

        name = f"{self.session}-stimuli"
        cache_key = cache(lambda: json.dumps(self.excluded) if self.excluded else "")
        paths = tuple(shards)
        return Job(name, paths, features, self._archives, cache_key, tables, self.session)

    @cached_property
    def _all(self) -> list[str]:
        cells: list[str] = self.described["cell_id"].to_pylist()
        return cells

    def _stim_id(self, stim: str) -> str:
        return f"{self.session}/{stim}"

    def _columns(self, stim: str) -> dict[str, str]:
        ids = {"stim_id": self._stim_id(stim), "stim": stim, "subset": subset_of(stim)}
        return {**ids, "session": self.session}

    def _note(self, notes: Notes, path: str, subject: str, text: str) -> None:
        notes.add(path, Note(self.session, subject, text))

    def _without_rows(self, shards: Iterable[str], notes: Notes) -> dict[str, Iterable[pa.Table]]:
        """Empty shards, with a note why: the session is excluded, or no archive holds it."""
        if why := self.excluded.get(self.session):
            text = left_out(why)
        else:
            text = no_archive(self.session, self.release.archives(self.directory))
        for path in shards:
            self._note(notes, path, "", text)
        return {path: [] for path in shards}

    def _archives(self) -> list[Archive]:
        if self.session in self.excluded:
            return []
        archives = self.release.archives(self.directory)
        return candidates(archives, self.session, self.places).first

    def _signals(self, name: str) -> list[Signal]:
        """A signal of the session, from each archive that holds cells of it."""
        if self.session in self.excluded:
            return []

        archives = self.release.archives(self.directory)
        return read_session(archives, self.session, self.places, name, cells=self._all)


def left_out(why: str) -> str:
    """The note on a part of the corpus that the user has excluded."""
    return f"left out by `builders exclude`: {why}"


def in_signals(cell: str, responses: Sequence[Signal]) -> list[tuple[int, str]]:
    """The recordings that hold a cell: number of each, and the cell's name in it."""
    return [(number, cell) for number, each in enumerate(responses) if cell in each.cells]


def cell_notes(listed: Collection[str], responses: Sequence[Signal]) -> list[tuple[str, str]]:
    """Cells on which the cell list and the recordings disagree, each with a note."""
    named = {cell for each in responses for cell in each.channels}
    held = {cell for each in responses for cell in each.cells}
    sessions = {cell.partition("-")[0] for cell in listed}
    notes = []
    for cell in listed:
        if cell not in held:
            why = "its JSON names it, but there are no spike times" if cell in named else ""
            notes.append((cell, why or "the cell list names it, but no archive holds it"))
        elif named and cell not in named:
            notes.append((cell, "its spike times are there, though the JSON does not name it"))
    for cell in sorted(held.difference(listed)):
        if cell.partition("-")[0] in sessions:
            notes.append((cell, "an archive holds it, but the cell list does not name it"))
    return notes
