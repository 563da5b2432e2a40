"""Synthetic releases in the published NEMS layout, to try and to test a corpus without its data.

What a corpus composes its synthetic release from: sounds, a timeline of presentations, spikes that
follow the sounds; `builders.synthetic_archive` writes them. Every value depends on a seed and on
stable names only, so that the same seed gives the same bytes in whatever order files are written.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.errors import CorpusError, unknown
from builders.synthetic_archive import Epoch

Floats = NDArray[np.float64]

SILENCE = 1.0  # seconds before and after each sound, inside its STIM_ epoch
SPIKE_CLOCK = 30_000  # Hz; spike times are multiples of the acquisition's sampling interval
LATENCY = 2  # bins from sound to response


def new_release(folder: Path, scale: str) -> Path:
    """Make the folder that a synthetic release is written into.

    Parameters
    ----------
    folder : Path
        Empty, or not there yet.
    scale : str
        ``mini`` or ``full``.

    Raises
    ------
    CorpusError
        If `scale` is unknown or `folder` is not an empty folder.
    """
    if scale not in ("mini", "full"):
        raise unknown("scale", scale, ("mini", "full"))
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CorpusError(
            "cannot write a synthetic release",
            where=folder,
            why="it is not an empty folder",
            fix="name a new folder, or remove what an interrupted run left in this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_writers(writers: Sequence[Callable[[], object]]) -> None:
    """Run functions that each write a file, several at a time; the longest should come first.

    Parameters
    ----------
    writers : sequence of callable
        Such as can be sent to another process: `functools.partial` of module-level functions.
    """
    from datasets.utils import tqdm  # silent where progress bars are disabled; slow to import

    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(writer) for writer in writers]
        try:
            for job in tqdm(as_completed(jobs), "synthetic files", len(jobs)):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on nothing but `seed` and `names`."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def spectrogram(
    seed: int,
    stim: str,
    n_bands: int,
    n_bins: int,
    *,
    fs: float,
    compressible: bool,
    silence: float = SILENCE,
    rich: bool = False,
) -> Floats:
    """A plausible sound, the same one wherever `seed`, `stim` and the shape are the same.

    Parameters
    ----------
    seed : int
    stim : str
        Epoch name of the stimulus.
    n_bands, n_bins : int
        Frequency bands (F) and time bins (T), silences included.
    fs : float
        Bins per second.
    compressible : bool
        Whether to round to some hundred levels; otherwise mantissas are random, and the values
        cost as much disk and time as real ones.
    silence : float
        Seconds before and after the sound.
    rich : bool
        Whether every band and every rate of modulation up to 25 Hz has its share, so that what a
        cell responds to can be told from its response; otherwise few and slow ones dominate.

    Returns
    -------
    (F, T) float64
        Amplitude, non-negative, square-root compressed; 0 during the silences.
    """
    rng = generator(seed, "spectrogram", stim, f"{n_bands}x{n_bins}")
    quiet = round(silence * fs)
    n_sound = n_bins - 2 * quiet
    # Each part of the sound: a bump over the bands times an envelope with a 1/f modulation
    # spectrum that ends at 4 Hz; a flat one that ends at 25 Hz if rich, and more contrast.
    n_parts, fastest, slope = (n_bands, 25, 0.0) if rich else (8, 4, 0.5)
    contrast, level = (3.0, 0.15) if rich else (1.2, 1.0)
    centre = rng.uniform(0, n_bands, (n_parts, 1))
    width = rng.uniform(0.03, 0.15, (n_parts, 1)) * n_bands
    profile = np.exp(-0.5 * ((np.arange(n_bands) - centre) / width) ** 2)
    rates = np.arange(1, round(fastest * n_sound / fs) + 1)
    waves = rng.normal(size=(n_parts, 2, len(rates))) / rates**slope
    coefficients = np.zeros((n_parts, n_sound // 2 + 1), complex)
    coefficients[:, rates] = waves[:, 0] + 1j * waves[:, 1]
    envelope = np.fft.irfft(coefficients, n_sound, axis=1)
    envelope = np.exp(contrast * envelope / envelope.std(axis=1, keepdims=True))
    # einsum, not BLAS: its result does not depend on the number of threads.
    sound = level * np.sqrt(np.einsum("pf,pt->ft", profile, envelope))
    sound = np.rint(sound * 64) / 64 if compressible else sound * rng.uniform(0.9, 1.1, sound.shape)
    return np.pad(sound, ((0, 0), (quiet, quiet)))


@dataclass(frozen=True)
class Timeline:
    """When the stimuli of a recording were presented.

    Attributes
    ----------
    stims : (P,) list of str
        Epoch name of each presentation, in time order.
    onsets : (P,) float64
        Seconds; off the bin grid, as trial onsets are.
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
        # A comma, for the sake of readers that split lines at commas.
        rows.append(("LIGHT_off, door closed", 0.0, end))
        for stim, start in zip(self.stims, self.onsets.tolist(), strict=True):
            stop = start + self.duration
            rows += [(name, start, stop) for name in ("TRIAL", "REFERENCE", stim)]
            rows.append(("PreStimSilence", start, start + self.silence))
            rows.append(("PostStimSilence", stop - self.silence, stop))
        return rows

    def overlap(self) -> Epoch:
        """A second start of the first stimulus half way through it, which readers must drop."""
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
        The shortest and the longest time (s) before an onset without a stimulus.
    """
    stims = rng.permutation(np.repeat(list(repetitions), list(repetitions.values()))).tolist()
    onsets = np.cumsum(rng.uniform(*gap, len(stims)) + duration) - duration
    n_bins = int(np.ceil((onsets[-1] + duration + 2) * fs))
    return Timeline(stims, onsets, duration, fs, n_bins, silence)


def drive(line: Timeline, sound: Callable[[str], Floats]) -> NDArray[np.float32]:
    """What was heard during the recording: (F, n_bins) float32, `sound(stim)` at each onset."""
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
    """Spike times of one cell that is tuned to one band of what was heard.

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
        In each bin, non-negative: spikes/s, or in proportion to that.
    fs : float
        Bins per second.
    expected_count : float, optional
        Mean number of spikes; by default what `rate` in spikes/s amounts to.

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
    """Spike times that a careless reader loses, moves or miscounts.

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
