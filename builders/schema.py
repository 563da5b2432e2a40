"""The features of records, cells and stimuli, and their columns as Arrow arrays.

Ragged arrays are nested lists with the long axis inside: one inner list per trial, or per
frequency band. (`Array2D` silently scrambles a transposed array, and a short axis innermost is
30-60 times slower to read.)
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value
from numpy.typing import NDArray

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

#: The columns of nested lists of numbers.
ARRAYS = ("response", "spectrogram")

#: Uncompressed size of a row group: with 8 to 16 MB a stream reads little more than it needs.
ROW_GROUP_BYTES = 8 << 20
#: Size of the chunks that a row group's arrays come in. Arrow makes the levels of a chunk at once:
#: of small ones in a fraction of the memory, which is soon free for the next.
PIECE_BYTES = 1 << 20

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


def ragged(values: pa.Array, sizes: NDArray[np.integer[Any]]) -> pa.ListArray:
    """Cut `values` into lists of the given sizes, in order, without copying them."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    if offsets[-1] != len(values):
        raise ValueError(f"{len(values)} values do not make lists of {offsets[-1]} in all")
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def matrices(arrays: list[NDArray[np.float32]]) -> pa.ListArray:
    """(F, T) arrays as lists of F lists of T values."""
    values = pa.array(np.concatenate([array.reshape(-1) for array in arrays]))
    lengths = np.repeat([array.shape[1] for array in arrays], [len(array) for array in arrays])
    return ragged(ragged(values, lengths), np.array([len(array) for array in arrays]))


def stored(features: Features) -> pa.Schema:
    """The columns of a shard: of the features' types, but that no value in `ARRAYS` may be null.

    What Parquet knows to be no null, it reads in four fifths of the time.
    """
    schema = features.arrow_schema
    for column in set(ARRAYS).intersection(schema.names):
        values = pa.field("item", schema.field(column).type.value_type.value_type, nullable=False)
        field = pa.field(column, pa.list_(pa.list_(values)))
        schema = schema.set(schema.get_field_index(column), field)
    return schema


def table(columns: dict[str, Any], features: Features) -> pa.Table:
    """A table of exactly these features, in their order and types, which its metadata declares."""
    schema = stored(features)
    arrays = [
        column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, field.type)
        for column, field in ((columns[field.name], field) for field in schema)
    ]
    plain = pa.table(dict(zip(schema.names, arrays, strict=True)))
    for column in set(ARRAYS).intersection(schema.names):
        # Arrow would write anything for it.
        if any(lists.values.values.null_count for lists in plain[column].chunks):
            raise ValueError(f"a value of {column} is null")
    return plain.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)
