"""The responses of a session's cells, and the trials of its stimuli."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.conventions import Conventions
from builders.errors import CorpusError, RecordingError
from builders.nems.archive import recording_error
from builders.nems.binning import Ints, Trials, count_spikes, occurrences, ranges
from builders.nems.signal import Signal

#: Adds a note: takes its subject, mostly a stimulus, and its text.
AddNote = Callable[[str, str], object]
AllTrials = Mapping[str, Trials | CorpusError]
#: What is kept of a cell in one recording: the bins of its spikes, or the counts of all bins.
Part = NDArray[Any]


def read_responses(
    signals: Sequence[Signal],
    channels: Mapping[str, list[tuple[int, str]]],
    conventions: Conventions,
) -> Responses:
    """The `Spikes` of a session; `Rasters` if a recording holds counts instead of spike times."""
    rasterized = any(each.kind == "RasterizedSignal" for each in signals)
    return (Rasters if rasterized else Spikes)(signals, channels, conventions)


class Responses:
    """The responses of a session's cells and the trials of its stimuli, from all its recordings.

    All cells' values stand in one array, each cell's at its offset. A cell's trials in several
    recordings stand behind each other there, as if they were of one recording.

    Parameters
    ----------
    signals : sequence of Signal
        The recordings.
    channels : mapping of str to list of (int, str)
        For each wanted cell: the recordings that hold it, by number, and its name in each.
    conventions : Conventions
        Bin width, and whether recordings of a cell are joined. If not, they must agree.

    Attributes
    ----------
    width : int
        How many of the recordings' bins make one of ours.
    offsets : dict of str to int
        The offset of each cell.
    recording : dict of str to int
        For each cell, the place of its trials in `trials`.
    trials : list of dict of str to (Trials or CorpusError)
        The trials of each stimulus, or an error if they are unknown: of each recording, then of
        each set of recordings that were joined.
    errors : dict of str to CorpusError
        For each cell whose response cannot be read, the reason.
    gaps : dict of str to dict of str to list of str
        Stimulus -> cell -> notes on the values that are missing.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        channels: Mapping[str, list[tuple[int, str]]],
        conventions: Conventions,
    ) -> None:
        self.width = _bin_width(signals, conventions.bin_seconds)
        self.trials: list[AllTrials] = [each.all_trials for each in signals]
        self.errors: dict[str, CorpusError] = {}
        self.gaps: dict[str, dict[str, list[str]]] = {}
        self.recording: dict[str, int] = {}
        self.offsets: dict[str, int] = {}
        stops = ([each.stop for each in _told(of).values()] for of in self.trials)
        # A trial's last count may go past its end.
        self._n_bins = [max(each, default=0) + self.width for each in stops]
        parts: dict[str, dict[int, Part]] = {cell: {} for cell in channels}
        for number, signal in enumerate(signals):
            names = {
                cell: name
                for cell, places in channels.items()
                for of, name in places
                if of == number
            }
            found = self._parts(signal, list(names.values()), self._n_bins[number])
            for cell, part in zip(names, found, strict=True):
                if isinstance(part, RecordingError):
                    self.errors[cell] = part.about(cell)
                elif self._is_new(parts[cell], number, part):
                    if parts[cell] and not conventions.joins:
                        why = (
                            f"{cell} is not as it is in {signals[next(iter(parts[cell]))].archive}"
                        )
                        error = recording_error(signal.archive, signal.member, why, cell)
                        self.errors.setdefault(cell, error)
                    else:
                        parts[cell][number] = part
        self._place({cell: each for cell, each in parts.items() if cell not in self.errors})
        for cell, places in channels.items():  # a cell with an error has trials, too
            self.recording.setdefault(cell, places[0][0])

    def _is_new(self, known: Mapping[int, Part], number: int, part: Part) -> bool:
        """Whether a cell has other values or trials in this recording than in those before."""
        return not any(
            _bins_of(self.trials[other]) == _bins_of(self.trials[number])
            and np.array_equal(before, part, equal_nan=part.dtype.kind == "f")
            for other, before in known.items()
        )

    def _place(self, parts: Mapping[str, Mapping[int, Part]]) -> None:
        """Find each cell's offset and trials, and store the values."""
        joined: dict[tuple[int, ...], int] = {}
        placed: list[tuple[int, Part]] = []
        offset = 0
        for cell, of_cell in parts.items():
            numbers = tuple(of_cell)
            if len(numbers) > 1 and numbers not in joined:
                joined[numbers] = len(self.trials)
                self.trials.append(self._joined(numbers))
            self.recording[cell] = joined[numbers] if len(numbers) > 1 else numbers[0]
            self.offsets[cell] = offset
            for number, part in of_cell.items():
                placed.append((offset, part))
                offset += 2 * self._n_bins[number]  # a gap between two cells
        self._store(placed, offset)

    def _joined(self, numbers: Sequence[int]) -> AllTrials:
        """The trials of some recordings, as of one in which they stand behind each other."""
        found: dict[str, Trials | CorpusError] = {}
        shift = 0
        for number in numbers:
            for stim, trials in self.trials[number].items():
                found[stim] = _appended(found.get(stim), trials, shift)
            shift += 2 * self._n_bins[number]
        return found

    def _parts(
        self, signal: Signal, names: list[str], n_bins: int
    ) -> Iterable[Part | RecordingError]:
        """What is kept of each cell in a recording of `n_bins` bins."""
        raise NotImplementedError

    def _store(self, parts: Sequence[tuple[int, Part]], size: int) -> None:
        """Store all cells' values, each at its offset; `size` is the end of the last."""
        raise NotImplementedError

    def counts(self, first: Ints, n_bins: Ints) -> NDArray[np.float32]:
        """The concatenated counts of some trials; `first` has a cell's offset added."""
        raise NotImplementedError

    def stimuli(self) -> list[str]:
        """Names of all stimuli, sorted."""
        return sorted({stim for trials in self.trials for stim in trials})

    def presentations(self, stim: str, cells: list[str]) -> dict[int, Trials]:
        """The trials of a stimulus, for each place in `trials` that some of the cells have.

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


class Spikes(Responses):
    """Responses stored as spikes: all cells' bins in one ascending array.

    One call then counts the spikes of any set of (cell, trial) pairs.
    """

    def _parts(
        self, signal: Signal, names: list[str], n_bins: int
    ) -> Iterable[Part | RecordingError]:
        return signal.bins(names, n_bins)

    def _store(self, parts: Sequence[tuple[int, Part]], size: int) -> None:
        # int64 only if the last bin is too large for int32.
        dtype = np.int32 if size < 2**31 else np.int64
        self._bins: NDArray[Any] = np.empty(sum(len(part) for _, part in parts), dtype)
        start = 0
        for offset, part in parts:
            end = start + len(part)
            np.add(part, offset, out=self._bins[start:end], dtype=dtype)
            start = end

    def counts(self, first: Ints, n_bins: Ints) -> NDArray[np.float32]:
        return count_spikes(self._bins, first, n_bins, self.width)


class Rasters(Responses):
    """Responses stored as counts: the release has no spike times, at least of some recordings.

    A trial without any value is no trial of that cell. Bins past the end of the data are NaN.
    """

    def _parts(
        self, signal: Signal, names: list[str], n_bins: int
    ) -> Iterable[Part | RecordingError]:
        if signal.kind == "RasterizedSignal":
            yield from signal.rows(names, n_bins)
            return
        for train in signal.bins(names, n_bins):
            if isinstance(train, RecordingError):
                yield train
            else:
                yield np.bincount(train, minlength=n_bins).astype(np.float32)

    def _store(self, parts: Sequence[tuple[int, Part]], size: int) -> None:
        self._values = np.full(size, np.nan, np.float32)
        for offset, part in parts:
            self._values[offset : offset + len(part)] = part
        for cell, offset in self.offsets.items():
            self._without_missing(cell, offset)

    def _without_missing(self, cell: str, offset: int) -> None:
        """Give a cell trials of its own if it has no value at all in some trials."""
        of_cell = self.trials[self.recording[cell]]
        own: dict[str, Trials | None] = {}
        for stim, trials in _told(of_cell).items():
            spans = zip(trials.first + offset, trials.n_bins, strict=True)
            missing = [np.isnan(self._values[at : at + n]) for at, n in spans]
            empty = np.array([each.all() for each in missing], bool)
            partly = sum(bool(each.any()) for each in missing) - int(empty.sum())
            if partly:
                text = f"values of {cell} are missing in {occurrences(partly)}: they are NaN"
                self.gaps.setdefault(stim, {}).setdefault(cell, []).append(text)
            if empty.any():
                text = f"{occurrences(int(empty.sum()))} left out: without a value of {cell}"
                self.gaps.setdefault(stim, {}).setdefault(cell, []).append(text)
                kept = ~empty
                left = replace(
                    trials,
                    onsets=trials.onsets[kept],
                    first=trials.first[kept],
                    n_bins=trials.n_bins[kept],
                )
                own[stim] = left if len(left) else None
        if own:
            self.recording[cell] = len(self.trials)
            joined = {**of_cell, **own}
            self.trials.append({stim: each for stim, each in joined.items() if each is not None})

    def counts(self, first: Ints, n_bins: Ints) -> NDArray[np.float32]:
        values = self._values[ranges(first, n_bins * self.width)].reshape(-1, self.width)
        counts: NDArray[np.float32] = values.sum(axis=1, dtype=np.float32)
        return counts


def _appended(
    known: Trials | CorpusError | None, trials: Trials | CorpusError, shift: int
) -> Trials | CorpusError:
    """The trials of a stimulus, then those of another recording, whose bins begin at `shift`."""
    if isinstance(trials, CorpusError) or isinstance(known, CorpusError):
        return known if isinstance(known, CorpusError) else trials
    shifted = Trials(trials.onsets, trials.first + shift, trials.n_bins, trials.left_out)
    if known is None:
        return shifted
    return Trials(
        np.concatenate([known.onsets, shifted.onsets]),
        np.concatenate([known.first, shifted.first]),
        np.concatenate([known.n_bins, shifted.n_bins]),
        known.left_out + shifted.left_out,
    )


def _told(trials: AllTrials) -> dict[str, Trials]:
    return {stim: each for stim, each in trials.items() if isinstance(each, Trials)}


def _bins_of(trials: AllTrials) -> dict[str, object]:
    """First bins and lengths of all trials: must agree between two recordings of a cell."""
    return {
        stim: (each.first.tolist(), each.n_bins.tolist()) if isinstance(each, Trials) else None
        for stim, each in trials.items()
    }


def n_presentations(signals: Sequence[Signal]) -> Mapping[str, int]:
    """How often each stimulus was presented in the recordings of a session.

    A recording that is there twice counts once, one without an epochs file not at all. Of a
    stimulus whose trials are unknown, the rows of the epochs table are counted.
    """
    counts = Counter[str]()
    for signal in distinct(signals):
        for stim, each in signal.all_trials.items():
            counts[stim] += len(each) if isinstance(each, Trials) else signal.epochs.n_rows(stim)
    return counts


def distinct(signals: Sequence[Signal]) -> list[Signal]:
    """The recordings that have an epochs file, without those that have the trials of another."""
    found: dict[str, Signal] = {}
    for signal in signals:
        if signal.table is not None:
            found.setdefault(repr(_bins_of(signal.all_trials)), signal)
    return [*found.values()]


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


def bin_width(response: Signal, bin_seconds: float) -> int:
    """How many of the recording's bins make one of ours."""
    width = response.fs * bin_seconds
    if width != round(width) or width < 1:
        why = f"fs is {response.fs:g}; bins of {bin_seconds:g} s need a multiple of "
        why += f"{1 / bin_seconds:g}"
        raise recording_error(response.archive, response.member, why)
    return round(width)


def _bin_width(responses: Sequence[Signal], bin_seconds: float) -> int:
    widths = [bin_width(each, bin_seconds) for each in responses]
    for response, width in zip(responses, widths, strict=True):
        if width != widths[0]:
            why = f"fs is {response.fs:g}, in {responses[0].archive} {responses[0].fs:g}"
            raise recording_error(response.archive, response.member, why)
    return widths[0]
