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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

Row = dict[str, Any]


def members(archive: Path) -> dict[str, bytes]:
    """Base name without the recording's name -> content, of every file of an archive."""
    found = {}
    with tarfile.open(archive, "r:gz") as tar:
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


RECORDS = {"wingert2026": wingert2026}
