"""wingert2026: what is particular to it, in the order in which data meet it.

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

from datasets import Features, List, Value

from builders import schema
from builders.builder import CorpusBuilder, CorpusConfig, Scale, merge_globs, record_globs
from builders.cells import WHERE, CellList, read_cells
from builders.jobs import UNLABELED, SessionJobs, cells_job, places
from builders.notes import Note
from builders.release import FINGERPRINT, Release, digest
from builders.schema import CELL_ID, SUBSETS
from builders.shards import Job
from builders.waveforms import waveform_jobs

if TYPE_CHECKING:
    from builders.facts import Fact
    from builders.reference import Source

TEXT, NUMBER, FLAG, INTEGER = Value("string"), Value("float64"), Value("bool"), Value("int32")

#: `cell_list.csv`, all 30 published columns: depth in um below the layer 3/4 border, sw (spike
#: width) in ms, mwf (mean spike waveform) of 100 points. siteid_2 says SLJ032a for probe B too:
#: siteid is the site.
PUBLISHED = {
    "cellid": TEXT,
    **dict.fromkeys(("CNN32-bsg", "LN32", "sspredxc"), NUMBER),
    "goodpred": FLAG,
    **dict.fromkeys(("improve", "CNN32-bsg_ceil", "LN32_ceil", "sspredxc_ceil"), NUMBER),
    "goodpred_ceil": FLAG,
    "siteid": TEXT,
    **dict.fromkeys(("0.8", "0.9", "0.95", "0.99"), NUMBER),
    **dict.fromkeys(("sspredxc0", "spont_mean", "evoked_mean"), NUMBER),
    "siteid_2": TEXT,
    "probechannel": INTEGER,
    "layer": TEXT,
    "depth": NUMBER,
    "area": TEXT,
    **dict.fromkeys(("iso", "sw"), NUMBER),
    "mwf": List(Value("float32")),
    **dict.fromkeys(("narrow", "superficial"), FLAG),
    "sorted_class": INTEGER,
    "celltype": TEXT,
}
OF_CELL = ("layer", "depth", "narrow", "celltype", "sw", "goodpred")
CELLS = Features({**CELL_ID, **PUBLISHED})
RECORDS = Features({**schema.RECORDS, **{name: PUBLISHED[name] for name in OF_CELL}})
STIMULI = Features(schema.STIMULI)

AREAS = ("A1", "PEG", "AC", "HC")
BANDS = 32
#: A session has up to 256 stimuli of 282 kB: in four parts, each stays below 25 MB.
PARTS = {"est": 4, "val": 1}
#: Some 2000 sounds of 20 s and 1.8 MB, 10 or 11 in each part. They begin 1 s into the window.
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
    """`Wingert2026("A1")`; see `builders.builder.CorpusBuilder`."""

    corpus = "wingert2026"
    source = "https://doi.org/10.5281/zenodo.18331549"
    record = 18331549
    published: ClassVar = {
        "cell_list.csv": "301e93a36f2fc00197e92cf7ef6718c7",
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
        from wingert2026.synthetic import synthesize

        synthesize(folder, scale, seed, driven)

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        from wingert2026.facts import count_cells

        return {**count_cells(release), "archives": len(release.archives("recordings"))}

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        return read_list(release).all_notes()

    @classmethod
    def facts(cls) -> list[Fact]:
        from wingert2026.facts import FACTS

        return FACTS

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from wingert2026.reference import sources

        return sources(release)

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        key = cache(lambda: digest(release.file("cell_list.csv"), FINGERPRINT))
        jobs = [cells_job(cls.corpus, lambda: read_list(release), CELLS, key)]
        # Half of the time would go to the waveforms.
        cells = read_list(release, OF_CELL)
        cells = replace(cells, table=cells.table.select([*WHERE, *OF_CELL]))
        of_sessions = places(cells.table)
        for name in of_sessions:
            session = SessionJobs(release, "recordings", name, of_sessions, cells)
            jobs += [session.records(RECORDS), session.stimuli(STIMULI, BANDS, PARTS)]
        return jobs + waveform_jobs(release, WAVEFORM_PARTS, lambda: _sound)


def _sound(name: str) -> tuple[str, float]:
    return f"STIM_{name}.wav", ONSET_MS


def read_list(release: Release, columns: tuple[str, ...] | None = None) -> CellList:
    """``cell_list.csv``: where the cells are, and all published columns or some."""
    path = release.file("cell_list.csv")
    md5 = Wingert2026.published["cell_list.csv"]
    return read_cells(path, PUBLISHED, "cellid", "siteid", columns, md5=md5, source=release.source)
