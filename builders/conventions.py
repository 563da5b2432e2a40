"""Conventions that all releases of the laboratory follow: names, bin width, sampling rate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


def subsets_by_name(counts: Mapping[str, int]) -> dict[str, str]:
    """The subset of each stimulus of a site, found from its name; see `subset_of`."""
    return {stim: subset_of(stim) for stim in counts}


def subsets_by_count(counts: Mapping[str, int]) -> dict[str, str]:
    """The subset of each stimulus of a site, found from how often it was presented there.

    The stimuli that were presented most often are for validation: those above the mean of the
    distinct counts. If all were presented equally often, these are the last fifth of the names
    (rounded down). The laboratory splits its recordings so (NEMS,
    `split_using_epoch_occurrence_counts`).

    Parameters
    ----------
    counts : mapping of str to int
        Stimulus -> number of presentations. A stimulus with 0 is ``est`` and decides nothing.

    Examples
    --------
    >>> subsets_by_count({"STIM_a": 2, "STIM_b": 5, "STIM_c": 20})
    {'STIM_a': 'est', 'STIM_b': 'est', 'STIM_c': 'val'}
    """
    presented = sorted(stim for stim, count in counts.items() if count)
    distinct = {counts[stim] for stim in presented}
    if len(distinct) == 1:
        val = set(presented[len(presented) - len(presented) // 5 :])
    else:
        val = {stim for stim in presented if counts[stim] * len(distinct) > sum(distinct)}
    return {stim: "val" if stim in val else "est" for stim in counts}


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


def session_of(cell_id: str) -> str:
    """The session that a cell id names: its first part. `parse_cell_id` finds the same."""
    return cell_id.partition("-")[0]


@dataclass(frozen=True)
class Conventions:
    """The conventions of one corpus.

    Attributes
    ----------
    subsets : callable
        Maps the stimuli of a site, with the number of presentations of each, to their subsets.
    parse_cell_id, session_of : callable
        See the functions of this module; both must find the same session.
    bin_seconds : float
        Bin width of responses and spectrograms.
    joins : bool
        Whether a cell's trials in several archives of a session are joined, archive by archive. If
        not, only one of the archives counts, and the others must agree with it.
    """

    subsets: Callable[[Mapping[str, int]], dict[str, str]] = subsets_by_name
    parse_cell_id: Callable[[str], dict[str, Any]] = parse_cell_id
    session_of: Callable[[str], str] = session_of
    bin_seconds: float = BIN_SECONDS
    joins: bool = False
