"""Read the files of a release for the slow reference: cell lists, archives, signals, epochs."""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from builders.release.archive import Archive

Float32s = NDArray[np.float32]
#: Onset in seconds, first bin and stop bin.
Trial = tuple[float, int, int]

# -- Texts in tables -------------------------------------------------------------------------------

#: The texts that pandas reads as a missing value.
NOTHING = {
    *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None"),
    *("nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}


def number(text: str | None) -> float | None:
    """Parse a number; None for a missing value."""
    plain = (text or "").strip()
    if plain in NOTHING:
        return None
    infinite = plain.lstrip("+-").lower() in ("inf", "infinity")
    if not infinite and set(plain) - set("0123456789+-.eE"):  # `float` takes more than these
        raise ValueError(f"{text!r} is no number")
    return float(plain)


def flag(text: str | None) -> bool | None:
    """Parse a flag: true, false (in any letter case), 1, 1.0, 0, 0.0; None for a missing value."""
    if (text or "").strip().lower() in ("true", "false"):
        return (text or "").strip().lower() == "true"
    value = number(text)
    return None if value is None else {0.0: False, 1.0: True}[value]


def read_list(path: Path, cell_id: str = "cellid") -> dict[str, dict[str, str]]:
    """Read a cell list: for each cell, the columns that have a value."""
    listed: dict[str, dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows)]
        for row in rows:
            texts = zip(header, map(str.strip, row), strict=False)
            cell = {name: text for name, text in texts if text not in NOTHING}
            if cell_id in cell and listed.setdefault(cell[cell_id], cell) != cell:
                raise ValueError(f"{cell[cell_id]} is listed twice, and not the same")
    return listed


# -- Archives --------------------------------------------------------------------------------------


class SlowInflated(io.RawIOBase):
    """The content of all streams of a gzip file; data after the last stream are ignored."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._pieces = self._inflate(packed)
        self._left = memoryview(b"")

    @staticmethod
    def _inflate(packed: IO[bytes]) -> Iterator[bytes]:
        rest = packed.read(4096)
        while rest[:2] == b"\x1f\x8b":
            stream = zlib.decompressobj(wbits=31)
            while not stream.eof:
                if not rest:
                    raise EOFError("the gzip stream is cut off")
                yield stream.decompress(rest)
                rest = stream.unused_data if stream.eof else packed.read(4096)
            while len(rest.lstrip(b"\0")) < 2 and (more := packed.read(4096)):
                rest = rest.lstrip(b"\0") + more
            rest = rest.lstrip(b"\0")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and (piece := next(self._pieces, None)) is not None:
            self._left = memoryview(piece)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _files(archive: Archive) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield base name and content of each file; content is None for a link.

    Empty files, hidden files and later views (``01.`` ...) are skipped.
    """
    for path, file in _all_files(archive):
        name = path.split("/")[-1]
        is_view = name[:2].isdigit() and name[2:3] == "."
        if not is_view and not name.startswith("."):
            yield name, file


def _all_files(archive: Archive) -> Iterator[tuple[str, IO[bytes] | None]]:
    if archive.path.is_dir():
        for path in archive.files():
            if path.stat().st_size:
                with path.open("rb") as file:
                    yield path.name, file
        return
    with archive.open() as packed:
        inflated = SlowInflated(packed)
        with tarfile.open(fileobj=inflated, mode="r|") as tar:
            for info in tar:
                if info.name.startswith("/") or ".." in info.name.split("/"):
                    raise ValueError(f"{info.name} leads out of the archive")
                if not info.isfile() or info.issparse():
                    if not info.isdir():
                        yield info.name, None
                elif info.size:
                    yield info.name, tar.extractfile(info)
        while inflated.read(1 << 20):  # read to the end, so that the checksum is verified
            pass


def _signal_of(name: str) -> str:
    """``CLT027c.resp.epoch.csv`` is a file of ``resp``."""
    for suffix in (".epoch.csv", ".json", ".h5", ".csv"):
        if name.endswith(suffix):
            return name.removesuffix(suffix).split(".")[-1]
    return ""


def _is_raster(name: str) -> bool:
    return name.endswith(".csv") and not name.endswith(".epoch.csv")


def read_signals(archive: Archive, *names: str) -> list[SlowSignal]:
    """Read some signals of a recording, without the values of rasters; fails if one is missing."""
    found: dict[str, bytes] = {}
    for name, file in _files(archive):
        if _signal_of(name) in names:
            if file is None or (archive.path.is_dir() and name in found):
                raise ValueError(f"{name} is a link, or is there twice")
            found[name] = b"" if _is_raster(name) else file.read()  # in a tar, the last one counts
    return [SlowSignal(archive, name, found) for name in names]


class SlowSignal:
    """One signal of a recording, made from a mapping of file names to contents.

    Attributes
    ----------
    archive : Archive
    fs : float
        Bins per second.
    chans : list of str
        The channels that the JSON names; empty if it names none.
    table : bytes or None
        Content of the epochs file.
    """

    def __init__(self, archive: Archive, name: str, files: Mapping[str, bytes]) -> None:
        own = [each for each in files if _signal_of(each) == name]
        (self._file,) = [each for each in own if each.endswith(".h5") or _is_raster(each)]
        base = self._file.rpartition(".")[0]
        header = json.loads(files[f"{base}.json"])
        chans = header.get("chans")
        is_list = isinstance(chans, list) and all(isinstance(x, str | int | float) for x in chans)
        self.archive = archive
        self.fs = header["fs"] + 0.0
        self.chans = [str(each) for each in chans] if is_list else []
        self.table = files.get(f"{base}.epoch.csv")
        self.is_raster = "Rasterized" in str(header.get("signal_type", "Rasterized"))
        self._h5 = io.BytesIO(files[self._file])
        self._trains: dict[str, list[int]] = {}

    @cached_property
    def epochs(self) -> SlowEpochs:
        if self.table is None:
            raise LookupError("no epochs file")
        return SlowEpochs(self.table, self.fs)

    @cached_property
    def keys(self) -> list[str]:
        """The names in the HDF5 file: cells or stimuli."""
        with h5py.File(self._h5) as file:
            return sorted(file)

    def values(self, key: str) -> NDArray[Any]:
        """The values of a cell or a stimulus in the HDF5 file."""
        with h5py.File(self._h5) as file:
            _check_chunks(file[key])
            values: NDArray[Any] = file[key][()]
        if values.dtype.kind not in "fiu":
            raise ValueError(f"{key} holds no numbers")
        return values

    @property
    def cells(self) -> list[str]:
        """The cells that have a response here, sorted."""
        return sorted(self.chans) if self.is_raster else self.keys

    @property
    def stimuli(self) -> list[str]:
        """The stimuli that have a spectrogram here, sorted."""
        if not self.is_raster:
            return self.keys
        return [stim for stim in self.all_trials if self.spectrograms(stim)]

    def spectrograms(self, stim: str) -> list[Float32s]:
        """The copies of a stimulus' spectrogram, (F, T): one; in a raster, one for each trial."""
        if not self.is_raster:
            return [self.values(stim).astype(np.float32)]
        windows = [self._raster[first:stop].T for _, first, stop in self.all_trials[stim] or []]
        return [each for each in windows if each.shape[1]]  # none where the data end before

    @cached_property
    def _raster(self) -> Float32s:
        if self._file.endswith(".csv"):
            return self.raster()
        return self.values("raster").astype(np.float32).T

    def content(self, cell: str, width: int) -> list[float]:
        """Bins of spikes, or counts of bins, until `width` bins after the last stimulus."""
        stops = [stop for trials in self.all_trials.values() for _, _, stop in trials or ()]
        end = max(stops, default=0) + width
        if not self.is_raster:
            return [each for each in self.spikes(cell) if each < end]
        values: list[float] = self._raster[:end, self.chans.index(cell)].tolist()
        return values

    def counts(self, cell: str, first: int, n_bins: int, width: int) -> list[float]:
        """The counts of a trial, each the sum of `width` bins; NaN past the end of a raster."""
        counts = [0.0] * n_bins
        if self.is_raster:
            column = self._raster[:, self.chans.index(cell)].tolist()
            column += [math.nan] * (first + n_bins * width - len(column))
            for i in range(n_bins * width):
                counts[i // width] += column[first + i]
            return counts
        spikes = self.spikes(cell)
        start, end = (bisect_left(spikes, at) for at in (first, first + width * n_bins))
        for bin_ in spikes[start:end]:
            counts[(bin_ - first) // width] += 1
        return counts

    def spikes(self, cell: str) -> list[int]:
        """The bin of each spike from the start of the recording on, ascending."""
        if cell not in self._trains:
            values = self.values(cell)
            if values.size not in (0, max(values.shape)):
                raise ValueError(f"{cell} has more than one line of spike times")
            bins = sorted(math.floor(time * self.fs) for time in values.ravel().tolist())
            self._trains[cell] = [each for each in bins if each >= 0]
        return self._trains[cell]

    @cached_property
    def all_trials(self) -> dict[str, list[Trial] | None]:
        """The trials of each stimulus; None where they cannot be read."""
        found: dict[str, list[Trial] | None] = {}
        for stim in self.epochs.stimuli():
            try:
                found[stim] = self.epochs.trials(stim)
            except (ValueError, OverflowError):
                found[stim] = None
        return found

    def raster(self) -> Float32s:
        """The values of a raster, (T, C): a line per bin, a number per channel; NaN if missing."""
        values, width = array("f"), 0
        for name, file in _files(self.archive):
            if name == self._file and file is not None:
                values, width = array("f"), 0  # the last file of this name counts
                for line in file:
                    texts = line.strip().split(b",")
                    width = width or len(texts)
                    if texts != [b""] or width == 1:
                        values.extend(_numbers(texts))
        return np.frombuffer(values, np.float32).reshape(-1, width)


def _check_chunks(found: h5py.Dataset) -> None:
    """Fail if a chunk is too short: HDF5 would invent the rest of its values."""
    if not found.chunks or found.compression not in (None, "gzip") or found.scaleoffset is not None:
        return
    of_gzip = 1 << found.shuffle  # gzip's bit in the mask of filters that a chunk skipped
    for i in range(found.id.get_num_chunks()):
        with phil:  # see `builders.nems.hdf5`
            mask, chunk = found.id.read_direct_chunk(found.id.get_chunk_info(i).chunk_offset)
        if found.compression == "gzip" and not mask & of_gzip:
            chunk = zlib.decompress(chunk)
        if not found.fletcher32 and len(chunk) != math.prod(found.chunks) * found.dtype.itemsize:
            raise ValueError(f"a chunk has {len(chunk)} bytes")


def _numbers(texts: list[bytes]) -> list[float]:
    try:
        return [*map(float, texts)]
    except ValueError:
        numbers = (number(text.decode()) for text in texts)
        return [math.nan if each is None else each for each in numbers]


class SlowEpochs:
    """The rows of an epochs table; each is parsed only when its epoch is requested."""

    def __init__(self, content: bytes, fs: float) -> None:
        text = content.decode("utf-8-sig", "surrogateescape")
        header, *self._rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        self._fs, self._width = fs, len(header)
        self._names, self._starts, self._ends = (
            [place for place, each in enumerate(header) if each.strip() == column]
            for column in ("name", "start", "end")
        )
        if not (self._names and self._starts and self._ends):
            raise LookupError("a column is missing")

    def stimuli(self) -> list[str]:
        """The names of the stimuli, sorted."""
        names = {row[place] for row in self._rows for place in self._names if place < len(row)}
        return sorted(name for name in names if name.startswith("STIM_"))

    def n_rows(self, stim: str) -> int:
        """How many rows a stimulus has, valid or not."""
        rows = [[row[p] for p in self._names if p < len(row)] for row in self._rows]
        return sum(stim in names for names in rows)

    def trials(self, stim: str) -> list[Trial]:
        """The trials of a stimulus, in time order.

        Dropped are trials without bounds or bins, and trials that overlap the one before.
        """
        bounds = []
        for row in self._rows:
            if any(place < len(row) and row[place] == stim for place in self._names):
                self._one(row, self._names)
                start = number(self._one(row, self._starts))
                end = number(self._one(row, self._ends))
                if "".join(row[self._width :]).strip():
                    raise ValueError(f"{stim}: a row with too many columns")
                if start is not None and end is not None:
                    bounds.append((start, end))
        kept: list[Trial] = []
        for start, end in sorted(bounds):
            first, stop = round(start * self._fs), round(end * self._fs)
            if not 0 <= first <= stop <= 2**26:
                raise ValueError(f"{stim}: from {start} to {end}")
            if first < stop and (not kept or first >= kept[-1][2]):
                kept.append((start, first, stop))
        return kept

    @staticmethod
    def _one(row: list[str], places: list[int]) -> str:
        """The value of a row in a column; a column may occur twice if both values are equal."""
        (text,) = {row[place].strip() if place < len(row) else "" for place in places}
        return text
