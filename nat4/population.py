"""One area of nat4: its population recording, its sites' recordings, and matching of cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from builders.conventions import RESPONSE, STIMULUS, parse_cell_id, subset_of
from builders.errors import spoiling
from builders.nems.archive import recording_error
from builders.nems.binning import Trials
from builders.nems.recording import read_signals
from builders.nems.sessions import read_session
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.release.local import Release
from builders.schema import CELL_ID
from builders.shards.cells import CellList, id_columns, read_cell_table, read_texts
from builders.shards.excluded import read_excluded
from builders.shards.notes import Note
from builders.shards.tables import typed

#: The columns of `<area>_pred_correlation.csv` with known types; `cells` keeps all columns.
PUBLISHED = {"cellid": Value("string"), "sig_auditory": Value("bool")}
#: Names of columns that `cells` adds itself.
RESERVED = {*CELL_ID, "auditory", "has_val", "val_match"}


#: The signals of the population recordings that are cached, without their data.
KEPT_SIGNALS = (RESPONSE, STIMULUS)
#: The cached signals of each archive, and the keys of the archive when they were read.
_KNOWN: dict[Archive, tuple[list[str], dict[str, Signal]]] = {}


def _signal(archive: Archive, name: str, data: bool) -> Signal:
    """Read a signal of a population recording; its header and epochs are cached, not its data."""
    keys = list(archive.keys().values())
    known = _KNOWN.get(archive)
    if not data and known and known[0] == keys and name in known[1]:
        return known[1][name]
    signals = read_signals(archive, [name] if data else [], {*KEPT_SIGNALS, name})
    if name not in signals:
        signals = read_signals(archive, [name])  # raises, and says what is wrong
    _KNOWN[archive] = keys, {each: replace(of, data=b"") for each, of in signals.items()}
    return signals[name]


@dataclass(frozen=True, eq=False)
class Area:
    """One area: its population recording, and its sites' recordings.

    Attributes
    ----------
    release : Release
        The release that holds the recordings.
    name : str
        ``A1`` or ``PEG``.
    known : CellList
        The columns of ``<area>_pred_correlation.csv`` with known types.
    every : CellList
        All columns of that file, as text, in the same rows.
    """

    release: Release
    name: str
    known: CellList
    every: CellList

    @property
    def listed(self) -> pa.Table:
        """The columns of the cell list with known types."""
        return self.known.table

    @property
    def texts(self) -> pa.Table:
        """All columns of the cell list, as text."""
        return self.every.table

    @property
    def notes(self) -> list[Note]:
        """What the cell list lacks, and how many of its ids have other zero padding.

        Padding is compared with the population's ids, which are read for this.
        """
        return _list_notes(self, tuple(self.signal(RESPONSE).channels))

    @property
    def excluded(self) -> dict[str, str]:
        """What the user excludes from the corpus, and why."""
        return read_excluded(self.release.corpus)

    @cached_property
    def sites(self) -> list[str]:
        return sorted({cell.partition("-")[0] for cell in self.listed["cellid"].to_pylist()})

    def archive(self) -> Archive:
        return self.release.archive(f"{self.name}_NAT4_ozgf.fs100.ch18.tgz")

    def site_archives(self) -> list[Archive]:
        """The archives of the sites; empty if the release has no sites' recordings."""
        directory = f"{self.name}_single_sites"
        return (
            [] if self.release.lacking([f"{directory}.zip"]) else self.release.archives(directory)
        )

    def signal(self, name: str, *, data: bool = False) -> Signal:
        """One signal of the population recording, with or without its data."""
        return _signal(self.archive(), name, data)

    def responses(self, site: str, *, data: bool = True) -> list[Signal]:
        """The response signals of one site's recordings, with or without their spike times."""
        return read_session(self.site_archives(), site, self.sites, RESPONSE, data=data)

    def ids(self) -> list[str]:
        """The cells of the population, in its order.

        Raises
        ------
        CorpusError
            If the population does not name its cells, or names one twice.
        """
        response = self.signal(RESPONSE)
        member = response.member.rpartition(".")[0] + ".json"
        if not response.channels:
            raise recording_error(
                response.archive, member, "chans is empty: the population names no cells"
            )
        if twice := [cell for cell, n in Counter(response.channels).items() if n > 1]:
            raise recording_error(response.archive, member, f"chans names {twice[0]} twice")
        return response.channels

    def cells(self) -> pa.Table:
        """The cells of the population, in its order, with the columns from the cell list."""
        return _described(self, tuple(self.ids()))

    def cell_notes(self) -> list[Note]:
        """Notes about cells that are only in the population or only in the cell list."""
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
        """The row number in `listed` of each of these cells; null if it is not listed.

        If the exact id is not listed, the numbers in it are matched; see `match_cells`.
        """
        ids = self.listed["cellid"].to_pylist()
        rows = {cell: row for row, cell in enumerate(ids)}
        found = match_cells(cells, ids)
        return pa.array(
            [rows[found[cell][0]] if cell in found else None for cell in cells], pa.int64()
        )

    def published(self) -> pa.Table:
        """The columns of the cell list; ``published_`` is put before names in `RESERVED`.

        Known columns have their types, the others are text.
        """
        known = self.listed.column_names
        return pa.table(
            {
                f"published_{name}" if name in RESERVED else name: (
                    self.listed[name] if name in known else self.texts[name]
                )
                for name in self.texts.column_names
            }
        )

    def of_site(self, site: str) -> pa.Table:
        """The cells of one site: the columns of its records that describe a cell."""
        cells = self.cells()
        return cells.filter(pc.equal(cells["site"], site))


# The jobs of each site ask for these two. Results are kept together with the ids that the
# population had: an unpacked population can be edited while an `Area` lives.


@lru_cache(maxsize=4)
def _described(area: Area, cells: tuple[str, ...]) -> pa.Table:
    """Some cells of an area, with the columns from the cell list."""
    columns = id_columns([*cells])
    columns |= {"site": columns["session"], "area": pa.array([area.name] * len(cells))}
    columns |= {"auditory": area.listed["sig_auditory"].take(area.rows([*cells]))}
    return pa.table({name: columns[name] for name in (*CELL_ID, "auditory")})


@lru_cache(maxsize=4)
def _list_notes(area: Area, cells: tuple[str, ...]) -> list[Note]:
    """The notes on an area's cell list, if the population has these cells."""
    how = [way for _, way in match_cells([*cells], area.listed["cellid"].to_pylist()).values()]
    notes = list(dict.fromkeys([*area.known.notes, *area.every.notes]))
    if n := how.count("number"):
        text = f"matched by number, their ids being padded otherwise: {n} of {len(cells)} cells"
        notes.append(Note("", area.known.file.path.name, text))
    return notes


def _cell_note(cell: str, text: str) -> Note:
    return Note(cell.partition("-")[0], cell, text)


def columns_of(stim: str) -> dict[str, str]:
    """The columns that identify the stimulus of a row."""
    return {"stim_id": stim, "stim": stim, "subset": subset_of(stim)}


def trials_of(signal: Signal, stimuli: list[str]) -> dict[str, Trials]:
    """The trials of some stimuli of a population.

    Raises
    ------
    CorpusError
        If the trials of a stimulus cannot be read; the error names the stimulus.
    """
    found = {}
    for stim in stimuli:
        with spoiling(stim):
            found[stim] = signal.trials(stim)
    return found


def match_cells(cells: list[str], held: list[str]) -> dict[str, tuple[str, str]]:
    """Match the cells of the population to the cells of a site's recording.

    Some ids differ in the padding of the electrode number (TNC...-07-1 and TNC...-007-1).

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
    ids = set(held)
    found = {}
    for cell in cells:
        key = numbers(cell)
        if cell in ids:
            found[cell] = (cell, "exact")
        elif None not in key[2:] and of_cells[key] == of_held[key] == 1:
            found[cell] = (by_number[key], "number")
    return found


def list_name(area: str) -> str:
    """The file that lists the cells of an area."""
    return f"{area}_pred_correlation.csv"


def read_area(release: Release, name: str) -> Area:
    """Read an area from its cell list; opens no archive."""
    path = release.file(list_name(name))
    return Area(
        release, name, read_cell_table(path, PUBLISHED, "cellid"), read_texts(path, "cellid")
    )


def column_type(columns: list[pa.ChunkedArray]) -> pa.DataType:
    """The common type of some columns; for texts: number or flag if all can be parsed, or text."""
    if known := next((column.type for column in columns if column.type != pa.string()), None):
        return known
    for type_ in (pa.float64(), pa.bool_()):
        if not any(typed(column.to_pylist(), type_)[1] for column in columns):
            return type_
    return pa.string()


def typed_column(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Convert a column of `Area.published` to the type from `column_type`."""
    return column if column.type == type_ else typed(column.to_pylist(), type_)[0]
