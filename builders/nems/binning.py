"""Spike times to trials x bins, by the reference convention of the NEMS recording format.

* The bin of a spike is ``floor(t * fs)`` in float64. All spikes in a bin are counted. Spikes before
  0 are dropped.
* An epoch starts at bin ``round(start * fs)`` (half to even) and has
  ``round(end * fs) - round(start * fs)`` bins.
* A trial is a slice of the recording's own binned train: a spike belongs to a trial by its *bin*.
  Comparing its *time* with the epoch's start would lose the spikes between the left edge of the
  first bin and an onset that lies off the grid.
* The occurrences of an epoch are taken in time order. An occurrence that overlaps, in bins, the
  last one kept is dropped (touching is fine). An occurrence without bins is dropped, too.

Source: the behaviour of the format's own reader (NEMS0, `nems0/signal.py` and `nems0/epoch.py`).
One difference: that reader lets negative spike times wrap around to the end of the recording.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builders.ragged import Floats

Ints = NDArray[np.int64]
#: The bins of a cell's spikes; int32 saves memory, since there are millions.
Train = NDArray[np.int32]

#: Limit: 18 hours at 1 kHz; recordings are shorter. Counts of a trial this long take 0.5 GB.
MAX_BINS = 2**26


@dataclass(frozen=True)
class Trials:
    """The occurrences of one epoch, in time order.

    Attributes
    ----------
    onsets : (R,) float64
        Start of each trial in the recording, in seconds, as the release states it.
    first : (R,) int64
        First bin of each trial.
    n_bins : (R,) int64
        Number of bins of each trial.
    left_out : tuple of str
        A short sentence for each kind of occurrence that was dropped. Duplicate rows and
        occurrences without bins are not mentioned: dropping them loses nothing.
    """

    onsets: Floats
    first: Ints
    n_bins: Ints
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.onsets)

    @property
    def stop(self) -> int:
        """One past the last bin of all trials; 0 if there are no trials."""
        return int((self.first + self.n_bins).max(initial=0))


def find_trials(starts: Floats, ends: Floats, fs: float) -> Trials:
    """Place the occurrences of one epoch on the bin grid.

    Parameters
    ----------
    starts, ends : (n,) float64
        Epoch bounds in seconds, in any order; NaN if missing.
    fs : float
        Bins per second.

    Returns
    -------
    Trials
        Sorted by time. Occurrences that lack a bound, overlap the last one kept, or have no bins
        are dropped.

    Raises
    ------
    ValueError
        If a bound is infinite or beyond `MAX_BINS`, or an epoch starts before 0 or ends before it
        starts.
    """
    # Python's own numbers: most stimuli have few trials, for which numpy takes longer.
    bounds = [*zip(starts.tolist(), ends.tolist(), strict=True)]
    told = sorted(each for each in bounds if not any(map(math.isnan, each)))
    if any(abs(bound) * fs > MAX_BINS for each in told for bound in each):
        raise ValueError(f"an epoch bound is past bin {MAX_BINS}")
    kept: list[tuple[float, int, int]] = []  # onset, first bin, one past the last bin
    n_overlapping = 0
    for start, end in told:
        first, stop = round(start * fs), round(end * fs)  # a half to the even bin
        if first < 0 or stop < first:
            raise ValueError("an epoch starts before 0 or ends before it starts")
        if first == stop:
            continue
        if not kept or first >= kept[-1][2]:
            kept.append((start, first, stop))
        elif (first, stop) != kept[-1][1:]:
            n_overlapping += 1
    left_out = [
        f"{occurrences(n)} left out: {why}"
        for n, why in (
            (len(bounds) - len(told), "without a start or an end"),
            (n_overlapping, "overlapping the one before"),
        )
        if n
    ]
    return Trials(
        np.array([onset for onset, _, _ in kept], np.float64),
        np.array([first for _, first, _ in kept], np.int64),
        np.array([stop - first for _, first, stop in kept], np.int64),
        tuple(left_out),
    )


def occurrences(n: int) -> str:
    """How many occurrences, in words."""
    return "1 occurrence" if n == 1 else f"{n} occurrences"


def spike_bins(times: Floats, fs: float, n_bins: int) -> Train:
    """The bins of a cell's spikes.

    Parameters
    ----------
    times : (n,) float64
        Spike times in seconds, in any order.
    fs : float
        Bins per second.
    n_bins : int
        Spikes outside the bins ``[0, n_bins)`` are dropped.

    Returns
    -------
    (m,) int32
        Ascending; one entry per spike. `MAX_BINS` is far below the limit of int32.

    Raises
    ------
    ValueError
        If a spike time is not finite.
    """
    if not np.isfinite(times).all():
        raise ValueError("a spike time is not a finite number")
    bins = times * fs
    np.floor(bins, out=bins)
    inside = (bins >= 0) & (bins < n_bins)
    if not inside.all():
        bins = bins[inside]
    train = bins.astype(np.int32)
    if (train[1:] < train[:-1]).any():  # usually in order already; the check is faster than sorting
        train.sort()
    return train


def ranges(starts: Ints, sizes: Ints) -> Ints:
    """``concatenate([arange(start, start + size) for each])``, vectorised."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)


def count_spikes(
    bins: Train | Ints, first: Ints, n_bins: Ints, width: int = 1
) -> NDArray[np.float32]:
    """Spike counts of many trials in one call.

    Parameters
    ----------
    bins : (n,) int32 or int64
        Ascending bins of the spikes.
    first, n_bins : (R,) int64
        First bin of each trial, and its number of counts; in any order, overlapping or not.
    width : int
        How many bins are summed into one count, starting at the trial's first bin.

    Returns
    -------
    (sum(n_bins),) float32
        The trials' counts, concatenated in order; each count is exact up to 2 ** 24.
    """
    # Same dtype as the bins: otherwise searchsorted would copy all bins.
    low, high = (
        np.searchsorted(bins, bound.astype(bins.dtype)) for bound in (first, first + n_bins * width)
    )
    size = high - low
    # The place of each spike's count. A trial starts at a multiple of the width here, so that one
    # shift and one division are enough.
    starts = (np.cumsum(n_bins) - n_bins) * width
    places = bins[ranges(low, size)] + np.repeat(starts - first, size)
    if width > 1:
        places //= width
    counts = np.zeros(int(n_bins.sum()), np.float32)
    # The places ascend and are far fewer than the counts, so count runs of equal places.
    if len(places):
        firsts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
        counts[places[firsts]] = np.diff(firsts, append=len(places))
    return counts
