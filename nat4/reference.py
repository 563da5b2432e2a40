"""The slow, obvious reader of a nat4 release; see `builders.reference`."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial

import h5py
import numpy as np

from builders import reference as slow
from builders.reference import Key, Reading, Row, Shards, Sound, Source
from builders.release import Archive, Release

AREAS = ("A1", "PEG")


def sources(release: Release) -> Iterator[Source]:
    """For each area the population recording, then each site's; last, the stimuli of both."""
    populations = {}
    for area in AREAS:
        with release.file(f"{area}_pred_correlation.csv").open(newline="") as file:
            auditory = {
                row["cellid"]: {"True": True, "False": False}.get(row["sig_auditory"])
                for row in csv.DictReader(file)
            }
        population = release.archive(f"{area}_NAT4_ozgf.fs100.ch18.tgz")
        cells = slow.cell_ids(population)
        holding = slow.sessions(release.archives(f"{area}_single_sites"))
        of_site: dict[str, list[str]] = {}
        for cell in cells:
            of_site.setdefault(cell.split("-")[0], []).append(cell)
        read = partial(_read_population, area, population, cells, auditory)
        yield Source(population.name, read)
        for site, in_site in of_site.items():
            if site not in holding:
                yield Source(f"the archive of {site} in {area}_single_sites", slow.missing)
            for archive in holding.get(site, []):
                read = partial(_read_site, area, archive, in_site, auditory)
                yield Source(archive.name, read)
        sites = [holding[site][0] for site in sorted(of_site) if site in holding]
        populations[area] = population, sites
    yield Source("the stimuli of both populations", partial(_read_stimuli, populations))


def _of_stim(stim: str) -> Row:
    return {"stim_id": stim, "stim": stim, "subset": slow.subset(stim)}


def _of_cell(cell: str, area: str, auditory: dict[str, bool | None]) -> Row:
    site = cell.split("-")[0]
    own = {"site": site, "area": area, "auditory": auditory.get(cell)}
    return {**slow.cell_columns(cell), **own}


def _read_population(
    area: str, archive: Archive, cells: list[str], auditory: dict[str, bool | None]
) -> Reading:
    """The estimation records: one trial, as the population has it, where nothing is missing."""
    epochs = slow.members(archive, ["resp.epoch.csv"])["resp.epoch.csv"]
    values = slow.raster(archive, "resp.csv")
    windows = {}
    for stim in slow.stimuli(epochs):
        if slow.subset(stim) == "est":
            ((_, first, stop),) = slow.trials(epochs, stim, 100)
            windows[stim] = values[first:stop]

    def record(key: Key) -> Row:
        stim, cell = key[0], str(key[1])
        response = [windows[stim][:, cells.index(cell)].tolist()]
        of_cell = _of_cell(cell, area, auditory)
        return {**_of_stim(stim), **of_cell, "response": response, "onsets": None}

    shards = []
    for site in sorted({cell.split("-")[0] for cell in cells}):
        columns = [(i, cell) for i, cell in enumerate(cells) if cell.split("-")[0] == site]
        keys: list[Key] = [
            (stim, cell)
            for stim, window in windows.items()
            for i, cell in columns
            if np.isfinite(window[:, i]).all()
        ]
        shards.append(Shards(f"data/{area}/{site}/est.parquet", archive.name, keys, record))
    return Reading(shards, [])


def _read_site(
    area: str, archive: Archive, cells: list[str], auditory: dict[str, bool | None]
) -> Reading:
    """The validation records: all trials, of each cell that can be told in the site's recording."""
    files = slow.members(archive)
    header, epochs = json.loads(files["resp.json"]), files["resp.epoch.csv"]
    held = {cell: name for cell in cells if (name := name_in_site(cell, cells, header["chans"]))}

    @cache
    def counts(cell: str) -> Counter[int]:
        with h5py.File(io.BytesIO(files["resp.h5"])) as h5:
            return slow.count(h5[held[cell]][:].tolist(), header)

    def record(key: Key) -> Row:
        stim, cell = key[0], str(key[1])
        count = counts(cell)
        trials = slow.trials(epochs, stim, header["fs"])
        response = [
            [sum(count.get(ms, 0) for ms in range(first + 10 * ten, first + 10 * ten + 10))
             for ten in range(round((stop - first) / 10))]
            for _, first, stop in trials
        ]  # fmt: skip
        onsets = [onset for onset, _, _ in trials]
        of_cell = _of_cell(cell, area, auditory)
        return {**_of_stim(stim), **of_cell, "response": response, "onsets": onsets}

    val = [stim for stim in slow.stimuli(epochs) if slow.subset(stim) == "val"]
    keys: list[Key] = [(stim, cell) for stim in val for cell in held]
    path = f"data/{area}/{cells[0].split('-')[0]}/val.parquet"
    return Reading([Shards(path, archive.name, keys, record)], [])


def name_in_site(cell: str, cells: list[str], held: list[str]) -> str | None:
    """The cell's id in the site's recording: its own, or the one with the same numbers."""
    if cell in held:
        return cell
    in_site, in_population = ([each for each in ids if _same(cell, each)] for ids in (held, cells))
    return in_site[0] if len(in_site) == len(in_population) == 1 else None


def _same(cell: str, other: str) -> bool:
    """Whether two ids differ in no more than the zeros before their numbers."""
    one, two = ([part.lstrip("0") for part in each.split("-")] for each in (cell, other))
    return one == two


def _read_stimuli(populations: dict[str, tuple[Archive, list[Archive]]]) -> Reading:
    """Each sound from the first population that has it; trials as counted where they are."""
    rows: dict[str, Row] = {}
    sounds = []
    for population, sites in populations.values():
        files = slow.members(population, ["stim.json", "stim.epoch.csv"])
        fs, epochs = json.loads(files["stim.json"])["fs"], files["stim.epoch.csv"]
        at_site = [slow.members(site, ["resp.epoch.csv"])["resp.epoch.csv"] for site in sites]
        values = slow.raster(population, "stim.csv")
        for stim in slow.stimuli(epochs):
            ((_, first, stop),) = slow.trials(epochs, stim, fs)
            spectrogram = values[first:stop].T
            sounds.append(Sound(population.name, stim, spectrogram))
            counted = [epochs] if slow.subset(stim) == "est" else at_site
            n_trials = [len(slow.trials(each, stim, 1000)) for each in counted]
            row = {
                **_of_stim(stim),
                "session": None,
                "spectrogram": spectrogram,
                "dt_ms": 1000 / fs,
                "n_trials": next((n for n in n_trials if n), 0),
            }
            rows.setdefault(stim, row)
    shards = [
        Shards(
            f"stimuli/{subset}.parquet",
            " and ".join(population.name for population, _ in populations.values()),
            [(stim, None) for stim in sorted(rows) if slow.subset(stim) == subset],
            lambda key: rows[key[0]],
        )
        for subset in ("est", "val")
    ]
    return Reading(shards, sounds)
