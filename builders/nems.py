"""Read one NEMS recording: a gzip tar of signals, or the folder it was unpacked into.

A signal is one data file (``.h5`` or ``.csv``), one ``.json`` and one ``.epoch.csv``, all named
``<recording>.<signal>``. The side-cars are always read; of the data files only those asked for
are kept: what is not asked for is stepped over in the tar stream, and its HDF5 never decoded.
Nothing is unpacked to disk. The gzip stream is read to its end, so that its checksum has been
verified before a single value is returned.

The layout is that of the format's writer (NEMS0, `nems0/recording.py` and `nems0/signal.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from builders.binning import MAX_BINS, Floats, Ints, Trials, find_trials, spike_bins
from builders.hdf5 import BAD_HDF5, MAX_VALUES, dataset, line_of_values
from builders.members import BLOCK, broken, members, reading
from builders.raster import Raster
from builders.release import Archive
from builders.threads import Threads

#: Bytes of a JSON or epochs file, and of an HDF5 file; published ones have at most 1 MB and 0.2 GB.
LARGEST_SIDECAR, LARGEST_H5 = 16 << 20, 1 << 30
#: Rows of an epochs file.
MAX_EPOCHS = 100_000
# The spelling of a signal's type has changed with the package's name; its end has not.
SIGNAL_TYPES = ("PointProcess", "TiledSignal", "RasterizedSignal")
DATA_FILES, SIDECARS = ("h5", "csv"), ("json", "epoch.csv")

# They inflate and bin the spike times of a recording.
_INFLATING = Threads(2)


@dataclass
class Signal:
    """One signal of a recording.

    Attributes
    ----------
    archive : Archive
        Where it comes from.
    member : str
        Base name of its data file.
    kind : str
        One of `SIGNAL_TYPES`.
    fs : float
        Samples (bins) per second.
    n_bins : int
        Length of the recording.
    channels : list of str
        Names of the channels, the cell ids of a response; empty where the release has none.
    epochs : dict of str to ((n,) float64, (n,) float64)
        Starts and ends in seconds of each epoch name's occurrences, in the file's order.
    data : bytes or Raster
        The HDF5 file, or what the CSV holds; empty where it was not asked for.
    """

    archive: Archive
    member: str
    kind: str
    fs: float
    n_bins: int
    channels: list[str]
    epochs: dict[str, tuple[Floats, Floats]]
    data: bytes | Raster = field(repr=False)

    def stimuli(self) -> list[str]:
        """Names of the stimuli that the epochs mention, sorted."""
        return sorted(name for name in self.epochs if name.startswith("STIM_"))

    def trials(self, epoch: str) -> Trials:
        """The occurrences of an epoch on the bin grid; see `builders.binning.find_trials`.

        Raises
        ------
        CorpusError
            If there is no such epoch, its bounds are none, or it ends after the recording.
        """
        member = self.member.rpartition(".")[0] + ".epoch.csv"
        try:
            trials = find_trials(*self.epochs[epoch], self.fs)
        except (KeyError, ValueError) as error:
            why = "no such epoch" if isinstance(error, KeyError) else error
            raise broken(self.archive, member, f"{epoch}: {why}") from error
        stop = int((trials.first + trials.n_bins).max())
        if stop > self.n_bins:
            why = f"{epoch} ends at bin {stop}, the recording at bin {self.n_bins}"
            raise broken(self.archive, member, why)
        return trials

    def spike_times(self) -> Iterator[tuple[str, Floats]]:
        """Name and spike times of each cell, in the order of `channels`, one at a time.

        Yields
        ------
        str, (n,) float64
            Seconds from the start of the recording; empty for a silent cell.
        """
        for cell, packed in zip(self.channels, self._packed(), strict=True):
            yield cell, self._unpacked(packed)

    def bins(self) -> Iterator[tuple[str, NDArray[np.int32]]]:
        """Name and ascending bins of each cell's spikes, up to the end of the recording."""
        packed = list(self._packed())
        trains = _INFLATING.map(self._binned, self.channels, packed)
        yield from zip(self.channels, trains, strict=True)

    def _packed(self) -> Iterator[Callable[[], NDArray[Any]]]:
        """How to get the spike times of each cell, in the order of `channels`."""
        self._expect("PointProcess")
        with self._h5() as file:
            # None is kept open: each has a cache of its own.
            shapes = {cell: dataset(file, cell).shape for cell in self.channels}
            for cell, shape in shapes.items():
                if len(shape) != 1:
                    raise ValueError(f"the spike times of {cell} have shape {shape}")
            if sum(size for (size,) in shapes.values()) > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES} spike times in all")
            for cell in self.channels:
                yield line_of_values(file[cell], self._content)

    def _unpacked(self, packed: Callable[[], NDArray[Any]]) -> Floats:
        with self._decoding():
            return packed().astype(np.float64, copy=False)

    def _binned(self, cell: str, packed: Callable[[], NDArray[Any]]) -> NDArray[np.int32]:
        times = self._unpacked(packed)
        try:
            return spike_bins(times, self.fs, self.n_bins)
        except ValueError as error:
            raise broken(self.archive, self.member, f"cell {cell}: {error}") from error

    @property
    def stride(self) -> int:
        """Bins from cell to cell in `line`: a gap as long as the recording is between two."""
        return 2 * self.n_bins

    def line(self) -> Ints:
        """The bins of all spikes on one time line, where each cell's recording follows another's.

        So the spikes of any set of (cell, trial) pairs are counted by one call.

        Returns
        -------
        (n,) int64
            Ascending; those of the i-th of `channels` from bin ``i * stride`` on.
        """
        trains = [bins for _, bins in self.bins()]
        line = np.empty(sum(map(len, trains)), np.int64)
        stop = 0
        for i, train in enumerate(trains):
            np.add(train, i * self.stride, out=line[stop : (stop := stop + len(train))])
        return line

    def tile_names(self) -> list[str]:
        """Names of the stimuli that have a spectrogram, sorted."""
        self._expect("TiledSignal")
        with self._h5() as file:
            if odd := [name for name in file if not _is_text(name)]:
                raise ValueError(f"a name that is no text: {odd[0]!r}")
            return sorted(file)

    def tiles(self, names: list[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and spectrogram, (F, T) float32, of each of these stimuli, one at a time."""
        self._expect("TiledSignal")
        with self._h5() as file:
            for name in names:
                yield name, np.asarray(dataset(file, name), np.float32)

    def raster_blocks(self) -> Iterator[NDArray[np.float32]]:
        """The values of a rasterized signal in blocks of some bins, (C, t) each; NaN where none."""
        self._expect("RasterizedSignal")
        if isinstance(self.data, Raster):
            # A mask may have one column for all channels.
            if self.channels and self.data.width not in (1, len(self.channels)):
                why = f"{self.data.width} columns, but {len(self.channels)} channels"
                raise broken(self.archive, self.member, why)
            yield from self.data.blocks()
            return
        with self._h5() as file:
            raster = np.asarray(dataset(file, "raster", "fiub"), np.float32)
        if raster.ndim != 2 or (self.channels and len(raster) != len(self.channels)):
            why = f"shape {raster.shape}, but {len(self.channels)} channels"
            raise broken(self.archive, self.member, why)
        yield raster

    def windows(self, epochs: list[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and values, (C, T) float32, of each occurrence of these epochs, in time order.

        No more than a block and a window of the raster is held unpacked.
        """
        spans = sorted(
            (int(first), int(first + n_bins), epoch)
            for epoch in epochs
            for trials in [self.trials(epoch)]
            for first, n_bins in zip(trials.first, trials.n_bins, strict=True)
        )
        blocks = self.raster_blocks()
        held, start = np.empty((0, 0), np.float32), 0
        for first, stop, epoch in spans:
            pieces, end = [held] if held.size else [], start + held.shape[1]
            while end < max(stop, 1):  # a window of no bins at 0 has all channels, too
                if (block := next(blocks, None)) is None:
                    why = f"{epoch} ends at bin {stop}, the data at bin {end}"
                    raise broken(self.archive, self.member, why)
                pieces.append(block)
                end += block.shape[1]
            held = np.concatenate(pieces, axis=1) if pieces else held
            held, start = held[:, first - start :], first
            yield epoch, held[:, : stop - first]

    def _expect(self, kind: str) -> None:
        if self.kind != kind:
            raise broken(self.archive, self.member, f"expected a {kind}, found a {self.kind}")

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
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except BAD_HDF5 as error:  # type: ignore[misc]
            raise broken(self.archive, self.member, error) from error


def _is_text(name: str | bytes) -> bool:
    """Whether a name is UTF-8; h5py gives others as bytes, JSON may hold half a character."""
    return isinstance(name, str) and not re.search("[\ud800-\udfff]", name)


def read_signals(archive: Archive, data: Collection[str] = ()) -> dict[str, Signal]:
    """The signals of a recording, in one pass over its archive.

    Parameters
    ----------
    archive : Archive
        A ``.tgz``, the folder it was unpacked into, or a ``.tgz`` inside a zip.
    data : collection of str
        Names of the signals whose data file is wanted.

    Returns
    -------
    dict of str to Signal
        All signals that have a data file, by name.

    Raises
    ------
    CorpusError
        If the archive is damaged or incomplete, or lacks a signal that `data` names.
    """
    files: dict[str, dict[str, bytes]] = {}
    names: dict[str, str] = {}
    contents: dict[str, bytes | Raster] = {}
    with reading(archive) as place:
        for member, content, size in members(archive, place):
            signal, suffix = _split_name(member)
            if suffix in DATA_FILES:
                if signal in names:
                    raise broken(archive, member, f"the signal's data are in {names[signal]} too")
                names[signal] = member
                if signal in data:
                    contents[signal] = _data(archive, member, content, size)
            elif suffix in SIDECARS:
                if suffix in files.setdefault(signal, {}):
                    raise broken(archive, member, "the signal has another such file")
                files[signal][suffix] = _read(archive, member, content, size, LARGEST_SIDECAR)
    for signal in data:
        if signal not in names:
            raise broken(archive, f"*.{signal}.h5 or .csv", f"the archive has no signal {signal!r}")
    return {
        signal: _signal(archive, member, files.get(signal, {}), contents.get(signal, b""))
        for signal, member in names.items()
    }


def _data(archive: Archive, member: str, content: IO[bytes], size: int) -> bytes | Raster:
    if not member.endswith(".csv"):
        return _read(archive, member, content, size, LARGEST_H5)
    try:
        return Raster(content)
    except ValueError as error:
        raise broken(archive, member, error) from error


def _read(archive: Archive, member: str, content: IO[bytes], size: int, limit: int) -> bytes:
    if size > limit:
        raise broken(archive, member, f"it has {size} bytes unpacked; {limit} is the limit")
    whole = io.BytesIO()  # grows in place, where read() would hold the pieces and the whole
    shutil.copyfileobj(content, whole, BLOCK)
    return whole.getvalue()


def _split_name(member: str) -> tuple[str, str]:
    """``CLT027c.resp.epoch.csv`` -> ``("resp", "epoch.csv")``."""
    for suffix in (*SIDECARS, *DATA_FILES):
        if member.endswith(f".{suffix}") and (base := member.removesuffix(f".{suffix}")):
            return base.rpartition(".")[2], suffix
    return member, ""


def _signal(archive: Archive, member: str, files: dict[str, bytes], data: bytes | Raster) -> Signal:
    base = member.rpartition(".")[0]
    for suffix in SIDECARS:
        if suffix not in files:
            raise broken(archive, f"{base}.{suffix}", "the archive has no such member")
    header = _header(archive, f"{base}.json", files["json"])
    spelled = str(header.get("signal_type", "RasterizedSignal"))
    kind = next((kind for kind in SIGNAL_TYPES if kind in spelled), None)
    if kind is None:
        raise broken(archive, f"{base}.json", f"unknown signal_type {spelled}")
    epochs = _epochs(archive, f"{base}.epoch.csv", files["epoch.csv"])
    channels = [str(channel) for channel in header.get("chans") or ()]
    fs, n_bins = float(header["fs"]), _length(archive, f"{base}.json", header)
    return Signal(archive, member, kind, fs, n_bins, channels, epochs, data)


def _length(archive: Archive, member: str, header: dict[str, Any]) -> int:
    """End of the last segment, ``[[0, ntimes]]``, in bins; without segments there is no limit."""
    segments = header.get("segments")
    try:
        if segments is None:
            return MAX_BINS
        stops = [stop for _, stop in segments]
        if any(type(stop) not in (int, float) or not 0 <= stop <= MAX_BINS for stop in stops):
            raise ValueError(f"a segment ends before 0 or past bin {MAX_BINS}")
        return max(map(int, stops))
    except (TypeError, ValueError) as error:
        raise broken(archive, member, f"segments is {segments}") from error


def _header(archive: Archive, member: str, content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content, object_pairs_hook=_unique)
        repr(header)  # what is nested too deep for a message is refused here
    except (ValueError, RecursionError) as error:
        raise broken(archive, member, error) from error
    if not isinstance(header, dict) or type(header.get("fs")) not in (int, float):
        raise broken(archive, member, "not an object with a number 'fs'")
    if not 0 < header["fs"] < 1e9:
        raise broken(archive, member, f"fs is {header['fs']}")
    if not isinstance(header.get("chans"), list | None):
        raise broken(archive, member, f"chans is {header['chans']}")
    for channel in header.get("chans") or ():
        if not isinstance(channel, str | int | float) or not _is_text(str(channel)):
            raise broken(archive, member, f"a channel's name is {channel!r}")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must not stand twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _epochs(archive: Archive, member: str, content: bytes) -> dict[str, tuple[Floats, Floats]]:
    bounds: dict[str, list[tuple[float, float]]] = {}
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds NUL bytes")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if len(set(rows.fieldnames or ())) < len(rows.fieldnames or ()):
            raise ValueError(f"a column stands there twice: {', '.join(rows.fieldnames or ())}")
        for number, row in enumerate(rows, 1):
            if number > MAX_EPOCHS:
                raise ValueError(f"more than {MAX_EPOCHS} rows")
            if None in row or None in row.values():
                raise ValueError(f"row {number} has too {'many' if None in row else 'few'} columns")
            bounds.setdefault(row["name"], []).append((float(row["start"]), float(row["end"])))
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else error
        raise broken(archive, member, why) from error
    arrays = {name: np.array(pairs, np.float64) for name, pairs in bounds.items()}
    return {name: (pairs[:, 0], pairs[:, 1]) for name, pairs in arrays.items()}
