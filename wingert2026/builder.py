"""The corpus wingert2026: its configs and its release.

Wingert, Parida, Norman-Haignere, David, Nat Neurosci 2026, doi:10.1038/s41593-026-02216-0:
single units of ferret auditory cortex (A1, PEG, AC, HC) listening to natural sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from builders.corpus.builder import Scale
from builders.corpus.configs import CorpusConfig, merge_globs, record_globs
from builders.families.nems import NemsCorpus, Waveforms
from builders.shards.listed import UNLABELED
from wingert2026.cells import LIST

if TYPE_CHECKING:
    from builders.synthetic.recordings import PlannedArchive
    from builders.validation.facts import Fact


class Wingert2026(NemsCorpus):
    """`Wingert2026("A1")`; see `builders.corpus.builder.CorpusBuilder`."""

    corpus = "wingert2026"
    source = "https://doi.org/10.5281/zenodo.18331549"
    record = 18331549
    published: ClassVar = {
        LIST.file: "301e93a36f2fc00197e92cf7ef6718c7",
        "recordings.zip": "3c5f5b785bc31f2cab561dfc52fee101",
        "wav.zip": "e8047588ad8b47726ade7621ab17abe8",
    }
    bands: ClassVar = {"": 32}
    # Bands are log spaced; the ends of sounds vary.
    frequencies, sound_ms, scored = (200.0, 20_000.0), (1000.0, None), "goodpred"
    cell_list = LIST
    areas = ("A1", "PEG", "AC", "HC", UNLABELED)
    # A session has up to 256 stimuli of 282 kB.
    parts: ClassVar = {"est": 4, "val": 1}
    # About 2000 sounds of 20 s and 1.8 MB, 10 or 11 per part. They begin 1 s into the window.
    waveforms = Waveforms(parts=192, onset_ms=1000.0)
    card: ClassVar = {
        "pretty_name": "Wingert 2026: ferret auditory cortex, natural sounds",
        "tags": ["neuroscience", "auditory-cortex", "electrophysiology", "spike-trains", "ferret"],
        "size_categories": ["100K<n<1M"],
    }
    DEFAULT_CONFIG_NAME = "A1+PEG"

    @classmethod
    def configs(cls, default: list[CorpusConfig]) -> list[CorpusConfig]:
        cohort = merge_globs(record_globs(area="A1"), record_globs(area="PEG"))
        probes = merge_globs(record_globs(site="SLJ032a"), record_globs(site="SLJ032a-B"))
        return [
            default[0],  # the cells, which must be first
            CorpusConfig("A1+PEG", globs=cohort),
            CorpusConfig("goodpred", globs=cohort, filters=[["goodpred", "==", True]]),
            *default[1:],
            CorpusConfig("SLJ032a-A", globs=record_globs(site="SLJ032a")),
            CorpusConfig("SLJ032a-AB", globs=probes),
        ]

    @classmethod
    def facts(cls) -> list[Fact]:
        from wingert2026.validation.facts import facts

        return facts(cls)

    @classmethod
    def plan(cls, scale: Scale, seed: int) -> list[PlannedArchive]:
        from wingert2026.synthetic.release import archives

        return archives(scale, seed)

    @classmethod
    def write_others(
        cls, folder: Path, planned: Sequence[PlannedArchive], seed: int
    ) -> list[Callable[[], object]]:
        from wingert2026.synthetic.cells import write_cell_list as write

        return [partial(write, folder / LIST.file, {each.session for each in planned}, seed)]
