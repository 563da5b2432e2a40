"""Read a corpus' cell list: a CSV with one row per cell, typed column by column."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builders.conventions import parse_cell_id
from builders.errors import RecordingError
from builders.files import digest
from builders.schema import CELL_ID
from builders.shards.notes import Note
from builders.shards.tables import content_of, header_of, read_plain, read_tolerant

#: The columns that say which shard a cell's records are in.
WHERE = ("cell_id", "session", "site", "area")
#: What reading one can end in.
BAD_TABLE = (OSError, ValueError, MemoryError, csv.Error, pa.ArrowException)
#: How many invalid values an error names.
NAMED = 3


@dataclass(frozen=True)
class ListFile:
    """A cell list's file, and what an error about it says.

    Attributes
    ----------
    path : Path
        The file.
    md5 : str
        The checksum of the published file; empty if it is not known.
    source : str
        The address of the release.
    """

    path: Path
    md5: str = ""
    source: str = ""

    def error(
        self, why: object, what: str = "cannot read the cell list", cell: str = ""
    ) -> RecordingError:
        """The error for a list that is not as it should be, perhaps for the sake of one cell."""
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
        """Whatever reading the file ends in becomes an `error`."""
        try:
            yield
        except BAD_TABLE as error:
            raise self.error(error) from error


@dataclass(frozen=True)
class CellList:
    """A table with one row per cell, and what is wrong with it.

    Attributes
    ----------
    table : pyarrow.Table
        Null where a value is missing or invalid. Of two rows of one cell, it has the first.
    notes : list of Note
        What is missing or was left out.
    invalid : dict of str to str
        Cell id -> what is wrong with one of its values. Whoever uses the cell must raise.
    file : ListFile
        Where the table is from.
    """

    table: pa.Table
    notes: list[Note]
    invalid: dict[str, str]
    file: ListFile

    def checked(self, session: str | None = None, excluded: Collection[str] = ()) -> pa.Table:
        """The table, if no cell is invalid: of a session, or, by default, of all.

        Parameters
        ----------
        session : str, optional
            The session whose cells are used.
        excluded : collection of str
            Cells that do not matter.

        Raises
        ------
        RecordingError
            If one is; it names the first few.
        """
        invalid = {
            cell: f"{cell}: {why}"
            for cell, why in self.invalid.items()
            if cell not in excluded and session in (None, cell.partition("-")[0])
        }
        if invalid:
            named = [*invalid.values()][:NAMED]
            more = [f"and {len(invalid) - NAMED} more"] if len(invalid) > NAMED else []
            raise self.file.error("; ".join(named + more), cell=next(iter(invalid)))
        return self.table

    def all_notes(self) -> list[Note]:
        """The notes, and one on each invalid cell."""
        wrong = [Note(cell.partition("-")[0], cell, why) for cell, why in self.invalid.items()]
        return [*self.notes, *wrong]


def read_cells(
    path: Path,
    published: dict[str, Any],
    cell_id: str,
    site: str,
    columns: Collection[str] | None = None,
    *,
    md5: str = "",
    source: str = "",
) -> CellList:
    """A cell list with its published columns under their names, and where each cell's records are.

    Parameters
    ----------
    path, published, cell_id, columns, md5, source
        As for `read_table`; ``area`` must be published.
    site : str
        The column that holds the site's id. It must be there. A cell without a site is invalid, and
        has no row.

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
        "session": pa.array([cell.partition("-")[0] for cell in ids], pa.string()),
        "site": cells[site],
        "area": cells["area"],
    }
    table = pa.table(where | dict(zip(cells.column_names, cells, strict=True)))
    return replace(found, table=table, invalid=invalid)


def with_ids(cells: pa.Table) -> pa.Table:
    """Cells that have at least `WHERE`, with all columns of `builders.schema.CELL_ID`, these first.

    It takes 2 us a cell, which a listing of all sessions can do without.
    """
    columns = dict(zip(cells.column_names, cells, strict=True))
    columns |= id_columns(cells["cell_id"].to_pylist())
    return pa.table({name: columns[name] for name in {**CELL_ID, **columns}})


def id_columns(ids: list[str]) -> dict[str, pa.Array]:
    """The columns of `builders.schema.CELL_ID` that follow from cell ids: all but site and area."""
    parts = [{"cell_id": cell, **parse_cell_id(cell)} for cell in ids]
    types = Features(CELL_ID).arrow_schema
    return {
        name: pa.array([part[name] for part in parts], types.field(name).type)
        for name in CELL_ID
        if name not in ("site", "area")
    }


def read_table(
    path: Path,
    published: dict[str, Any],
    cell_id: str,
    columns: Collection[str] | None = None,
    *,
    md5: str = "",
    source: str = "",
) -> CellList:
    """A CSV with one row per cell and a header, read as pandas would read it.

    Parameters
    ----------
    path : Path
        Missing values are spelled in any of the ways that pandas knows; spaces around values and
        names do not count; quoted values may span lines.
    published : dict of str to feature
        Its columns. One that is missing is null in all rows, which is noted. A `List` column holds
        printed numpy arrays, as ``"[ 1.0e-03 -2.0e-03\\n ...]"``; nothing is evaluated.
    cell_id : str
        The column that holds the cell's id. It must be there.
    columns : collection of str, optional
        The published columns that are wanted: others are not looked at.
    md5 : str, optional
        The checksum of the published file, if it is known.
    source : str, optional
        The address of the release.

    Returns
    -------
    CellList
        Its table has the wanted columns, and one row for each cell.

    Raises
    ------
    CorpusError
        If it cannot be read at all, a wanted column stands in it twice with different values, or a
        session cannot be a folder.
    """
    return _read(ListFile(path, md5, source), published, columns, (cell_id,))


def read_texts(path: Path, cell_id: str) -> CellList:
    """All columns of a table as texts, in the rows that `read_table` finds in it.

    A column without a name is left out, and so is one that stands in it twice with different
    values, which is noted.
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
    published: dict[str, Any],
    columns: Collection[str] | None,
    needed: tuple[str, ...],
) -> CellList:
    """As `read_table`; the first of the needed columns is that of the cell id."""
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
    """Sessions, sites and areas are folders of the repository; see `builders.shards.job.Job`."""
    found = names.filter(pc.fill_null(pc.match_substring_regex(names, odd), False))
    if len(found):
        raise file.error("", f"a name in the cell list cannot be a folder: {found[0].as_py()!r}")
