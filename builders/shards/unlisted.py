"""Sessions of a release without a cell list, and the job of the cells that its archives hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
from datasets import Features

from builders.conventions import RESPONSE
from builders.errors import CorpusError
from builders.nems.recording import read_signals
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.schema import CELL_ID
from builders.shards.arrow import stored, table
from builders.shards.cells import id_columns
from builders.shards.excluded import read_excluded
from builders.shards.job import Job, is_folder_name
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
        every = {cell for each in responses for cell in each.known_cells()}
        return cells_table(every, self.session, self.area, self.conventions.parse_cell_id)

    def own_cells(self) -> pa.Table:
        """As `cells`; reads the session's archives."""
        return self.cells(self.signals(RESPONSE))

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

    def cell_notes(self, cells: list[str], signals: Sequence[Signal]) -> list[tuple[str, str]]:
        named = {cell: self.conventions.session_of(cell) for cell in cells}
        return super().cell_notes(cells, signals) + [
            (cell, f"its id names the session {session}, its archive is of {self.session}")
            for cell, session in named.items()
            if session not in ("", self.session)
        ]


def by_session(
    archives: Iterable[Archive], session_of: Callable[[Archive], str]
) -> tuple[dict[str, list[Archive]], list[Note]]:
    """Sort archives by the session that each is named after.

    Returns
    -------
    sessions : dict of str to list of Archive
        The sessions, sorted.
    notes : list of Note
        On archives whose name gives no session that can be a folder: they are left out.
    """
    found: dict[str, list[Archive]] = {}
    notes = []
    for archive in archives:
        session = session_of(archive)
        if is_folder_name(session):
            found.setdefault(session, []).append(archive)
        else:
            why = f"its session would be {session!r}, which cannot be a folder: it is left out"
            notes.append(Note("", archive.name, why))
    return dict(sorted(found.items())), notes


def cells_job(
    corpus: str,
    archives: Callable[[], Sequence[Archive]],
    sessions: Callable[[], Iterable[tuple[str, Callable[[], pa.Table]]]],
    absent: Callable[[], Iterable[Note]],
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
        Returns each session, with a function that reads its cells: see `cells_table`. May fetch
        archives.
    absent : callable
        Returns notes on what of the release is left out.
    """
    path, features = "cells.parquet", Features(CELL_ID)
    excluded = read_excluded(corpus)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        found: dict[str, dict[str, Any]] = {}
        for note in absent():
            notes.add(path, note)
        for session, cells in sessions():
            if why := excluded.get(session):
                notes.add(path, Note(session, "", left_out(why)))
                continue
            try:
                rows = cells().to_pylist()
            except CorpusError as error:
                notes.add(path, Note(session, "", f"its cells are not known: {error.why}"))
                continue
            for row in rows:
                found.setdefault(row["cell_id"], row)
        every = [found[cell] for cell in sorted(found)]
        columns = {name: [row[name] for row in every] for name in CELL_ID}
        return {path: [table(columns, stored(features))]}

    key = cache(lambda: json.dumps(excluded))
    return Job("cells", (path,), features, archives, key, tables)


def cells_table(
    cells: Iterable[str],
    session: str,
    area: str | None,
    parse_cell_id: Callable[[str], dict[str, Any]],
) -> pa.Table:
    """The columns `CELL_ID` of the cells of a session, which is also their site; sorted."""
    names = sorted(cells)
    constant = {"site": session, "session": session, "area": area}
    columns: Mapping[str, Any] = {
        **id_columns(names, parse_cell_id),
        **{key: pa.array([value] * len(names), pa.string()) for key, value in constant.items()},
    }
    return pa.table({name: columns[name] for name in CELL_ID})
