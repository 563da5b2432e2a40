"""The corpus nat4: its configs, its release, and its jobs.

Pennington & David, PLoS Comput Biol 2023, doi:10.1371/journal.pcbi.1011110: single units of ferret
auditory cortex (A1, PEG) listening to 593 natural sounds of 1 s.

Estimation responses come from one population recording per area. Validation responses come from
the sites' own recordings, trial by trial: the population recording has only their average.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from builders.conventions import STIMULUS, SUBSETS
from builders.corpus.builder import CorpusBuilder, Scale
from builders.corpus.configs import CorpusConfig, record_globs
from builders.release.local import Release
from builders.shards.job import Job
from builders.shards.notes import Note
from builders.shards.waveforms import Sounds, waveform_jobs
from nat4.cells import cells_job
from nat4.population import Area, list_name, read_area
from nat4.records import absent_job, est_job, val_job
from nat4.stimuli import stimuli_job

if TYPE_CHECKING:
    from builders.validation.facts import Fact
    from builders.validation.reference import Source

AREAS = ("A1", "PEG")
#: 593 sounds of 1 s and 88 kB. Each begins 250 ms into its window, unless the epochs say otherwise.
WAVEFORM_PARTS, ONSET_MS = 4, 250.0


def _areas(release: Release) -> list[Area]:
    """The areas whose cell list is in the release; an error if there is none."""
    lists = {name: list_name(name) for name in AREAS}
    lacking = release.lacking(lists.values())
    here = [name for name in AREAS if lists[name] not in lacking] or list(AREAS)
    return [read_area(release, name) for name in here]


def _sounds(areas: list[Area]) -> Sounds:
    """A function from a sound's lower-case name, without suffix, to its stimulus and onset (ms)."""
    found: dict[str, tuple[str, float]] = {}
    for area in areas:
        signal = area.signal(STIMULUS)
        silences = dict(zip(*signal.epochs.bounds("PreStimSilence"), strict=True))
        for stim in signal.stimuli():
            start = float(signal.epochs.bounds(stim)[0][0])
            onset_ms = round((silences[start] - start) * 1000, 3) if start in silences else ONSET_MS
            name = stim.removeprefix("STIM_").lower().removesuffix(".wav")
            found.setdefault(name, (stim, onset_ms))
    return found.get


def published_sites() -> list[tuple[str, str]]:
    """The published sites, and their areas."""
    with (files("nat4") / "sites.csv").open(encoding="utf-8") as file:
        return [(row["siteid"], row["area"]) for row in csv.DictReader(file)]


def _configs() -> list[CorpusConfig]:
    every = record_globs()
    auditory = [["auditory", "==", True]]
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
        *(CorpusConfig(site, globs=record_globs(site=site)) for site, _ in published_sites()),
    ]


class Nat4(CorpusBuilder):
    """`Nat4("A1")`; see `builders.corpus.builder.CorpusBuilder`."""

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
    sound_ms = (ONSET_MS, ONSET_MS + 1000)
    scored = "auditory"
    DEFAULT_CONFIG_NAME = "all"

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from nat4.synthetic.release import synthesize

        synthesize(folder, scale, seed, driven)

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        from nat4.validation.facts import count_area

        return {fact: n for name in AREAS for fact, n in count_area(release, name).items()}

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        return [note for area in _areas(release) for note in area.known.all_notes()]

    @classmethod
    def facts(cls) -> list[Fact]:
        from nat4.validation.facts import FACTS

        return FACTS

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from nat4.validation.reference import sources

        return sources(release)

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        areas = _areas(release)
        jobs = [cells_job(areas), stimuli_job(areas)]
        for area in areas:
            jobs += [est_job(area), *(val_job(area, site) for site in area.sites)]
        for name in set(AREAS).difference(area.name for area in areas):
            jobs.append(absent_job(name, [s for s, area in published_sites() if area == name]))
        return jobs + waveform_jobs(
            release,
            WAVEFORM_PARTS,
            lambda: _sounds(areas),
            lambda: [area.archive() for area in areas],
        )
