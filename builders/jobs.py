"""The jobs that corpora have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builders.cells import with_ids
from builders.nems import Signal
from builders.records import presented, record_tables, stimulus_tables
from builders.release import Archive, Release
from builders.schema import SUBSETS, of_subset, subset_of, table
from builders.sessions import candidates, read_session
from builders.shards import Job

#: The area folder of cells whose area is not stated.
UNLABELED = "unlabeled"


def cells_job(read: Callable[[], pa.Table], features: Features, facts: Callable[[], str]) -> Job:
    """``cells.parquet``: the cell list, which `facts` stand for; needs no archive."""

    def tables() -> dict[str, list[pa.Table]]:
        cells = with_ids(read())
        columns = dict(zip(cells.column_names, cells, strict=True))
        return {"cells.parquet": [table(columns, features)]}

    return Job("cells", ("cells.parquet",), features, list, facts, tables)


def places(cells: pa.Table) -> dict[str, dict[tuple[str, str], None]]:
    """The folders, area and site, that each session's records are in."""
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
        Where the archives are.
    directory : str
        The release's directory of archives.
    session : str
        The session.
    places : mapping
        `places` of the cell list.
    cells : pyarrow.Table
        The cell list, or its rows of this session: `builders.cells.WHERE`, and the columns of
        records that say more of a cell.
    """

    release: Release
    directory: str
    session: str
    places: Mapping[str, Collection[tuple[str, str]]]
    cells: pa.Table

    @cached_property
    def described(self) -> pa.Table:
        """The session's cells, in the list's order."""
        return with_ids(self.cells.filter(pc.equal(self.cells["session"], self.session)))

    def records(self, features: Features) -> Job:
        """``data/<area>/<site>/<subset>.parquet``, from the signal ``resp``."""
        shards = {
            f"data/{area}/{site}/{subset}.parquet": (area, site, subset)
            for area, site in self.places[self.session]
            for subset in SUBSETS
        }

        def tables() -> dict[str, Iterator[pa.Table]]:
            response = self._signal("resp")
            line = response.line()
            response = replace(response, data=b"")  # up to 31 MB
            known = pc.is_in(self.described["cell_id"], pa.array(response.channels, pa.string()))
            held = self.described.filter(known)

            def of_shard(area: str, site: str, subset: str) -> Iterator[pa.Table]:
                in_area = pc.equal(pc.fill_null(held["area"], UNLABELED), area)
                cells = held.filter(pc.and_(in_area, pc.equal(held["site"], site)))
                channels = cells["cell_id"].to_pylist()
                stimuli = of_subset(response.stimuli(), subset)
                return record_tables(
                    response, line, cells, channels, stimuli, self._columns, features
                )

            return {path: of_shard(*of) for path, of in shards.items()}

        facts = cache(lambda: json.dumps(self.described.to_pylist()))
        name = f"{self.session}-records"
        return Job(name, tuple(shards), features, self._archives, facts, tables)

    def stimuli(self, features: Features, bands: int, parts: Mapping[str, int]) -> Job:
        """``stimuli/<session>/<subset>-<part>-of-<parts>.parquet``, from the signal ``stim``."""
        shards = {
            f"stimuli/{self.session}/{subset}-{part:05d}-of-{of:05d}.parquet": (subset, part)
            for subset, of in parts.items()
            for part in range(of)
        }

        def tables() -> dict[str, Iterator[pa.Table]]:
            stimulus = self._signal("stim")
            names = presented(stimulus)

            def of_shard(subset: str, part: int) -> Iterator[pa.Table]:
                some = of_subset(names, subset)
                start, stop = (len(some) * i // parts[subset] for i in (part, part + 1))
                return stimulus_tables(stimulus, some[start:stop], self._columns, bands, features)

            return {path: of_shard(*of) for path, of in shards.items()}

        name = f"{self.session}-stimuli"
        return Job(name, tuple(shards), features, self._archives, str, tables)

    def _columns(self, stim: str) -> dict[str, str]:
        stim_id, subset = f"{self.session}/{stim}", subset_of(stim)
        return {"stim_id": stim_id, "stim": stim, "subset": subset, "session": self.session}

    def _archives(self) -> list[Archive]:
        return candidates(self.release.archives(self.directory), self.session, self.places)

    def _signal(self, name: str) -> Signal:
        archives = self.release.archives(self.directory)
        found = read_session(archives, self.session, self.places, response="resp", data=[name])
        return found[name]
