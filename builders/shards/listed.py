"""Sessions of a release that has a cell list, and the job of the list itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builders.conventions import Conventions
from builders.nems.sessions import candidates, no_archive, read_session
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.shards.arrow import stored, table
from builders.shards.cells import CellList, with_ids
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.shards.jobs import SessionJobs
from builders.shards.notes import Note, Notes

#: The area folder for cells without a stated area.
UNLABELED = "unlabeled"


def cells_job(
    corpus: str,
    read: Callable[[], CellList],
    features: Features,
    cache_key: Callable[[], str],
    conventions: Conventions,
) -> Job:
    """The job of ``cells.parquet``, the cell list; `cache_key` identifies it; reads no archive."""
    excluded = read_excluded(corpus)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        listed = read()
        cells = with_ids(listed.checked(excluded=excluded), conventions.parse_cell_id)
        for note in listed.all_notes():
            notes.add("cells.parquet", note)
        columns = dict(zip(cells.column_names, cells, strict=True))
        return {"cells.parquet": [table(columns, stored(features))]}

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
class ListedSession(SessionJobs):
    """A session whose cells are in a cell list; its archives are found by the cells in them.

    Attributes
    ----------
    directory : str
        The release's directory of archives.
    sessions : collection of str
        All sessions of the cell list.
    listed : CellList
        The cell list: `builders.shards.cells.WHERE`, and the other columns that describe a cell
        in records.
    """

    directory: str
    sessions: Collection[str]
    listed: CellList

    @cached_property
    def _described(self) -> pa.Table:
        cells = self.listed.table
        own = cells.filter(pc.equal(cells["session"], self.session))
        return with_ids(own, self.conventions.parse_cell_id)

    def cells(self, responses: Sequence[Signal]) -> pa.Table:
        return self._described

    def cells_in(self, cells: pa.Table, folder: str, site: str) -> pa.Table:
        in_area = pc.equal(pc.fill_null(cells["area"], UNLABELED), folder)
        return cells.filter(pc.and_(in_area, pc.equal(cells["site"], site)))

    def check(self) -> None:
        self.listed.checked(self.session, self.excluded)

    def notes(self) -> Sequence[Note]:
        return self.listed.notes

    def list_key(self) -> list[Any]:
        found: list[Any] = self._described.to_pylist()
        return found

    def archives(self) -> list[Archive]:
        return candidates(self._every(), self.session, self.sessions).first

    def signals(self, name: str) -> list[Signal]:
        cells = self._described["cell_id"].to_pylist()
        return read_session(
            self._every(),
            self.session,
            self.sessions,
            name,
            cells=cells,
            session_of=self.conventions.session_of,
        )

    def no_signals(self) -> str:
        return no_archive(self.session, self._every())

    def _every(self) -> list[Archive]:
        return self.release.archives(self.directory)
