"""Compute the numbers that the figures show from loaded datasets, without Python lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builders.errors import CorpusError
from builders.ragged import pad_trials, shapes
from builders.rows import Data, column_names, read_table

NOT_STATED = "not stated"


class PairTable(NamedTuple):
    """Which of S stimuli and N cells have a record together.

    ``present`` is (S, N); the tables have S and N rows.
    """

    present: NDArray[np.bool_]  # (S, N)
    stimuli: pa.Table  # S rows
    cells: pa.Table  # N rows


def find_coverage(records: Data) -> PairTable:
    """Find which (stimulus, cell) pairs have a record; reads id columns only, keeps their order."""
    table = read_table(records, ("stim_id", "subset", "cell_id", "site", "session"))
    stimulus, first_of_stimulus = codes(table["stim_id"])
    cell, first_of_cell = codes(table["cell_id"])
    present = np.zeros((len(first_of_stimulus), len(first_of_cell)), bool)
    present[stimulus, cell] = True
    return PairTable(present, table.take(first_of_stimulus), table.take(first_of_cell))


def find_presented(data: Data, bin_ms: float) -> pa.Table:
    """One row per session and stimulus: session, subset, number of trials, longest length (s)."""
    if "spectrogram" in column_names(data):
        table = read_table(data, ("session", "subset", "n_trials", "dt_ms", "spectrogram"))
        if table["session"].null_count:
            raise CorpusError(
                "cannot draw the sessions",
                why="the stimuli are those of all sessions and do not say whose",
                fix="draw it from the records",
            )
        trials = table["n_trials"]
        seconds = shapes(table["spectrogram"])[1] * table["dt_ms"].to_numpy() / 1000
    else:
        table = read_table(data, ("session", "subset", "stim_id", "response"))
        trials, bins = shapes(table["response"])
        seconds = bins * (bin_ms / 1000)
    columns = {"session": table["session"], "subset": table["subset"], "trials": trials}
    presented = pa.table({**columns, "seconds": seconds})
    if "stim_id" in table.column_names:  # all cells of a session heard the same
        pairs = pc.binary_join_element_wise(table["session"], table["stim_id"], "\n")
        presented = presented.take(codes(pairs)[1])
    if len(presented) == 0:
        raise CorpusError("cannot draw the sessions", why="nothing was presented")
    return presented


def read_cell_columns(data: Data, columns: Sequence[str]) -> pa.Table:
    """Read some columns, one row per cell."""
    table = read_table(data, ("cell_id", *columns))
    return table.take(codes(table["cell_id"])[1])


def codes(column: pa.ChunkedArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number the distinct values in order of appearance; also return the first row of each."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.intp)
    return codes, np.unique(codes, return_index=True)[1]


def read_stimulus(stimuli: Data, stim_id: str) -> tuple[NDArray[np.float32], float]:
    """The spectrogram (F, T) of a stimulus, and the width of its bins in seconds."""
    table = read_table(stimuli, ("stim_id", "spectrogram", "dt_ms"))
    row = pc.index(table["stim_id"], stim_id).as_py()
    if row < 0:
        raise CorpusError(
            f"cannot draw {stim_id}",
            why="it is not among the stimuli",
            fix="load all stimuli; if the release has no spectrogram of it, draw another row",
        )
    found = table.slice(row, 1).to_pylist()[0]
    return np.array(found["spectrogram"], np.float32), found["dt_ms"] / 1000


def read_response(trials: list[list[float]]) -> NDArray[np.float64]:
    """The counts (R, T) of a record; NaN where data are missing, and after a trial's end."""
    response = pad_trials(trials)
    response[~np.isfinite(response)] = np.nan
    return response


def mean_rate(
    response: NDArray[np.float64], bin_seconds: float, width: int = 1
) -> NDArray[np.float64]:
    """Spikes/s in each `width` bins, over the trials that have them; NaN where none has any."""
    n_bars = -(-response.shape[1] // width)
    padded = np.full((len(response), n_bars * width), np.nan)
    padded[:, : response.shape[1]] = response
    bars = padded.reshape(len(response), n_bars, width)
    known = (~np.isnan(bars)).sum(axis=(0, 2))
    rate = np.full(n_bars, np.nan)
    np.divide(np.nansum(bars, axis=(0, 2)), known, out=rate, where=known > 0)
    return rate / bin_seconds


def spike_times(response: NDArray[np.float64], bin_seconds: float) -> list[NDArray[np.float64]]:
    """Spike times of each trial in seconds; spikes of one bin are spread evenly over the bin."""
    response = np.nan_to_num(response)
    if (response < 0).any() or (response % 1).any():
        raise CorpusError(
            "cannot draw the spikes",
            why="the response holds values that are no counts",
            fix="draw the record as released, before it is normalised or averaged",
        )
    times = []
    for trial in response.astype(np.int64):
        bins = np.repeat(np.arange(len(trial)), trial)
        nth = np.arange(len(bins)) - np.searchsorted(bins, bins)
        times.append((bins + (nth + 0.5) / trial[bins]) * bin_seconds)
    return times


def count_values(column: pa.ChunkedArray, by_name: bool = False) -> list[tuple[str, int]]:
    """How often each value occurs, most frequent first or `by_name`, `NOT_STATED` last."""
    words = {None: NOT_STATED, True: "yes", False: "no"}
    pairs = [(row["values"], row["counts"]) for row in column.value_counts().to_pylist()]
    pairs.sort(key=lambda pair: (pair[0] is None, 0 if by_name else -pair[1], pair[0]))
    return [(words.get(value, value), count) for value, count in pairs]


def order(table: pa.Table, columns: Sequence[str]) -> NDArray[np.intp]:
    """The row numbers sorted by some columns; equal rows keep their order."""
    keys = zip(*(table[column].to_pylist() for column in columns), range(len(table)), strict=True)
    return np.array([key[-1] for key in sorted(keys)], np.intp)
