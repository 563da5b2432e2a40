"""A synthetic wingert2026 release: the published names, counts and quirks; values made up.

`full` has every session and about the published weight; `mini` a few sessions that between them
hold every peculiarity, with the rows that `full` lists for their cells.

Counts, names and formats are the published ones (Wingert et al., Nat Neurosci 2026, and its
``cell_list.csv``); `cells.csv` and `sites.csv` are the published cell and site ids.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from builders.errors import CorpusError, unknown
from builders.synthetic import (
    PACKAGES,
    Floats,
    Signal,
    drive,
    generator,
    h5_file,
    hard_spikes,
    spectrogram,
    spike_train,
    timeline,
    write_recording,
)

FS, BANDS = 100, 32
VALIDATION = [f"STIM_00seq{n}.wav" for n in "1234"] + [f"STIM_00seq{n}_hand.wav" for n in "56"]

# Numbers of estimation and validation stimuli: first the sessions of `mini`, in the order that
# gives each of them its quirks; then the others that are not left to chance in `full`.
MINI = {
    "CLT027c": (9, 2),
    "CLT028c": (100, 6),
    "SLJ032a": (50, 6),
    "PRN015a": (4, 1),
    "PRN018a": (5, 2),
    "PRN010b": (5, 2),
    "CLT050c": (6, 2),
    "PRN045b": (5, 3),
    "LMD037a": (4, 2),
}
AS_PUBLISHED = {session: MINI[session] for session in ("CLT027c", "CLT028c", "SLJ032a", "PRN015a")}
LARGEST = {"CLT033c": (250, 6)}
ARCHIVES = {"PRN015a": ("PRN015b",), "PRN018a": ("PRN018a", "PRN018b")}  # where not the session's

# Areas of the sites that hold cells of another area than the one they were seen as.
MIXED_SITES: list[tuple[tuple[str, ...], dict[str, int]]] = [
    (("LMD037a", "PRN008a"), {"A1": 113, "AC": 169}),
    (("PRN045b",), {"HC": 37, "AC": 10}),
    (("PRN068a",), {"A1": 2, "PEG": 101}),
    (("LMD048a",), {"A1": 1, "PEG": 120}),
]
CORTEX_LAYERS = {"56": 1084, "44": 744, "13": 1046}  # A1 and PEG, 2874 cells
OTHER_LAYERS = {"AC": ("3d1d", "4d4d", "6d5d", "6d"), "HC": ("6d5d", "6d")}
NARROW, GOOD = {True: 477, False: 2397}, {True: 2337, False: 537}
DEPTHS = {  # um below the layer 3/4 border
    "13": (-800, 0), "44": (0, 220), "56": (220, 1000),
    "3d1d": (-800, 0), "4d4d": (0, 220), "6d5d": (220, 900), "6d": (900, 1300),
}  # fmt: skip
CELL_TYPES = {"RS": 1.0, "RD": 3.0, "NS": 0.0, "ND": 2.0}
KNOWN_AREAS = {"PRN045b-130-1": "HC", "PRN008a-158-1": "AC", "PRN008a-159-1": "A1"}
KNOWN_LAYERS = {
    "PRN008a-159-1": "56", "CLT052d-016-1": "56", "LMD014a-A-348-1": "44",
    "LMD014a-A-356-1": "44", "CLT048c-050-1": "13", "LMD019a-A-344-1": "13",
    "PRN065a-342-1": "13", "SLJ032a-B-282-1": "13",
    "PRN045b-130-1": "6d", "PRN008a-158-1": "6d5d",
}  # fmt: skip
T = TypeVar("T")


@dataclass(frozen=True)
class Archive:
    """One archive of the release.

    Attributes
    ----------
    session, name : str
        The first part of its cell ids, and what its file name says instead.
    position : int
        In the release; decides on the quirks of its layout.
    cells : tuple of str
        The cells that it holds.
    repetitions : dict of str to int
        Presentations of each stimulus.
    compressible : bool
        See `builders.synthetic.spectrogram`.
    """

    session: str
    name: str
    position: int
    cells: tuple[str, ...]
    repetitions: dict[str, int]
    compressible: bool


def synthesize(folder: Path, scale: Literal["mini", "full"], seed: int = 0) -> None:
    """Write a synthetic release: ``cell_list.csv`` and ``recordings/<NAME>_<40 hex>.tgz``.

    Parameters
    ----------
    folder : Path
        Empty, or not there yet.
    scale : {"mini", "full"}
        10 archives (some 40 MB), or all 68 (some 4 GB).
    seed : int
        The same seed gives the same bytes.

    Raises
    ------
    CorpusError
        If `scale` is unknown or `folder` is not an empty folder.
    """
    from datasets.utils import tqdm  # silent where progress bars are disabled; slow to import

    if scale not in ("mini", "full"):
        raise unknown("scale", scale, ("mini", "full"))
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CorpusError(
            "cannot write a synthetic release",
            where=folder,
            why="it is not an empty folder",
            fix="name a new folder, or remove what an interrupted run left in this one",
        )
    recordings = folder / "recordings"
    recordings.mkdir(parents=True)
    todo = archives(scale, seed)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        # The longest first, lest one worker be left alone with one of them at the end.
        todo.sort(key=lambda archive: -sum(archive.repetitions.values()) * len(archive.cells))
        jobs = [pool.submit(write_archive, recordings, archive, seed) for archive in todo]
        try:
            write_cell_list(folder / "cell_list.csv", {archive.session for archive in todo}, seed)
            for job in tqdm(as_completed(jobs), "synthetic archives", len(jobs)):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def archives(scale: Literal["mini", "full"], seed: int) -> list[Archive]:
    """The archives of a release, those of `mini` first."""
    cells: dict[str, list[str]] = {}
    for cell, _ in _cells():
        cells.setdefault(_session(cell), []).append(cell)
    cells["PRN015a"].append("PRN015a-999-1")  # a cell that the list does not know
    cells["PRN010b"].pop()  # a cell that the list knows and no archive holds
    sessions = list(MINI) if scale == "mini" else [*MINI, *sorted(set(cells) - set(MINI))]
    found: list[Archive] = []
    for session in sessions:
        repetitions = _repetitions(session, scale, seed)
        for name in ARCHIVES.get(session, (session,)):
            held = tuple(cells[session])
            found.append(Archive(session, name, len(found), held, repetitions, scale == "mini"))
    return found


def _repetitions(session: str, scale: str, seed: int) -> dict[str, int]:
    rng = generator(seed, "stimuli", session)
    n_est, n_val = int(rng.integers(100, 136)), int(rng.choice([3, 5, 6, 6, 6]))
    n_est, n_val = (MINI if scale == "mini" else AS_PUBLISHED | LARGEST).get(
        session, (n_est, n_val)
    )
    numbers = np.sort(rng.choice(np.arange(1, 1000), n_est, replace=False))
    repetitions = {f"STIM_seq{number:04d}.wav": 1 for number in numbers}
    if session == "LMD011a":
        repetitions[f"STIM_seq{numbers[0]:04d}.wav"] = 2
    most = 10 if scale == "mini" else 30
    counts = [1, 2] if session == "CLT027c" else rng.integers(1, most + 1, n_val).tolist()
    chosen = sorted(rng.choice(VALIDATION, n_val, replace=False).tolist())
    return repetitions | dict(zip(chosen, counts, strict=True))


def write_archive(folder: Path, archive: Archive, seed: int) -> Path:
    """Write one archive into `folder`, and return its path.

    What it holds depends on its session; how it is laid out on its own place in the release.
    """
    session, position = archive.session, archive.position
    n_bins = 2200 if session.startswith("CLT") else 2000  # the two cohorts
    level = 4 if archive.compressible else 1
    rng = generator(seed, "recording", session)
    line = timeline(rng, archive.repetitions, n_bins / FS, FS)

    def sound(stim: str) -> Floats:
        return spectrogram(seed, stim, BANDS, n_bins, fs=FS, compressible=archive.compressible)

    heard = drive(line, sound)
    hard, silent = rng.permutation(archive.cells).tolist()[:2]

    def spikes(cell: str, view: str = "") -> Floats:
        if cell == silent and len(archive.cells) > 10:
            return np.zeros(0)
        times = spike_train(generator(seed, "spikes", cell, view), heard, FS)
        if cell == hard:
            times = np.sort(np.concatenate([times, hard_spikes(line)]))
            if session == "CLT027c":  # before the recording began
                times = np.insert(times, 0, -0.003)
        return times

    stims, cells = sorted(archive.repetitions), sorted(archive.cells)
    if position % 2 == 0:  # not the alphabetical order of the HDF5 file
        cells = generator(seed, "channels", archive.name).permutation(cells).tolist()
    dtype = np.float32 if position % 8 == 3 else np.float64
    resp = Signal(
        "resp", "PointProcess", cells, "h5",
        lambda: h5_file(((cell, spikes(cell)) for cell in cells), level),
    )  # fmt: skip
    stim = Signal(
        "stim", "TiledSignal", None, "h5",
        lambda: h5_file(((name, sound(name).astype(dtype)) for name in stims), level),
    )  # fmt: skip
    signals = [stim, resp] if position % 2 else [resp, stim]
    if position % 4 == 2:
        stale = Signal(
            "resp", "PointProcess", cells, "h5",
            lambda: h5_file(((cell, spikes(cell, "stale")) for cell in cells), level), "01.",
        )  # fmt: skip
        signals.append(stale)
    digest = hashlib.sha1(f"{archive.name} {seed}".encode()).hexdigest()
    path = folder / f"{archive.name}_{digest}.tgz"
    write_recording(
        path,
        signals,
        line.epochs(session) + ([line.overlap()] if session == "CLT050c" else []),
        fs=FS,
        n_bins=line.n_bins,
        rng=generator(seed, "layout", archive.name),
        package=PACKAGES[position % len(PACKAGES)],
        shuffle_epochs=position % 3 > 0,
        empty=["pupil.h5"] if position % 4 == 1 else [],
        level=level,
    )
    return path


def write_cell_list(path: Path, sessions: Collection[str], seed: int) -> None:
    """Write the rows of `cell_list` that belong to `sessions`, in the published format."""
    part = path.with_name(path.name + ".part")
    rows = list(cell_list(seed, sessions))
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def cell_list(seed: int, sessions: Collection[str] | None = None) -> Iterator[dict[str, object]]:
    """The rows of ``cell_list.csv``, in published order.

    Parameters
    ----------
    seed : int
    sessions : collection of str, optional
        Those whose cells to list, all by default; the rows are the same either way.

    Yields
    ------
    dict of str to object
        The 30 published columns: ``depth`` in um, ``sw`` in ms, ``mwf`` the text of 100 points.
    """
    sites = dict(_cells())
    rng = generator(seed, "cell list")
    areas = _areas(rng, sites)
    cortex = [cell for cell, area in areas.items() if area in ("A1", "PEG")]
    other = [cell for cell in areas if cell not in set(cortex)]
    layers = KNOWN_LAYERS | _deal(rng, cortex, CORTEX_LAYERS, KNOWN_LAYERS)
    narrow, good = _deal(rng, cortex, NARROW), _deal(rng, cortex, GOOD)
    narrow |= dict(zip(other, (rng.random(len(other)) < 0.17).tolist(), strict=True))
    good |= dict(zip(other, (rng.random(len(other)) < 0.8).tolist(), strict=True))
    for cell, site in sites.items():
        if sessions is not None and _session(cell) not in sessions:
            continue
        rng = generator(seed, "cell", cell)
        score = float(rng.uniform(0.1, 0.75) if good[cell] else rng.uniform(-0.02, 0.1))
        cnn = score * rng.uniform(0.95, 1.1)
        linear, ceiling = cnn * rng.uniform(0.6, 0.95), 1 + (1 - score) * rng.uniform(0.05, 0.4)
        dimensions = np.clip(np.cumsum(rng.integers(2, 7, 4)), 1, 25).tolist()
        row: dict[str, object] = {
            "cellid": cell,
            "CNN32-bsg": round(cnn, 10),
            "LN32": round(linear, 10),
            "sspredxc": round(score, 10),
            "goodpred": good[cell],
            "improve": 0.4 * (1 - linear / cnn),
            "CNN32-bsg_ceil": round(cnn * ceiling, 10),
            "LN32_ceil": round(linear * ceiling, 10),
            "sspredxc_ceil": score * ceiling,
            "goodpred_ceil": good[cell],
            "siteid": site,
            **dict(zip(("0.8", "0.9", "0.95", "0.99"), dimensions, strict=True)),
            "sspredxc0": score * rng.uniform(0.95, 1.05),
            "spont_mean": float(rng.lognormal(-5, 1)),
            "evoked_mean": float(rng.lognormal(-5, 1) - 0.002),
        }
        row |= _anatomy(rng, cell, areas[cell], layers.get(cell, ""), narrow[cell])
        yield row


def _anatomy(
    rng: np.random.Generator, cell: str, area: str, layer: str, narrow: bool
) -> dict[str, object]:
    """The last 12 columns of a row; all empty for a cell without area."""
    layer = layer or str(rng.choice(OTHER_LAYERS.get(area, ("",))))
    superficial = layer in ("13", "3d1d")
    width = int(rng.integers(7, 13) if narrow else rng.integers(13, 31))  # samples of 0.027 ms
    cell_type = ("N" if narrow else "R") + ("S" if superficial else "D")
    row: dict[str, object] = {
        "siteid_2": _session(cell),
        "probechannel": int(cell.split("-")[-2]),
        "layer": layer,
        "depth": int(rng.integers(*DEPTHS[layer])) if area else "",
        "area": area,
        "iso": str(rng.choice(["0", "95.0", "100.0", str(round(rng.uniform(0, 95), 4))])),
        "sw": width * 0.027,
        "mwf": _waveform(rng, width) if area else "",
        "narrow": narrow,
        "superficial": superficial,
        "sorted_class": CELL_TYPES[cell_type],
        "celltype": cell_type,
    }
    return row if area else dict.fromkeys(row, "")


def _waveform(rng: np.random.Generator, width: int) -> str:
    """A spike waveform of 100 points, its peak `width` points after the trough, as numpy prints it.

    numpy prints scientific notation where magnitudes differ by more than 1000 times; half of the
    waveforms are given a point that small, the others lose theirs.
    """
    time = np.arange(100) - 49
    trough = -np.exp(-0.5 * (time / (width / 5)) ** 2)
    peak = rng.uniform(0.2, 0.5) * np.exp(-0.5 * ((time - width) / (width / 2.5)) ** 2)
    points = trough + peak + np.convolve(rng.normal(0, 0.006, 104), np.full(5, 0.2), "valid")
    if rng.random() < 0.5:
        points[rng.integers(30)] = rng.uniform(1e-5, 1e-4)
    else:
        points[np.abs(points) < 0.0015] = 0
    return str(points)


def _areas(rng: np.random.Generator, sites: Mapping[str, str]) -> dict[str, str]:
    """Area of each cell, "" where it has none."""
    with _table("sites.csv").open(newline="", encoding="utf-8") as file:
        seen = {row["siteid"]: row["area_seen"] for row in csv.DictReader(file)}
    areas = {cell: seen[site].replace("none", "") for cell, site in sites.items()}
    for mixed, counts in MIXED_SITES:
        members = [cell for cell, site in sites.items() if site in mixed]
        areas |= _deal(rng, members, counts, KNOWN_AREAS)
    return areas


def _deal(
    rng: np.random.Generator,
    cells: Sequence[str],
    counts: Mapping[T, int],
    known: Mapping[str, T] | None = None,
) -> dict[str, T]:
    """Give each cell a label at random, each label exactly `counts` times, but the known ones."""
    dealt = {cell: label for cell, label in (known or {}).items() if cell in set(cells)}
    rest = [cell for cell in cells if cell not in dealt]
    left = Counter(counts)
    left.subtract(dealt.values())
    labels = list(left.elements())
    return dealt | {
        cell: labels[i] for cell, i in zip(rest, rng.permutation(len(labels)), strict=True)
    }


def _cells() -> list[tuple[str, str]]:
    """Cell id and site id of every published cell, in published order."""
    with _table("cells.csv").open(newline="", encoding="utf-8") as file:
        return [(row["cellid"], row["siteid"]) for row in csv.DictReader(file)]


def _table(name: str) -> Path:
    return Path(__file__).with_name(name)


def _session(cell: str) -> str:
    return cell.partition("-")[0]
