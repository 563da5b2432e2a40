"""Synthetic sounds and their spectrograms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builders.synthetic.files import generator

Floats = NDArray[np.float64]

SILENCE = 1.0  # seconds before and after each sound, inside its STIM_ epoch


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
