"""Conventions that all releases of the laboratory follow: names, bin width, sampling rate."""

from __future__ import annotations

import re
from typing import Any

#: The subsets, estimation and validation. The splits have the same names.
SUBSETS = ("est", "val")
#: Prefix of the names of all stimuli, and prefix of the names of validation stimuli.
STIM, STIM_OF_VALIDATION = "STIM_", "STIM_00"
#: Name of the signal that holds responses (its channels are cells), and of the spectrograms'.
RESPONSE, STIMULUS = "resp", "stim"
#: Bin width of every response and spectrogram, in seconds.
BIN_SECONDS = 0.01
#: Sampling rate of the sounds, in Hz.
SAMPLING_RATE = 44_100
#: Spike width in ms that separates narrow-spiking from regular-spiking cells: in the cell list of
#: Wingert et al., Nat Neurosci 2026, ``narrow`` is true below this width and false above it.
NARROW_MS = 0.35
#: The form of a published archive's name, ``CLT027c_<40 hex>``. It tells archives from other files.
HASHED = re.compile(r".+_[0-9a-f]{8,}(?: ?\(\d+\))?(?:\.tgz|\.tar\.gz)?", re.I)

_CELL_ID = re.compile(
    r"(?P<session>(?P<animal>[A-Za-z]+)[^-]*)(-(?P<probe>[A-Z]))?"
    r"-(?P<electrode>\d{1,9})-(?P<unit>\d{1,9})"
)


def subset_of(stim: str) -> str:
    """The subset of a stimulus, ``val`` or ``est``, found from its name."""
    return "val" if stim.startswith(STIM_OF_VALIDATION) else "est"


def of_subset(stimuli: list[str], subset: str) -> list[str]:
    """The stimuli that belong to a subset, in the same order."""
    return [stim for stim in stimuli if subset_of(stim) == subset]


def parse_cell_id(cell_id: str) -> dict[str, Any]:
    """The parts of ``<session>[-<probe>]-<electrode>-<unit>``.

    Returns
    -------
    dict
        ``session``, ``animal``, ``probe`` ("" where the id has none), and ``electrode`` and
        ``unit`` (None where the id does not have this form).

    Examples
    --------
    >>> parse_cell_id("SLJ032a-B-154-1")["probe"], parse_cell_id("CLT027c-007-2")["electrode"]
    ('B', 7)
    """
    match = _CELL_ID.fullmatch(cell_id)
    if match is None:
        session = cell_id.partition("-")[0]
        animal = (re.match("[A-Za-z]*", session) or [""])[0]
        nothing = {"probe": "", "electrode": None, "unit": None}
        return {"session": session, "animal": animal, **nothing}
    parts: dict[str, Any] = match.groupdict("")
    return {**parts, "electrode": int(parts["electrode"]), "unit": int(parts["unit"])}
