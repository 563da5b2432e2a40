"""One area of nat4: its population recording, its sites' recordings, and which cell is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from builders.cells import id_columns, read_table, read_texts
from builders.errors import CorpusError
from builders.members import broken
from builders.nems import Signal, read_signals
from builders.release import Archive, Release
from builders.schema import CELL_ID, parse_cell_id
from builders.sessions import read_session

#: The columns of `<area>_pred_correlation.csv` that are known; all are kept in `cells`.
PUBLISHED = {"cellid": Value("string"), "sig_auditory": Value("bool")}
#: The names that `cells` uses for itself.
RESERVED = {*CELL_ID, "auditory", "has_val", "val_match"}


#: The signals of the population recordings without their data, and the keys of what was read.
_KNOWN: dict[Archive, tuple[list[str], dict[str, Signal]]] = {}


def _signals(archive: Archive, data: Collection[str] = ()) -> dict[str, Signal]:
    """As `read_signals`; what is known of signals whose data are not asked for is kept."""
    keys = list(archive.keys().values())
    if not data and (known := _KNOWN.get(archive)) and known[0] == keys:
        return known[1]
    signals = read_signals(archive, data)
    without = {name: replace(signal, data=b"") for name, signal in signals.items()}
    _KNOWN[archive] = keys, without
    return signals if data else without


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

    @cached_property
    def sites(self) -> list[str]:
        return sorted({cell.partition("-")[0] for cell in self.listed["cellid"].to_pylist()})

    def archive(self) -> Archive:
        return self.release.archive(f"{self.name}_NAT4_ozgf.fs100.ch18.tgz")

    def site_archives(self) -> list[Archive]:
        return self.release.archives(f"{self.name}_single_sites")

    def signal(self, name: str, *, data: bool = False) -> Signal:
        """One signal of the population recording, with its data or without."""
        archive = self.archive()
        signals = _signals(archive, [name] if data else [])
        if name not in signals:
            raise broken(archive, f"*.{name}.csv", f"the archive has no signal {name!r}")
        return signals[name]

    def site_response(self, site: str, data: tuple[str, ...] = ()) -> Signal:
        """The spike times of one site's recording, or what is known of them without data."""
        archives = self.site_archives()
        return read_session(archives, site, self.sites, response="resp", data=data)["resp"]

    def cells(self) -> pa.Table:
        """The cells of the population, in its order, with what the list says of them."""
        ids = self.signal("resp").channels
        if unlisted := sorted({cell.partition("-")[0] for cell in ids}.difference(self.sites)):
            raise CorpusError(
                "the population recording and the list of cells disagree",
                where=self.archive(),
                why=f"{self.name}_pred_correlation.csv has no cell of {', '.join(unlisted)}",
                fix="compare both with the published ones",
            )
        columns = id_columns(ids)
        columns |= {"site": columns["session"], "area": pa.array([self.name] * len(ids))}
        columns |= {"auditory": self.listed["sig_auditory"].take(self.rows(ids))}
        return pa.table({name: columns[name] for name in (*CELL_ID, "auditory")})

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

    def matches(self) -> dict[str, tuple[str, str]]:
        """`match_cells` of all sites."""
        cells = self.signal("resp").channels
        return {
            cell: match
            for site in self.sites
            for cell, match in match_cells(
                [cell for cell in cells if cell.startswith(f"{site}-")],
                self.site_response(site).channels,
            ).items()
        }


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


def read_area(release: Release, name: str) -> Area:
    """An area, from its list of cells; opens no archive."""
    path = release.file(f"{name}_pred_correlation.csv")
    return Area(release, name, read_table(path, PUBLISHED, "cellid"), read_texts(path))


def column_type(columns: list[pa.ChunkedArray]) -> pa.DataType:
    """What all texts of these columns can be read as: numbers, flags, or nothing but text."""
    for type_ in (pa.float64(), pa.bool_()):
        with suppress(pa.ArrowInvalid):
            for column in columns:
                column.cast(type_)
            return type_
    return pa.string()
