"""Conventions of the laboratory that all its releases keep: names, widths, rates."""

from __future__ import annotations

import re
from typing import Any

#: The subsets, estimation and validation; also the names of the splits.
SUBSETS = ("est", "val")
#: How the names of all stimuli begin, and those of validation stimuli.
STIM, STIM_OF_VALIDATION = "STIM_", "STIM_00"
#: The signal whose channels are cells, and the one that holds spectrograms.
RESPONSE, STIMULUS = "resp", "stim"
#: Width of the bins of every response and spectrogram.
BIN_SECONDS = 0.01
#: Of the sounds, in Hz.
SAMPLING_RATE = 44_100
#: Spike width in ms that parts narrow-spiking cells from regular ones: in the cell list of Wingert
#: et al., Nat Neurosci 2026, ``narrow`` is true below it and false above.
NARROW_MS = 0.35
#: A name as published archives have it, ``CLT027c_<40 hex>``: it is known among other files.
HASHED = re.compile(r".+_[0-9a-f]{8,}(?: ?\(\d+\))?(?:\.tgz|\.tar\.gz)?", re.I)

_CELL_ID = re.compile(
    r"(?P<session>(?P<animal>[A-Za-z]+)[^-]*)(-(?P<probe>[A-Z]))?"
    r"-(?P<electrode>\d{1,9})-(?P<unit>\d{1,9})"
)


def subset_of(stim: str) -> str:
    """The subset of a stimulus, which its name tells."""
    return "val" if stim.startswith(STIM_OF_VALIDATION) else "est"


def of_subset(stimuli: list[str], subset: str) -> list[str]:
    """The stimuli that belong to a subset, in the same order."""
    return [stim for stim in stimuli if subset_of(stim) == subset]


def parse_cell_id(cell_id: str) -> dict[str, Any]:
    """The parts of ``<session>[-<probe>]-<electrode>-<unit>``.

    Returns
    -------
    dict
        ``session``, ``animal``, ``probe`` (None where the id has none), and ``electrode`` and
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
        rest = dict.fromkeys(("probe", "electrode", "unit"))
        return {"session": session, "animal": animal, **rest}
    parts: dict[str, Any] = match.groupdict()
    return {**parts, "electrode": int(parts["electrode"]), "unit": int(parts["unit"])}
