"""When the stimuli of a synthetic recording are presented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builders.ragged import Floats
from builders.synthetic.archive import Epoch
from builders.synthetic.sounds import SILENCE


@dataclass(frozen=True)
class Timeline:
    """When the stimuli of a recording were presented.

    Attributes
    ----------
    stims : (P,) list of str
        Epoch name of each presentation, in time order.
    onsets : (P,) float64
        Seconds; not on the bin grid, like real trial onsets.
    duration : float
        Seconds of each presentation, its silences included.
    fs : float
        Bins per second.
    n_bins : int
        Length of the recording.
    silence : float
        Seconds before and after each sound, part of `duration`.
    """

    stims: list[str]
    onsets: Floats
    duration: float
    fs: float
    n_bins: int
    silence: float = SILENCE

    @property
    def first_bins(self) -> NDArray[np.int64]:
        """First bin of each presentation, (P,) int64."""
        return np.rint(self.onsets * self.fs).astype(np.int64)

    def epochs(self, recording: str) -> list[Epoch]:
        """Name, start and end (s) of every epoch: the whole recording's, then each trial's."""
        end = self.n_bins / self.fs
        rows = [(f"FILE_{recording}", 0.0, end), ("PASSIVE_EXPERIMENT", 0.0, end)]
        # A comma in the name, to test readers that split lines at commas.
        rows.append(("LIGHT_off, door closed", 0.0, end))
        for stim, start in zip(self.stims, self.onsets.tolist(), strict=True):
            stop = start + self.duration
            rows += [(name, start, stop) for name in ("TRIAL", "REFERENCE", stim)]
            rows.append(("PreStimSilence", start, start + self.silence))
            rows.append(("PostStimSilence", stop - self.silence, stop))
        return rows

    def overlap(self) -> Epoch:
        """An extra start of the first stimulus halfway through itself, which readers must drop."""
        start = float(self.onsets[0]) + self.duration / 2
        return self.stims[0], start, start + self.duration


def timeline(
    rng: np.random.Generator,
    repetitions: Mapping[str, int],
    duration: float,
    fs: float,
    *,
    silence: float = SILENCE,
    gap: tuple[float, float] = (0.5, 2),
) -> Timeline:
    """Present each stimulus as often as `repetitions` says, in random order with random gaps.

    Parameters
    ----------
    rng : numpy.random.Generator
    repetitions : mapping of str to int
        How often to present each stimulus.
    duration, fs, silence : float
        See `Timeline`.
    gap : (float, float)
        The shortest and the longest pause (s) before a stimulus.
    """
    stims = rng.permutation(np.repeat(list(repetitions), list(repetitions.values()))).tolist()
    onsets = np.cumsum(rng.uniform(*gap, len(stims)) + duration) - duration
    n_bins = int(np.ceil((onsets[-1] + duration + 2) * fs))
    return Timeline(stims, onsets, duration, fs, n_bins, silence)
