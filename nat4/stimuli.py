"""The job of the stimuli: each sound once, from the first population that has it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import cache

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

from builders import schema
from builders.conventions import STIMULUS, SUBSETS, of_subset, subset_of
from builders.errors import CorpusError
from builders.nems.archive import recording_error
from builders.nems.binning import Trials
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.shards.arrow import matrix_lists, stored, table
from builders.shards.job import Job
from builders.shards.jobs import left_out
from builders.shards.notes import Note, Notes
from builders.shards.spikes import AddNote
from nat4.population import Area, columns_of, trials_of

STIMULI = Features(schema.STIMULI)
BANDS = 18


def stimuli_job(areas: list[Area]) -> Job:
    """The job that writes each sound once, from the first population that has it."""
    shards = {subset: f"stimuli/{subset}.parquet" for subset in SUBSETS}
    excluded = areas[0].excluded

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        def add(stim: str, text: str) -> None:
            notes.add(shards[subset_of(stim)], Note("", stim, text))

        rows: dict[str, tuple[Area, pa.Table]] = {}
        differing: list[tuple[Area, str, int]] = []
        schema = stored(STIMULI)
        for area in areas:
            stimulus = area.signal(STIMULUS, data=True)
            wanted = sorted(set(stimulus.stimuli()).difference(rows))
            for stim in wanted:
                if stim in excluded:
                    add(stim, left_out(excluded[stim]))
            windows: dict[str, list[NDArray[np.float32]]] = {
                stim: [] for stim in wanted if stim not in excluded
            }
            of_stimuli = trials_of(stimulus, list(windows))
            for stim, values in stimulus.windows(list(windows)):
                windows[stim].append(values.astype(np.float32))
            counted = _Counted(area, excluded)
            for stim, found in windows.items():
                if not _are_one(found):
                    differing.append((area, stim, len(found)))
                    continue
                spectrogram = _spectrogram(stimulus, stim, of_stimuli[stim], found, add)
                if spectrogram is not None:
                    is_est = subset_of(stim) == "est"
                    columns = {
                        **{key: [value] for key, value in columns_of(stim).items()},
                        "session": [None],
                        "spectrogram": matrix_lists([spectrogram]),
                        "dt_ms": [1000 / stimulus.fs],
                        "n_trials": [len(found) if is_est else counted.trials(stim)],
                    }
                    rows[stim] = area, table(columns, schema)
            for note in counted.notes:
                notes.add(shards["val"], note)
        for area, stim, n in differing:
            given = f"that of {rows[stim][0].name}" if stim in rows else "none"
            add(stim, f"its {n} spectrograms in {area.name} differ: {given} is given")
        return {
            path: [rows[stim][1] for stim in of_subset(sorted(rows), subset)]
            for subset, path in shards.items()
        }

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    cache_key = cache(lambda: json.dumps(excluded))
    return Job("stimuli", tuple(shards.values()), STIMULI, archives, cache_key, tables)


def _are_one(windows: list[NDArray[np.float32]]) -> bool:
    """Whether all windows of a stimulus have the same spectrogram."""
    return all(np.array_equal(windows[0], each, equal_nan=True) for each in windows[1:])


def _spectrogram(
    stimulus: Signal,
    stim: str,
    trials: Trials,
    windows: list[NDArray[np.float32]],
    add: AddNote,
) -> NDArray[np.float32] | None:
    """The spectrogram of a stimulus; None if all its occurrences were dropped.

    Raises
    ------
    CorpusError
        If it has the wrong number of bands.
    """
    for text in trials.left_out:
        add(stim, text)
    if not windows:
        add(stim, "it has no spectrogram: no occurrence of it is left")
        return None
    if len(windows[0]) != BANDS:
        why = f"{stim} has {len(windows[0])} bands, expected {BANDS}"
        raise recording_error(stimulus.archive, stimulus.member, why, stim)
    if windows[0].shape[1] < trials.n_bins[0]:
        add(stim, "the population's data end before it does: it is cut there")
    return windows[0]


class _Counted:
    """Count how often validation sounds were presented; the population has only their average.

    The count of a sound is taken from the first site that has it.
    """

    def __init__(self, area: Area, excluded: Collection[str]) -> None:
        self.notes: list[Note] = []
        self._area = area
        self._rest = iter([site for site in area.sites if site not in excluded])
        self._read: list[Signal] = []

    def trials(self, stim: str) -> int:
        """How many trials of a stimulus there are; 0 if no site has it."""
        for response in self._responses():
            if stim in response.epochs:
                try:
                    return len(response.trials(stim))
                except CorpusError as error:
                    text = f"its trials are not counted in {response.archive.name}: {error.why}"
                    self.notes.append(Note("", stim, text))
        return 0

    def _responses(self) -> Iterator[Signal]:
        yield from self._read
        for site in self._rest:
            try:
                found = self._area.responses(site, data=False)
                for each in found:
                    each.stimuli()  # raises if there is no table of epochs
            except CorpusError as error:
                text = f"its recording cannot be read, so its trials are not counted: {error.why}"
                self.notes.append(Note(site, "", text))
                continue
            self._read += found
            yield from found
