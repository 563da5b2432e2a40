"""Sessions of a release without a cell list, and the job of the cells that its archives hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
from datasets import Features

from builders.conventions import RESPONSE, Conventions
from builders.errors import CorpusError
from builders.nems.recording import read_signals
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.schema import CELL_ID
from builders.shards.arrow import table
from builders.shards.cells import id_columns
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.shards.jobs import SessionJobs, left_out
from builders.shards.notes import Note, Notes


@dataclass(frozen=True)
class UnlistedSession(SessionJobs):
    """A session of a release without a cell list: its cells are those in its archives.

    Attributes
    ----------
    area : str or None
        The area of all cells.
    own : tuple of Archive
        The archives that are named after the session.
    """

    area: str | None
    own: tuple[Archive, ...]

    def cells(self, responses: Sequence[Signal]) -> pa.Table:
        every = sorted({cell for each in responses for cell in each.known_cells()})
        return _cells_table(every, self.session, self.area, self.conventions)

    def cells_in(self, cells: pa.Table, folder: str, site: str) -> pa.Table:
        return cells

    def list_key(self) -> list[Any]:
        return []

    def archives(self) -> list[Archive]:
        return [*self.own]

    def signals(self, name: str) -> list[Signal]:
        return [read_signals(each, [name])[name] for each in self.own]

    def no_signals(self) -> str:
        return f"no archive is named after {self.session}"


def cells_job(
    corpus: str,
    archives: Callable[[], Sequence[Archive]],
    sessions: Callable[[], Iterable[UnlistedSession]],
    absent: Sequence[Note],
) -> Job:
    """The job of ``cells.parquet``: the cells of all sessions, sorted; reads all archives.

    An archive that cannot be read holds back no other: a note says so.

    Parameters
    ----------
    corpus : str
        The corpus.
    archives : callable
        Returns what determines the archives of all sessions.
    sessions : callable
        Returns the sessions; may fetch archives.
    absent : sequence of Note
        Notes on what the release lacks.
    """
    path, features = "cells.parquet", Features(CELL_ID)
    excluded = read_excluded(corpus)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        found: dict[str, dict[str, Any]] = {}
        for note in absent:
            notes.add(path, note)
        for session in sessions():
            if why := excluded.get(session.session):
                notes.add(path, Note(session.session, "", left_out(why)))
                continue
            try:
                cells = session.cells(session.signals(RESPONSE))
            except CorpusError as error:
                why = f"its cells are not known: {error.why}"
                notes.add(path, Note(session.session, "", why))
                continue
            for row in cells.to_pylist():
                found.setdefault(row["cell_id"], row)
        rows = [found[cell] for cell in sorted(found)]
        columns = {name: [row[name] for row in rows] for name in CELL_ID}
        return {path: [table(columns, features)]}

    key = cache(lambda: json.dumps(excluded))
    return Job("cells", (path,), features, archives, key, tables)


def _cells_table(
    cells: Sequence[str], session: str, area: str | None, conventions: Conventions
) -> pa.Table:
    """The columns `CELL_ID` of the cells of a session, which is also their site."""
    columns: Mapping[str, Any] = id_columns([*cells], conventions.parse_cell_id)
    constant = {"site": session, "session": session, "area": area}
    columns = {
        **columns,
        **{k: pa.array([v] * len(cells), pa.string()) for k, v in constant.items()},
    }
    return pa.table({name: columns[name] for name in CELL_ID})
