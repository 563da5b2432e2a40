"""A second, slow, obvious implementation of what the catalogue promises.

It shares no line with `builders`: whole archives in memory, one spike and one bin at a time, plain
Python numbers. Where the two differ, one of them misreads the release.
"""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Row = dict[str, Any]


def members(archive: Path | bytes) -> dict[str, bytes]:
    """Base name without the recording's name -> content, of every file of an archive."""
    found = {}
    content = archive if isinstance(archive, bytes) else archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        for info in tar.getmembers():
            name = info.name.split("/")[-1]
            if info.isfile() and not name.startswith("01."):
                file = tar.extractfile(info)
                assert file is not None
                found[name.split(".", 1)[1]] = file.read()
    return found


def trials(epochs: bytes, name: str, fs: float) -> list[tuple[float, int, int]]:
    """Onset, first bin and stop bin of each trial, in time order, overlapping ones dropped."""
    rows = csv.DictReader(io.StringIO(epochs.decode()))
    bounds = sorted((float(r["start"]), float(r["end"])) for r in rows if r["name"] == name)
    kept: list[tuple[float, int, int]] = []
    for start, end in bounds:
        first, stop = round(start * fs), round(end * fs)
        if not kept or first >= kept[-1][2]:
            kept.append((start, first, stop))
    return kept


def stimuli(epochs: bytes) -> list[str]:
    """The names of the stimuli that were presented, sorted."""
    rows = csv.DictReader(io.StringIO(epochs.decode()))
    return sorted({row["name"] for row in rows if row["name"].startswith("STIM_")})


def wingert2026(release: Path) -> Iterator[Row]:
    """Every record of a wingert2026 release, session by session."""
    with (release / "cell_list.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    holding: dict[str, Path] = {}
    for archive in sorted((release / "recordings").glob("*.tgz"), reverse=True):
        header = json.loads(members(archive)["resp.json"])
        holding[header["chans"][0].split("-")[0]] = archive
    for session, archive in holding.items():
        files = members(archive)
        header = json.loads(files["resp.json"])
        epochs, fs = files["resp.epoch.csv"], header["fs"]
        with h5py.File(io.BytesIO(files["resp.h5"])) as h5:
            spikes = {cell: h5[cell][:].tolist() for cell in header["chans"]}
        with h5py.File(io.BytesIO(files["stim.h5"])) as h5:
            spectrograms = {name: h5[name][:].astype("float32") for name in h5}
        cells = [row for row in listed if row["cellid"].split("-")[0] == session]
        for cell in cells:
            times = spikes.get(cell["cellid"])
            if times is None:
                continue
            counts = Counter(math.floor(time * fs) for time in times)
            for stim in stimuli(epochs):
                occurrences = trials(epochs, stim, fs)
                yield {
                    "stim_id": f"{session}/{stim}",
                    "stim": stim,
                    "subset": "val" if stim.startswith("STIM_00") else "est",
                    "cell_id": cell["cellid"],
                    "site": cell["siteid"],
                    "session": session,
                    "area": cell["area"] or None,
                    "response": [
                        [counts.get(bin_, 0) for bin_ in range(first, stop)]
                        for _, first, stop in occurrences
                    ],
                    "onsets": [onset for onset, _, _ in occurrences],
                    "layer": cell["layer"] or None,
                    "depth": float(cell["depth"]) if cell["depth"] else None,
                    "narrow": cell["narrow"] == "True" if cell["narrow"] else None,
                    "celltype": cell["celltype"] or None,
                    "sw": float(cell["sw"]) if cell["sw"] else None,
                    "goodpred": cell["goodpred"] == "True",
                    "spectrogram": spectrograms[stim],
                    "list_position": listed.index(cell),
                }


def nat4(release: Path) -> Iterator[Row]:
    """Every record of a nat4 release, area by area: those of est, then those of val."""
    for area in ("A1", "PEG"):
        with (release / f"{area}_pred_correlation.csv").open(newline="") as file:
            auditory = {
                row["cellid"]: row["sig_auditory"] == "True" for row in csv.DictReader(file)
            }
        files = members(release / f"{area}_NAT4_ozgf.fs100.ch18.tgz")
        cells = json.loads(files["resp.json"])["chans"]
        table = {
            signal: [list(map(float, line.split(","))) for line in files[signal].decode().split()]
            for signal in ("resp.csv", "stim.csv", "mask_est.csv")
        }
        epochs = files["resp.epoch.csv"]
        spectrograms = {}
        for stim in stimuli(epochs):
            ((_, first, stop),) = trials(epochs, stim, 100)
            bins = list(zip(*table["stim.csv"][first:stop], strict=True))
            spectrograms[stim] = np.array(bins).astype("float32")

        def row(cell: str, stim: str, **values: Any) -> Row:
            return {
                "stim_id": stim,
                "stim": stim,
                "cell_id": cell,
                "site": cell.split("-")[0],
                "session": cell.split("-")[0],
                "area": area,  # noqa: B023
                "auditory": auditory.get(cell),  # noqa: B023
                "spectrogram": spectrograms[stim],  # noqa: B023
                "list_position": cells.index(cell),  # noqa: B023
                **values,
            }

        for stim in stimuli(epochs):
            ((_, first, stop),) = trials(epochs, stim, 100)
            for column, cell in enumerate(cells):
                trace = [bins[column] for bins in table["resp.csv"][first:stop]]
                if not any(map(math.isnan, trace)) and not stim.startswith("STIM_00"):
                    yield row(cell, stim, subset="est", response=[trace], onsets=None)

        holding = {}
        for content in site_files(release, area):
            site = members(content)
            for cell in json.loads(site["resp.json"])["chans"]:
                holding[cell] = site
        for cell in cells:
            held = [cell] if cell in holding else [each for each in holding if same(cell, each)]
            if len(held) != 1:
                continue
            site = holding[held[0]]
            with h5py.File(io.BytesIO(site["resp.h5"])) as h5:
                counts = Counter(math.floor(time * 1000) for time in h5[held[0]][:].tolist())
            for stim in stimuli(site["resp.epoch.csv"]):
                occurrences = trials(site["resp.epoch.csv"], stim, 1000)
                response = [
                    [sum(counts.get(ms, 0) for ms in range(ten, ten + 10))
                     for ten in range(first, stop, 10)]
                    for _, first, stop in occurrences
                ]  # fmt: skip
                onsets = [onset for onset, _, _ in occurrences]
                yield row(cell, stim, subset="val", response=response, onsets=onsets)


def site_files(release: Path, area: str) -> list[bytes]:
    """The archives of an area's sites, from the folder or the zip."""
    folder = release / f"{area}_single_sites"
    if folder.is_dir():
        return [path.read_bytes() for path in folder.iterdir()]
    with zipfile.ZipFile(f"{folder}.zip") as file:
        return [file.read(name) for name in file.namelist() if name.endswith(".tgz")]


def same(cell: str, other: str) -> bool:
    """Whether two ids differ in no more than the zeros before their numbers."""
    one, two = cell.split("-"), other.split("-")
    return one[0] == two[0] and list(map(int, one[1:])) == list(map(int, two[1:]))


RECORDS = {"nat4": nat4, "wingert2026": wingert2026}
