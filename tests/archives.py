"""Tiny recordings, laid out by hand as the format's own writer does it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from builders.release.archive import Archive
from builders.release.local import archives_in_zip

Files = dict[str, bytes]  # base name to content
Epochs = Sequence[tuple[str, float, float]]

SESSION = "TST001a"
CELL, SILENT = f"{SESSION}-002-1", f"{SESSION}-001-1"
EPOCHS: Epochs = [
    ("STIM_b.wav", 0.0, 0.1),
    ("STIM_a.wav", 0.4, 0.5),
    ("TRIAL", 0.0, 0.1),
    ("STIM_a.wav", 0.2, 0.3),
]
SPIKES = [0.013, 0.017, 0.25, 0.495, 0.5]  # seconds
BINS = [1, 1, 25, 49, 50]  # at 100 Hz; the last spike is after the last stimulus
TILE = np.arange(20.0).reshape(2, 10)  # (F, T)
RASTER = np.array([[0, np.nan, -0.25], [1, np.inf, 1]])  # (C, T)


def h5(datasets: Mapping[str, Any]) -> bytes:
    """An HDF5 file with these root datasets."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, compression="gzip")
    return content.getvalue()


def raster_csv(values: NDArray[np.float64]) -> bytes:
    """A (C, T) raster as a CSV with one row per bin."""
    content = io.BytesIO()
    np.savetxt(content, values.T, fmt="%.18e", delimiter=",")
    return content.getvalue()


def epoch_csv(rows: Epochs, columns: Sequence[str] = ("name", "start", "end")) -> bytes:
    """Epochs as a CSV whose columns stand in this order."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(zip(("name", "start", "end"), row, strict=True)) for row in rows)
    return text.getvalue().encode()


def header(kind: str, *, package: str = "nems0", **keys: object) -> bytes:
    """A signal's JSON; `keys` are added to what every signal has, or replace it."""
    spelled = f"<class '{package}.signal.{kind}'>"
    return json.dumps({"fs": 100, "chans": None, "signal_type": spelled, **keys}).encode()


def signal(
    name: str, data: bytes, head: bytes, epochs: bytes | None = None, *, suffix: str = "h5"
) -> Files:
    """The three members of one signal."""
    base = f"{SESSION}.{name}"
    epochs = epoch_csv(EPOCHS) if epochs is None else epochs
    return {f"{base}.{suffix}": data, f"{base}.epoch.csv": epochs, f"{base}.json": head}


def response(spikes: Mapping[str, Sequence[float]], *, epochs: Epochs = EPOCHS) -> Files:
    """A response of these cells, in this order."""
    data = h5({cell: np.array(times, np.float64) for cell, times in spikes.items()})
    return signal("resp", data, header("PointProcess", chans=list(spikes)), epoch_csv(epochs))


def recording() -> Files:
    """A recording with a signal of each type."""
    mask = header("RasterizedSignal", chans=["x", "y"])
    return {
        f"{SESSION}.meta.json": b'{"snr": NaN}',
        **response({CELL: SPIKES, SILENT: []}),
        **signal("stim", h5({"STIM_b.wav": TILE, "STIM_a.wav": -TILE}), header("TiledSignal")),
        **signal("mask", raster_csv(RASTER), mask, suffix="csv"),
    }


def packed(files: Mapping[str, bytes], wrapper: str = f"{SESSION}/") -> bytes:
    """A gzip tar of these files. Its first 10 bytes are a gzip header without a name."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as members:
        for name, content in files.items():
            info = tarfile.TarInfo(wrapper + name)
            info.size = len(content)
            members.addfile(info, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), 1, mtime=0)


def pack(release: Path, files: Mapping[str, bytes], name: str = f"{SESSION}.tgz") -> Archive:
    """Put an archive into a release's folder as published."""
    path = release / "recordings" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(files))
    return Archive(name, path)


def unpack(release: Path, files: Mapping[str, bytes], name: str = f"{SESSION}.tgz") -> Archive:
    """Put the folder into it that an archive was unpacked into."""
    folder = release / "recordings" / name.removesuffix(".tgz")
    folder.mkdir(parents=True)
    for member, content in files.items():
        (folder / member).write_bytes(content)
    return Archive(name, folder)


def pack_in_zip(release: Path, files: Mapping[str, bytes], name: str = f"{SESSION}.tgz") -> Archive:
    """Put an archive into ``recordings.zip`` as downloaded."""
    outer, member = release / "recordings.zip", f"recordings/{name}"
    with zipfile.ZipFile(outer, "a") as file:
        file.writestr(member, packed(files))
    return archives_in_zip(outer)[name]


LAYOUTS = (pack, unpack, pack_in_zip)
