"""A synthetic wingert2026 release: the published names, counts and quirks; values made up.

`full` has every session and about the published size. `mini` has a few sessions that together have
every peculiarity; their cells have the same rows in the list as in `full`.

Counts, names and formats are as published (Wingert et al., Nat Neurosci 2026, and its
``cell_list.csv``); `cells.csv` and `sites.csv` are the published cell and site ids.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from builders.ragged import Floats
from builders.synthetic.archive import PACKAGES, PlantedSignal, h5_file, write_recording
from builders.synthetic.files import generator, new_release, run_writers
from builders.synthetic.filters import responder, write_filters
from builders.synthetic.sounds import SILENCE, spectrogram
from builders.synthetic.spikes import hard_spikes
from builders.synthetic.timeline import timeline
from builders.synthetic.waveforms import write_waveforms
from wingert2026.synthetic.cells import published_cells, session_of, write_cell_list

FS, BANDS = 100, 32
VALIDATION = [f"STIM_00seq{n}.wav" for n in "1234"] + [f"STIM_00seq{n}_hand.wav" for n in "56"]

# Numbers of estimation and validation stimuli: first of the sessions of `mini` (their order decides
# on their quirks); then of other sessions whose numbers are not random in `full`.
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
# Names of the archives of a session, if they differ from its name.
ARCHIVES = {"PRN015a": ("PRN015b",), "PRN018a": ("PRN018a", "PRN018b")}


@dataclass(frozen=True)
class PlannedArchive:
    """One archive of the release.

    Attributes
    ----------
    session, name : str
        The session, as in its cell ids, and the name in its file name, which may differ.
    position : int
        Position in the release; decides on the quirks of its layout.
    cells : tuple of str
        The cells that it holds.
    repetitions : dict of str to int
        Number of presentations of each stimulus.
    compressible : bool
        See `builders.synthetic.sounds.spectrogram`.
    driven : bool
        Whether its cells have known filters, see `builders.synthetic.filters`.
    """

    session: str
    name: str
    position: int
    cells: tuple[str, ...]
    repetitions: dict[str, int]
    compressible: bool
    driven: bool = False

    @property
    def n_bins(self) -> int:
        """Length of each presentation in bins; it differs between the two cohorts."""
        return 2200 if self.session.startswith("CLT") else 2000


def synthesize(
    folder: Path, scale: Literal["mini", "full"], seed: int = 0, driven: bool = False
) -> None:
    """Write a synthetic release.

    ``cell_list.csv``, ``recordings/<NAME>_<40 hex>.tgz`` and ``wav.zip``, with ``wav/<stim>`` for
    every stimulus; if driven, ``filters.npz`` as well.

    Parameters
    ----------
    folder : Path
        An empty folder, or one that does not exist yet.
    scale : {"mini", "full"}
        10 archives (some 40 MB), or all 68 (some 4 GB, and 4 GB of sounds).
    seed : int
        The same seed gives the same bytes.
    driven : bool
        Whether spikes follow from known filters, see `builders.synthetic.filters`.

    Raises
    ------
    CorpusError
        If `scale` is unknown or `folder` is not an empty folder.
    """
    folder = new_release(folder, scale)
    recordings = folder / "recordings"
    recordings.mkdir()
    todo = archives(scale, seed, driven)
    # The longest first, so that at the end no worker is still busy with a long one alone.
    todo.sort(key=lambda archive: -sum(archive.repetitions.values()) * len(archive.cells))
    sessions = {archive.session for archive in todo}
    cells = sorted({cell for archive in todo for cell in archive.cells})
    filters = folder / "filters.npz"
    pairs = [(cell, cell) for cell in cells]
    run_writers(
        [
            partial(write_waveforms, folder / "wav.zip", sounds(todo), seed, pack=scale == "mini"),
            *([partial(write_filters, filters, seed, BANDS, pairs)] if driven else []),
            *(partial(write_archive, recordings, archive, seed) for archive in todo),
            partial(write_cell_list, folder / "cell_list.csv", sessions, seed),
        ]
    )


def sounds(release: list[PlannedArchive]) -> dict[str, float]:
    """The length in seconds of every sound, by its name in ``wav.zip``.

    A sound lasts from 1 s after the start to 1 s before the end of the longest presentation: 20 s
    if a session with presentations of 22 s plays it, else 18 s.
    """
    seconds: dict[str, float] = {}
    for archive in release:
        length = archive.n_bins / FS - 2 * SILENCE
        for stim in archive.repetitions:
            name = "wav/" + stim.removeprefix("STIM_")
            seconds[name] = max(length, seconds.get(name, 0))
    return seconds


def archives(
    scale: Literal["mini", "full"], seed: int, driven: bool = False
) -> list[PlannedArchive]:
    """The archives of a release; the sessions of `mini` come first."""
    cells: dict[str, list[str]] = {}
    for cell, _ in published_cells():
        cells.setdefault(session_of(cell), []).append(cell)
    cells["PRN015a"].append("PRN015a-999-1")  # a cell that the list does not know
    cells["PRN010b"].pop()  # a cell that the list knows and no archive holds
    sessions = list(MINI) if scale == "mini" else [*MINI, *sorted(set(cells) - set(MINI))]
    found: list[PlannedArchive] = []
    for session in sessions:
        repetitions = _repetitions(session, scale, seed)
        for name in ARCHIVES.get(session, (session,)):
            held = tuple(cells[session])
            found.append(
                PlannedArchive(
                    session, name, len(found), held, repetitions, scale == "mini", driven
                )
            )
    return found


def _repetitions(session: str, scale: str, seed: int) -> dict[str, int]:
    rng = generator(seed, "stimuli", session)
    n_est, n_val = int(rng.integers(100, 136)), int(rng.choice([3, 5, 6, 6, 6]))
    n_est, n_val = (MINI if scale == "mini" else AS_PUBLISHED | LARGEST).get(
        session, (n_est, n_val)
    )
    n_sounds = 1000 if scale == "mini" else 2000
    numbers = np.sort(rng.choice(np.arange(1, n_sounds), n_est, replace=False))
    repetitions = {f"STIM_seq{number:04d}.wav": 1 for number in numbers}
    if session == "LMD011a":
        repetitions[f"STIM_seq{numbers[0]:04d}.wav"] = 2
    most = 10 if scale == "mini" else 30
    counts = [1, 2] if session == "CLT027c" else rng.integers(1, most + 1, n_val).tolist()
    chosen = sorted(rng.choice(VALIDATION, n_val, replace=False).tolist())
    return repetitions | dict(zip(chosen, counts, strict=True))


def write_archive(folder: Path, archive: PlannedArchive, seed: int) -> Path:
    """Write one archive into `folder`, and return its path.

    Its content depends on its session; its layout depends on its position in the release.
    """
    session, position, n_bins = archive.session, archive.position, archive.n_bins
    level = 4 if archive.compressible else 1
    rng = generator(seed, "recording", session)
    line = timeline(rng, archive.repetitions, n_bins / FS, FS)

    def sound(stim: str) -> Floats:
        packed, driven = archive.compressible, archive.driven
        return spectrogram(seed, stim, BANDS, n_bins, fs=FS, compressible=packed, rich=driven)

    respond = responder(seed, line, sound, archive.driven)
    hard, silent = rng.permutation(archive.cells).tolist()[:2]

    def spikes(cell: str, view: str = "") -> Floats:
        if cell == silent and len(archive.cells) > 10:
            return np.zeros(0)
        times = respond(generator(seed, "spikes", cell, view), cell)
        if cell == hard:
            times = np.sort(np.concatenate([times, hard_spikes(line)]))
            if session == "CLT027c":  # before the recording began
                times = np.insert(times, 0, -0.003)
        return times

    stims, cells = sorted(archive.repetitions), sorted(archive.cells)
    if position % 2 == 0:  # not the alphabetical order of the HDF5 file
        cells = generator(seed, "channels", archive.name).permutation(cells).tolist()
    dtype = np.float32 if position % 8 == 3 else np.float64
    resp = PlantedSignal(
        "resp", "PointProcess", cells, "h5",
        lambda: h5_file(((cell, spikes(cell)) for cell in cells), level),
    )  # fmt: skip
    stim = PlantedSignal(
        "stim", "TiledSignal", None, "h5",
        lambda: h5_file(((name, sound(name).astype(dtype)) for name in stims), level),
    )  # fmt: skip
    signals = [stim, resp] if position % 2 else [resp, stim]
    if position % 4 == 2:
        stale = PlantedSignal(
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
