"""Synthetic releases of archives that each hold spike times (or counts) and spectrograms.

A corpus plans its archives: names, cells, stimuli and their repetitions. Their values are made up.
Their layouts differ as real ones do, by their position in the release.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from builders.conventions import RESPONSE, STIM, STIMULUS
from builders.ragged import Floats
from builders.synthetic.archive import (
    PACKAGES,
    Blocks,
    PlantedSignal,
    csv_file,
    h5_file,
    write_recording,
)
from builders.synthetic.files import generator, run_writers
from builders.synthetic.filters import responder, write_filters
from builders.synthetic.sounds import SILENCE, spectrogram
from builders.synthetic.spikes import drive, hard_spikes
from builders.synthetic.timeline import Timeline, timeline
from builders.synthetic.waveforms import write_waveforms

FS = 100


@dataclass(frozen=True)
class PlannedArchive:
    """One archive of a synthetic release.

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
    n_bins, n_bands : int
        Length of each presentation in bins, silences included, and number of frequency bands.
    compressible : bool
        See `builders.synthetic.sounds.spectrogram`.
    driven : bool
        Whether its cells have known filters, see `builders.synthetic.filters`.
    folder : str
        The folder of the release that holds it.
    recording : str
        Archives with the same one have the same timeline and spikes; the session by default.
    silence : float
        Seconds before and after each sound.
    is_early, overlaps, is_rasterized : bool
        Whether a cell has a spike before the recording, a stimulus begins again within itself, and
        the response holds counts instead of spike times.
    """

    session: str
    name: str
    position: int
    cells: tuple[str, ...]
    repetitions: dict[str, int]
    n_bins: int
    n_bands: int
    compressible: bool
    driven: bool = False
    folder: str = "recordings"
    recording: str = ""
    silence: float = SILENCE
    is_early: bool = False
    overlaps: bool = False
    is_rasterized: bool = False


def write_release(
    folder: Path,
    planned: Sequence[PlannedArchive],
    seed: int,
    *,
    others: Sequence[Callable[[], object]] = (),
    waveforms: bool = False,
) -> None:
    """Write a synthetic release into a new folder.

    The archives, ``wav.zip`` if there are waveforms, and ``filters.npz`` if archives are driven.

    Parameters
    ----------
    folder : Path
        An empty folder.
    planned : sequence of PlannedArchive
        Its archives.
    seed : int
        The same seed gives the same bytes.
    others : sequence of callable
        Write the other files of the release.
    waveforms : bool
        Whether to write the sounds.
    """
    for name in {each.folder for each in planned}:
        (folder / name).mkdir(parents=True)
    # The longest first, so that at the end no worker is still busy with a long one alone.
    todo = sorted(planned, key=lambda each: -sum(each.repetitions.values()) * len(each.cells))
    first = []
    if waveforms:
        pack = todo[0].compressible
        first.append(partial(write_waveforms, folder / "wav.zip", sounds(todo), seed, pack=pack))
    if todo[0].driven:
        pairs = [(cell, cell) for cell in sorted({cell for each in todo for cell in each.cells})]
        bands = todo[0].n_bands
        first.append(partial(write_filters, folder / "filters.npz", seed, bands, pairs))
    writers = [partial(write_archive, folder / each.folder, each, seed) for each in todo]
    run_writers([*first, *writers, *others])


def sounds(release: Sequence[PlannedArchive]) -> dict[str, float]:
    """The length in seconds of every sound, by its name in ``wav.zip``.

    A sound lasts as long as the longest presentation without its silences.
    """
    seconds: dict[str, float] = {}
    for archive in release:
        length = archive.n_bins / FS - 2 * archive.silence
        for stim in archive.repetitions:
            name = "wav/" + stim.removeprefix(STIM)
            seconds[name] = max(length, seconds.get(name, 0))
    return seconds


def write_archive(folder: Path, archive: PlannedArchive, seed: int) -> Path:
    """Write one archive into `folder`, and return its path.

    Its content depends on its recording; its layout depends on its position in the release.
    """
    recording, position = archive.recording or archive.session, archive.position
    level = 4 if archive.compressible else 1
    rng = generator(seed, "recording", recording)
    duration = archive.n_bins / FS
    line = timeline(rng, archive.repetitions, duration, FS, silence=archive.silence)
    special = rng.permutation(archive.cells).tolist()
    signals = _signals(archive, line, seed, special, level)
    identity = archive.recording or archive.name
    digest = hashlib.sha1(f"{identity} {seed}".encode()).hexdigest()
    path = folder / f"{archive.name}_{digest}.tgz"
    write_recording(
        path,
        signals,
        line.epochs(archive.session) + ([line.overlap()] if archive.overlaps else []),
        fs=FS,
        n_bins=line.n_bins,
        rng=generator(seed, "layout", archive.name),
        package=PACKAGES[position % len(PACKAGES)],
        shuffle_epochs=position % 3 > 0,
        empty=["pupil.h5"] if position % 4 == 1 else [],
        level=level,
    )
    return path


def _signals(
    archive: PlannedArchive, line: Timeline, seed: int, special: list[str], level: int
) -> list[PlantedSignal]:
    """The signals; the first cell in `special` is hard to read, the second is silent."""
    position, hard, silent = archive.position, special[0], special[1:2]

    def sound(stim: str) -> Floats:
        return spectrogram(
            seed,
            stim,
            archive.n_bands,
            archive.n_bins,
            fs=FS,
            compressible=archive.compressible,
            silence=archive.silence,
            rich=archive.driven,
        )

    respond = responder(seed, line, sound, archive.driven)

    def spikes(cell: str, view: str = "") -> Floats:
        if cell in silent and len(archive.cells) > 10:
            return np.zeros(0)
        times = respond(generator(seed, "spikes", cell, view), cell)
        if cell == hard:
            times = np.sort(np.concatenate([times, hard_spikes(line)]))
            if archive.is_early:
                times = np.insert(times, 0, -0.003)
        return times

    def counts() -> Blocks:
        """The raster of all cells; a cell lacks the first trial, and a value of the second."""
        codes = np.stack(
            [
                np.bincount(bins[(bins >= 0) & (bins < line.n_bins)], minlength=line.n_bins)
                for bins in (np.floor(spikes(cell) * FS).astype(np.int64) for cell in cells)
            ]
        )
        first, second = line.first_bins[:2]
        missing = codes.max() + 1
        codes[0, first : first + archive.n_bins] = codes[0, second + 3] = missing
        values = np.append(np.arange(missing, dtype=np.float64), np.nan)
        return csv_file(codes.astype(np.uint16), values)

    def heard() -> Blocks:
        values, codes = np.unique(drive(line, sound), return_inverse=True)
        shape = archive.n_bands, line.n_bins
        return csv_file(codes.reshape(shape).astype(np.uint32), values.astype(np.float64))

    stims, cells = sorted(archive.repetitions), sorted(archive.cells)
    if position % 2 == 0:  # not the alphabetical order of the HDF5 file
        cells = generator(seed, "channels", archive.name).permutation(cells).tolist()
    dtype = np.float32 if position % 8 == 3 else np.float64

    def response(view: str = "") -> PlantedSignal:
        data = lambda: h5_file(((cell, spikes(cell, view)) for cell in cells), level)  # noqa: E731
        prefix = "01." if view else ""
        return PlantedSignal(RESPONSE, "PointProcess", cells, "h5", data, prefix)

    resp = response()
    if archive.is_rasterized:
        resp = PlantedSignal(RESPONSE, "RasterizedSignal", cells, "csv", counts)
    stim = PlantedSignal(
        STIMULUS, "TiledSignal", None, "h5",
        lambda: h5_file(((name, sound(name).astype(dtype)) for name in stims), level),
    )  # fmt: skip
    if archive.is_rasterized and position % 2:
        bands = [str(band) for band in range(archive.n_bands)]
        stim = PlantedSignal(STIMULUS, "RasterizedSignal", bands, "csv", heard)
    signals = [stim, resp] if position % 2 else [resp, stim]
    return [*signals, response("stale")] if position % 4 == 2 else signals


def pack_sets(folder: Path, sets: dict[str, str]) -> None:
    """Replace each folder of archives by a tar of them: ``<folder>/<set>/<archive>`` inside."""
    for name, directory in sets.items():
        with (
            (folder / f"{directory}.tgz").open("wb") as raw,
            # No name and no time in gzip's header, so that equal content gives equal bytes.
            gzip.GzipFile("", "wb", 1, raw, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for path in sorted((folder / directory).iterdir()):
                tar.add(path, f"{directory}/{name}/{path.name}", filter=_without_owner)
        shutil.rmtree(folder / directory)


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = "nems"
    return info
