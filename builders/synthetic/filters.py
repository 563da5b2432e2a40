"""Synthetic cells with known filters, to test whether a model recovers them.

A driven cell is a linear-nonlinear Poisson neuron. With x (F, T) the spectrogram as released,
F frequency bands, and w (F, L) the cell's filter, L lags of one bin, its rate in spikes/s is

    rate[t] = scale * log(1 + exp(offset + sum over f, l of w[f, l] * log(10 x[f, t - l] + 1)))

where x is 0 before the sound. The papers apply the same compression of x when they read
spectrograms (Pennington & David, PLoS Comput Biol 2023). The filters follow what is typical of
auditory cortex: a best frequency, excitation 10 to 50 ms after the sound, then inhibition
(deCharms, Blake & Merzenich, Science 280, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from builders.ragged import Floats
from builders.synthetic.files import generator
from builders.synthetic.sounds import spectrogram
from builders.synthetic.spikes import drive, poisson_train, spike_train
from builders.synthetic.timeline import Timeline

LAGS = 15  # of a filter, one bin each
BIN_RATE = 100  # Hz; bins of the spectrograms per second
REFERENCE_BINS = 4000  # length of the sound that is used to set a cell's rate


@dataclass(frozen=True)
class Neuron:
    """A cell with a known filter: a sum of K products of a frequency profile and a time profile.

    Attributes
    ----------
    frequency : (K, F) float64
    time : (K, L) float64
        Lag 0 first.
    offset : float
        Added to the filter's output.
    scale : float
        In spikes/s.
    """

    frequency: Floats
    time: Floats
    offset: float = 0.0
    scale: float = 1.0

    @property
    def filter(self) -> Floats:
        """The filter w, (F, L)."""
        product: Floats = np.einsum("kf,kl->fl", self.frequency, self.time)
        return product

    def drive(self, compressed: Floats) -> Floats:
        """The filter's output, (T,), for a log-compressed spectrogram (F, T)."""
        # einsum, not BLAS: its result does not depend on the number of threads.
        projected = np.einsum("kf,ft->kt", self.frequency, compressed)
        n_bins = compressed.shape[1]
        pairs = zip(projected, self.time, strict=True)
        total: Floats = np.sum([np.convolve(x, time)[:n_bins] for x, time in pairs], axis=0)
        return total

    def rate(self, compressed: Floats) -> Floats:
        """Spikes/s in each bin, (T,), for a log-compressed spectrogram (F, T)."""
        rate: Floats = self.scale * np.logaddexp(0, self.offset + self.drive(compressed))
        return rate


def compress(sound: Floats) -> Floats:
    """``log(10 x + 1)``, the input of the papers' models."""
    compressed: Floats = np.log1p(10 * sound)
    return compressed


def neuron(seed: int, cell: str, n_bands: int) -> Neuron:
    """Make the cell of this name; equal `seed`, `cell` and `n_bands` give the same cell.

    For a sound like the ones of the release, the input of the rate's nonlinearity has mean -1 and
    standard deviation 2, and the mean rate is 5 to 20 spikes/s.
    """
    rng = generator(seed, "filter", cell)
    bands, lags = np.arange(n_bands), np.arange(LAGS)
    best, width = rng.uniform(0.1, 0.9) * n_bands, rng.uniform(0.05, 0.12) * n_bands
    latency, delay = rng.uniform(1.5, 4.5), rng.uniform(2.5, 4.5)
    centres = np.array([[best], [best + rng.normal() * width / 2]])
    widths = np.array([[width], [1.2 * width]])
    peaks, spreads = np.array([[latency], [latency + delay]]), np.array([[1.2], [1.6]])
    strengths = np.array([[1.0], [-rng.uniform(0.2, 0.5)]])
    frequency = np.exp(-0.5 * ((bands - centres) / widths) ** 2)
    time = strengths * np.exp(-0.5 * ((lags - peaks) / spreads) ** 2)
    output = Neuron(frequency, time).drive(_reference(seed, n_bands))
    gain = 2 / output.std()
    cell_like = Neuron(frequency, gain * time, offset=float(-1 - gain * output.mean()))
    mean_rate = 5 * 4 ** rng.random()
    scale = mean_rate / cell_like.rate(_reference(seed, n_bands)).mean()
    return Neuron(frequency, gain * time, cell_like.offset, float(scale))


@cache
def _reference(seed: int, n_bands: int) -> Floats:
    sound = spectrogram(
        seed, "reference", n_bands, REFERENCE_BINS,
        fs=BIN_RATE, compressible=False, silence=0, rich=True,
    )  # fmt: skip
    return compress(sound)


def driven_train(
    rng: np.random.Generator, cell: Neuron, line: Timeline, compressed: Callable[[str], Floats]
) -> Floats:
    """Spike times (s) of a driven cell, over the whole recording, silences included.

    Between presentations, the cell fires at its rate without sound. Each sound must end at least L
    bins before the end of its presentation.

    Parameters
    ----------
    rng : numpy.random.Generator
    cell : Neuron
    line : Timeline
        Its bins per second must be a multiple of the spectrograms'.
    compressed : callable
        Returns the log-compressed spectrogram (F, T) of a stimulus.
    """
    spontaneous = cell.scale * np.logaddexp(0, cell.offset)

    def evoked(stim: str) -> Floats:
        added = cell.rate(compressed(stim)) - spontaneous
        return np.repeat(added, round(line.fs / BIN_RATE))[None]

    rate = spontaneous + drive(line, evoked)[0].astype(np.float64)
    return poisson_train(rng, np.maximum(rate, 0), line.fs)


def responder(
    seed: int, line: Timeline, sound: Callable[[str], Floats], driven: bool
) -> Callable[[np.random.Generator, str], Floats]:
    """A function from a random generator and a cell's name to spike times (s) in a recording.

    Parameters
    ----------
    seed : int
    line : Timeline
    sound : callable
        Returns the spectrogram (F, T) of a stimulus, as released.
    driven : bool
        If true, each cell is a `neuron`; otherwise its spikes come from
        `builders.synthetic.spikes.spike_train`.
    """
    if driven:
        compressed = {stim: compress(sound(stim)) for stim in set(line.stims)}
        n_bands = len(compressed[line.stims[0]])
        return lambda rng, cell: driven_train(
            rng, neuron(seed, cell, n_bands), line, compressed.__getitem__
        )
    ratio = round(line.fs / BIN_RATE)
    heard = drive(replace(line, fs=BIN_RATE, n_bins=line.n_bins // ratio), sound)
    return lambda rng, _: spike_train(rng, heard, BIN_RATE)


def write_filters(path: Path, seed: int, n_bands: int, cells: Iterable[tuple[str, str]]) -> None:
    """Write the filters of N cells as a NumPy archive.

    Its arrays are ``cell_id`` (N,) str, ``filters`` (N, F, L) float64, lag 0 first, ``offset`` and
    ``scale`` (N,) float64; the docstring of this module says how they determine the rate.

    Parameters
    ----------
    path : Path
    seed, n_bands : int
        As given to `neuron`.
    cells : iterable of (str, str)
        Each cell's id in the records, and the name that was given to `neuron`.
    """
    ids, names = zip(*cells, strict=True)
    neurons = [neuron(seed, name, n_bands) for name in names]
    np.savez(
        path,
        cell_id=np.array(ids),
        filters=np.stack([each.filter for each in neurons]),
        offset=np.array([each.offset for each in neurons]),
        scale=np.array([each.scale for each in neurons]),
    )


@dataclass(frozen=True)
class Planted:
    """The N cells of a synthetic release, as `write_filters` has written them.

    Attributes
    ----------
    cell_ids : list of str
    filters : (N, F, L) float64
        Lag 0 first.
    offset, scale : (N,) float64
    """

    cell_ids: list[str]
    filters: Floats
    offset: Floats
    scale: Floats

    def rates(self, spectrogram: Floats) -> Floats:
        """Spikes per bin, (N, T), for a spectrogram (F, T) as released: the best prediction."""
        n_bands, n_bins = spectrogram.shape
        compressed = np.pad(compress(spectrogram), [(0, 0), (LAGS - 1, 0)])
        past = sliding_window_view(compressed, LAGS, axis=1)[:, :, ::-1]  # (F, T, L)
        inputs = np.moveaxis(past, 1, -1).reshape(n_bands * LAGS, n_bins)
        driven = self.filters.reshape(len(self.filters), -1) @ inputs
        rates: Floats = self.scale[:, None] * np.logaddexp(0, self.offset[:, None] + driven)
        return rates / BIN_RATE


def read_filters(path: Path) -> Planted:
    """Read what `write_filters` has written."""
    with np.load(path) as file:
        return Planted(file["cell_id"].tolist(), file["filters"], file["offset"], file["scale"])
