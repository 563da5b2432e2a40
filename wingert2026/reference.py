"""The slow, obvious reader of a wingert2026 release; see `builders.reference`."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial

import h5py

from builders import reference as slow
from builders.reference import Key, Reading, Row, Shards, Sound, Source
from builders.release import Archive, Release


def sources(release: Release) -> Iterator[Source]:
    """All recordings of each session of the cell list."""
    with release.file("cell_list.csv").open(newline="", encoding="utf-8") as file:
        listed: dict[str, list[dict[str, str]]] = {}
        for cell in csv.DictReader(file):
            listed.setdefault(cell["cellid"].split("-")[0], []).append(cell)
    holding = slow.sessions(release.archives("recordings"))
    for session, cells in listed.items():
        if session not in holding:
            yield Source(f"the archive of {session}", slow.missing)
        for archive in holding.get(session, []):  # PRN018 has two, which hold the same data
            yield Source(archive.name, partial(_read, archive, session, cells))


def _read(archive: Archive, session: str, cells: list[dict[str, str]]) -> Reading:
    files = slow.members(archive)
    header, epochs = json.loads(files["resp.json"]), files["resp.epoch.csv"]
    held = {cell["cellid"]: cell for cell in cells if cell["cellid"] in header["chans"]}

    @cache
    def counts(cell: str) -> Counter[int]:
        with h5py.File(io.BytesIO(files["resp.h5"])) as h5:
            return slow.count(h5[cell][:].tolist(), header)

    @cache
    def trials(stim: str) -> list[tuple[float, int, int]]:
        return slow.trials(epochs, stim, header["fs"])

    def of_stim(stim: str) -> Row:
        ids = {"stim_id": f"{session}/{stim}", "stim": stim, "subset": slow.subset(stim)}
        return {**ids, "session": session}

    def record(key: Key) -> Row:
        cell, stim = held[str(key[1])], key[0].split("/")[1]
        count = counts(cell["cellid"])
        return {
            **of_stim(stim),
            **slow.cell_columns(cell["cellid"]),
            "site": cell["siteid"],
            "area": cell["area"] or None,
            "response": [
                [count.get(bin_, 0) for bin_ in range(first, stop)]
                for _, first, stop in trials(stim)
            ],
            "onsets": [onset for onset, _, _ in trials(stim)],
            "layer": cell["layer"] or None,
            "depth": float(cell["depth"]) if cell["depth"] else None,
            "narrow": cell["narrow"] == "True" if cell["narrow"] else None,
            "celltype": cell["celltype"] or None,
            "sw": float(cell["sw"]) if cell["sw"] else None,
            "goodpred": cell["goodpred"] == "True" if cell["goodpred"] else None,
        }

    def stimulus(key: Key) -> Row:
        stim = key[0].split("/")[1]
        return {
            **of_stim(stim),
            "spectrogram": spectrograms[stim],
            "dt_ms": 1000 / stim_header["fs"],
            "n_trials": len(slow.trials(files["stim.epoch.csv"], stim, stim_header["fs"])),
        }

    shards = []
    for area, site in {(cell["area"], cell["siteid"]): None for cell in cells}:
        for subset in ("est", "val"):
            keys: list[Key] = [
                (f"{session}/{stim}", cell)
                for stim in slow.stimuli(epochs)
                if slow.subset(stim) == subset
                for cell, row in held.items()
                if (row["area"], row["siteid"]) == (area, site)
            ]
            path = f"data/{area or 'unlabeled'}/{site}/{subset}.parquet"
            shards.append(Shards(path, archive.name, keys, record))
    stim_header = json.loads(files["stim.json"])
    with h5py.File(io.BytesIO(files.pop("stim.h5"))) as h5:
        spectrograms = {stim: h5[stim][:].astype("float32") for stim in sorted(h5)}
    for subset in ("est", "val"):
        of_subset = [stim for stim in spectrograms if slow.subset(stim) == subset]
        keys = [(f"{session}/{stim}", None) for stim in of_subset]
        path = f"stimuli/{session}/{subset}-*.parquet"
        shards.append(Shards(path, archive.name, keys, stimulus))
    sounds = [Sound(archive.name, stim, values) for stim, values in spectrograms.items()]
    return Reading(shards, sounds)
