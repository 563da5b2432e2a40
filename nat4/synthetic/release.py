"""A synthetic nat4 release: the published names, counts and quirks; values made up.

`full` has every site and about the published size. `mini` has a few sites that together have every
peculiarity. `plan` decides what goes where; cell ids and stimulus names are made up.

Sites, counts and formats are as published (Pennington & David, PLoS Comput Biol 2023).
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.ragged import Floats
from builders.synthetic.archive import PACKAGES, PlantedSignal, csv_file, h5_file, write_recording
from builders.synthetic.files import generator, new_release, run_writers
from builders.synthetic.filters import compress, neuron, responder, write_filters
from builders.synthetic.sounds import spectrogram
from builders.synthetic.spikes import hard_spikes, poisson_train, spike_train
from builders.synthetic.timeline import Timeline, timeline
from builders.synthetic.waveforms import write_waveforms
from nat4.synthetic.plan import (
    AREAS,
    BANDS,
    DURATION,
    FS,
    GAP,
    N_BINS,
    SILENCE,
    SITE_FS,
    Plan,
    Scale,
    Site,
    plan,
    waveform_names,
)

Codes = NDArray[np.unsignedinteger[Any]]

# A value of the population's responses is a multiple of 1/STEPS: a mean over 20 trials, or 19.
STEPS, NOT_RECORDED = 380, 65535
RESPONSES = np.append(np.arange(NOT_RECORDED) / STEPS, np.nan)


def synthesize(folder: Path, scale: Scale, seed: int = 0, driven: bool = False) -> None:
    """Write a synthetic release.

    Each area has ``<area>_NAT4_ozgf.fs100.ch18.tgz``, ``<area>_pred_correlation.csv`` and the
    folder ``<area>_single_sites``; in `mini`, the folder of PEG is a zip, as published. Both share
    ``wav.zip``, with 1 s of every sound; if driven, ``filters.npz`` as well.

    Parameters
    ----------
    folder : Path
        An empty folder, or one that does not exist yet.
    scale : {"mini", "full"}
        7 site recordings (a release of 1 MB), or all 34 (some 200 MB).
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
    plans = [plan(area, scale, seed, driven) for area in AREAS]
    writers = [partial(write_population, folder, each, seed) for each in plans]
    seconds = dict.fromkeys(waveform_names(scale, seed), DURATION - 2 * SILENCE)
    writers.append(
        partial(write_waveforms, folder / "wav.zip", seconds, seed, pack=scale == "mini")
    )
    if driven:
        cells = [(cell, (ids or (cell,))[0]) for each in plans for cell, ids in each.cells.items()]
        writers.append(partial(write_filters, folder / "filters.npz", seed, BANDS, cells))
    for each in plans:
        sites = folder / f"{each.area}_single_sites"
        sites.mkdir()
        writers += [partial(write_site, sites, each, site, seed) for site in each.sites]
        write_predictions(folder, each, seed)
    run_writers(writers)
    if scale == "mini":
        _zip(folder / "PEG_single_sites")


def record(area: Plan, site: Site, seed: int) -> tuple[Timeline, dict[str, Floats]]:
    """Simulate the recording of a site: its validation sounds, and its cells' spike times.

    Returns
    -------
    Timeline
        The presentations, with bins of 1 ms.
    dict of str to (n,) float64
        Spike times in seconds: of each cell of the site file; and of each cell that only the
        population has, under its id there.
    """
    rng = generator(seed, "recording", site.name)
    line = timeline(rng, site.repetitions, DURATION, SITE_FS, silence=SILENCE, gap=GAP[area.scale])
    respond = responder(seed, line, partial(_sound, area, seed), area.driven)
    trains: dict[str, Floats] = {}
    for cell in [*site.held, *(cell for cell, ids in site.cells.items() if not ids)]:
        trains[cell] = respond(generator(seed, "spikes", cell), cell)
        if cell == site.hard:
            # The last bin of a trial, and the one after it.
            ends = (line.first_bins[1] + N_BINS * (SITE_FS // FS) + np.array([-0.5, 0.5])) / SITE_FS
            trains[cell] = np.sort(np.concatenate([trains[cell], hard_spikes(line), ends]))
        if cell == site.silent:
            trains[cell] = np.zeros(0)
    return line, trains


def _sound(area: Plan, seed: int, stim: str) -> Floats:
    return spectrogram(
        seed, stim, BANDS, N_BINS,
        fs=FS, compressible=area.scale == "mini", silence=SILENCE, rich=area.driven,
    )  # fmt: skip


def validation_means(line: Timeline, times: Floats, stims: Iterable[str]) -> Codes:
    """Mean count of a cell per 10 ms bin over the trials of each sound, sounds concatenated.

    Returns
    -------
    (T,) uint16
        In units of 1 / `STEPS`.
    """
    edges = line.first_bins[:, None] + np.arange(0, N_BINS + 1) * (SITE_FS // FS)
    counts = np.diff(np.searchsorted(np.floor(times * SITE_FS), edges))
    names = np.array(line.stims)
    trials = [counts[names == stim] for stim in stims]
    return np.concatenate([each.sum(0) * STEPS // len(each) for each in trials]).astype(np.uint16)


def responses(area: Plan, heard: Floats, seed: int) -> Codes:
    """The population's responses to the sound `heard`, (F, T) float64.

    Returns
    -------
    (C, T) uint16
        In units of 1 / `STEPS`, or `NOT_RECORDED`. Responses to validation sounds are means of the
        site recordings; for a cell with two ids there, of the first id.
    """
    est = heard[:, len(area.val) * N_BINS :].astype(np.float32)
    compressed, n_est = compress(heard[:, -est.shape[1] :]), est.shape[1]
    table = np.zeros((len(area.cells), heard.shape[1]), np.uint16)
    rows = dict(zip(area.cells, table, strict=True))
    for site in area.sites:
        line, trains = record(area, site, seed)
        for cell, ids in site.cells.items():
            held = (ids or (cell,))[0]
            means = validation_means(line, trains[held], area.val)
            spikes = generator(seed, "spikes", held)
            if area.driven:
                rate = neuron(seed, held, BANDS).rate(compressed)
                times = poisson_train(spikes, rate, FS)
            else:
                times = spike_train(spikes, est, FS)
            bins = np.floor(times * FS).astype(np.int64)
            counts = np.bincount(bins[bins < n_est], minlength=n_est) * (held != site.silent)
            rows[cell][:-n_est], rows[cell][-n_est:] = means, counts * STEPS
    for (cell, stim), (begin, end) in area.missing.items():
        first = (len(area.val) + area.est.index(stim)) * N_BINS
        rows[cell][first + begin : first + end] = NOT_RECORDED
    return table


def write_population(folder: Path, area: Plan, seed: int) -> None:
    """Write the population recording of an area into `folder`."""
    stims = [*area.val, *area.est]
    heard = np.hstack([_sound(area, seed, stim) for stim in stims])
    n_bins, n_val = heard.shape[1], len(area.val) * N_BINS
    table = responses(area, heard, seed)
    cells = list(area.cells)
    values, codes = np.unique(heard, return_inverse=True)
    # One column; or, for PEG, one per cell, which is also 0 where the cell was not recorded.
    mask = table != NOT_RECORDED if area.area == "PEG" else np.ones((1, n_bins), bool)
    mask[:, :n_val] = False
    bands = [f"stim{band}" for band in range(BANDS)]
    per_cell = cells if len(mask) > 1 else ["mask_est"]
    kind = "RasterizedSignal"
    signals = [
        PlantedSignal("resp", kind, cells, "csv", lambda: csv_file(table, RESPONSES)),
        PlantedSignal(
            "stim", kind, bands, "csv",
            lambda: csv_file(codes.reshape(heard.shape).astype(np.uint32), values),
        ),
        PlantedSignal(
            "mask_est", kind, per_cell, "csv",
            lambda: csv_file(mask.view(np.uint8), np.array([0.0, 1.0])),
        ),
    ]  # fmt: skip
    path = folder / f"{area.area}_NAT4_ozgf.fs100.ch18.tgz"
    recording = path.name.partition(".")[0]
    onsets = np.arange(len(stims)).astype(np.float64) * DURATION
    line = Timeline(stims, onsets, DURATION, FS, n_bins, SILENCE)
    write_recording(
        path,
        signals if area.area == "A1" else signals[::-1],
        line.epochs(recording),
        fs=FS,
        n_bins=n_bins,
        rng=generator(seed, "layout", path.name),
        shuffle_epochs=True,
        level=4,
    )


def write_site(folder: Path, area: Plan, site: Site, seed: int) -> None:
    """Write the recording of a site into `folder`."""
    line, trains = record(area, site, seed)
    position = area.sites.index(site)
    cells = site.held
    if position % 2 == 0:  # not the alphabetical order of the HDF5 file
        cells = generator(seed, "channels", site.name).permutation(cells).tolist()
    digest = hashlib.sha1(f"{area.area} {site.name} {seed}".encode()).hexdigest()
    resp = PlantedSignal(
        "resp", "PointProcess", cells, "h5",
        lambda: h5_file(((cell, trains[cell]) for cell in cells), 4),
    )  # fmt: skip
    write_recording(
        folder / f"{area.area}_{site.name}_{digest}.tgz",
        [resp],
        line.epochs(site.name) + ([line.overlap()] if site.overlap else []),
        fs=SITE_FS,
        n_bins=line.n_bins,
        rng=generator(seed, "layout", site.name),
        package=PACKAGES[position % len(PACKAGES)],
        shuffle_epochs=position % 3 > 0,
        level=1,
    )


def write_predictions(folder: Path, area: Plan, seed: int) -> None:
    """Write the table of prediction correlations of an area into `folder`."""
    rng = generator(seed, "predictions", area.area)
    path = folder / f"{area.area}_pred_correlation.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["cellid", "r_test", "r_floor", "r_ceiling", "sig_auditory"])
        for cell in rng.permutation(list(area.cells)).tolist():
            floor, heard = float(rng.uniform(0.03, 0.08)), cell not in area.deaf
            score = floor + float(rng.uniform(0.01, 0.7) if heard else -rng.uniform(0.01, 0.1))
            ceiling = score * float(rng.uniform(1.05, 1.6)) if heard else ""
            if cell != area.unlisted:
                writer.writerow([cell, score, floor, ceiling, heard])


def _zip(folder: Path) -> None:
    """Replace a folder by a zip without compression: its recordings are compressed already."""
    with zipfile.ZipFile(folder.with_name(folder.name + ".zip"), "w") as archive:
        for path in sorted(folder.iterdir()):
            # A ZipInfo made here has no time stamp.
            archive.writestr(zipfile.ZipInfo(f"{folder.name}/{path.name}"), path.read_bytes())
    shutil.rmtree(folder)
