"""Check that copies of a sound are equal, and that no sound is in both subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from builders.conventions import subset_of
from builders.validation.differences import Difference
from builders.validation.reference import Sound


class SoundCopies:
    """Collect spectrograms, and find copies that differ and sounds that are in both subsets.

    Many sessions play the same validation sounds, and each has its own copy: copies with the same
    name and shape must be equal. A fair test must not use sounds of the fit: no estimation sound
    may equal a validation sound, whatever their names.
    """

    def __init__(self) -> None:
        self._copies: dict[tuple[str, tuple[int, ...]], dict[str, tuple[str, str]]] = {}
        self._where: dict[str, dict[str, tuple[str, str]]] = {"est": {}, "val": {}}

    def add(self, sound: Sound) -> None:
        """Remember a sound by the hash of its float32 values; the values are not kept."""
        shape = sound.spectrogram.shape
        content = np.ascontiguousarray(sound.spectrogram)
        key = hashlib.sha256(repr(shape).encode() + content.tobytes()).hexdigest()
        place = sound.archive, sound.stim
        self._where[subset_of(sound.stim)].setdefault(key, place)
        if subset_of(sound.stim) == "val":
            self._copies.setdefault((sound.stim, shape), {}).setdefault(key, place)

    def differences(self) -> Iterator[Difference]:
        """Yield copies that differ, and sounds that are in both subsets."""
        for (stim, shape), copies in self._copies.items():
            (first, _), *others = copies.values()
            for archive, _ in others:
                why = f"{stim}: not the {shape[0]} x {shape[1]} spectrogram that it is in {first}"
                yield Difference("stimuli", archive, why)
        for key, (archive, stim) in self._where["est"].items():
            if key in self._where["val"]:
                first, other = self._where["val"][key]
                why = f"{stim}: an estimation sound, and the same as {other} in {first}"
                yield Difference("stimuli", archive, why)
