"""The corpus wingert2026: its configs, its release, and its jobs.

Wingert, Parida, Norman-Haignere, David, Nat Neurosci 2026, doi:10.1038/s41593-026-02216-0:
single units of ferret auditory cortex (A1, PEG, AC, HC) listening to natural sounds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from datasets import Features

from builders import schema
from builders.conventions import SUBSETS
from builders.corpus.builder import CorpusBuilder, Scale
from builders.corpus.configs import CorpusConfig, merge_globs, record_globs
from builders.files import FINGERPRINT, digest
from builders.release.local import Release
from builders.shards.cells import WHERE
from builders.shards.job import Job
from builders.shards.jobs import UNLABELED, SessionJobs, cells_job, places
from builders.shards.notes import Note
from builders.shards.waveforms import waveform_jobs
from wingert2026.cells import AREAS, CELLS, LIST, LIST_MD5, OF_CELL, PUBLISHED, read_list

if TYPE_CHECKING:
    from builders.validation.facts import Fact
    from builders.validation.reference import Source


RECORDS = Features({**schema.RECORDS, **{name: PUBLISHED[name] for name in OF_CELL}})
STIMULI = Features(schema.STIMULI)
BANDS = 32
#: Shards per session. A session has up to 256 stimuli of 282 kB: each of four stays below 25 MB.
PARTS = {"est": 4, "val": 1}
#: About 2000 sounds of 20 s and 1.8 MB, 10 or 11 per part. They begin 1 s into the window.
WAVEFORM_PARTS, ONSET_MS = 192, 1000.0


def _configs() -> list[CorpusConfig]:
    cohort = merge_globs(record_globs(area="A1"), record_globs(area="PEG"))
    probes = merge_globs(record_globs(site="SLJ032a"), record_globs(site="SLJ032a-B"))
    with (files("wingert2026") / "sites.csv").open(encoding="utf-8") as file:
        sites = [row["siteid"] for row in csv.DictReader(file)]
    every = record_globs()
    return [
        CorpusConfig("cells", globs={"cells": ("cells.parquet",)}),
        CorpusConfig("A1+PEG", globs=cohort),
        *(CorpusConfig(area, globs=record_globs(area=area)) for area in (*AREAS, UNLABELED)),
        CorpusConfig("all", globs=every),
        *(CorpusConfig(subset, globs={subset: every[subset]}) for subset in SUBSETS),
        CorpusConfig("goodpred", globs=cohort, filters=[["goodpred", "==", True]]),
        CorpusConfig("stimuli", globs={each: (f"stimuli/*/{each}-*.parquet",) for each in SUBSETS}),
        CorpusConfig("waveforms", globs={"waveforms": ("waveforms/*.parquet",)}),
        *(CorpusConfig(site, globs=record_globs(site=site)) for site in sites),
        CorpusConfig("SLJ032a-A", globs=record_globs(site="SLJ032a")),
        CorpusConfig("SLJ032a-AB", globs=probes),
    ]


class Wingert2026(CorpusBuilder):
    """`Wingert2026("A1")`; see `builders.corpus.builder.CorpusBuilder`."""

    corpus = "wingert2026"
    source = "https://doi.org/10.5281/zenodo.18331549"
    record = 18331549
    published: ClassVar = {
        LIST: LIST_MD5,
        "recordings.zip": "3c5f5b785bc31f2cab561dfc52fee101",
        "wav.zip": "e8047588ad8b47726ade7621ab17abe8",
    }
    frequencies = (200.0, 20_000.0)  # log spaced
    card: ClassVar = {
        "pretty_name": "Wingert 2026: ferret auditory cortex, natural sounds",
        "tags": ["neuroscience", "auditory-cortex", "electrophysiology", "spike-trains", "ferret"],
        "size_categories": ["100K<n<1M"],
    }
    BUILDER_CONFIGS: ClassVar = _configs()
    DEFAULT_CONFIG_NAME = "A1+PEG"

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from wingert2026.synthetic.release import synthesize

        synthesize(folder, scale, seed, driven)

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        from wingert2026.validation.facts import count_cells

        return {**count_cells(release), "archives": len(release.archives("recordings"))}

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        return read_list(release).all_notes()

    @classmethod
    def facts(cls) -> list[Fact]:
        from wingert2026.validation.facts import FACTS

        return FACTS

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from wingert2026.validation.reference import sources

        return sources(release)

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        key = cache(lambda: digest(release.file(LIST), FINGERPRINT))
        jobs = [cells_job(cls.corpus, lambda: read_list(release), CELLS, key)]
        # Only these columns: parsing `mwf`, the spike waveforms, would take half of the time.
        cells = read_list(release, OF_CELL)
        cells = replace(cells, table=cells.table.select([*WHERE, *OF_CELL]))
        of_sessions = places(cells.table)
        for name in of_sessions:
            session = SessionJobs(release, "recordings", name, of_sessions, cells)
            jobs += [session.records(RECORDS), session.stimuli(STIMULI, BANDS, PARTS)]
        return jobs + waveform_jobs(release, WAVEFORM_PARTS, lambda: _sound)


def _sound(name: str) -> tuple[str, float]:
    return f"STIM_{name}.wav", ONSET_MS
