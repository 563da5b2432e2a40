"""The features of records, cells and stimuli, and their columns as Arrow arrays.

Ragged arrays are nested lists with the long axis inside: one inner list per trial, or per
frequency band. (`Array2D` silently scrambles a transposed array, and a short axis innermost is
30-60 times slower to read.)
"""

from __future__ import annotations

import re
from typing import Any

from datasets import List, Value

#: The subsets, estimation and validation; also the names of the splits.
SUBSETS = ("est", "val")


def subset_of(stim: str) -> str:
    """The laboratory's convention: validation sounds are ``STIM_00...``, all others estimation."""
    return "val" if stim.startswith("STIM_00") else "est"


def of_subset(stimuli: list[str], subset: str) -> list[str]:
    """The stimuli that belong to a subset, in the same order."""
    return [stim for stim in stimuli if subset_of(stim) == subset]


#: Width of the bins of every response and spectrogram.
BIN_SECONDS = 0.01

#: The columns that say which cell a row belongs to; parsed from the cell id by `parse_cell_id`.
CELL_ID = {
    "cell_id": Value("string"),
    "site": Value("string"),
    "session": Value("string"),
    "area": Value("string"),
    "animal": Value("string"),
    "probe": Value("string"),
    "electrode": Value("int32"),
    "unit": Value("int32"),
}

#: One row per (stimulus, cell) pair with data. R trials, T bins: ``response`` (R, T) float32 holds
#: spike counts per bin, ``onsets`` (R,) float64 the trials' onsets in the recording in seconds.
RECORDS = {
    "stim_id": Value("string"),
    "stim": Value("string"),
    "subset": Value("string"),
    **CELL_ID,
    "response": List(List(Value("float32"))),
    "onsets": List(Value("float64")),
}

#: One row per stimulus and session. F bands, T bins: ``spectrogram`` (F, T) float32 as released,
#: ``dt_ms`` the width of a bin in milliseconds, ``n_trials`` how often it was presented.
STIMULI = {
    "stim_id": Value("string"),
    "stim": Value("string"),
    "subset": Value("string"),
    "session": Value("string"),
    "spectrogram": List(List(Value("float32"))),
    "dt_ms": Value("float64"),
    "n_trials": Value("int32"),
}

_CELL_ID = re.compile(
    r"(?P<session>(?P<animal>[A-Za-z]+)[^-]*)(-(?P<probe>[A-Z]))?"
    r"-(?P<electrode>\d{1,9})-(?P<unit>\d{1,9})"
)


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
