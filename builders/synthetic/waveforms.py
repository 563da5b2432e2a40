"""The sounds of a synthetic release: ``wav.zip``, as published."""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builders.conventions import SAMPLING_RATE
from builders.synthetic.files import generator

STEP = 441  # samples that share an amplitude: 10 ms


def write_waveforms(path: Path, seconds: Mapping[str, float], seed: int, *, pack: bool) -> None:
    """Write a zip of sounds, under a temporary name until it is complete.

    Parameters
    ----------
    path : Path
    seconds : mapping of str to float
        Length of each sound in seconds, by its name in the zip.
    seed : int
        The same seed gives the same bytes.
    pack : bool
        If true, sounds are compressed to about 1 % of their size; otherwise they take as much disk
        as real ones.
    """
    part = path.with_name(path.name + ".part")
    method = zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for name, length in sorted(seconds.items()):
                # A ZipInfo made here has no time stamp.
                info = zipfile.ZipInfo(name)
                archive.writestr(info, wav_file(waveform(seed, name, length)), method, 1)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def waveform(seed: int, name: str, seconds: float) -> NDArray[np.int16]:
    """Amplitude-modulated noise; equal parameters give equal samples.

    The same 10 ms of noise are repeated, so that it compresses well, and multiplied by a random
    envelope. The sound begins with the first sample, at full amplitude.

    Returns
    -------
    (samples,) int16
    """
    noise = generator(seed, "noise").uniform(-1, 1, STEP)
    noise[0] = 1
    n_samples = round(seconds * SAMPLING_RATE)
    levels = generator(seed, "envelope", name).integers(0, 8, -(-n_samples // STEP))
    levels[0] = 7
    table = np.rint(np.arange(8)[:, None] * noise * 3000).astype(np.int16)
    sound: NDArray[np.int16] = table[levels].reshape(-1)[:n_samples]
    return sound


def wav_file(samples: NDArray[np.int16]) -> bytes:
    """A WAV file of one channel."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()
