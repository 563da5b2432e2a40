"""Small releases of both corpora that are odd in random ways, for the test of the two readers."""

from __future__ import annotations

import csv
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from builders.shards.excluded import write_excluded
from tests.archives import Files, header
from tests.random_recordings import (
    MISSING,
    OF_ARCHIVES,
    OF_CELLS,
    OF_STIMULI,
    OF_TABLES,
    STIMS,
    Draw,
    Recording,
    presentations,
    recording,
)

# -- Releases of wingert2026 -----------------------------------------------------------------------

SESSIONS = ("AAA001a", "AAA001b", "BBB002c")
NAMES = ("AAA001z", "ZZZ999z", "AAA", "AAA001b", "BBB002c", "QQQ001a")
FLAGS = ("True", "False", "1.0", "0", "TRUE", " false ", *MISSING)
NUMBERS = ("-7.5", "100", "1e2", " 3 ", *MISSING)


@dataclass(eq=False)
class Drawn:
    """A release to be written: its list of cells, its recordings, and what is left out of it."""

    listed: list[dict[str, str]]
    recordings: list[Recording]
    excluded: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Into a folder; what is left out, into the caches of the user."""
        _write_list(folder / "cell_list.csv", self.listed)
        for number, each in enumerate(self.recordings):
            each.write(folder / "recordings", number)
        write_excluded("wingert2026", self.excluded)


def _write_list(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _any(draw: Draw, of: Drawn) -> Recording:
    return draw(st.sampled_from(of.recordings))


def two_archives(draw: Draw, of: Drawn) -> None:
    """The cells of a session lie in two; some of them perhaps in both."""
    one = _any(draw, of)
    other = deepcopy(one)
    for each in (one, other):
        kept = draw(st.lists(st.sampled_from(sorted(each.spikes)), min_size=1, unique=True))
        each.spikes = {cell: each.spikes[cell] for cell in kept}
        each.chans = kept
    of.recordings.append(other)


def a_copy(draw: Draw, of: Drawn) -> None:
    of.recordings.append(deepcopy(_any(draw, of)))


def another_name(draw: Draw, of: Drawn) -> None:
    _any(draw, of).name = draw(st.sampled_from(NAMES))


def broken_neighbour(draw: Draw, of: Drawn) -> None:
    broken = deepcopy(_any(draw, of))
    broken.name, broken.pack, broken.is_folder = draw(st.sampled_from(NAMES)), _garbage, False
    of.recordings.append(broken)


def _garbage(tar: bytes) -> bytes:
    return b"garbage"


def no_archive(draw: Draw, of: Drawn) -> None:
    if len(of.recordings) > 1:
        of.recordings.remove(_any(draw, of))


def left_out(draw: Draw, of: Drawn) -> None:
    session = draw(st.sampled_from(of.listed))["cellid"].split("-")[0]
    unit = draw(st.sampled_from(["", "-001-1", *(f"/{stim}" for stim in STIMS)]))
    of.excluded[session + unit] = "it is odd"


OF_RELEASES = (two_archives, two_archives, a_copy, another_name, broken_neighbour, no_archive)


@st.composite
def sessions(draw: Draw) -> Drawn:
    """One or two sessions of up to three cells, each in an archive of its own."""
    names = draw(st.lists(st.sampled_from(SESSIONS), min_size=1, max_size=2, unique=True))
    release = Drawn([], [])
    for name in names:
        cells = [f"{name}-00{n}-1" for n in range(1, draw(st.integers(1, 3)) + 1)]
        fs = draw(st.sampled_from([100, 1000]))
        release.recordings.append(recording(draw, name, cells, fs))
        release.listed += [
            {
                "cellid": cell,
                "siteid": name if draw(st.integers(0, 9)) < 9 else f"{name}-B",
                "area": "A1" if draw(st.integers(0, 9)) < 8 else draw(st.sampled_from(MISSING)),
                "layer": draw(st.sampled_from(["44", *MISSING])),
                "depth": draw(st.sampled_from(NUMBERS)),
                "narrow": draw(st.sampled_from(FLAGS)),
                "goodpred": draw(st.sampled_from(FLAGS)),
            }
            for cell in cells
        ]
    for change in draw(st.lists(st.sampled_from((*OF_RELEASES, left_out)), max_size=3)):
        change(draw, release)
    every = (*OF_TABLES, *OF_CELLS, *OF_STIMULI, *OF_ARCHIVES)
    for oddity in draw(st.lists(st.sampled_from(every), min_size=1, max_size=5)):
        oddity(draw, _any(draw, release))
    return release


# -- Releases of nat4 ------------------------------------------------------------------------------

SITES = ("ARM001a", "ARM002b")
BANDS_NAT4 = 18


@dataclass(eq=False)
class Population(Recording):
    """A population recording: rasters of responses, of spectrograms, and of the mask."""

    n_bins: int = 0
    counts: Any = field(default=None, repr=False)
    sounds: Any = field(default=None, repr=False)
    mask: Any = None
    missing: str = "nan"

    def signals(self) -> Files:
        files: Files = {}
        for name, values in (("resp", self.counts), ("stim", self.sounds), ("mask_est", self.mask)):
            if values is not None:
                chans = self.chans if name == "resp" else None
                files[self.file(f"{name}.csv")] = self._csv(values)
                files[self.file(f"{name}.json")] = header("RasterizedSignal", chans=chans)
                files[self.file(f"{name}.epoch.csv")] = self.epochs()
        return {name: files[name] for name in files if name.split(".", 1)[1] not in self.lacking}

    def _csv(self, values: Any) -> bytes:
        lines = (
            ",".join(self.missing if np.isnan(value) else f"{value:.18e}" for value in row)
            for row in values
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def write(self, folder: Path, number: int) -> None:
        """A population's archive has no number."""
        super().write(folder, number)
        made = next(path for path in folder.iterdir() if path.name.startswith(f"{self.name}_0"))
        made.rename(folder / f"{self.name}{made.suffix}")


def missing_values(draw: Draw, of: Population) -> None:
    """Of a cell, in some bins; the mask may leave them out."""
    start = draw(st.integers(0, of.n_bins - 1))
    stop = draw(st.integers(start + 1, of.n_bins))
    of.counts[start:stop, draw(st.integers(0, of.counts.shape[1] - 1))] = np.nan
    of.missing = draw(st.sampled_from(["nan", "NaN", "", "NA"]))
    if of.mask is not None and draw(st.booleans()):
        of.mask[start:stop] = 0


def other_mask(draw: Draw, of: Population) -> None:
    shape = (of.n_bins, draw(st.sampled_from([1, of.counts.shape[1], 7])))
    of.mask = draw(st.sampled_from([None, np.zeros(shape), np.full(shape, np.nan)]))


def cut_data(draw: Draw, of: Population) -> None:
    of.counts = of.counts[: draw(st.integers(1, of.n_bins))]
    of.sounds = of.sounds[: draw(st.integers(1, of.n_bins))]


def other_sounds(draw: Draw, of: Population) -> None:
    """Each window another one, so that a sound that comes twice is ambiguous."""
    of.sounds = of.sounds + np.arange(float(len(of.sounds)))[:, None]


def odd_names(draw: Draw, of: Population) -> None:
    of.chans = draw(st.sampled_from([None, [], of.chans[:1] * len(of.chans)]))


OF_POPULATIONS = (missing_values, missing_values, other_mask, cut_data, other_sounds, odd_names)


@dataclass(eq=False)
class DrawnArea:
    """An area of nat4 to be written."""

    area: str
    listed: list[dict[str, str]]
    population: Population
    recordings: list[Recording]

    def write(self, folder: Path) -> None:
        _write_list(folder / f"{self.area}_pred_correlation.csv", self.listed)
        self.population.write(folder, 0)
        for number, each in enumerate(self.recordings):
            each.write(folder / f"{self.area}_single_sites", number)


@st.composite
def areas(draw: Draw) -> tuple[DrawnArea, dict[str, str]]:
    """An area of two sites of up to two cells, and what is left out of it."""
    area = draw(st.sampled_from(["A1", "PEG"]))
    numbers = [(site, n) for site in SITES for n in range(1, draw(st.integers(1, 2)) + 1)]
    cells = [f"{site}-0{n}-1" for site, n in numbers]
    rows = presentations(draw, STIMS)
    n_bins = int(float(rows[-1][2]) * 100) + 1
    counts = np.arange(n_bins * len(cells)).reshape(n_bins, -1) % 3.0
    values = {"n_bins": n_bins, "counts": counts, "sounds": np.ones((n_bins, BANDS_NAT4))}
    name = f"{area}_NAT4_ozgf.fs100.ch18"
    mask = np.ones((n_bins, draw(st.sampled_from([1, len(cells)]))))
    population = Population(name, name, 100, {}, rows, {}, chans=cells, mask=mask, **values)
    pads = st.sampled_from(["-0", "-0", "-00", "-"])
    padded = [cell.replace("-0", draw(pads), 1) for cell in cells]
    listed = [{"cellid": cell, "sig_auditory": draw(st.sampled_from(FLAGS))} for cell in padded]
    drawn = DrawnArea(area, listed, population, [])
    for site in SITES:
        held = [cell.replace("-0", draw(pads), 1) for cell in cells if cell.startswith(site)]
        of_site = recording(draw, site, held, 1000)
        of_site.name = f"{area}_{site}"
        drawn.recordings.append(of_site)
    for change in draw(st.lists(st.sampled_from(OF_RELEASES), max_size=2)):
        change(draw, drawn)
    for oddity in draw(st.lists(st.sampled_from(OF_POPULATIONS), min_size=1, max_size=3)):
        oddity(draw, population)
    for oddity in draw(st.lists(st.sampled_from((*OF_TABLES, *OF_ARCHIVES)), max_size=1)):
        oddity(draw, population)
    for oddity in draw(
        st.lists(st.sampled_from((*OF_TABLES, *OF_CELLS, *OF_ARCHIVES)), max_size=2)
    ):
        oddity(draw, _any(draw, drawn))
    units = [cells[0], SITES[0], *STIMS]
    excluded = draw(st.lists(st.sampled_from(units), max_size=1))
    return drawn, dict.fromkeys(excluded, "it is odd")
