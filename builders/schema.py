"""The features of records, cells and stimuli.

Ragged arrays are nested lists with the long axis inside: one inner list per trial, or per
frequency band. (`Array2D` silently scrambles a transposed array, and a short axis innermost is
30-60 times slower to read.)
"""

from __future__ import annotations

from datasets import List, Value

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
