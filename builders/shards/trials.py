"""What a corpus of any format reads from its files: spike times, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from builders.ragged import Floats


@dataclass(frozen=True)
class Trials:
    """All trials of one cell and one stimulus.

    Attributes
    ----------
    cell, stim : str
        The cell's id and the stimulus' name.
    spikes : sequence of (n,) float64
        For each trial, the spike times in seconds from the trial's start.
    duration : float
        Length of each trial in seconds.
    onsets : sequence of float
        When each trial began, in seconds from the start of the recording; empty if not known.
    """

    cell: str
    stim: str
    spikes: Sequence[Floats]
    duration: float
    onsets: Sequence[float] = field(default=())
