"""One area of nat4: its population recording, its sites' recordings, and which cell is which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from builders.cells import id_columns, read_table
from builders.errors import CorpusError
from builders.nems import Signal, broken, read_signals
from builders.release import Archive, Release
from builders.schema import CELL_ID, parse_cell_id
from builders.sessions import read_session

#: The columns of `<area>_pred_correlation.csv` that are known; all others are kept as they are.
PUBLISHED = {"cellid": Value("string"), "sig_auditory": Value("bool")}


@lru_cache(maxsize=4)
def _side_cars(archive: Archive, keys: tuple[str, ...]) -> dict[str, Signal]:
    """The signals of a population recording without their data; `keys` stand for its content."""
    return read_signals(archive)


@dataclass(frozen=True)
class Area:
    """One area: its population recording, and its sites' recordings."""

    release: Release
    name: str
    listed: pa.Table  # <area>_pred_correlation.csv

    @cached_property
    def sites(self) -> list[str]:
        return sorted({cell.partition("-")[0] for cell in self.listed["cellid"].to_pylist()})

    def archive(self) -> Archive:
        return self.release.archive(f"{self.name}_NAT4_ozgf.fs100.ch18.tgz")

    def site_archives(self) -> list[Archive]:
        return self.release.archives(f"{self.name}_single_sites")

    def signal(self, name: str) -> Signal:
        """One signal of the population recording, without its data."""
        archive = self.archive()
        signals = _side_cars(archive, tuple(archive.keys().values()))
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
        rows = {cell: row for row, cell in enumerate(self.listed["cellid"].to_pylist())}
        if unlisted := sorted({cell.partition("-")[0] for cell in ids}.difference(self.sites)):
            raise CorpusError(
                "the population recording and the list of cells disagree",
                where=self.archive(),
                why=f"{self.name}_pred_correlation.csv has no cell of {', '.join(unlisted)}",
                fix="compare both with the published ones",
            )
        columns = id_columns(ids)
        columns |= {"site": columns["session"], "area": pa.array([self.name] * len(ids))}
        listed = self.listed.take(pa.array([rows.get(cell) for cell in ids], pa.int64()))
        columns |= dict(zip(listed.column_names, listed, strict=True))
        return pa.table({**{name: columns[name] for name in CELL_ID}, **columns})

    def of_site(self, site: str) -> pa.Table:
        """The cells of one site: the columns of its records that describe a cell."""
        cells = self.cells()
        of_site = cells.filter(pc.equal(cells["site"], site))
        return of_site.select([*CELL_ID]).append_column("auditory", of_site["sig_auditory"])

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
    return Area(release, name, read_table(path, PUBLISHED, "cellid", others=True))
