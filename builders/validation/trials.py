"""The slow, simple reference for corpora of trials; see `builders.validation.reference`.

The trials, the spectrograms and the parts of cell ids are what the corpus' own functions return.
All that follows from them is made here once more: bins, subsets by counts, rows and their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from builders.errors import CorpusError
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.excluded import read_excluded
from builders.validation import reference as slow
from builders.validation.files import Float32s
from builders.validation.reference import Key, Reading, Row, Shards, Sound, Source

if TYPE_CHECKING:
    from builders.families.trials import TrialCorpus
    from builders.shards.trials import Trials


def sources(corpus: type[TrialCorpus], release: Release) -> Iterator[Source]:
    """Yield one pass over each session."""
    excluded = read_excluded(release.corpus)
    sounds: dict[str, Archive] = {}
    with suppress(CorpusError):  # the comparison of the stimuli reports the same error
        sounds = corpus.sounds_of(release)
    for name, (archive,) in corpus.sessions(release)[0].items():
        session = Session(corpus, name, archive, sounds, excluded)
        yield Source(f"responses and stimuli of {name}", session.read)


class Session:
    """One session: its spike file, and the sounds of the release."""

    def __init__(
        self,
        corpus: type[TrialCorpus],
        name: str,
        archive: Archive,
        sounds: dict[str, Archive],
        excluded: dict[str, str],
    ) -> None:
        self._corpus, self._name, self._archive = corpus, name, archive
        self._sounds, self._excluded = sounds, excluded
        self._pairs: dict[tuple[str, str], list[Trials]] = {}
        self._subsets: dict[str, str] = {}

    def read(self) -> Reading:
        """The records and the stimuli."""
        folder = f"data/{self._corpus.area or 'unlabeled'}/{self._name}"
        paths = {each: f"{folder}/{each}.parquet" for each in ("est", "val")}
        stimuli = {each: f"stimuli/{self._name}/{each}.parquet" for each in ("est", "val")}
        if self._name in self._excluded:
            every = [*paths.values(), *stimuli.values()]
            return Reading([slow.without_rows(each, self._archive.name) for each in every])
        for trials in self._corpus.read(self._archive):
            if len(trials.spikes):
                self._pairs.setdefault((trials.stim, trials.cell), []).append(trials)
        counts = {stim: max(map(self._n_trials, self._of(stim))) for stim, _ in self._pairs}
        self._subsets = self._corpus.subsets(counts)
        name = self._archive.name
        return Reading(
            [
                *(
                    Shards(path, name, partial(self._keys, subset), self._record)
                    for subset, path in paths.items()
                ),
                *(
                    Shards(path, name, partial(self._stims, each), partial(self._stimulus, counts))
                    for each, path in stimuli.items()
                ),
            ],
            self._kept_sounds(counts),
        )

    def _kept_sounds(self, counts: dict[str, int]) -> Iterator[Sound]:
        for stim in filter(self._is_kept, counts):
            with suppress(Exception):  # the comparison of its row reports the same error
                values = self._spectrogram(stim)
                yield Sound(self._archive.name, stim, self._subsets[stim], values)

    def _of(self, stim: str) -> list[tuple[str, str]]:
        return [pair for pair in self._pairs if pair[0] == stim]

    def _n_trials(self, pair: tuple[str, str]) -> int:
        return sum(len(each.spikes) for each in self._pairs[pair])

    def _is_kept(self, stim: str) -> bool:
        return stim in self._sounds and f"{self._name}/{stim}" not in self._excluded

    def _keys(self, subset: str) -> list[Key]:
        return [
            (f"{self._name}/{stim}", cell)
            for stim, cell in sorted(self._pairs)
            if self._subsets[stim] == subset
            and not {cell, f"{self._name}/{stim}"}.intersection(self._excluded)
        ]

    def _stims(self, subset: str) -> list[Key]:
        stims = sorted({stim for stim, _ in self._pairs})
        kept = [stim for stim in stims if self._subsets[stim] == subset and self._is_kept(stim)]
        return [(f"{self._name}/{stim}", None) for stim in kept]

    def _of_stim(self, key: Key) -> Row:
        stim = key[0].partition("/")[2]
        ids = {"stim_id": key[0], "stim": stim, "subset": self._subsets[stim]}
        return {**ids, "session": self._name}

    def _record(self, key: Key) -> Row:
        stim, cell = key[0].partition("/")[2], str(key[1])
        trials = self._pairs[stim, cell]
        return {
            **self._corpus.parse_cell_id(cell),
            **self._of_stim(key),
            "cell_id": cell,
            "site": self._name,
            "area": self._corpus.area,
            "response": [self._counts(s, each.duration) for each in trials for s in each.spikes],
            "onsets": [onset for each in trials for onset in each.onsets],
        }

    def _counts(self, spikes: object, duration: float) -> list[float]:
        """The counts of one trial, one spike at a time."""
        fs = 1000 / self._corpus.bin_ms
        counts = [0.0] * round(duration * fs)
        for time in np.asarray(spikes, np.float64).tolist():
            if 0 <= (place := math.floor(time * fs)) < len(counts):
                counts[place] += 1
        return counts

    def _spectrogram(self, stim: str) -> Float32s:
        return np.asarray(self._corpus.spectrogram(self._sounds[stim]), np.float32)

    def _stimulus(self, counts: dict[str, int], key: Key) -> Row:
        stim = key[0].partition("/")[2]
        return {
            **self._of_stim(key),
            "spectrogram": self._spectrogram(stim),
            "dt_ms": self._corpus.bin_ms,
            "n_trials": counts[stim],
        }
