"""The slow, simple reader of a nat4 release; see `builders.validation.reference`."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from importlib.resources import files

import numpy as np

from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.excluded import read_excluded
from builders.validation import reference as slow
from builders.validation.files import (
    Float32s,
    SlowEpochs,
    SlowSignal,
    flag,
    read_list,
    read_signals,
)
from builders.validation.reference import Key, Reading, Row, Shards, Sound, Source

AREAS, BANDS = ("A1", "PEG"), 18


def sources(release: Release) -> Iterator[Source]:
    """Yield, for each area, passes over its population and its sites; last, all stimuli."""
    lacking = release.lacking(f"{name}_pred_correlation.csv" for name in AREAS)
    here = [name for name in AREAS if f"{name}_pred_correlation.csv" not in lacking]
    areas = [Area(release, name) for name in here or AREAS]
    for area in areas:
        yield Source(f"responses of the population of {area.name}", area.est)
        for site in area.sites:
            yield Source(f"responses of {site} in {area.name}", partial(area.val, site))
    for name in AREAS if here else ():
        if name not in here:
            yield Source(f"nothing of {name}", partial(_absent, name))
    yield Source("stimuli of the populations", partial(_stimuli, areas))


def _absent(area: str) -> Reading:
    """The shards of an area that the release lacks."""
    with (files("nat4") / "sites.csv").open(encoding="utf-8") as file:
        sites = [row["siteid"] for row in csv.DictReader(file) if row["area"] == area]
    paths = [f"data/{area}/{site}/{subset}.parquet" for site in sites for subset in ("est", "val")]
    return Reading([slow.without_rows(path, area) for path in paths])


class Area:
    """One area: its list of cells, its population recording, and its sites' recordings."""

    def __init__(self, release: Release, name: str) -> None:
        self.name, self._release = name, release
        self.excluded = read_excluded(release.corpus)
        self._listed = read_list(release.file(f"{name}_pred_correlation.csv"))
        self.sites = sorted({cell.split("-")[0] for cell in self._listed})

    def population(self, name: str) -> SlowSignal:
        """A signal of the population recording."""
        archive = self._release.archive(f"{self.name}_NAT4_ozgf.fs100.ch18.tgz")
        (signal,) = read_signals(archive, name)
        return signal

    @cached_property
    def cells(self) -> list[str]:
        """The cells of the population, in its order."""
        cells = self.population("resp").chans
        if not cells or len({*cells}) < len(cells):
            raise ValueError("the population names no cells, or one twice")
        return cells

    def est(self) -> Reading:
        """The estimation records: a trial for each window in which the cell has values."""
        population = Population(self)

        def keys(site: str) -> list[Key]:
            here = [cell for cell in self._kept if cell.split("-")[0] == site]
            stimuli = population.stimuli
            return [(stim, cell) for stim in stimuli for cell in here if population[stim, cell]]

        def record(key: Key) -> Row:
            response = [trace.tolist() for trace in population[key[0], str(key[1])]]
            return {**self._columns(*key), "response": response, "onsets": []}

        shards = [
            Shards(
                f"data/{self.name}/{site}/est.parquet",
                population.archive,
                partial(keys, site),
                record,
            )
            for site in self.sites
        ]
        return Reading(shards)

    def val(self, site: str) -> Reading:
        """The validation records: all trials of each cell that can be found in the recordings."""
        path = f"data/{self.name}/{site}/val.parquet"
        signals = self.recordings(site, slow.look_for_responses)
        if not signals:
            return Reading([slow.without_rows(path, site)])
        cells = [cell for cell in self.cells if cell.split("-")[0] == site]
        held = {cell for each in signals for cell in each.keys}
        names = {
            cell: name
            for cell in cells
            if cell not in self.excluded and (name := name_in_site(cell, cells, held))
        }
        responses = slow.Responses(signals, names)

        def keys() -> list[Key]:
            val = [
                stim
                for stim in responses.stimuli
                if slow.subset(stim) == "val" and stim not in self.excluded
            ]
            return [*responses.keys(names, val)]

        def record(key: Key) -> Row:
            return {**self._columns(*key), **responses.columns(key[0], str(key[1]))}

        return Reading([Shards(path, responses.archive, keys, record)])

    def recordings(self, site: str, look: slow.Look) -> list[SlowSignal]:
        """The spike times of a site; empty if it is excluded or its archives are missing."""
        directory = f"{self.name}_single_sites"
        if site in self.excluded or self._release.lacking([f"{directory}.zip"]):
            return []
        archives = self._release.archives(directory)
        return slow.find_session(archives, site, self.sites, (), look)

    @property
    def _kept(self) -> list[str]:
        return [cell for cell in self.cells if cell not in self.excluded]

    def _columns(self, stim: str, cell: str | None) -> Row:
        """All columns of a record except the ones that hold data."""
        name = name_in_site(str(cell), self.cells, self._listed)
        listed = self._listed[name] if name else {}
        own = {"area": self.name, "auditory": flag(listed.get("sig_auditory"))}
        of_cell = slow.cell_columns(str(cell))
        return {**_of_stim(stim), **of_cell, "site": of_cell["session"], **own}


class Population:
    """The windows of the estimation sounds in a population's raster.

    ``population[stim, cell]`` is the trace, (T,), of each of the cell's trials.
    """

    def __init__(self, area: Area) -> None:
        resp = area.population("resp")
        if resp.fs != 100:
            raise ValueError(f"the bins are {1000 / resp.fs} ms")
        self.archive = resp.archive.name
        self._cells, values = area.cells, resp.raster()
        if values.shape[1] != len(self._cells):
            raise ValueError(f"{values.shape[1]} columns of {len(self._cells)} cells")
        self._windows = {
            stim: _windows(resp, values, stim)
            for stim in resp.epochs.stimuli()
            if slow.subset(stim) == "est" and stim not in area.excluded
        }
        self.stimuli = list(self._windows)
        self._masks = cache(partial(_masks, area))

    def __getitem__(self, key: tuple[str, str]) -> list[Float32s]:
        stim, column = key[0], self._cells.index(key[1])
        return [
            window[:, column]
            for trial, window in enumerate(self._windows[stim])
            if self._is_trial(stim, trial, column)
        ]

    def _is_trial(self, stim: str, trial: int, column: int) -> bool:
        """False if all values are missing, or some are and `mask_est` excludes all of these."""
        window = self._windows[stim][trial]
        is_missing = ~np.isfinite(window[:, column])
        if is_missing.all() or not is_missing.any():
            return not is_missing.all()
        masks = self._masks(stim)
        if trial >= len(masks) or masks[trial].shape not in (window.shape, (len(window), 1)):
            return True
        mask = masks[trial][:, column if masks[trial].shape[1] > 1 else 0]
        return bool((mask[is_missing] != 0).any())


def _masks(area: Area, stim: str) -> list[Float32s]:
    """The part of `mask_est` in each window of a sound; empty if it cannot be read."""
    try:
        mask = area.population("mask_est")
        return _windows(mask, mask.raster(), stim)
    except Exception:  # an unreadable mask excludes nothing
        return []


def _windows(signal: SlowSignal, values: Float32s, stim: str) -> list[Float32s]:
    """The values (T, C) in each presentation of a sound; cut where the values end."""
    return [values[first:stop] for _, first, stop in signal.epochs.trials(stim)]


def _of_stim(stim: str) -> Row:
    return {"stim_id": stim, "stim": stim, "subset": slow.subset(stim)}


def name_in_site(cell: str, cells: Sequence[str], held: Collection[str]) -> str | None:
    """The id of a cell in `held`: the same id, or the only one with the same numbers; or None."""
    if cell in held:
        return cell
    in_held, in_cells = ([each for each in ids if _same(cell, each)] for ids in (held, cells))
    return in_held[0] if len(in_held) == len(in_cells) == 1 else None


def _same(cell: str, other: str) -> bool:
    """Whether two ids are equal except for leading zeros of their numbers."""
    one, two = ([part.lstrip("0") for part in each.split("-")] for each in (cell, other))
    return one == two


def _stimuli(areas: list[Area]) -> Reading:
    """Each sound from the first population that has it; validation trials as sites count them."""
    rows: dict[str, Row] = {}
    rasters: list[tuple[SlowSignal, Float32s]] = []
    excluded = areas[0].excluded
    for area in areas:
        signal = area.population("stim")
        values = signal.raster()
        rasters.append((signal, values))
        presented = cache(partial(_epochs_of_sites, area))
        for stim in signal.epochs.stimuli():
            if stim in rows or stim in excluded:
                continue
            windows = _windows(signal, values, stim)
            if not windows or not all(_equal(windows[0], each) for each in windows):
                continue
            if windows[0].shape[1] != BANDS:
                raise ValueError(f"{stim} has {windows[0].shape[1]} bands")
            n_trials = len(windows)
            if slow.subset(stim) == "val":
                n_trials = next(_counts(presented(), stim), 0)
            rows[stim] = {
                **_of_stim(stim),
                "session": None,
                "spectrogram": windows[0].T,
                "dt_ms": 1000 / signal.fs,
                "n_trials": n_trials,
            }

    def keys(subset: str) -> list[Key]:
        return [(stim, None) for stim in sorted(rows) if slow.subset(stim) == subset]

    archive = " and ".join(signal.archive.name for signal, _ in rasters)
    shards = [
        Shards(f"stimuli/{each}.parquet", archive, partial(keys, each), lambda key: rows[key[0]])
        for each in ("est", "val")
    ]
    return Reading(shards, _sounds(rasters, excluded))


def _sounds(
    rasters: list[tuple[SlowSignal, Float32s]], excluded: Collection[str]
) -> Iterator[Sound]:
    """Yield all copies of all sounds in all populations."""
    for signal, values in rasters:
        for stim in signal.epochs.stimuli():
            if stim not in excluded:
                with suppress(Exception):  # shards use the first population's copy only
                    for window in _windows(signal, values, stim):
                        yield Sound(signal.archive.name, stim, slow.subset(stim), window.T)


def _equal(one: Float32s, other: Float32s) -> bool:
    return np.array_equal(one, other, equal_nan=True)


def _epochs_of_sites(area: Area) -> list[SlowEpochs]:
    """The epochs of all sites whose recordings can be read."""
    found: list[SlowEpochs] = []
    for site in area.sites:
        try:
            found += [each.epochs for each in area.recordings(site, _look_at_names)]
        except Exception:  # its sounds are counted at the next site
            continue
    return found


def _counts(sites: list[SlowEpochs], stim: str) -> Iterator[int]:
    """Yield the number of trials of a sound at each site that has it."""
    for epochs in sites:
        if stim in epochs.stimuli():
            with suppress(ValueError, OverflowError):  # the sound is counted at the next site
                yield len(epochs.trials(stim))


def _look_at_names(archive: Archive) -> tuple[SlowSignal, Iterable[str] | None]:
    (resp,) = read_signals(archive, "resp")
    return resp, resp.chans or resp.keys
