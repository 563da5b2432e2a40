"""What holds for any recording: from spike trains and epochs, through the archive, to the shard."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features
from hypothesis import example, given, settings
from hypothesis import strategies as st

import builders.shards.records
from builders.conventions import subset_of
from builders.shards.arrow import matrix_lists, ragged, stored, table
from builders.shards.cache import ShardCache
from builders.shards.job import Job
from tests.archives import SESSION, TILE, Files, h5, header, pack, packed, response, signal
from tests.toy import EST, RECORDS, STIMULI, VAL, Toy

PLACES = count()
RATES = (100, 1000)


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the cache is, and a new release for each example."""
    folder = tmp_path_factory.mktemp("properties")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDERS_HOME", str(folder / "builders"))
        yield folder


# -- Recordings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """Spike times of each cell and the rows of the epochs, in the file's order.

    What its JSON says of its cells and of its length may be anything.
    """

    fs: int
    spikes: dict[str, list[float]]
    epochs: list[tuple[str, float, float]]
    chans: list[str] | None = None
    segments: list[list[int]] | None = None

    def files(self) -> Files:
        head = header("PointProcess", chans=self.chans, fs=self.fs, segments=self.segments)
        resp = response(self.spikes, epochs=self.epochs)
        stim = signal("stim", h5({"STIM_b.wav": TILE}), header("TiledSignal"))
        return {**resp, f"{SESSION}.resp.json": head, **stim}


# Halves of a bin are edges and ties; the others lie anywhere, some of them outside.
TIMES = st.integers(-20, 300).map(lambda half: half / 200) | st.floats(-0.5, 2)
CELLS = [f"{SESSION}-{electrode:03d}-{unit}" for electrode in (1, 2, 10) for unit in (1, 2)]
STIMS = ["STIM_b.wav", "STIM_a.wav", "STIM_00cat, two.wav", "STIM_00ä.wav"]
BOUNDS = st.tuples(TIMES.map(abs), TIMES.map(abs)).map(sorted)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    cells = draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4, unique=True))
    names = st.sampled_from([*STIMS, "TRIAL"])
    epochs = draw(st.lists(st.tuples(names, BOUNDS), max_size=8))
    return Recording(
        draw(st.sampled_from(RATES)),
        {cell: draw(st.lists(TIMES, max_size=20)) for cell in cells},
        [(name, start, end) for name, (start, end) in epochs],
        draw(st.none() | st.lists(st.sampled_from(CELLS), max_size=4)),
        draw(st.none() | st.integers(0, 3).map(lambda stop: [[0, stop]])),
    )


def build(folder: Path, files: Files, cells: list[str]) -> dict[str, bytes]:
    """The session's shards of records, by subset, from the archive through the cache."""
    place = folder / f"{next(PLACES)}"
    pack(place / "release", files, f"{SESSION}_0.tgz")
    return build_from(place / "release", cells, place.name)


def build_from(release: Path, cells: list[str], corpus: str) -> dict[str, bytes]:
    toy = Toy(release, dict.fromkeys(cells, "A1"), corpus)
    return {Path(path).stem: toy.shard(path).read_bytes() for path in (EST, VAL)}


def rows(content: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(BytesIO(content)).to_pylist()
    return found


def slow_records(recording: Recording, cells: list[str], subset: str) -> list[dict[str, Any]]:
    """One spike, one trial and one bin at a time, in plain Python numbers."""
    found = []
    per_count = recording.fs // 100
    presented = sorted({name for name, _, _ in recording.epochs if name.startswith("STIM_")})
    for stim in presented:
        if stim.startswith("STIM_00") != (subset == "val"):
            continue
        kept: list[tuple[float, int, int]] = []
        bounds = [(start, end) for name, start, end in recording.epochs if name == stim]
        for start, end in sorted(bounds):
            first, stop = round(start * recording.fs), round(end * recording.fs)
            if stop > first and (not kept or first >= kept[-1][2]):
                kept.append((start, first, stop))
        for cell in cells if kept else []:
            if cell not in recording.spikes:
                continue
            spikes = [math.floor(time * recording.fs) for time in recording.spikes[cell]]
            response = []
            for _, first, stop in kept:
                n_counts = round((stop - first) / per_count)
                trial = [0.0] * n_counts
                for spike in spikes:
                    if spike >= max(first, 0) and (spike - first) // per_count < n_counts:
                        trial[(spike - first) // per_count] += 1
                response.append(trial)
            onsets = [start for start, _, _ in kept]
            found.append({"stim": stim, "cell_id": cell, "response": response, "onsets": onsets})
    return found


# A trial that is rounded up reaches past the last epoch, and not into the next cell's spikes.
ROUNDED_UP = Recording(
    1000, {CELLS[0]: [0.008, 0.011], CELLS[1]: [0.001]}, [("STIM_a.wav", 0.0, 0.006)]
)


@settings(max_examples=60, deadline=None)
@given(recordings(), st.permutations(CELLS), st.sampled_from([1, 100, 8 << 20]))
@example(ROUNDED_UP, CELLS, 1)
def test_a_shard_holds_what_the_slow_reference_counts(
    scratch: Path, recording: Recording, listed: list[str], size: int
) -> None:
    """Of any spike trains and epochs; cells may be listed and not recorded, or recorded only.

    Whatever the size of the row groups, and of the chunks that they are counted in.
    """
    listed = listed[:4]
    with (
        patch.object(builders.shards.records, "ROW_GROUP_BYTES", size),
        patch.object(builders.shards.records, "PIECE_BYTES", max(1, size // 4)),
    ):
        shards = build(scratch, recording.files(), listed)
    for subset, content in shards.items():
        found = rows(content)
        expected = slow_records(recording, listed, subset)
        assert [{key: row[key] for key in expected[0]} for row in found] == expected or (
            found == expected == []
        )
        assert all(row["subset"] == subset_of(row["stim"]) == subset for row in found)
        assert all(row["stim_id"] == f"{SESSION}/{row['stim']}" for row in found)


# -- Order -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(recordings(), st.data())
def test_no_order_in_the_archive_matters(
    scratch: Path, recording: Recording, data: st.DataObject
) -> None:
    """Of the rows of the epochs, the cells in the JSON and in HDF5, and the members."""
    listed = sorted(recording.spikes)
    shuffled = Recording(
        recording.fs,
        dict(data.draw(st.permutations(list(recording.spikes.items())))),
        data.draw(st.permutations(recording.epochs)),
        data.draw(st.permutations(listed)),
    )
    files = dict(data.draw(st.permutations(list(shuffled.files().items()))))
    assert build(scratch, files, listed) == build(scratch, recording.files(), listed)


def repacked(files: Files, level: int, format: int) -> bytes:
    """The same members in a tar of another kind, packed otherwise."""
    import gzip

    tar = BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=format) as target:
        for name, content in files.items():
            info = tarfile.TarInfo(f"some/where/{name}")
            info.size, info.mtime, info.mode = len(content), 1.5e9, 0o600
            target.addfile(info, BytesIO(content))
    return gzip.compress(tar.getvalue(), level)


@settings(max_examples=25, deadline=None)
@given(
    recordings(),
    st.integers(0, 9),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_the_same_recording_gives_the_same_bytes(
    scratch: Path, recording: Recording, level: int, format: int
) -> None:
    """Built twice, from another tar, and from the folder it was unpacked into."""
    listed, files = sorted(recording.spikes), recording.files()
    expected = build(scratch, files, listed)
    assert build(scratch, files, listed) == expected
    place = scratch / f"{next(PLACES)}"
    (place / "recordings").mkdir(parents=True)
    (place / "recordings" / f"{SESSION}_0.tgz").write_bytes(repacked(files, level, format))
    assert build_from(place, listed, place.name) == expected
    place = scratch / f"{next(PLACES)}"
    folder = place / "recordings" / f"{SESSION}_0"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert build_from(place, listed, place.name) == expected
    assert packed(files) == packed(files)


# -- Ragged columns --------------------------------------------------------------------------------

VALUES = st.floats(width=32, allow_nan=False) | st.integers(0, 20).map(float)
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
TRIAL = st.lists(VALUES, max_size=6)
RECORD = st.fixed_dictionaries(
    {
        **dict.fromkeys(("stim_id", "stim", "subset", "cell_id", "site", "session"), TEXT),
        **{name: st.none() | TEXT for name in ("area", "animal", "probe")},
        **{name: st.none() | st.integers(-(2**31), 2**31 - 1) for name in ("electrode", "unit")},
        "response": st.lists(TRIAL, max_size=4),
        "onsets": st.none() | st.lists(st.floats(allow_nan=False), max_size=4),
    }
)


def as_table(records: list[dict[str, Any]]) -> pa.Table:
    """With the responses as arrays are cut into lists, and all else as Python values."""
    columns: dict[str, Any] = {name: [row[name] for row in records] for name in RECORDS}
    trials = [trial for row in records for trial in row["response"]]
    values = np.array([value for trial in trials for value in trial], np.float32)
    cut = ragged(pa.array(values), np.array([len(trial) for trial in trials], np.int64))
    columns["response"] = ragged(cut, np.array([len(row["response"]) for row in records], np.int64))
    return table(columns, stored(RECORDS))


def through_the_cache(tables: Callable[[], Iterator[pa.Table]], features: Features) -> bytes:
    corpus = f"ragged{next(PLACES)}"
    job = Job("ragged", ("x.parquet",), features, list, str, lambda _: {"x.parquet": tables()})
    return ShardCache(corpus, "code").shard(job, "x.parquet").read_bytes()


def test_a_table_without_rows_makes_no_row_group(scratch: Path) -> None:
    """As a cell list makes it that has a header alone."""
    found = pq.ParquetFile(BytesIO(through_the_cache(lambda: iter([as_table([])]), RECORDS)))
    assert found.metadata.num_row_groups == 0
    assert found.schema_arrow.names == list(RECORDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORD, max_size=6), st.integers(1, 4))
def test_any_records_come_back_from_a_shard(records: list[dict[str, Any]], size: int) -> None:
    """Trials and records of any length, none too; however they are cut into tables."""
    pieces = [records[i : i + size] for i in range(0, len(records), size)]
    content = through_the_cache(lambda: map(as_table, pieces), RECORDS)
    assert rows(content) == records
    whole = [records] if records else []
    assert through_the_cache(lambda: map(as_table, whole), RECORDS) == content
    file = pq.ParquetFile(BytesIO(content))
    assert file.num_row_groups == bool(records)
    declared = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert Features.from_dict(declared) == RECORDS


@cache
def noise() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=10_000).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=6))
def test_any_spectrograms_come_back_from_a_shard(shapes: list[tuple[int, int]]) -> None:
    """Each (F, T) of its own shape, never transposed."""
    arrays = [noise()[: bands * n_bins].reshape(bands, n_bins) for bands, n_bins in shapes]

    def tables() -> Iterator[pa.Table]:
        for i, array in enumerate(arrays):
            columns = {name: [str(i)] for name in ("stim_id", "stim", "subset", "session")}
            numbers = {"dt_ms": [10.0], "n_trials": [i]}
            yield table(
                {**columns, **numbers, "spectrogram": matrix_lists([array])}, stored(STIMULI)
            )

    found = rows(through_the_cache(tables, STIMULI))
    assert [row["spectrogram"] for row in found] == [array.tolist() for array in arrays]
    assert matrix_lists(arrays).to_pylist() == [array.tolist() for array in arrays]
