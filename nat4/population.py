"""One area of nat4: its population recording, its sites' recordings, and which cell is which."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from builders.cells import id_columns, read_table, read_texts
from builders.members import broken
from builders.nems import Signal, read_signals
from builders.notes import Note
from builders.release import Archive, Release
from builders.schema import CELL_ID, parse_cell_id
from builders.sessions import read_session

#: The columns of `<area>_pred_correlation.csv` that are known; all are kept in `cells`.
PUBLISHED = {"cellid": Value("string"), "sig_auditory": Value("bool")}
#: The names that `cells` uses for itself.
RESERVED = {*CELL_ID, "auditory", "has_val", "val_match"}


#: The signals of the population recordings that are worth to be kept, without their data.
KEPT = ("resp", "stim")
#: These, and the keys of what was read.
_KNOWN: dict[Archive, tuple[list[str], dict[str, Signal]]] = {}


def _signal(archive: Archive, name: str, data: bool) -> Signal:
    """A signal of a population recording; what is known without its data is kept."""
    keys = list(archive.keys().values())
    known = _KNOWN.get(archive)
    if not data and known and known[0] == keys and name in known[1]:
        return known[1][name]
    signals = read_signals(archive, [name] if data else [], {*KEPT, name})
    if name not in signals:
        signals = read_signals(archive, [name])  # raises, and says what is wrong
    _KNOWN[archive] = keys, {each: replace(of, data=b"") for each, of in signals.items()}
    return signals[name]


@dataclass(frozen=True)
class Area:
    """One area: its population recording, and its sites' recordings.

    Attributes
    ----------
    release : Release
        Where they are.
    name : str
        ``A1`` or ``PEG``.
    listed : pyarrow.Table
        The columns of ``<area>_pred_correlation.csv`` that are known.
    texts : pyarrow.Table
        All its columns, as text.
    """

    release: Release
    name: str
    listed: pa.Table
    texts: pa.Table

    notes: ClassVar[list[Note]] = []

    @cached_property
    def sites(self) -> list[str]:
        return sorted({cell.partition("-")[0] for cell in self.listed["cellid"].to_pylist()})

    def archive(self) -> Archive:
        return self.release.archive(f"{self.name}_NAT4_ozgf.fs100.ch18.tgz")

    def site_archives(self) -> list[Archive]:
        """The archives of the sites; none where the release has none of them."""
        directory = f"{self.name}_single_sites"
        return (
            [] if self.release.lacking([f"{directory}.zip"]) else self.release.archives(directory)
        )

    def signal(self, name: str, *, data: bool = False) -> Signal:
        """One signal of the population recording, with its data or without."""
        return _signal(self.archive(), name, data)

    def responses(self, site: str, *, data: bool = True) -> list[Signal]:
        """The spike times of one site's recordings, or what is known of them without data."""
        return read_session(self.site_archives(), site, self.sites, "resp", data=data)

    def ids(self) -> list[str]:
        """The cells of the population, in its order.

        Raises
        ------
        CorpusError
            If the population does not name its cells, or one of them twice.
        """
        response = self.signal("resp")
        member = response.member.rpartition(".")[0] + ".json"
        if not response.channels:
            raise broken(response.archive, member, "chans is empty: the population names no cells")
        if twice := [cell for cell, n in Counter(response.channels).items() if n > 1]:
            raise broken(response.archive, member, f"chans names {twice[0]} twice", twice[0])
        return response.channels

    @cached_property
    def _cells(self) -> pa.Table:
        ids = self.ids()
        columns = id_columns(ids)
        columns |= {"site": columns["session"], "area": pa.array([self.name] * len(ids))}
        columns |= {"auditory": self.listed["sig_auditory"].take(self.rows(ids))}
        return pa.table({name: columns[name] for name in (*CELL_ID, "auditory")})

    def cells(self) -> pa.Table:
        """The cells of the population, in its order, with what the list says of them."""
        return self._cells

    def cell_notes(self) -> list[Note]:
        """Cells that are in the population or in the list alone."""
        ids, listed = self.ids(), self.listed["cellid"].to_pylist()
        file = list_name(self.name)
        there = match_cells(ids, listed)
        found = {name for name, _ in there.values()}
        return [
            *(_cell_note(cell, f"{file} does not list it") for cell in ids if cell not in there),
            *(
                _cell_note(cell, f"{file} lists it, but the population does not hold it")
                for cell in listed
                if cell not in found
            ),
        ]

    def rows(self, cells: list[str]) -> pa.Array:
        """The rows of `listed` that say something of these cells; null where none does."""
        rows = {cell: row for row, cell in enumerate(self.listed["cellid"].to_pylist())}
        return pa.array([rows.get(cell) for cell in cells], pa.int64())

    def published(self) -> pa.Table:
        """The list's columns as text, under their names; ``published_`` before one that we use."""
        names = [
            f"published_{name}" if name in RESERVED else name for name in self.texts.column_names
        ]
        return self.texts.rename_columns(names)

    def of_site(self, site: str) -> pa.Table:
        """The cells of one site: the columns of its records that describe a cell."""
        cells = self.cells()
        return cells.filter(pc.equal(cells["site"], site))


def _cell_note(cell: str, text: str) -> Note:
    return Note(cell.partition("-")[0], cell, text)


def match_cells(cells: list[str], held: list[str]) -> dict[str, tuple[str, str]]:
    """Which cell of a site's recording is which cell of the population.

    An early script had to pad electrode numbers (TNC...-07-1 to TNC...-007-1) to find some of them.

    Parameters
    ----------
    cells : list of str
        Ids in the population.
    held : list of str
        Ids in the site's recording.

    Returns
    -------
    dict of str to (str, str)
        Id in the population -> id in the recording, and how it was found: ``exact``, or
        ``number`` where session, probe, electrode and unit number agree, and are unique on both
        sides. A cell that was not found is left out.
    """

    def numbers(cell: str) -> tuple[Any, ...]:
        parts = parse_cell_id(cell)
        return tuple(parts[name] for name in ("session", "probe", "electrode", "unit"))

    of_cells, of_held = Counter(map(numbers, cells)), Counter(map(numbers, held))
    by_number = {numbers(cell): cell for cell in held}
    found = {}
    for cell in cells:
        key = numbers(cell)
        if cell in held:
            found[cell] = (cell, "exact")
        elif None not in key[2:] and of_cells[key] == of_held[key] == 1:
            found[cell] = (by_number[key], "number")
    return found


def list_name(area: str) -> str:
    """The file that lists the cells of an area."""
    return f"{area}_pred_correlation.csv"


def read_area(release: Release, name: str) -> Area:
    """An area, from its list of cells; opens no archive."""
    path = release.file(list_name(name))
    return Area(release, name, read_table(path, PUBLISHED, "cellid"), read_texts(path))


def column_type(columns: list[pa.ChunkedArray]) -> pa.DataType:
    """What all texts of these columns can be read as: numbers, flags, or nothing but text."""
    for type_ in (pa.float64(), pa.bool_()):
        with suppress(pa.ArrowInvalid):
            for column in columns:
                column.cast(type_)
            return type_
    return pa.string()
