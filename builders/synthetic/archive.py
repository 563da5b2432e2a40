"""Write synthetic recordings: signals and epochs in one NEMS archive.

The layout is the same as from the format's writer (NEMS0: `nems0/recording.py`, `nems0/signal.py`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Epoch = tuple[str, float, float]

# The three packages that have written the format; each writes its own name in the signal's type.
PACKAGES = ("nems", "nems0", "nems.tools")
CSV_BLOCK = 1 << 24  # bytes of a CSV that are generated at once


class Blocks(io.RawIOBase):
    """Content of a file too large for memory: of known length, generated block by block."""

    def __init__(self, length: int, blocks: Iterable[bytes]) -> None:
        self._length, self._blocks, self._rest = length, iter(blocks), memoryview(b"")

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        """True; the content can be read once."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from the rest of the current block, or from the next block."""
        block = self._rest or memoryview(next(self._blocks, b""))
        size = min(len(buffer), len(block))
        buffer[:size], self._rest = block[:size], block[size:]
        return size


@dataclass(frozen=True)
class PlantedSignal:
    """One signal to be written into an archive.

    Attributes
    ----------
    name, kind : str
        Such as ``resp`` and ``PointProcess``.
    channels : sequence of str, or None
        Channels in the order that the JSON file states; the data file may have another order.
    suffix : str
        Suffix of the data file: ``h5`` or ``csv``.
    data : callable
        Returns the content of the data file, or `Blocks` of it. It is called when the file is
        written, so that only one content is in memory at a time.
    prefix : str
        ``01.`` for a later view of a signal.
    """

    name: str
    kind: str
    channels: Sequence[str] | None
    suffix: str
    data: Callable[[], bytes | Blocks]
    prefix: str = ""


def h5_file(arrays: Iterable[tuple[str, NDArray[Any]]], level: int) -> bytes:
    """An HDF5 file with one root dataset per name, gzip at `level`, without time stamps."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays:
            file.create_dataset(name, data=array, compression="gzip", compression_opts=level)
    return content.getvalue()


def csv_file(codes: NDArray[np.unsignedinteger[Any]], values: NDArray[np.float64]) -> Blocks:
    """The CSV of a rasterized signal: one row per bin, one column per channel.

    Parameters
    ----------
    codes : (C, T) unsigned int
        The index in `values` of each channel's value in each bin.
    values : (n,) float64
        The distinct values; may contain NaN. Each is formatted only once, so that writing the file
        is as fast as copying.
    """
    n_channels, n_bins = codes.shape
    tokens = np.array([b"%.18e" % value for value in values.tolist()])
    lengths = np.char.str_len(tokens).astype(np.uint8)
    length = sum(int(lengths[channel].sum()) for channel in codes) + codes.size

    def blocks() -> Iterator[bytes]:
        n_rows = max(1, CSV_BLOCK // (n_channels * (tokens.itemsize + 1)))
        for start in range(0, n_bins, n_rows):
            rows = codes[:, start : start + n_rows].T
            cells = np.zeros(rows.shape, [("value", tokens.dtype), ("end", "S1")])
            cells["value"], cells["end"] = tokens[rows], b","
            cells["end"][:, -1] = b"\n"
            yield cells.tobytes().replace(b"\0", b"")  # padding of shorter values

    return Blocks(length, blocks())


def write_recording(
    path: Path,
    signals: Iterable[PlantedSignal],
    epochs: Sequence[Epoch],
    *,
    fs: float,
    n_bins: int,
    rng: np.random.Generator,
    package: str = "nems0",
    shuffle_epochs: bool = False,
    empty: Sequence[str] = (),
    level: int = 1,
) -> None:
    """Write one archive, under a temporary name until it is complete.

    Parameters
    ----------
    path : Path
        ``<recording>.tgz``; the recording takes its name from it.
    signals : iterable of PlantedSignal
        In the order in which they are written.
    epochs : sequence of (name, start, end)
        Times in seconds; each signal gets its own copy of the table.
    fs : float
        Bins per second.
    n_bins : int
        Length of the recording.
    rng : numpy.random.Generator
        Shuffles the columns, and the rows if `shuffle_epochs`, of each copy of the epochs.
    package : str
        One of `PACKAGES`.
    empty : sequence of str
        Suffixes of additional members of size 0.
    level : int
        Compression level of gzip, inside HDF5 and around the tar.
    """
    recording = path.name.partition(".")[0]
    part = path.with_name(path.name + ".part")
    try:
        with (
            part.open("wb") as raw,
            # No name and no time in gzip's header, so that equal content gives equal bytes.
            gzip.GzipFile("", "wb", level, raw, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):

            def add(member: str, content: bytes | Blocks) -> None:
                info = tarfile.TarInfo(f"{recording}/{member}")
                info.size, info.uname, info.gname = len(content), "nems", "users"
                if isinstance(content, Blocks):
                    tar.addfile(info, io.BufferedReader(content, 1 << 20))
                else:
                    tar.addfile(info, io.BytesIO(content))

            meta = {"name": recording, "rasterfs": fs, "snr": float("nan")}
            add(f"{recording}.meta.json", json.dumps(meta).encode())
            for suffix in empty:
                add(f"{recording}.{suffix}", b"")
            for signal in signals:
                base = f"{signal.prefix}{recording}.{signal.name}"
                add(f"{base}.{signal.suffix}", signal.data())
                add(f"{base}.epoch.csv", _epoch_csv(epochs, rng, shuffle_epochs))
                header = _header(recording, signal, fs, n_bins, package)
                add(f"{base}.json", json.dumps(header).encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _header(
    recording: str, signal: PlantedSignal, fs: float, n_bins: int, package: str
) -> dict[str, object]:
    header: dict[str, object] = {
        "name": signal.name,
        "chans": None if signal.channels is None else list(signal.channels),
        "fs": fs,
        "meta": {"snr": float("nan")},
        "recording": recording,
        "segments": [[0, n_bins]],
        "signal_type": f"<class '{package}.signal.{signal.kind}'>",
        "normalization": "none",
        "norm_baseline": [[0]],
        "norm_gain": [[1]],
    }
    if package == "nems.tools":  # the newest writer
        header["dtype"] = None
    return header


def _epoch_csv(epochs: Sequence[Epoch], rng: np.random.Generator, shuffle: bool) -> bytes:
    order = rng.permutation(len(epochs)) if shuffle else np.arange(len(epochs))
    columns = rng.permutation(3)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([("name", "start", "end")[column] for column in columns])
    writer.writerows([epochs[row][column] for column in columns] for row in order)
    return text.getvalue().encode()
