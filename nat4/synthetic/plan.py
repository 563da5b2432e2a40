"""The plan of a synthetic nat4 release: its sites, cells and sounds, and their oddities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from builders.synthetic.files import generator

Scale = Literal["mini", "full"]

FS, SITE_FS, BANDS = 100, 1000, 18
DURATION, SILENCE = 1.5, 0.25  # seconds; the silence before and after the sound is part of it
N_BINS = 150  # of each sound
N_SOUNDS = {"mini": (40, 6), "full": (575, 18)}  # estimation, validation
N_TRIALS = 20  # of each validation sound
# Seconds between the validation sounds of a site recording, in which the others were played.
GAP = {"mini": (0.5, 2.0), "full": (0.5, 11.0)}


class Size(NamedTuple):
    """Number of cells of an area, and how many cells and traces have an oddity."""

    cells: int
    fewest: int  # cells of the smallest site
    deaf: int  # not sig_auditory
    padded: int  # with one more zero in the site files
    missing: int  # (cell, sound) pairs without data in the population


AREAS = ("A1", "PEG")
SIZES = {
    ("mini", "A1"): Size(cells=40, fewest=9, deaf=4, padded=3, missing=2),
    ("mini", "PEG"): Size(cells=13, fewest=5, deaf=3, padded=0, missing=2),
    ("full", "A1"): Size(cells=849, fewest=12, deaf=72, padded=33, missing=0),
    ("full", "PEG"): Size(cells=398, fewest=12, deaf=59, padded=0, missing=5),
}
SITES = {
    ("mini", "A1"): "ARM029a DRX006b TNC008a TNC012a",
    ("mini", "PEG"): "ARM017a ARM018a",
    ("full", "A1"): "ARM029a ARM030a ARM031a ARM032a ARM033a CRD016d CRD017c DRX006b DRX007a "
    "DRX008b TNC008a TNC009a TNC010a TNC012a TNC013a TNC014a TNC015a TNC016a TNC017a TNC018a "
    "TNC020a TNC021a",
    ("full", "PEG"): "ARM017a ARM018a ARM019a ARM021b ARM022b ARM023a ARM024a ARM025a ARM026b "
    "ARM027a ARM028b",
}
EXTRA_SITE = "TNC022a"  # has a file in PEG, but is in no population
SILENT_SITES = ("ARM029a", "ARM017a")  # each has one cell without spikes
WORDS = (
    "violin", "Piano_solo", "ferret_vocalization", "Rain", "street_noise", "male_speech",
    "BBC_radio", "crickets", "drum_kit", "water_tap", "Owl", "footsteps",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """One site, and its recording.

    Attributes
    ----------
    name : str
    cells : dict of str to tuple of str
        The population's cells of this site, in its order; and for each the matching ids in the
        site file: the same id, one padded differently, two such (ambiguous), or none.
    extra : tuple of str
        Cells that only the site file holds.
    repetitions : dict of str to int
        Trials of each validation sound.
    overlap : bool
        Whether the epochs name a trial that begins during another one.
    hard, silent : str
        Ids of the cell with `hard_spikes`, and of the cell without spikes (or "").
    """

    name: str
    cells: dict[str, tuple[str, ...]]
    extra: tuple[str, ...]
    repetitions: dict[str, int]
    overlap: bool
    hard: str
    silent: str

    @property
    def held(self) -> list[str]:
        """The cells of the site file, sorted."""
        return sorted([*(held for ids in self.cells.values() for held in ids), *self.extra])


@dataclass(frozen=True)
class Plan:
    """The plan of one area of a release.

    Attributes
    ----------
    area, scale : str
    sites : tuple of Site
        In the population's order.
    val, est : tuple of str
        Epoch names of the sounds, in the population's order.
    missing : dict of (str, str) to (int, int)
        Start and stop of the missing bins in the population, by cell and estimation sound.
    deaf : frozenset of str
        Cells that are not ``sig_auditory``.
    unlisted : str
        The cell that is missing from the table of predictions, or "".
    driven : bool
        Whether its cells have known filters, see `builders.synthetic.filters`.
    """

    area: str
    scale: Scale
    sites: tuple[Site, ...]
    val: tuple[str, ...]
    est: tuple[str, ...]
    missing: dict[tuple[str, str], tuple[int, int]]
    deaf: frozenset[str]
    unlisted: str
    driven: bool = False

    @property
    def cells(self) -> dict[str, tuple[str, ...]]:
        """The population's cells in its order, each with its ids in the site files."""
        return {cell: ids for site in self.sites for cell, ids in site.cells.items()}

    @property
    def padded(self) -> dict[str, str]:
        """The cells with exactly one id in the site files that differs from the population's."""
        return {cell: ids[0] for cell, ids in self.cells.items() if len(ids) == 1 != (cell in ids)}


def plan(area: str, scale: Scale, seed: int = 0, driven: bool = False) -> Plan:
    """Plan what a release holds of one area, and its oddities."""
    rng = generator(seed, "plan", area, scale)
    size, names = SIZES[scale, area], SITES[scale, area].split()
    mini_a1 = (scale, area) == ("mini", "A1")
    spare = size.cells - size.fewest * len(names)
    counts = rng.multinomial(spare, rng.dirichlet(np.full(len(names), 9.0))) + size.fewest
    held: dict[str, tuple[str, ...]] = {
        cell: (cell,)
        for name, count in zip(names, counts.tolist(), strict=True)
        for cell in _cell_ids(rng, name, count)
    }
    extra = {"ARM029a": ["ARM029a-64-9"]} if area == "A1" else {}
    if area == "PEG":
        extra[EXTRA_SITE] = _cell_ids(rng, EXTRA_SITE, size.fewest)
    paddable = rng.permutation([cell for cell in held if cell.startswith("TNC")]).tolist()
    held |= {cell: (cell.replace("-", "-0", 1),) for cell in paddable[: size.padded]}
    unlisted = ""
    if mini_a1:
        cell = paddable[size.padded]
        held[cell] = (cell.replace("-", "-0", 1), cell.replace("-", "-00", 1))
        unlisted, *_, nowhere = (cell for cell in held if cell.startswith("DRX006b"))
        held[nowhere] = ()
    est, val = (rng.permutation(group).tolist() for group in sounds(scale, seed))
    sites = []
    for name in rng.permutation([*names, *(set(extra) - set(names))]).tolist():
        cells = {cell: ids for cell, ids in held.items() if cell.startswith(name)}
        others = tuple(extra.get(name, ()))
        exact = [cell for cell, ids in cells.items() if cell in ids and cell != unlisted] or others
        hard, silent = rng.permutation(exact)[:2].tolist()
        repetitions = dict.fromkeys(val, N_TRIALS)
        if mini_a1 and name == "DRX006b":
            repetitions[val[0]] -= 1
        overlap = mini_a1 and name == "ARM029a"
        silent = silent if name in SILENT_SITES else ""
        sites.append(Site(name, cells, others, repetitions, overlap, hard, silent))
    loud = rng.permutation(sorted(set(held) - {site.silent for site in sites})).tolist()
    missing = dict.fromkeys(zip(loud[: size.missing], est, strict=False), (0, N_BINS))
    if (scale, area) == ("mini", "PEG"):
        missing[loud[size.missing], est[-1]] = (60, N_BINS)
    deaf = frozenset(rng.choice(sorted(held), size.deaf, replace=False).tolist())
    return Plan(area, scale, tuple(sites), tuple(val), tuple(est), missing, deaf, unlisted, driven)


def sounds(scale: Scale, seed: int = 0) -> tuple[list[str], list[str]]:
    """Epoch names of the estimation and of the validation sounds, the same in both areas."""
    rng = generator(seed, "sounds")
    n_est, n_val = N_SOUNDS[scale]
    numbers = rng.permutation(sum(N_SOUNDS["full"]))[: n_est + n_val].tolist()
    names = [
        f"cat{number // 3 + 1}_rec{number % 3 + 1}_{rng.choice(WORDS)}_excerpt{rng.integers(1, 4)}"
        for number in numbers
    ]
    est, val = names[:n_est], names[n_est:]
    return [f"STIM_{name}.wav" for name in est], [f"STIM_00{name}.wav" for name in val]


def waveform_names(scale: Scale, seed: int = 0) -> list[str]:
    """Names of all sounds in ``wav.zip``: as in the epochs, except some in lower case."""
    est, val = sounds(scale, seed)
    names = [stim.removeprefix("STIM_") for stim in sorted(est + val)]
    mixed = [name for name in names if name != name.lower()]
    return [f"wav/{name.lower() if name in mixed[::2] else name}" for name in names]


def _cell_ids(rng: np.random.Generator, site: str, count: int) -> list[str]:
    """Ids of `count` cells: electrodes are random, units of each electrode count from 1."""
    electrodes = np.sort(rng.integers(1, 65, count)).tolist()
    units = [electrodes[: i + 1].count(electrode) for i, electrode in enumerate(electrodes)]
    return [f"{site}-{e:02d}-{u}" for e, u in zip(electrodes, units, strict=True)]
