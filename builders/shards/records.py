"""Makes the rows of `records` from a session's responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
from datasets import Features

from builders.errors import spoiling
from builders.nems.binning import Ints, Trials, ranges
from builders.shards.arrow import PIECE_BYTES, ROW_GROUP_BYTES, ragged, stored, table
from builders.shards.spikes import AddNote, Responses, trial_notes


def record_tables(
    responses: Responses,
    cells: pa.Table,
    stimuli: list[str],
    stim_columns: Callable[[str], dict[str, str]],
    features: Features,
    note: AddNote,
) -> Iterator[pa.Table]:
    """The records of some cells and stimuli of a session, binned.

    Parameters
    ----------
    responses : Responses
        The responses of these cells, and possibly of others.
    cells : pyarrow.Table
        The cells, in the order of their records; has the columns of `features` that describe a
        cell.
    stimuli : list of str
        Epoch names, in the order of their records.
    stim_columns : callable
        Maps an epoch name to the columns that describe a stimulus.
    features : Features
        The features of the records.
    note : callable
        Takes a stimulus and the text of a note on it.

    Yields
    ------
    pyarrow.Table
        One row group: all cells of the first stimulus, then of the second, and so on. If the
        recording's bins are finer than the corpus', they are summed from the trial's first bin
        on, and the trial's length is rounded to whole bins. T may differ by one between the trials
        of a record, if an onset lies half-way between two bins.

    Raises
    ------
    CorpusError
        If a cell's spikes or a stimulus' trials are unknown.
    """
    names = cells["cell_id"].to_pylist()
    for cell in names:
        if cell in responses.errors:
            raise responses.errors[cell]
    recordings = np.array([responses.recording[cell] for cell in names], np.int64)
    presented: list[Trials] = []
    of_row: list[tuple[Ints, Ints, Ints]] = []  # presentation, stimulus, cell
    for index, stim in enumerate(stimuli):
        of_cell = np.full(len(names), -1)
        with spoiling(stim_columns(stim)["stim_id"]):
            found = responses.presentations(stim, names)
        gaps = responses.gaps.get(stim, {})
        for text in (text for cell in names if cell in gaps for text in gaps[cell]):
            note(stim, text)
        for number, trials in found.items():
            for text in trial_notes(trials, responses.width):
                note(stim, text)
            if len(trials):
                of_cell[recordings == number] = len(presented)
                presented.append(trials)
        there = np.flatnonzero(of_cell >= 0)
        of_row.append((of_cell[there], np.full(len(there), index), there))
    if not presented:
        return
    row_shown, row_stim, row_cell = map(np.concatenate, zip(*of_row, strict=True))
    n_trials = np.array([len(each) for each in presented], np.int64)
    first = np.concatenate([each.first for each in presented])
    n_bins = np.rint(np.concatenate([each.n_bins for each in presented]) / responses.width).astype(
        np.int64
    )
    onsets = np.concatenate([each.onsets for each in presented])
    described = pa.Table.from_pylist([stim_columns(stim) for stim in stimuli])
    begins = np.array([responses.offsets[cell] for cell in names], np.int64)
    starts = np.cumsum(n_trials) - n_trials
    schema = stored(features)
    row_bytes = (np.add.reduceat(n_bins, starts) * 4)[row_shown]

    def counted(rows: slice) -> pa.ListArray:
        shown, cell = row_shown[rows], row_cell[rows]
        trial = ranges(starts[shown], n_trials[shown])
        begin = first[trial] + np.repeat(begins[cell], n_trials[shown])
        counts = responses.counts(begin, n_bins[trial])
        return ragged(ragged(pa.array(counts), n_bins[trial]), n_trials[shown])

    for rows in cut(row_bytes, ROW_GROUP_BYTES):
        shown = row_shown[rows]
        trial = ranges(starts[shown], n_trials[shown])
        yield table(
            {
                **taken(described, row_stim[rows]),
                **taken(cells, row_cell[rows]),
                "response": pa.chunked_array(
                    [counted(piece) for piece in cut(row_bytes, PIECE_BYTES, rows)]
                ),
                "onsets": ragged(pa.array(onsets[trial]), n_trials[shown]),
            },
            schema,
        )


def cut(row_bytes: Ints, size: int, rows: slice = slice(None)) -> Iterator[slice]:
    """Cut all rows, or the slice `rows` of them, into slices of about `size` bytes."""
    of_rows = row_bytes[rows]
    group = (np.cumsum(of_rows) - of_rows) // size
    edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1)) + (rows.start or 0)
    for start, stop in pairwise(edges):
        yield slice(int(start), int(stop))


def taken(of: pa.Table, rows: Ints) -> dict[str, pa.ChunkedArray]:
    """The columns of a table, at some of its rows."""
    found = of.take(pa.array(rows))
    return dict(zip(found.column_names, found.columns, strict=True))
