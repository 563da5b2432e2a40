"""Check that copies of a sound are equal, and find sounds that are in both subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from builders.validation.differences import Difference
from builders.validation.reference import Sound


class SoundCopies:
    """Collect spectrograms, and find copies that differ and sounds that are in both subsets.

    Many sessions play the same validation sounds, and each has its own copy: copies with the same
    name and shape must be equal. A fair test must not use sounds of the fit: no estimation sound
    may equal a validation sound of another name. Where the numbers of presentations tell the
    subsets, a sound may be in both, at different sites: `leaks` names these.
    """

    def __init__(self) -> None:
        self._copies: dict[tuple[str, tuple[int, ...]], dict[str, tuple[str, str]]] = {}
        self._where: dict[str, dict[str, tuple[str, str]]] = {"est": {}, "val": {}}
        self._named: dict[str, dict[str, str]] = {"est": {}, "val": {}}

    def add(self, sound: Sound) -> None:
        """Remember a sound by the hash of its float32 values; the values are not kept."""
        shape = sound.spectrogram.shape
        content = np.ascontiguousarray(sound.spectrogram)
        key = hashlib.sha256(repr(shape).encode() + content.tobytes()).hexdigest()
        place = sound.archive, sound.stim
        self._where[sound.subset].setdefault(key, place)
        self._named[sound.subset].setdefault(sound.stim, sound.archive)
        if sound.subset == "val":
            self._copies.setdefault((sound.stim, shape), {}).setdefault(key, place)

    def differences(self) -> Iterator[Difference]:
        """Yield copies that differ, and sounds that are in both subsets."""
        for (stim, shape), copies in self._copies.items():
            (first, _), *others = copies.values()
            for archive, _ in others:
                why = f"{stim}: not the {shape[0]} x {shape[1]} spectrogram that it is in {first}"
                yield Difference("stimuli", archive, why)
        for key, (archive, stim) in self._where["est"].items():
            first, other = self._where["val"].get(key, ("", stim))
            if other != stim:
                why = f"{stim}: an estimation sound, and the same as {other} in {first}"
                yield Difference("stimuli", archive, why)

    def leaks(self) -> Iterator[str]:
        """One line for each stimulus that is in both subsets: an archive of each."""
        for stim, archive in sorted(self._named["est"].items()):
            if other := self._named["val"].get(stim):
                yield f"{stim} is est in {archive} and val in {other}"
