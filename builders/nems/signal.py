"""A signal of a recording: its channels, its epochs, and its values."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import h5py
import numpy as np
from numpy.typing import NDArray

from builders.errors import CorpusError, RecordingError
from builders.nems.archive import recording_error
from builders.nems.binning import Train, Trials, spike_bins
from builders.nems.epochs import Epochs
from builders.nems.hdf5 import (
    BAD_HDF5,
    MAX_VALUES,
    StoredArray,
    dataset,
    line_of_values,
    read_values,
)
from builders.nems.raster import Raster, Values
from builders.ragged import Floats
from builders.release.archive import Archive
from builders.texts import is_text

# Files spell the type with the package's name before it, which has changed; this end has not.
SIGNAL_TYPES = ("PointProcess", "TiledSignal", "RasterizedSignal")


@dataclass
class Signal:
    """One signal of a recording.

    Attributes
    ----------
    archive : Archive
        The archive that holds it.
    member : str
        Base name of its data file.
    kind : str
        One of `SIGNAL_TYPES`.
    fs : float
        Samples (bins) per second.
    channels : list of str
        Names of the channels, from its JSON; empty if the JSON does not state them.
    table : bytes or None
        The epochs file; None if there is none.
    data : bytes or Raster
        The HDF5 file, or the values of the CSV; empty if the data were not asked for.
    """

    archive: Archive
    member: str
    kind: str
    fs: float
    channels: list[str]
    table: bytes | None = field(repr=False)
    data: bytes | Raster = field(repr=False)

    @cached_property
    def epochs(self) -> Epochs:
        """When the stimuli were presented.

        Raises
        ------
        CorpusError
            If there is no epochs file, or the file is not a table.
        """
        if self.table is None:
            raise recording_error(
                self.archive, self._epochs_member, "the archive has no such member"
            )
        try:
            return Epochs(self.table)
        except ValueError as error:
            raise recording_error(self.archive, self._epochs_member, error) from error

    @property
    def _epochs_member(self) -> str:
        return self.member.rpartition(".")[0] + ".epoch.csv"

    def stimuli(self) -> list[str]:
        """Names of the stimuli that the epochs mention, sorted."""
        return self.epochs.stimuli()

    def trials(self, epoch: str) -> Trials:
        """The occurrences of an epoch on the bin grid; see `builders.nems.binning.find_trials`.

        Raises
        ------
        CorpusError
            If there is no such epoch, or its bounds are invalid.
        """
        try:
            return self.epochs.trials(epoch, self.fs)
        except ValueError as error:
            raise recording_error(self.archive, self._epochs_member, f"{epoch}: {error}") from error

    @cached_property
    def all_trials(self) -> dict[str, Trials | CorpusError]:
        """The trials of each stimulus, or an error if they are unknown."""
        found: dict[str, Trials | CorpusError] = {}
        for stim in self.stimuli():
            try:
                found[stim] = self.trials(stim)
            except CorpusError as error:
                found[stim] = error
        return found

    @cached_property
    def cells(self) -> list[str]:
        """Names of the cells that have spike times or counts, sorted; needs `data`."""
        if self.kind == "RasterizedSignal":
            return sorted(self._named_channels())
        self._expect("PointProcess")
        with self._h5() as file:
            return sorted(name for name in file if is_text(name))

    def known_cells(self) -> set[str]:
        """The cells that the JSON names and, if the data were read, the cells in the data."""
        return {*self.channels, *(self.cells if self.data else ())}

    def spike_times(self, cells: Sequence[str] | None = None) -> Iterator[tuple[str, Floats]]:
        """Name and spike times of each given cell, one at a time; of all cells if None.

        Yields
        ------
        str, (n,) float64
            Seconds from the start of the recording; empty for a silent cell.
        """
        names = self.cells if cells is None else cells
        for cell, times in zip(names, self._times(names), strict=True):
            if isinstance(times, RecordingError):
                raise times
            yield cell, times

    def bins(self, cells: Sequence[str], n_bins: int) -> Iterator[Train | RecordingError]:
        """Each cell's spike bins below `n_bins`, ascending; an error if the cell is unreadable."""
        for cell, times in zip(cells, self._times(cells), strict=True):
            if isinstance(times, RecordingError):
                yield times
                continue
            try:
                yield spike_bins(times, self.fs, n_bins)
            except ValueError as error:
                yield recording_error(self.archive, self.member, f"cell {cell}: {error}")

    def _times(self, cells: Sequence[str]) -> Iterator[Floats | RecordingError]:
        """Each cell's spike times; an error if the cell is unreadable."""
        self._expect("PointProcess")
        with self._h5() as file:
            found = [_spike_times(file, cell) for cell in cells]
            if sum(each.size for each in found if isinstance(each, StoredArray)) > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES} spike times in all")
            for cell, each in zip(cells, found, strict=True):
                try:
                    with self._decoding(cell):
                        if isinstance(each, Exception):
                            raise each
                        times = line_of_values(each, self._content).astype(np.float64, copy=False)
                except RecordingError as error:
                    yield error
                else:
                    yield times

    def tile_names(self) -> list[str]:
        """Names of the stimuli that have a spectrogram, sorted."""
        self._expect("TiledSignal")
        with self._h5() as file:
            return sorted(name for name in file if is_text(name))

    def tiles(self, names: list[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and spectrogram, (F, T) float32, of each given stimulus, one at a time."""
        self._expect("TiledSignal")
        with self._h5() as file:
            for name in names:
                with self._decoding(name):
                    values = read_values(dataset(file, name)).astype(np.float32, copy=False)
                yield name, values

    def raster_blocks(self) -> Iterator[Values]:
        """The values of a rasterized signal in blocks of bins, (C, t) each; NaN where missing."""
        self._expect("RasterizedSignal")
        if isinstance(self.data, Raster):
            # A mask may have a single column that stands for all channels.
            if self.channels and self.data.width not in (1, len(self.channels)):
                why = f"{self.data.width} columns, but {len(self.channels)} channels"
                raise recording_error(self.archive, self.member, why)
            yield from self.data.blocks()
            return
        with self._h5() as file:
            raster = read_values(dataset(file, "raster", "fiub")).astype(np.float32, copy=False)
        if raster.ndim != 2 or (self.channels and len(raster) != len(self.channels)):
            why = f"shape {raster.shape}, but {len(self.channels)} channels"
            raise recording_error(self.archive, self.member, why)
        yield raster

    def rows(self, names: Sequence[str], n_bins: int) -> Iterator[NDArray[np.float32]]:
        """The values of some channels of a rasterized signal: the first `n_bins`, or fewer."""
        channels = self._named_channels()
        rows = [channels.index(name) for name in names]
        blocks = [block[rows] for block in self.raster_blocks()]
        values = np.concatenate([np.empty((len(rows), 0), np.float32), *blocks], axis=1)
        yield from values[:, :n_bins]

    def _named_channels(self) -> list[str]:
        """The channels of a rasterized signal; raises if they have no names, or one name twice."""
        if not self.channels or len(set(self.channels)) < len(self.channels):
            why = f"its JSON names {len(set(self.channels))} channels of {len(self.channels)}"
            raise recording_error(self.archive, self.member, why)
        return self.channels

    def windows(self, epochs: list[str]) -> Iterator[tuple[str, Values]]:
        """Name and values, (C, T), of each trial of the given epochs, in time order.

        A window is cut where the data end. At most one block and one window of the raster are in
        memory decompressed.
        """
        spans = sorted(
            (int(first), int(first + n_bins), epoch)
            for epoch in epochs
            for trials in [self.trials(epoch)]
            for first, n_bins in zip(trials.first, trials.n_bins, strict=True)
        )
        blocks = self.raster_blocks()
        held: Values = np.empty((0, 0), np.uint8)
        start = 0
        for first, stop, epoch in spans:
            pieces, end = [held] if held.size else [], start + held.shape[1]
            while end < stop and (block := next(blocks, None)) is not None:
                pieces.append(block)
                end += block.shape[1]
            held = np.concatenate(pieces, axis=1) if pieces else held
            held, start = held[:, first - start :], first
            yield epoch, held[:, : stop - first]

    def _expect(self, kind: str) -> None:
        if self.kind != kind:
            raise recording_error(
                self.archive, self.member, f"expected a {kind}, found a {self.kind}"
            )

    @contextmanager
    def _h5(self) -> Iterator[h5py.File]:
        with self._decoding(), h5py.File(io.BytesIO(self._content), "r") as file:
            yield file

    @property
    def _content(self) -> bytes:
        if isinstance(self.data, Raster):
            raise ValueError(f"a CSV holds no {self.kind}")
        return self.data

    @contextmanager
    def _decoding(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except CorpusError:
            raise
        except BAD_HDF5 as error:
            why = f"{name}: {error}" if name else error
            raise recording_error(self.archive, self.member, why) from error


def _spike_times(file: h5py.File, cell: str) -> StoredArray | Exception:
    """The dataset of a cell's spike times; an exception if it is not valid."""
    try:
        found = dataset(file, cell)
    except BAD_HDF5 as error:
        return error
    # Spike times may have a second axis of length 1.
    if found.size in (0, max(found.shape, default=0)):
        return found
    return ValueError(f"the spike times of {cell} have shape {found.shape}")
