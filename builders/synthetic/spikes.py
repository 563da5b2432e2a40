"""Synthetic spike times that follow the sounds of a synthetic recording.

A corpus composes its synthetic release, to try and test it without its data, from sounds, a
timeline of presentations, and spikes; `builders.synthetic.archive` writes them. Every value depends
only on a seed and on stable names: the same seed gives the same bytes in any order of writing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.ragged import Floats
from builders.synthetic.timeline import Timeline

SPIKE_CLOCK = 30_000  # Hz; spike times are multiples of the acquisition's sampling interval
LATENCY = 2  # bins from sound to response


def drive(line: Timeline, sound: Callable[[str], Floats]) -> NDArray[np.float32]:
    """The sound during the whole recording, (F, n_bins) float32: `sound(stim)` at each onset."""
    first, stims = line.first_bins, np.array(line.stims)
    heard: NDArray[np.float32] | None = None
    for stim in sorted(set(line.stims)):
        values = sound(stim)
        if heard is None:
            heard = np.zeros((len(values), line.n_bins), np.float32)
        for start in first[stims == stim]:
            heard[:, start : start + values.shape[1]] = values
    if heard is None:
        raise ValueError("a timeline without presentations")
    return heard


def spike_train(rng: np.random.Generator, heard: NDArray[np.float32], fs: float) -> Floats:
    """Spike times of one cell that is tuned to one band of the sound.

    An inhomogeneous Poisson process; the mean rate is log-normal with a median of 4 Hz.

    Parameters
    ----------
    rng : numpy.random.Generator
    heard : (F, n_bins) float32
        See `drive`.
    fs : float
        Bins per second.

    Returns
    -------
    (n,) float64
        Seconds, ascending; over the whole recording, silences included.
    """
    n_bands, n_bins = heard.shape
    mean_rate = min(4 * np.exp(0.8 * rng.normal()), 60)
    gain, band = rng.uniform(0.5, 3), rng.integers(n_bands)
    shape = 1 + gain * np.roll(heard[band], LATENCY)
    return poisson_train(rng, shape, fs, mean_rate * n_bins / fs)


def poisson_train(
    rng: np.random.Generator,
    rate: NDArray[np.floating[Any]],
    fs: float,
    expected_count: float | None = None,
) -> Floats:
    """Spike times of an inhomogeneous Poisson process, on the acquisition's clock.

    Parameters
    ----------
    rng : numpy.random.Generator
    rate : (n_bins,) float
        Non-negative rate in each bin: in spikes/s, or proportional to it.
    fs : float
        Bins per second.
    expected_count : float, optional
        Mean number of spikes; by default the sum of `rate` in spikes/s over time.

    Returns
    -------
    (n,) float64
        Seconds, ascending.
    """
    n_bins = len(rate)
    expected = np.zeros(n_bins + 1)
    np.cumsum(rate, dtype=np.float64, out=expected[1:])
    count = rng.poisson(expected[-1] / fs if expected_count is None else expected_count)
    uniform = np.sort(rng.random(count)) * expected[-1]
    times: Floats = np.interp(uniform, expected, np.arange(n_bins + 1) / fs)
    ticks: Floats = np.rint(times * SPIKE_CLOCK)
    return ticks / SPIKE_CLOCK


def hard_spikes(line: Timeline) -> Floats:
    """Spike times that test a reader: a careless one loses, moves or miscounts them.

    Returns
    -------
    (n,) float64
        Seconds, ascending: before an onset but inside its first bin; on bin edges, among them
        edges where ``t * fs`` falls short of the bin's number; three in one bin; one past the
        recording's end.
    """
    fs, first = line.fs, line.first_bins
    early = (line.onsets + first / fs)[first / fs < line.onsets] / 2
    edges = np.arange(first[0], first[0] + round(line.duration * fs))
    short = edges[np.floor(edges / fs * fs) < edges][:3]
    crowd = (first[-1] + 150 + np.array([0.2, 0.5, 0.8])) / fs
    late = [line.n_bins / fs + 0.5]
    return np.sort(np.concatenate([early[:3], edges[[0, 70, 111]] / fs, short / fs, crowd, late]))
