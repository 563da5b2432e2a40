"""The spikes of a session's cells, and the trials of its stimuli."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.conventions import BIN_SECONDS
from builders.errors import CorpusError, RecordingError
from builders.nems.archive import recording_error
from builders.nems.binning import Ints, Train, Trials
from builders.nems.signal import Signal

#: Adds a note: takes its subject, mostly a stimulus, and its text.
AddNote = Callable[[str, str], object]


class Spikes:
    """The spikes of a session's cells and the trials of its stimuli, from one or more recordings.

    Parameters
    ----------
    responses : sequence of Signal
        The recordings. Their data are freed after reading.
    channels : mapping of str to list of (int, str)
        For each wanted cell: the recordings that hold it, by number, and its name in each. If there
        are several, they must agree.

    Attributes
    ----------
    bins : (n,) int32 or int64
        All cells' spike bins in one ascending array: one call then counts the spikes of any set of
        (cell, trial) pairs. int64 only if the last bin is too large for int32.
    offsets : dict of str to int
        The number that was added to all bins of each cell.
    recording : dict of str to int
        For each cell, the number of the recording that its spikes are from.
    trials : list of dict of str to (Trials or CorpusError)
        For each recording, the trials of each stimulus, or an error if they are unknown.
    errors : dict of str to CorpusError
        For each cell whose spikes cannot be read, the reason.
    """

    def __init__(
        self, responses: Sequence[Signal], channels: Mapping[str, list[tuple[int, str]]]
    ) -> None:
        self.width = _bin_width(responses)
        self.trials = [_all_trials(each) for each in responses]
        self.recording = {cell: places[0][0] for cell, places in channels.items()}
        self.offsets: dict[str, int] = {}
        self.errors: dict[str, CorpusError] = {}
        trains: dict[str, Train] = {}
        offset = 0
        for number, response in enumerate(responses):
            names = {
                cell: name
                for cell, places in channels.items()
                for of, name in places
                if of == number
            }
            stops = [each.stop for each in _told(self.trials[number]).values()]
            n_bins = max(stops, default=0) + self.width  # a trial's last count may go past its end
            found = response.bins(list(names.values()), n_bins)
            for cell, train in zip(names, found, strict=True):
                if isinstance(train, RecordingError):
                    self.errors[cell] = train.about(cell)
                elif self.recording[cell] == number:
                    trains[cell] = train
                    self.offsets[cell] = offset
                    offset += 2 * n_bins  # a gap between two cells
                elif cell in trains and not self._is_same(cell, number, train, trains):
                    why = f"{cell} is not as it is in {responses[self.recording[cell]].archive}"
                    self.errors[cell] = recording_error(
                        response.archive, response.member, why, cell
                    )
        self.bins = _concatenated(trains, self.offsets, np.int32 if offset < 2**31 else np.int64)

    def _is_same(self, cell: str, number: int, train: Train, trains: Mapping[str, Train]) -> bool:
        """Whether a cell has the same spikes and trials in a second recording."""
        first, second = (_bins_of(self.trials[each]) for each in (self.recording[cell], number))
        return first == second and np.array_equal(trains[cell], train)

    def stimuli(self) -> list[str]:
        """Names of all stimuli, sorted."""
        return sorted({stim for trials in self.trials for stim in trials})

    def presentations(self, stim: str, cells: list[str]) -> dict[int, Trials]:
        """The trials of a stimulus in each recording that holds some of the cells, by its number.

        Raises
        ------
        CorpusError
            If the trials of a recording are unknown.
        """
        found = {}
        for number in sorted({self.recording[cell] for cell in cells}):
            trials = self.trials[number].get(stim)
            if isinstance(trials, CorpusError):
                raise trials
            if trials is not None:
                found[number] = trials
        return found


def _concatenated(
    trains: Mapping[str, Train], offsets: Mapping[str, int], dtype: type[np.int32 | np.int64]
) -> Train | Ints:
    """All cells' bins in one array, each cell's bins shifted by its offset."""
    bins: NDArray[Any] = np.empty(sum(map(len, trains.values())), dtype)
    start = 0
    for cell, train in trains.items():
        end = start + len(train)
        np.add(train, offsets[cell], out=bins[start:end], dtype=dtype)
        start = end
    return bins


def _told(trials: Mapping[str, Trials | CorpusError]) -> dict[str, Trials]:
    return {stim: each for stim, each in trials.items() if isinstance(each, Trials)}


def _bins_of(trials: Mapping[str, Trials | CorpusError]) -> dict[str, object]:
    """First bins and lengths of all trials: must agree between two recordings of a cell."""
    return {
        stim: (each.first.tolist(), each.n_bins.tolist()) if isinstance(each, Trials) else None
        for stim, each in trials.items()
    }


def _all_trials(response: Signal) -> dict[str, Trials | CorpusError]:
    found: dict[str, Trials | CorpusError] = {}
    for stim in response.stimuli():
        try:
            found[stim] = response.trials(stim)
        except CorpusError as error:
            found[stim] = error
    return found


def trial_notes(trials: Trials, width: int = 1) -> Iterator[str]:
    """The notes on a stimulus' trials; `width` of the recording's bins make one of ours.

    Lengths that differ by one bin get no note: an onset half-way between two bins causes that.
    """
    yield from trials.left_out
    n_bins = trials.n_bins / width
    if not len(trials):
        yield "no trial is left, so it has no records"
    elif np.ptp(n_bins) > 1:
        yield f"its trials differ in length: {n_bins.min():g} to {n_bins.max():g} bins"


def bin_width(response: Signal) -> int:
    """How many of the recording's bins make one of ours (`BIN_SECONDS`)."""
    width = response.fs * BIN_SECONDS
    if width != round(width) or width < 1:
        why = f"fs is {response.fs:g}; bins of {BIN_SECONDS:g} s need a multiple of 100"
        raise recording_error(response.archive, response.member, why)
    return round(width)


def _bin_width(responses: Sequence[Signal]) -> int:
    widths = [bin_width(each) for each in responses]
    for response, width in zip(responses, widths, strict=True):
        if width != widths[0]:
            why = f"fs is {response.fs:g}, in {responses[0].archive} {responses[0].fs:g}"
            raise recording_error(response.archive, response.member, why)
    return widths[0]
