"""From a recording to the rows of `records` and `stimuli`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

from builders.binning import Ints, count_spikes, ranges
from builders.members import broken
from builders.nems import Signal
from builders.schema import BIN_SECONDS, PIECE_BYTES, ROW_GROUP_BYTES, matrices, ragged, table


def record_tables(
    response: Signal,
    line: Ints,
    cells: pa.Table,
    channels: list[str],
    stimuli: list[str],
    stim_columns: Callable[[str], dict[str, str]],
    features: Features,
) -> Iterator[pa.Table]:
    """The records of some cells and stimuli of a recording, binned.

    Parameters
    ----------
    response : Signal
        The recording; its data are no longer needed.
    line : (n,) int64
        Its spikes, `Signal.line`.
    cells : pyarrow.Table
        The cells, in the order in which their records are wanted; the columns of `features` that
        describe a cell.
    channels : list of str
        The cells' names in the recording.
    stimuli : list of str
        Epoch names, in the order in which their records are wanted.
    stim_columns : callable
        From an epoch name to the columns that describe a stimulus.
    features : Features
        Of the records.

    Yields
    ------
    pyarrow.Table
        One row group: all cells of the first stimulus, then of the second, and so on. Where the
        recording's bins are finer than `BIN_SECONDS`, those of a trial are summed from its first
        one on, and the trial's length is rounded to whole bins. T may differ by one between the
        trials of a record, where an onset lies half-way between two bins.
    """
    trials = [response.trials(stim) for stim in stimuli]
    n_trials = np.array([len(each.onsets) for each in trials], np.int64)
    if not len(channels) or not n_trials.sum():
        return
    width = bin_width(response)
    first = np.concatenate([each.first for each in trials])
    n_bins = np.rint(np.concatenate([each.n_bins for each in trials]) / width).astype(np.int64)
    onsets = np.concatenate([each.onsets for each in trials])
    columns = [stim_columns(stim) for stim in stimuli]
    row_of = {name: row for row, name in enumerate(response.channels)}
    begins = np.array([row_of[name] for name in channels], np.int64) * response.stride

    starts = np.cumsum(n_trials) - n_trials
    row_bytes = np.repeat(np.add.reduceat(np.append(n_bins, 0), starts) * 4, len(channels))
    row_stim, row_cell = np.divmod(np.arange(len(stimuli) * len(channels)), len(channels))

    def counted(rows: slice) -> pa.ListArray:
        stim, cell = row_stim[rows], row_cell[rows]
        trial = ranges(starts[stim], n_trials[stim])
        begin = first[trial] + np.repeat(begins[cell], n_trials[stim])
        counts = count_spikes(line, begin, n_bins[trial], width)
        return ragged(ragged(pa.array(counts), n_bins[trial]), n_trials[stim])

    for rows in _cut(row_bytes, ROW_GROUP_BYTES):
        stim = row_stim[rows]
        trial = ranges(starts[stim], n_trials[stim])
        meta = cells.take(pa.array(row_cell[rows]))
        yield table(
            {
                **_of_stimuli(columns, stim),
                **{name: meta[name] for name in meta.column_names},
                "response": pa.chunked_array(
                    [counted(piece) for piece in _cut(row_bytes, PIECE_BYTES, rows)]
                ),
                "onsets": ragged(pa.array(onsets[trial]), n_trials[stim]),
            },
            features,
        )


def bin_width(response: Signal) -> int:
    """How many of the recording's bins make one of ours."""
    width = response.fs * BIN_SECONDS
    if width != round(width) or width < 1:
        why = f"fs is {response.fs:g}; bins of {BIN_SECONDS:g} s need a multiple of 100"
        raise broken(response.archive, response.member, why)
    return round(width)


def _cut(row_bytes: Ints, size: int, rows: slice = slice(None)) -> Iterator[slice]:
    """Cut rows, or some of them, into slices of about `size` bytes."""
    of_rows = row_bytes[rows]
    group = (np.cumsum(of_rows) - of_rows) // size
    edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1)) + (rows.start or 0)
    for start, stop in pairwise(edges):
        yield slice(int(start), int(stop))


def stimulus_tables(
    stimulus: Signal,
    stimuli: list[str],
    stim_columns: Callable[[str], dict[str, str]],
    bands: int,
    features: Features,
) -> Iterator[pa.Table]:
    """The spectrograms of a recording, one row and one table each.

    Parameters
    ----------
    stimulus : Signal
        The recording's spectrograms.
    stimuli : list of str
        Epoch names, in the order in which their rows are wanted.
    stim_columns : callable
        From an epoch name to the columns that describe a stimulus.
    bands : int
        Number of frequency bands that every spectrogram has.
    features : Features
        Of the stimuli.

    Raises
    ------
    CorpusError
        If a spectrogram has another number of bands, or another length than its epochs.
    """
    for stim, spectrogram in stimulus.tiles(stimuli):
        if spectrogram.ndim != 2 or len(spectrogram) != bands:
            why = f"{stim} has shape {spectrogram.shape}, expected ({bands}, T)"
            raise broken(stimulus.archive, stimulus.member, why)
        n_bins = stimulus.trials(stim).n_bins if stim in stimulus.epochs else np.array([], int)
        # An onset half-way between two bins may round away from its end: one bin of difference.
        if (abs(n_bins - spectrogram.shape[1]) > 1).any():
            why = f"{stim} has {spectrogram.shape[1]} bins, its epochs {n_bins.tolist()}"
            raise broken(stimulus.archive, stimulus.member, why)
        columns = {
            **{key: [value] for key, value in stim_columns(stim).items()},
            "spectrogram": matrices([spectrogram]),
            "dt_ms": [1000 / stimulus.fs],
            "n_trials": [len(n_bins)],
        }
        yield table(columns, features)


def presented(stimulus: Signal) -> list[str]:
    """Names of a recording's stimuli, sorted; each that was presented must have a spectrogram."""
    names = stimulus.tile_names()
    if missing := sorted(set(stimulus.stimuli()).difference(names)):
        why = f"no spectrogram of {', '.join(missing)}, which the epochs present"
        raise broken(stimulus.archive, stimulus.member, why)
    return names


class RasterSpool:
    """Windows of a rasterized response, packed in memory until their records are written.

    Records are ordered by stimulus, a raster by time: all windows must be seen before the first
    record can be written. Spike counts pack 70:1.

    Parameters
    ----------
    groups : dict of str to list of int
        The raster's rows (cells) that go into one shard together, by the shard's site.
    """

    def __init__(self, groups: dict[str, list[int]]) -> None:
        self._groups = groups
        self._packed: dict[str, dict[str, tuple[int, bytes]]] = {group: {} for group in groups}

    def add(self, stim: str, values: NDArray[np.float32]) -> None:
        """Add the only window of a stimulus, (C, T)."""
        for group, rows in self._groups.items():
            content = values[rows]
            self._packed[group][stim] = content.nbytes, pa.compress(content, "lz4", asbytes=True)

    def tables(
        self,
        group: str,
        cells: pa.Table,
        stim_columns: Callable[[str], dict[str, str]],
        features: Features,
    ) -> Iterator[pa.Table]:
        """The records of one group, of all values that are there.

        Parameters
        ----------
        group : str
            One of the groups.
        cells, stim_columns, features
            As for `record_tables`.

        Yields
        ------
        pyarrow.Table
            One row group. A cell whose values are missing has no record of that stimulus; R is 1,
            and the onset null.
        """
        packed = self._packed[group]
        stimuli = sorted(packed) if len(cells) else []
        sizes = np.array([packed[stim][0] for stim in stimuli], np.int64)
        for some in _cut(sizes, ROW_GROUP_BYTES):
            traces, stim_of, cell_of = [], [], []
            for i in range(some.start, some.stop):
                size, content = packed[stimuli[i]]
                values = np.frombuffer(pa.decompress(content, size, "lz4"), np.float32)
                values = values.reshape(len(cells), -1)
                complete = np.flatnonzero(np.isfinite(values).all(axis=1))
                trains = ragged(
                    pa.array(values[complete].reshape(-1)), np.full(len(complete), values.shape[1])
                )
                traces.append(ragged(trains, np.ones(len(complete), np.int64)))
                stim_of.append(np.full(len(complete), i))
                cell_of.append(complete)
            rows, cell = np.concatenate(stim_of), np.concatenate(cell_of)
            meta = cells.take(pa.array(cell))
            yield table(
                {
                    **_of_stimuli([stim_columns(stim) for stim in stimuli], rows),
                    **{name: meta[name] for name in meta.column_names},
                    "response": pa.chunked_array(traces),
                    "onsets": [None] * len(rows),
                },
                features,
            )


def _of_stimuli(columns: list[dict[str, str]], rows: Ints) -> dict[str, pa.Array]:
    """Columns that describe stimuli, for rows that name their stimuli by number."""
    return {
        key: pa.array([each[key] for each in columns]).take(pa.array(rows)) for key in columns[0]
    }
