"""Synthetic sounds and their spectrograms."""

from __future__ import annotations

import numpy as np

from builders.ragged import Floats
from builders.synthetic.files import generator

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
    """Make the spectrogram of a plausible sound; equal `seed`, `stim`, shape give the same one.

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
        If true, values are rounded to a few hundred levels; otherwise mantissas are random, and the
        values take as much disk and time as real ones.
    silence : float
        Seconds before and after the sound.
    rich : bool
        If true, every band and every modulation rate up to 25 Hz is present, so that a cell's
        filter can be found from its response; otherwise a few bands and slow rates dominate.

    Returns
    -------
    (F, T) float64
        Amplitude, non-negative, square-root compressed; 0 during the silences.
    """
    rng = generator(seed, "spectrogram", stim, f"{n_bands}x{n_bins}")
    quiet = round(silence * fs)
    n_sound = n_bins - 2 * quiet
    # Each part of the sound is a bump over the bands times an envelope. The envelope's modulation
    # spectrum is 1/f up to 4 Hz; if rich, it is flat up to 25 Hz, with more contrast.
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
