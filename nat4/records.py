"""The jobs of the records: estimation from the populations, validation from the sites."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, Value

from builders import schema
from builders.conventions import (
    BIN_SECONDS,
    RESPONSE,
    STIM,
    SUBSETS,
    Conventions,
    of_subset,
)
from builders.errors import CorpusError
from builders.nems.archive import recording_error
from builders.nems.raster import Values
from builders.nems.sessions import candidates, no_archive
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.shards.excluded import of_session
from builders.shards.job import Job
from builders.shards.jobs import left_out
from builders.shards.notes import Note, Notes
from builders.shards.records import record_tables
from builders.shards.spikes import AddNote, bin_width, read_responses, trial_notes
from builders.shards.spool import RasterSpool
from nat4.population import PUBLISHED, Area, columns_of, list_name, match_cells, trials_of

AUDITORY = {"auditory": Value("bool")}
RECORDS = Features({**schema.RECORDS, **AUDITORY})


def est_job(area: Area) -> Job:
    """The job that writes the estimation records of all sites, in one pass over the population."""
    shards = {site: f"data/{area.name}/{site}/est.parquet" for site in area.sites}
    excluded = area.excluded

    def tables(notes: Notes) -> dict[str, Iterator[pa.Table]]:
        response = area.signal(RESPONSE, data=True)
        if bin_width(response, BIN_SECONDS) != 1:
            raise recording_error(
                response.archive, response.member, f"fs is {response.fs:g}, expected 100"
            )
        cells = {site: _without(area.of_site(site), excluded) for site in shards}
        rows = {cell: row for row, cell in enumerate(response.channels)}
        spool = RasterSpool(
            {site: [rows[cell] for cell in of["cell_id"].to_pylist()] for site, of in cells.items()}
        )
        stimuli = of_subset(response.stimuli(), "est")
        found = [*area.notes, *area.cell_notes(), *_excluded_notes(area, stimuli, excluded)]
        found += _read_windows(response, [s for s in stimuli if s not in excluded], spool)
        found += _partial_notes(area, response, spool)
        for site, path in shards.items():
            for note in found:
                if note.session in ("", site):
                    notes.add(path, note)

        def of_shard(site: str) -> Iterator[pa.Table]:
            area.known.checked(site, excluded)
            yield from spool.tables(site, cells[site], columns_of, RECORDS)

        return {path: of_shard(site) for site, path in shards.items()}

    cache_key = cache(
        lambda: json.dumps([area.listed.select(list(PUBLISHED)).to_pylist(), excluded])
    )
    paths = tuple(shards.values())
    return Job(f"{area.name}-est", paths, RECORDS, lambda: [area.archive()], cache_key, tables)


def _without(cells: pa.Table, excluded: Collection[str]) -> pa.Table:
    kept = [cell not in excluded for cell in cells["cell_id"].to_pylist()]
    return cells.filter(pa.array(kept, pa.bool_()))


def _excluded_notes(area: Area, stimuli: list[str], excluded: dict[str, str]) -> list[Note]:
    cells = area.cells()["cell_id"].to_pylist()
    return [
        Note(unit.partition("-")[0] if unit in cells else "", unit, left_out(why))
        for unit, why in excluded.items()
        if unit in cells or unit in stimuli
    ]


def _read_windows(response: Signal, stimuli: list[str], spool: RasterSpool) -> list[Note]:
    """Put the windows of some stimuli into the spool, and return notes about them.

    A sound that occurs several times in the epochs has one window, and so one trial, for each.
    """
    lengths: dict[str, list[int]] = {stim: [] for stim in stimuli}
    of_stimuli = trials_of(response, stimuli)
    for stim, values in response.windows(stimuli):
        if len(values) != (n_cells := len(response.channels)):
            why = f"it has {len(values)} columns, and the population {n_cells} cells"
            raise recording_error(response.archive, response.member, why)
        spool.add(stim, values)
        lengths[stim].append(values.shape[1])
    notes = []
    for stim, trials in of_stimuli.items():
        texts = list(trial_notes(trials))
        if len(trials) > 1:
            texts.append(f"the population has it {len(trials)} times: so many trials")
        if lengths[stim] != trials.n_bins.tolist():
            texts.append("the population's data end before it does: it is cut there")
        notes += [Note("", stim, text) for text in texts]
    return notes


def _partial_notes(area: Area, response: Signal, spool: RasterSpool) -> Iterator[Note]:
    """Handle traces with some missing values, and yield a note about each.

    If `mask_est` excludes all missing values, the trace is dropped: it was never meant to be used
    for fitting. Any other trace is kept as stored.
    """
    if not spool.partial:
        return
    masks = _masks(area, sorted({stim for stim, _ in spool.partial}))
    for (stim, trial), missing in spool.partial.items():
        in_part = missing.any(axis=1) & ~missing.all(axis=1)
        mask = masks.get((stim, trial))
        is_left_out = np.zeros(len(missing), bool)
        if mask is not None and mask.shape in (missing.shape, missing[:1].shape):
            is_left_out = in_part & ~(missing & (mask != 0)).any(axis=1)
        spool.drop(stim, trial, is_left_out)
        for row in np.flatnonzero(in_part):
            cell = response.channels[row]
            text = "values are missing in a part of it"
            how = "no trial, as mask_est leaves it out" if is_left_out[row] else "kept as stored"
            yield Note(cell.partition("-")[0], cell, f"{stim}: {text}; {how}")


def _masks(area: Area, stimuli: list[str]) -> dict[tuple[str, int], Values]:
    """The part of `mask_est` in each window of some stimuli; empty if it cannot be read."""
    found: dict[tuple[str, int], Values] = {}
    counts = dict.fromkeys(stimuli, 0)
    with suppress(CorpusError):
        for stim, mask in area.signal("mask_est", data=True).windows(stimuli):
            found[stim, counts[stim]] = mask
            counts[stim] += 1
    return found


def val_job(area: Area, site: str) -> Job:
    """The job that writes a site's validation records, from the site's own recordings."""
    path = f"data/{area.name}/{site}/val.parquet"
    excluded = area.excluded
    of_site = of_session(excluded, site)
    of_site |= {unit: why for unit, why in excluded.items() if unit.startswith(STIM)}

    def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
        def add(subject: str, text: str) -> None:
            notes.add(path, Note(site, subject, text))

        area.known.checked(site, excluded)
        if site in excluded:
            add("", left_out(excluded[site]))
            return {path: []}
        responses = area.responses(site)
        if not responses:
            add("", f"no validation data: {no_archive(site, area.site_archives())}")
            return {path: []}
        cells = area.of_site(site)
        channels = _in_recordings(cells["cell_id"].to_pylist(), responses, add)
        held = _without(cells, {*excluded, *set(cells["cell_id"].to_pylist()).difference(channels)})
        of_held = {cell: channels[cell] for cell in held["cell_id"].to_pylist()}
        counted = read_responses(responses, of_held, Conventions())
        stimuli = of_subset(counted.stimuli(), "val")
        for note in [*area.notes, *_excluded_notes(area, stimuli, of_site)]:
            if note.session in ("", site):
                notes.add(path, note)
        kept = [stim for stim in stimuli if stim not in excluded]
        return {path: record_tables(counted, held, kept, columns_of, RECORDS, add)}

    def archives() -> list[Archive]:
        if site in excluded:
            return [area.archive()]
        return [area.archive(), *candidates(area.site_archives(), site, area.sites).first]

    @cache
    def cache_key() -> str:
        in_site = pc.starts_with(area.listed["cellid"], f"{site}-")
        listed = area.listed.filter(in_site).select(list(PUBLISHED)).to_pylist()
        return json.dumps([listed, of_site])

    name = f"{area.name}-{site}-val"
    return Job(name, (path,), RECORDS, archives, cache_key, tables, site)


def _in_recordings(
    cells: list[str], responses: Sequence[Signal], add: AddNote
) -> dict[str, list[tuple[int, str]]]:
    """For each cell of the population, the site's recordings that hold it, and its name there."""
    held = sorted({cell for each in responses for cell in each.cells})
    found = match_cells(cells, held)
    for cell, (name, how) in found.items():
        if how == "number":
            add(cell, f"matched by number: {name} in the site's recording")
    for cell in cells:
        if cell not in found:
            add(cell, "no validation data: the site's recording does not hold it")
    for cell in set(held).difference(name for name, _ in found.values()):
        add(cell, "the site's recording holds it, but the population does not")
    return {
        cell: [(number, name) for number, each in enumerate(responses) if name in each.cells]
        for cell, (name, _) in found.items()
    }


def absent_job(name: str, sites: list[str]) -> Job:
    """The job that writes empty shards for an area whose cell list is not in the release."""
    paths = tuple(f"data/{name}/{site}/{subset}.parquet" for site in sites for subset in SUBSETS)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        for path in paths:
            notes.add(path, Note("", name, f"the release lacks {list_name(name)}"))
        return {path: [] for path in paths}

    return Job(f"{name}-absent", paths, RECORDS, list, str, tables)
