"""Makes the rows of `records` from a rasterized response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

from builders.nems.binning import Ints
from builders.nems.raster import Packed, Values
from builders.shards.arrow import PIECE_BYTES, ROW_GROUP_BYTES, ragged, stored, table
from builders.shards.records import cut, taken


class RasterSpool:
    """Windows of a rasterized response, compressed in memory until their records are written.

    Records are ordered by stimulus but a raster by time, so all windows must be read before the
    first record can be written.

    Parameters
    ----------
    groups : dict of str to list of int
        Site of a shard -> the raster's rows (cells) that go into the shard.

    Attributes
    ----------
    partial : dict of (str, int) to (C, T) bool
        (stimulus, window number) -> True where a value is missing. Only windows in which some cell
        lacks some values but not all.
    """

    def __init__(self, groups: dict[str, list[int]]) -> None:
        self._groups = groups
        self._packed: dict[str, dict[str, list[Packed]]] = {group: {} for group in groups}
        self._counts: Counter[str] = Counter()
        self._dropped: dict[tuple[str, int], NDArray[np.bool_]] = {}
        self.partial: dict[tuple[str, int], NDArray[np.bool_]] = {}

    def add(self, stim: str, values: Values) -> None:
        """Add a stimulus' next window, (C, T): one trial of each cell that has data in it."""
        missing = ~np.isfinite(values)
        if (missing.any(axis=1) & ~missing.all(axis=1)).any():
            self.partial[stim, self._counts[stim]] = missing
        self._counts[stim] += 1
        for group, rows in self._groups.items():
            self._packed[group].setdefault(stim, []).append(Packed.of(values[rows]))

    def drop(self, stim: str, trial: int, cells: NDArray[np.bool_]) -> None:
        """Mark a window of a stimulus as no trial of the cells where `cells`, (C,), is True."""
        self._dropped[stim, trial] = cells

    def tables(
        self,
        group: str,
        cells: pa.Table,
        stim_columns: Callable[[str], dict[str, str]],
        features: Features,
    ) -> Iterator[pa.Table]:
        """The records of one group.

        Parameters
        ----------
        group : str
            One of the groups.
        cells, stim_columns, features
            As for `record_tables`.

        Yields
        ------
        pyarrow.Table
            One row group. A window in which a cell has no value at all is no trial of that cell. A
            cell without trials of a stimulus has no record of it. It has no onsets.
        """
        packed, schema = self._packed[group], stored(features)
        stimuli = sorted(packed) if len(cells) else []
        described = pa.Table.from_pylist([stim_columns(stim) for stim in stimuli])
        # Bytes of the float32 values.
        sizes = np.array(
            [4 * sum(each.size for each in packed[stim]) for stim in stimuli], np.int64
        )
        for some in cut(sizes, ROW_GROUP_BYTES):
            pieces, rows = [], []
            for piece in cut(sizes, PIECE_BYTES, some):
                response, stim_of, cell_of = _piece(
                    [self._windows(group, stimuli[i]) for i in range(piece.start, piece.stop)]
                )
                pieces.append(response)
                rows.append((stim_of + piece.start, cell_of))
            row_stim, row_cell = map(np.concatenate, zip(*rows, strict=True))
            yield table(
                {
                    **taken(described, row_stim),
                    **taken(cells, row_cell),
                    "response": pa.chunked_array(pieces),
                    "onsets": [[]] * len(row_stim),
                },
                schema,
            )

    def _windows(self, group: str, stim: str) -> list[NDArray[np.float32]]:
        """The windows of a stimulus, (C, T) each, of one group; NaN where `drop` says so."""
        windows = []
        for trial, packed in enumerate(self._packed[group][stim]):
            window = packed.values().astype(np.float32)
            if (dropped := self._dropped.get((stim, trial))) is not None:
                window[dropped[self._groups[group]]] = np.nan
            windows.append(window)
        return windows


def _piece(stimuli: list[list[NDArray[np.float32]]]) -> tuple[pa.ListArray, Ints, Ints]:
    """From the windows of some stimuli: the responses, and the stimulus and cell of each."""
    if {len(windows) for windows in stimuli} == {1} and len({w.shape for (w,) in stimuli}) == 1:
        # Nearly always. All at once is much faster than one by one: most windows are small.
        values = np.stack([window for (window,) in stimuli])
        present = np.isfinite(values).any(axis=2)
        if not present.all():
            values = values[present]
        stim, cell = np.nonzero(present)
        lists = ragged(pa.array(values.reshape(-1)), np.full(len(stim), values.shape[-1]))
        return ragged(lists, np.ones(len(stim), np.int64)), stim, cell
    found = [_trials_of(windows) for windows in stimuli]
    stim = np.repeat(np.arange(len(found)), [len(cell) for _, cell in found])
    return (
        pa.concat_arrays([lists for lists, _ in found]),
        stim,
        np.concatenate([cell for _, cell in found]),
    )


def _trials_of(windows: list[NDArray[np.float32]]) -> tuple[pa.ListArray, Ints]:
    """From a stimulus' windows, (C, T): each cell's trials, and the cells that have any.

    Windows differ in length only if the data end within one.
    """
    present = np.stack([np.isfinite(window).any(axis=1) for window in windows], axis=1)
    there = np.flatnonzero(present.any(axis=1))
    if len({window.shape[1] for window in windows}) == 1:
        trials = np.stack(windows, axis=1)[present]
        values, lengths = trials.reshape(-1), np.full(len(trials), trials.shape[1])
    else:
        pieces = [windows[trial][cell] for cell, trial in np.argwhere(present)]
        values = np.concatenate([np.empty(0, np.float32), *pieces])
        lengths = np.array([len(piece) for piece in pieces], np.int64)
    return ragged(ragged(pa.array(values), lengths), present[there].sum(axis=1)), there
