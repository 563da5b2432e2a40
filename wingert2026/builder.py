"""wingert2026: what is particular to it, in the order in which data meet it.

Wingert, Parida, Norman-Haignere, David, Nat Neurosci 2026, doi:10.1038/s41593-026-02216-0:
single units of ferret auditory cortex (A1, PEG, AC, HC) listening to natural sounds.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, List, Value

from builders import schema
from builders.builder import CorpusBuilder, CorpusConfig, Scale
from builders.cells import read_cells
from builders.nems import Signal
from builders.records import presented, record_tables, stimulus_tables
from builders.release import Archive, Release
from builders.schema import CELL_ID, table
from builders.sessions import candidates, read_session
from builders.shards import Job

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
#: The area folder of the cells without area (sessions PRN010b, PRN011b, PRN020b).
UNLABELED = "unlabeled"
SUBSETS = ("est", "val")
BANDS = 32
#: A session has up to 256 stimuli of 282 kB: in four parts, each stays below 25 MB.
PARTS = {"est": 4, "val": 1}


def subset_of(stim: str) -> str:
    """Validation sounds are the ``STIM_00seq...``; all others are for estimation."""
    return "val" if stim.startswith("STIM_00") else "est"


def _record_shards(area: str = "*", site: str = "*") -> dict[str, tuple[str, ...]]:
    return {subset: (f"data/{area}/{site}/{subset}.parquet",) for subset in SUBSETS}


def _both(*globs: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {subset: tuple(path for each in globs for path in each[subset]) for subset in SUBSETS}


def _configs() -> list[CorpusConfig]:
    cohort = _both(_record_shards("A1"), _record_shards("PEG"))
    probes = _both(_record_shards(site="SLJ032a"), _record_shards(site="SLJ032a-B"))
    with (files("wingert2026") / "sites.csv").open(encoding="utf-8") as file:
        sites = [row["siteid"] for row in csv.DictReader(file)]
    every = _record_shards()
    return [
        CorpusConfig("cells", globs={"cells": ("cells.parquet",)}),
        CorpusConfig("A1+PEG", globs=cohort),
        *(CorpusConfig(area, globs=_record_shards(area)) for area in (*AREAS, UNLABELED)),
        CorpusConfig("all", globs=every),
        *(CorpusConfig(subset, globs={subset: every[subset]}) for subset in SUBSETS),
        CorpusConfig("goodpred", globs=cohort, filters=[["goodpred", "==", True]]),
        CorpusConfig("stimuli", globs={each: (f"stimuli/*/{each}-*.parquet",) for each in SUBSETS}),
        *(CorpusConfig(site, globs=_record_shards(site=site)) for site in sites),
        CorpusConfig("SLJ032a-A", globs=_record_shards(site="SLJ032a")),
        CorpusConfig("SLJ032a-AB", globs=probes),
    ]


class Wingert2026(CorpusBuilder):
    """`Wingert2026("A1")`; see `builders.builder.CorpusBuilder`."""

    corpus = "wingert2026"
    source = "https://doi.org/10.5281/zenodo.18331549"
    card: ClassVar = {
        "pretty_name": "Wingert 2026: ferret auditory cortex, natural sounds",
        "tags": ["neuroscience", "auditory-cortex", "electrophysiology", "spike-trains", "ferret"],
        "size_categories": ["100K<n<1M"],
    }
    BUILDER_CONFIGS: ClassVar = _configs()
    DEFAULT_CONFIG_NAME = "A1+PEG"

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int) -> None:
        from wingert2026.synthetic import synthesize

        synthesize(folder, scale, seed)

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        path = release.file("cell_list.csv")
        cells = read_cells(path, PUBLISHED, cell_id="cellid", site="siteid")
        sessions = cells["session"].unique().to_pylist()
        jobs = [_cells_job(cells, hashlib.sha256(path.read_bytes()).hexdigest())]
        for name in sessions:
            of_session = cells.filter(pc.equal(cells["session"], name))
            session = _Session(release, name, sessions, of_session.select([*CELL_ID, *OF_CELL]))
            jobs += [session.records_job(), session.stimuli_job()]
        return jobs


def _cells_job(cells: pa.Table, facts: str) -> Job:
    def tables() -> Iterator[tuple[str, pa.Table]]:
        yield "cells.parquet", table(dict(zip(cells.column_names, cells, strict=True)), CELLS)

    return Job("cells", ("cells.parquet",), CELLS, list, facts, tables)


@dataclass(frozen=True)
class _Session:
    """One session: its archive, and its cells as the list has them."""

    release: Release
    name: str
    listed: list[str]
    cells: pa.Table

    def records_job(self) -> Job:
        described = self.cells.to_pylist()
        areas = {(cell["area"] or UNLABELED, cell["site"]): None for cell in described}
        shards = {
            f"data/{area}/{site}/{subset}.parquet": (area, site, subset)
            for area, site in areas
            for subset in SUBSETS
        }

        def tables() -> Iterator[tuple[str, pa.Table]]:
            response = self._signal("resp")
            known = pc.is_in(self.cells["cell_id"], pa.array(response.channels, pa.string()))
            held = self.cells.filter(known)
            for path, (area, site, subset) in shards.items():
                in_area = pc.equal(pc.fill_null(held["area"], UNLABELED), area)
                cells = held.filter(pc.and_(in_area, pc.equal(held["site"], site)))
                stimuli = [stim for stim in response.stimuli() if subset_of(stim) == subset]
                for rows in record_tables(response, cells, stimuli, self._columns, RECORDS):
                    yield path, rows

        facts = json.dumps(described)
        return Job(f"{self.name}-records", tuple(shards), RECORDS, self._archives, facts, tables)

    def stimuli_job(self) -> Job:
        shards = {
            f"stimuli/{self.name}/{subset}-{part:05d}-of-{parts:05d}.parquet": (subset, part)
            for subset, parts in PARTS.items()
            for part in range(parts)
        }

        def tables() -> Iterator[tuple[str, pa.Table]]:
            stimulus = self._signal("stim")
            for path, (subset, part) in shards.items():
                stimuli = [stim for stim in presented(stimulus) if subset_of(stim) == subset]
                edges = [len(stimuli) * i // PARTS[subset] for i in (part, part + 1)]
                for row in stimulus_tables(
                    stimulus, stimuli[slice(*edges)], self._columns, BANDS, STIMULI
                ):
                    yield path, row

        return Job(f"{self.name}-stimuli", tuple(shards), STIMULI, self._archives, "", tables)

    def _columns(self, stim: str) -> dict[str, str]:
        stim_id = f"{self.name}/{stim}"
        subset = subset_of(stim)
        return {"stim_id": stim_id, "stim": stim, "subset": subset, "session": self.name}

    def _archives(self) -> list[Archive]:
        return candidates(self.release.archives("recordings"), self.name, self.listed)

    def _signal(self, name: str) -> Signal:
        archives = self.release.archives("recordings")
        return read_session(archives, self.name, self.listed, response="resp", data=[name])[name]
