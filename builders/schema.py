"""The features of records, cells and stimuli.

Ragged arrays are nested lists whose inner lists run over time: one inner list per trial, or per
frequency band. (`Array2D` silently scrambles a transposed array; and nested lists whose inner axis
is the short one are 30-60 times slower to read.)
"""

from __future__ import annotations

from datasets import List, Value

#: The columns that identify the cell of a row; most are parsed from its id by `parse_cell_id`.
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
#: spike counts per bin; ``onsets`` (R,) float64 holds when each trial began, in seconds from the
#: start of the recording; it is empty where the release does not say. ``probe`` is "" where the id
#: of a cell names none. Neither is null: a torch `DataLoader` takes no nulls.
RECORDS = {
    "stim_id": Value("string"),
    "stim": Value("string"),
    "subset": Value("string"),
    **CELL_ID,
    "response": List(List(Value("float32"))),
    "onsets": List(Value("float64")),
}

#: One row per stimulus and session. F bands, T bins: ``spectrogram`` (F, T) float32 as released,
#: ``dt_ms`` is the bin width in milliseconds, ``n_trials`` how often the stimulus was presented.
STIMULI = {
    "stim_id": Value("string"),
    "stim": Value("string"),
    "subset": Value("string"),
    "session": Value("string"),
    "spectrogram": List(List(Value("float32"))),
    "dt_ms": Value("float64"),
    "n_trials": Value("int32"),
}
