"""nat4: what is particular to it, in the order in which data meet it.

Pennington & David, PLoS Comput Biol 2023, doi:10.1371/journal.pcbi.1011110: single units of ferret
auditory cortex (A1, PEG) listening to 593 natural sounds of 1 s.

The estimation responses are those of one population recording per area. The validation responses
are those of the sites' own recordings, trial by trial: the population has but their average.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, Value
from numpy.typing import NDArray

from builders import schema
from builders.builder import CorpusBuilder, CorpusConfig, Scale, record_globs
from builders.members import broken
from builders.records import RasterSpool, bin_width, record_tables
from builders.release import Archive, Release
from builders.schema import CELL_ID, SUBSETS, matrices, of_subset, subset_of, table
from builders.sessions import candidates
from builders.shards import Job
from builders.waveforms import Sounds, waveform_jobs
from nat4.population import PUBLISHED, Area, column_type, match_cells, read_area, typed_column

if TYPE_CHECKING:
    from builders.facts import Fact
    from builders.reference import Source

AREAS = ("A1", "PEG")
AUDITORY = {"auditory": Value("bool")}
MATCH = {"has_val": Value("bool"), "val_match": Value("string")}
RECORDS = Features({**schema.RECORDS, **AUDITORY})
STIMULI = Features(schema.STIMULI)
BANDS = 18
#: 593 sounds of 1 s and 88 kB. Each begins 250 ms into its window, if the epochs do not say else.
WAVEFORM_PARTS, ONSET_MS = 4, 250.0


def _columns(stim: str) -> dict[str, str]:
    return {"stim_id": stim, "stim": stim, "subset": subset_of(stim)}


def _est_job(area: Area) -> Job:
    """All sites' estimation records, in one pass over the population recording."""
    shards = {site: f"data/{area.name}/{site}/est.parquet" for site in area.sites}

    def tables() -> dict[str, Iterator[pa.Table]]:
        response = area.signal("resp", data=True)
        if bin_width(response) != 1:
            raise broken(response.archive, response.member, f"fs is {response.fs:g}, expected 100")
        rows = {cell: row for row, cell in enumerate(response.channels)}
        cells = {site: area.of_site(site) for site in shards}
        spool = RasterSpool(
            {site: [rows[cell] for cell in of["cell_id"].to_pylist()] for site, of in cells.items()}
        )
        partial: dict[str, NDArray[np.bool_]] = {}
        seen = set()
        for stim, values in response.windows(of_subset(response.stimuli(), "est")):
            if stim in seen or len(values) != len(rows):
                why = f"{stim} stands there twice, or not for all {len(rows)} cells"
                raise broken(response.archive, response.member, why)
            seen.add(stim)
            spool.add(stim, values)
            missing = ~np.isfinite(values)
            if (missing.any(axis=1) & ~missing.all(axis=1)).any():
                partial[stim] = missing
        _check_partial(area, partial)
        return {
            path: spool.tables(site, cells[site], _columns, RECORDS)
            for site, path in shards.items()
        }

    facts = cache(lambda: json.dumps(area.listed.select(list(PUBLISHED)).to_pylist()))
    paths = tuple(shards.values())
    return Job(f"{area.name}-est", paths, RECORDS, lambda: [area.archive()], facts, tables)


def _check_partial(area: Area, partial: dict[str, NDArray[np.bool_]]) -> None:
    """A trace that is missing in part is no record if `mask_est` leaves out what is missing."""
    if not partial:
        return
    signal = area.signal("mask_est", data=True)
    for stim, mask in signal.windows(list(partial)):
        if mask.shape not in (partial[stim].shape, partial[stim][:1].shape):
            why = f"{stim} has shape {mask.shape}, in resp {partial[stim].shape}"
            raise broken(signal.archive, signal.member, why)
        missing = partial[stim] & ~partial[stim].all(axis=1, keepdims=True)
        unexplained = (missing & (mask != 0)).any(axis=1)
        if unexplained.any():
            response = area.signal("resp")
            cell = response.channels[int(np.argmax(unexplained))]
            why = f"{cell} has no values in a part of {stim}, and mask_est does not leave it out"
            raise broken(response.archive, response.member, why)


def _val_job(area: Area, site: str) -> Job:
    """A site's validation records, from its own recording."""
    path = f"data/{area.name}/{site}/val.parquet"

    def tables() -> dict[str, Iterator[pa.Table]]:
        response = area.site_response(site, data=("resp",))
        cells = area.of_site(site)
        found = match_cells(cells["cell_id"].to_pylist(), response.channels)
        held = cells.filter(pc.is_in(cells["cell_id"], pa.array(list(found), pa.string())))
        channels = [found[cell][0] for cell in held["cell_id"].to_pylist()]
        stimuli = of_subset(response.stimuli(), "val")
        line = response.line()
        return {path: record_tables(response, line, held, channels, stimuli, _columns, RECORDS)}

    def archives() -> list[Archive]:
        return [area.archive(), *candidates(area.site_archives(), site, area.sites)]

    @cache
    def facts() -> str:
        in_site = pc.starts_with(area.listed["cellid"], f"{site}-")
        return json.dumps(area.listed.filter(in_site).select(list(PUBLISHED)).to_pylist())

    return Job(f"{area.name}-{site}-val", (path,), RECORDS, archives, facts, tables)


def _cells_job(areas: list[Area]) -> Job:
    """The cells of all populations, with all columns of the lists and how they were matched."""
    published = [area.published() for area in areas]
    names = list(dict.fromkeys(name for each in published for name in each.column_names))
    types = {
        name: column_type([each[name] for each in published if name in each.column_names])
        for name in names
    }
    others = Features.from_arrow_schema(pa.schema(types.items()))
    features = Features({**CELL_ID, **AUDITORY, **MATCH, **others})

    def of_areas() -> Iterator[pa.Table]:
        for area, listed in zip(areas, published, strict=True):
            cells, matches = area.cells(), area.matches()
            how = [matches.get(cell, (None, None))[1] for cell in cells["cell_id"].to_pylist()]
            columns = dict(zip(cells.column_names, cells, strict=True))
            rows = listed.take(area.rows(cells["cell_id"].to_pylist()))
            columns |= {name: [None] * len(cells) for name in names}
            columns |= {name: typed_column(rows[name], types[name]) for name in rows.column_names}
            columns |= {"has_val": [match is not None for match in how], "val_match": how}
            yield table(columns, features)

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    facts = cache(lambda: json.dumps([area.texts.to_pylist() for area in areas]))
    path = "cells.parquet"
    return Job("cells", (path,), features, archives, facts, lambda: {path: of_areas()})


def _stimuli_job(areas: list[Area]) -> Job:
    """Each sound once, from the first population that has it."""

    shards = {subset: f"stimuli/{subset}.parquet" for subset in SUBSETS}

    def tables() -> dict[str, list[pa.Table]]:
        rows: dict[str, pa.Table] = {}
        for area in areas:
            stimulus = area.signal("stim", data=True)
            for stim, values in stimulus.windows(sorted(set(stimulus.stimuli()).difference(rows))):
                if len(values) != BANDS:
                    why = f"{stim} has {len(values)} bands, expected {BANDS}"
                    raise broken(stimulus.archive, stimulus.member, why)
                # The population has the validation sounds once, averaged: how often they were
                # presented, the sites' own recordings say.
                of_sites = (area.site_response(site) for site in area.sites)
                sources = [stimulus] if subset_of(stim) == "est" else of_sites
                epochs = next((source for source in sources if stim in source.epochs), None)
                columns = {
                    **{key: [value] for key, value in _columns(stim).items()},
                    "session": [None],
                    "spectrogram": matrices([values]),
                    "dt_ms": [1000 / stimulus.fs],
                    "n_trials": [len(epochs.trials(stim).onsets) if epochs else 0],
                }
                rows[stim] = table(columns, STIMULI)
        return {
            path: [rows[stim] for stim in of_subset(sorted(rows), subset)]
            for subset, path in shards.items()
        }

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    return Job("stimuli", tuple(shards.values()), STIMULI, archives, str, tables)


def _sounds(areas: list[Area]) -> Sounds:
    """The stimuli by their sounds' names, which differ in letter case, and their onsets."""
    found: dict[str, tuple[str, float]] = {}
    for area in areas:
        signal = area.signal("stim")
        none = np.array([]), np.array([])
        silences = dict(zip(*signal.epochs.get("PreStimSilence", none), strict=True))
        for stim in signal.stimuli():
            start = float(signal.epochs[stim][0][0])
            onset_ms = round((silences[start] - start) * 1000, 3) if start in silences else ONSET_MS
            name = stim.removeprefix("STIM_").lower().removesuffix(".wav")
            found.setdefault(name, (stim, onset_ms))
    return found.get


def _configs() -> list[CorpusConfig]:
    every = record_globs()
    auditory = [["auditory", "==", True]]
    with (files("nat4") / "sites.csv").open(encoding="utf-8") as file:
        sites = [row["siteid"] for row in csv.DictReader(file)]
    return [
        CorpusConfig("cells", globs={"cells": ("cells.parquet",)}),
        CorpusConfig("all", globs=every),
        *(CorpusConfig(area, globs=record_globs(area=area)) for area in AREAS),
        *(
            CorpusConfig(f"{area}-auditory", globs=record_globs(area=area), filters=auditory)
            for area in AREAS
        ),
        *(CorpusConfig(subset, globs={subset: every[subset]}) for subset in SUBSETS),
        CorpusConfig("stimuli", globs={each: (f"stimuli/{each}.parquet",) for each in SUBSETS}),
        CorpusConfig("waveforms", globs={"waveforms": ("waveforms/*.parquet",)}),
        *(CorpusConfig(site, globs=record_globs(site=site)) for site in sites),
    ]


class Nat4(CorpusBuilder):
    """`Nat4("A1")`; see `builders.builder.CorpusBuilder`."""

    corpus = "nat4"
    source = "https://doi.org/10.5281/zenodo.8044773"
    record = 8044773
    published: ClassVar = {
        **{
            f"{area}_{name}": ""
            for area in AREAS
            for name in ("NAT4_ozgf.fs100.ch18.tgz", "single_sites.zip", "pred_correlation.csv")
        },
        "wav.zip": "",
    }
    card: ClassVar = {
        "pretty_name": "NAT4: ferret auditory cortex, 1 s natural sounds",
        "license": "cc-by-4.0",
        "tags": ["neuroscience", "auditory-cortex", "electrophysiology", "spike-trains", "ferret"],
        "size_categories": ["100K<n<1M"],
    }
    BUILDER_CONFIGS: ClassVar = _configs()
    DEFAULT_CONFIG_NAME = "all"

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from nat4.synthetic import synthesize

        synthesize(folder, scale, seed, driven)

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        from nat4.facts import count_area

        return {fact: n for name in AREAS for fact, n in count_area(release, name).items()}

    @classmethod
    def facts(cls) -> list[Fact]:
        from nat4.facts import FACTS

        return FACTS

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from nat4.reference import sources

        return sources(release)

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        areas = [read_area(release, name) for name in AREAS]
        jobs = [_cells_job(areas), _stimuli_job(areas)]
        for area in areas:
            jobs += [_est_job(area), *(_val_job(area, site) for site in area.sites)]
        populations = [area.archive() for area in areas]
        return jobs + waveform_jobs(
            release, WAVEFORM_PARTS, lambda: _sounds(areas), lambda: populations
        )
