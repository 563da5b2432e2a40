"""Sounds, read and placed in their stimulus window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.errors import CorpusError
from builders.stimuli import align_waveform


def test_a_sound_is_placed_in_its_window() -> None:
    sound = np.linspace(-1, 1, 1000)
    window = align_waveform(sound, onset_ms=20, n_bins=5)
    assert window.dtype == np.float32
    assert window.shape == (5 * 441,)
    assert not window[:882].any()
    assert np.array_equal(window[882:1882], sound.astype(np.float32))
    assert not window[1882:].any()


@pytest.mark.parametrize(("shorter", "longer"), [(4, 5), (0, 3), (1, 9)])
def test_the_window_of_a_longer_response_or_spectrogram_begins_alike(
    shorter: int, longer: int
) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, 2000)
    short, long = (align_waveform(sound, 7, n_bins) for n_bins in (shorter, longer))
    assert np.array_equal(long[: len(short)], short)
    assert len(long) == longer * 441


@given(
    sound=st.lists(st.floats(-1, 1, width=32), max_size=30),
    onset=st.integers(-40, 40),
    n_bins=st.integers(0, 6),
)
def test_what_lies_outside_the_window_is_cut(sound: list[float], onset: int, n_bins: int) -> None:
    """At 500 Hz a bin has 5 samples, and a sample takes 2 ms."""
    expected = [0.0] * (n_bins * 5)
    for index, value in enumerate(sound):
        if 0 <= onset + index < len(expected):
            expected[onset + index] = value
    found = align_waveform(np.array(sound, float), onset * 2, n_bins, sampling_rate=500)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        ([0.5], {"sampling_rate": 22050}, "220.5 samples"),
        ([0.5], {"sampling_rate": 0}, "0.0 samples"),
        (np.zeros((2, 50)), {}, r"shape \(2, 50\)"),
        (np.zeros(50, np.int16), {}, "type int16"),
        ([0.5], {"n_bins": -1}, "window of -1 bins"),
        ([0.5], {"onset_ms": float("nan")}, "nan ms"),
    ],
)
def test_what_cannot_be_aligned_is_refused(audio: Any, options: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        align_waveform(audio, **{"onset_ms": 0, "n_bins": 2, **options})
