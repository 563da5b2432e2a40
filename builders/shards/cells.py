"""Reads a corpus' cell list: a CSV with one row per cell and a type for each column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builders.conventions import parse_cell_id, session_of
from builders.errors import RecordingError
from builders.files import digest
from builders.schema import CELL_ID
from builders.shards.notes import Note
from builders.shards.tables import content_of, header_of, read_plain, read_tolerant

#: The columns that determine which shard a cell's records are in.
WHERE = ("cell_id", "session", "site", "area")
#: Errors that reading a cell list can raise.
BAD_TABLE = (OSError, ValueError, MemoryError, csv.Error, pa.ArrowException)
#: How many invalid cells an error names.
NAMED = 3


@dataclass(frozen=True)
class ListFile:
    """The file of a cell list, with what errors about it need.

    Attributes
    ----------
    path : Path
        The file.
    md5 : str
        The md5 of the published file; empty if unknown.
    source : str
        The address of the release.
    """

    path: Path
    md5: str = ""
    source: str = ""

    def error(
        self, why: object, what: str = "cannot read the cell list", cell: str = ""
    ) -> RecordingError:
        """The error for an invalid cell list; `cell` names the cell if it concerns only one."""
        is_published = bool(self.md5) and self._md5() == self.md5
        where = f"{self.path} ({self.source})" if is_published else self.path
        return RecordingError(what, where=where, why=why, unit=cell, is_published=is_published)

    def _md5(self) -> str:
        try:
            return digest(self.path, "md5")
        except OSError:
            return ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn errors of reading the file into an `error`."""
        try:
            yield
        except BAD_TABLE as error:
            raise self.error(error) from error


@dataclass(frozen=True)
class Listing:
    """A published cell list: its file, and what its columns are.

    Attributes
    ----------
    file : str
        Its name in the release.
    cell_id, site : str
        The columns that hold a cell's id and its site.
    columns : mapping of str to feature
        All its columns and their types; ``area`` must be one of them.
    of_records : tuple of str
        The columns, besides ids and area, that records have, too.
    """

    file: str
    cell_id: str
    site: str
    columns: Mapping[str, Any]
    of_records: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellList:
    """A table with one row per cell, and the problems found in it.

    Attributes
    ----------
    table : pyarrow.Table
        Null if a value is missing or invalid. If a cell has two rows, the first one.
    notes : list of Note
        Notes on what is missing or was left out.
    invalid : dict of str to str
        Cell id -> what is wrong with one of its values. Code that uses the cell must raise.
    file : ListFile
        The file that the table was read from.
    session_of : callable
        Maps a cell id to its session.
    """

    table: pa.Table
    notes: list[Note]
    invalid: dict[str, str]
    file: ListFile
    session_of: Callable[[str], str] = session_of

    def checked(self, session: str | None = None, excluded: Collection[str] = ()) -> pa.Table:
        """The whole table; raises if a cell of `session` (default: any cell) is invalid.

        Parameters
        ----------
        session : str, optional
            The session whose cells will be used.
        excluded : collection of str
            Cells that may be invalid.

        Raises
        ------
        RecordingError
            If a cell is invalid; names the first `NAMED` ones.
        """
        invalid = {
            cell: f"{cell}: {why}"
            for cell, why in self.invalid.items()
            if cell not in excluded and session in (None, self.session_of(cell))
        }
        if invalid:
            named = [*invalid.values()][:NAMED]
            more = [f"and {len(invalid) - NAMED} more"] if len(invalid) > NAMED else []
            raise self.file.error("; ".join(named + more), cell=next(iter(invalid)))
        return self.table

    def all_notes(self) -> list[Note]:
        """`notes`, and one note on each invalid cell."""
        wrong = [Note(self.session_of(cell), cell, why) for cell, why in self.invalid.items()]
        return [*self.notes, *wrong]


def read_cells(
    path: Path,
    published: Mapping[str, Any],
    cell_id: str,
    site: str,
    columns: Collection[str] | None = None,
    *,
    md5: str = "",
    source: str = "",
    session_of: Callable[[str], str] = session_of,
) -> CellList:
    """Read a cell list: its published columns, and the columns `WHERE` of each cell.

    Parameters
    ----------
    path, published, cell_id, columns, md5, source
        As for `read_cell_table`; ``area`` must be published.
    site : str
        The column that holds the site's id. It must exist. A cell without a site is invalid and
        gets no row.
    session_of : callable
        Maps a cell id to its session.

    Returns
    -------
    CellList
        In the file's order: `WHERE`, then the columns of `published`. `with_ids` adds the rest of
        the cell id.
    """
    file = ListFile(path, md5, source)
    found = _read(file, published, columns and {*columns, cell_id, site, "area"}, (cell_id, site))
    cells, invalid = found.table, dict(found.invalid)
    if cells[site].null_count:
        for cell in cells.filter(pc.is_null(cells[site]))[cell_id].to_pylist():
            invalid.setdefault(cell, f"it has no {site}")
        cells = cells.filter(pc.is_valid(cells[site]))
    for column in (cells[site], cells["area"]):
        _check_folders(file, column, "/")
    ids = cells[cell_id].to_pylist()
    where = {
        "cell_id": cells[cell_id],
        "session": pa.array(map(session_of, ids), pa.string()),
        "site": cells[site],
        "area": cells["area"],
    }
    table = pa.table(where | dict(zip(cells.column_names, cells, strict=True)))
    return replace(found, table=table, invalid=invalid, session_of=session_of)


def with_ids(cells: pa.Table, parse: Callable[[str], dict[str, Any]] = parse_cell_id) -> pa.Table:
    """Cells with all columns of `builders.schema.CELL_ID` first; they need the columns `WHERE`.

    It takes 2 us per cell. A listing of all sessions does not need it.
    """
    columns = dict(zip(cells.column_names, cells, strict=True))
    columns |= id_columns(cells["cell_id"].to_pylist(), parse)
    return pa.table({name: columns[name] for name in {**CELL_ID, **columns}})


def id_columns(
    ids: list[str], parse: Callable[[str], dict[str, Any]] = parse_cell_id
) -> dict[str, pa.Array]:
    """The columns of `builders.schema.CELL_ID` that cell ids determine: all but site and area."""
    parts = [{"cell_id": cell, **parse(cell)} for cell in ids]
    types = Features(CELL_ID).arrow_schema
    return {
        name: pa.array([part[name] for part in parts], types.field(name).type)
        for name in CELL_ID
        if name not in ("site", "area")
    }


def read_cell_table(
    path: Path,
    published: Mapping[str, Any],
    cell_id: str,
    columns: Collection[str] | None = None,
    *,
    md5: str = "",
    source: str = "",
) -> CellList:
    r"""Read a CSV with a header and one row per cell, with the values that pandas would give.

    Parameters
    ----------
    path : Path
        The CSV. Missing values may have any spelling that pandas knows. Spaces around values and
        names are ignored. Quoted values may span lines.
    published : dict of str to feature
        Its columns. A missing column is null in all rows, and a note says so. A `List` column holds
        printed numpy arrays, as ``"[ 1.0e-03 -2.0e-03\\n ...]"``; nothing is evaluated.
    cell_id : str
        The column that holds the cell's id. It must exist.
    columns : collection of str, optional
        The published columns to read; all by default.
    md5 : str, optional
        The md5 of the published file, if known.
    source : str, optional
        The address of the release.

    Returns
    -------
    CellList
        Its table has the wanted columns, and one row for each cell.

    Raises
    ------
    CorpusError
        If the file cannot be read, has a wanted column twice with different values, or a session's
        name cannot be a folder's name.
    """
    return _read(ListFile(path, md5, source), published, columns, (cell_id,))


def read_texts(path: Path, cell_id: str) -> CellList:
    """Read all columns of a table as texts, with the same rows as `read_cell_table`.

    A column without a name is left out. A column that is there twice with different values is left
    out, too, and noted.
    """
    file = ListFile(path)
    with file.reading():
        content = content_of(path)
        names = [name for name in header_of(content) if name]
        found = read_tolerant(content, dict.fromkeys(names, pa.string()), cell_id)
    notes = [*found.notes, *(f"two columns {name} that differ: left out" for name in found.twice)]
    table = found.table.drop_columns(found.twice)
    return CellList(table, [Note("", path.name, note) for note in notes], found.invalid, file)


def _read(
    file: ListFile,
    published: Mapping[str, Any],
    columns: Collection[str] | None,
    needed: tuple[str, ...],
) -> CellList:
    """As `read_cell_table`; the first of the `needed` columns holds the cell id."""
    wanted = {name: each for name, each in published.items() if name in (columns or published)}
    types = {field.name: field.type for field in Features(wanted).arrow_schema}
    notes: list[str] = []
    invalid: dict[str, str] = {}
    with file.reading():
        content = content_of(file.path)
        table = read_plain(content, types, needed[0])
        if table is None:
            found = read_tolerant(content, types, needed[0], needed)
            if found.twice:
                raise ValueError(f"twice, with different values: {', '.join(found.twice)}")
            table, notes, invalid = found.table, found.notes, found.invalid
    _check_folders(file, table[needed[0]], "^[^-]*/")  # the session, not the rest of the id
    return CellList(table, [Note("", file.path.name, note) for note in notes], invalid, file)


def _check_folders(file: ListFile, names: pa.ChunkedArray, odd: str) -> None:
    """Raise if a name cannot be a folder of the repository; see `builders.shards.job.Job`."""
    found = names.filter(pc.fill_null(pc.match_substring_regex(names, odd), False))
    if len(found):
        raise file.error("", f"a name in the cell list cannot be a folder: {found[0].as_py()!r}")
