"""Reading one NEMS recording: what its signals give, what is left alone, how damage is named."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders import raster as raster_module
from builders.binning import MAX_BINS
from builders.errors import CorpusError
from builders.nems import SIGNAL_TYPES, Signal, read_signals
from builders.release import Archive

from .archives import (
    BINS,
    CELL,
    EPOCHS,
    LAYOUTS,
    RASTER,
    SESSION,
    SILENT,
    SPIKES,
    TILE,
    Files,
    epoch_csv,
    h5,
    header,
    pack,
    pack_in_zip,
    packed,
    raster_csv,
    recording,
    response,
    signal,
    unpack,
)

Layout = Callable[[Path, Files], Archive]
ALL = ("resp", "stim", "mask")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of one archive, which is written again and again."""
    return tmp_path_factory.mktemp("nems")


def read(archive: Archive) -> dict[str, Any]:
    """Everything that a recording of `ALL` signals holds."""
    signals = read_signals(archive, ALL)
    resp, stim, mask = (signals[name] for name in ALL)
    return {
        "epochs": {name: each.epochs for name, each in signals.items()},
        "trials": [vars(resp.trials(name)) for name in resp.stimuli()],
        "cells": resp.channels,
        "spikes": dict(resp.spike_times()),
        "bins": dict(resp.bins()),
        "tiles": list(stim.tiles(stim.tile_names())),
        "mask": raster(mask),
    }


def raster(signal: Signal) -> NDArray[np.float32]:
    """All values of a rasterized signal, (C, T)."""
    return np.concatenate(list(signal.raster_blocks()), axis=1)


@pytest.fixture(scope="module")
def whole(scratch: Path) -> dict[str, Any]:
    """What the recording holds when nothing is wrong with it."""
    return read(pack(scratch, recording()))


def changed(member: str, content: bytes | None) -> Files:
    """The recording with other content, or without the member."""
    files: dict[str, bytes | None] = {**recording(), f"{SESSION}.{member}": content}
    if member == "mask.h5":  # in place of the CSV: a signal has one data file
        del files[f"{SESSION}.mask.csv"]
    return {name: each for name, each in files.items() if each is not None}


def read_one(release: Path, files: Files, name: str) -> Signal:
    return read_signals(pack(release, files), [name])[name]


def written(release: Path, content: bytes) -> Archive:
    """An archive of just these bytes."""
    path = release / "any.tgz"
    path.write_bytes(content)
    return Archive(path.name, path)


# The three types of signal


def test_a_point_process_gives_the_spike_times_of_each_cell(scratch: Path) -> None:
    times = dict(read_one(scratch, recording(), "resp").spike_times())
    assert {cell: each.tolist() for cell, each in times.items()} == {CELL: SPIKES, SILENT: []}
    assert {each.dtype for each in times.values()} == {np.dtype(np.float64)}


def test_cells_come_in_the_order_of_the_json(scratch: Path) -> None:
    for order in ([CELL, SILENT], [SILENT, CELL]):
        head = header("PointProcess", chans=order)
        resp = read_one(scratch, changed("resp.json", head), "resp")
        assert (
            resp.channels
            == [cell for cell, _ in resp.spike_times()]
            == list(dict(resp.bins()))
            == order
        )


def test_cells_that_the_json_does_not_list_are_left_out(scratch: Path) -> None:
    head = header("PointProcess", chans=[SILENT])
    resp = read_one(scratch, changed("resp.json", head), "resp")
    assert [cell for cell, _ in resp.spike_times()] == [SILENT]


@pytest.mark.parametrize(
    ("segments", "bins"),
    [(None, BINS), ([[0, 50]], BINS[:-1]), ([[0, 0]], []), ([[0, MAX_BINS]], BINS)],
)
def test_bins_reach_to_the_end_of_the_recording(
    scratch: Path, segments: list[list[int]] | None, bins: list[int]
) -> None:
    side_car = header("PointProcess", chans=[CELL, SILENT], segments=segments)
    found = read_one(scratch, changed("resp.json", side_car), "resp").bins()
    assert {cell: each.tolist() for cell, each in found} == {CELL: bins, SILENT: []}


@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_a_tiled_signal_gives_a_spectrogram_for_each_stimulus(scratch: Path, stored: type) -> None:
    data = h5({"STIM_b.wav": TILE.astype(stored), "STIM_a.wav": -TILE.astype(stored)})
    stim = read_one(scratch, changed("stim.h5", data), "stim")
    assert stim.channels == []
    assert stim.tile_names() == ["STIM_a.wav", "STIM_b.wav"]
    (first, plus), (second, minus) = stim.tiles(["STIM_b.wav", "STIM_a.wav"])
    assert (first, second) == ("STIM_b.wav", "STIM_a.wav")
    assert plus.dtype == minus.dtype == np.float32
    np.testing.assert_array_equal([plus, minus], [TILE, -TILE])


@pytest.mark.parametrize(
    ("suffix", "data"), [("csv", raster_csv(RASTER)), ("h5", h5({"raster": RASTER}))]
)
def test_a_rasterized_signal_is_channels_by_bins(scratch: Path, suffix: str, data: bytes) -> None:
    head = header("RasterizedSignal", chans=["x", "y"])
    files = response({CELL: SPIKES}) | signal("mask", data, head, suffix=suffix)
    mask = read_one(scratch, files, "mask")
    assert mask.channels == ["x", "y"]
    (block,) = mask.raster_blocks()
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, RASTER)


def test_a_long_raster_comes_in_blocks_of_bins(scratch: Path) -> None:
    n_bins = 1_000_000
    data = b"".join(b"%d,-1\n" % i for i in range(n_bins))
    head = header("RasterizedSignal", chans=["x", "y"])
    files = signal("mask", data, head, suffix="csv")
    blocks = list(read_one(scratch, files, "mask").raster_blocks())
    assert len(blocks) > 1
    joined = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(joined, [np.arange(n_bins), np.full(n_bins, -1)])


def test_one_channel_is_still_a_matrix(scratch: Path) -> None:
    head = header("RasterizedSignal", chans=["x"])
    mask = read_one(scratch, signal("mask", b"1.0\n0.0\n1.0\n", head, suffix="csv"), "mask")
    assert raster(mask).tolist() == [[1, 0, 1]]


def test_spectrograms_are_named_in_order(scratch: Path) -> None:
    """Whatever the order in which they were written, and which HDF5 may keep."""
    content = io.BytesIO()
    with h5py.File(content, "w", track_order=True) as file:
        for name in ("STIM_b.wav", "STIM_c.wav", "STIM_a.wav"):
            file[name] = TILE
    stim = read_one(scratch, changed("stim.h5", content.getvalue()), "stim")
    assert stim.tile_names() == ["STIM_a.wav", "STIM_b.wav", "STIM_c.wav"]


def test_a_mask_may_have_one_column_for_all_channels(scratch: Path) -> None:
    head = header("RasterizedSignal", chans=["x", "y", "z"])
    mask = read_one(scratch, signal("mask", b"1.0\n0.0\n", head, suffix="csv"), "mask")
    assert raster(mask).tolist() == [[1, 0]]
    mask = read_one(scratch, signal("mask", b"1.0,2.0\n", head, suffix="csv"), "mask")
    with pytest.raises(CorpusError, match="2 columns, but 3 channels"):
        raster(mask)


def test_channels_may_have_no_names(scratch: Path) -> None:
    head = header("RasterizedSignal", chans=None)
    mask = read_one(scratch, signal("mask", b"1.0,2.0\n3.0,4.0\n", head, suffix="csv"), "mask")
    assert mask.channels == []
    assert raster(mask).tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("package", ["nems", "nems0", "nems.tools"])
@pytest.mark.parametrize("kind", SIGNAL_TYPES)
def test_a_type_has_three_spellings(scratch: Path, kind: str, package: str) -> None:
    files = signal("x", b"1.0\n", header(kind, package=package), suffix="csv")
    assert read_one(scratch, files, "x").kind == kind


def test_a_signal_without_a_type_is_rasterized(scratch: Path) -> None:
    files = signal("x", b"1.0\n2.0\n", b'{"fs": 100}', suffix="csv")
    x = read_one(scratch, files, "x")
    assert x.kind == "RasterizedSignal"
    assert raster(x).tolist() == [[1, 2]]


def test_one_type_is_not_read_as_another(scratch: Path) -> None:
    signals = read_signals(pack(scratch, recording()), ALL)
    for name in ("stim", "mask"):
        with pytest.raises(CorpusError, match=rf"{SESSION}\.{name}.*\n.*expected a PointProcess"):
            list(signals[name].spike_times())
    with pytest.raises(CorpusError, match=r"expected a TiledSignal, found a PointProcess"):
        signals["resp"].tile_names()
    with pytest.raises(CorpusError, match=r"expected a TiledSignal"):
        next(signals["resp"].tiles(["STIM_a.wav"]))
    with pytest.raises(CorpusError, match=r"expected a RasterizedSignal"):
        next(signals["resp"].raster_blocks())


# Epochs


@pytest.mark.parametrize("columns", list(permutations(("name", "start", "end"))))
def test_epoch_columns_stand_in_any_order(scratch: Path, columns: Sequence[str]) -> None:
    resp = read_one(scratch, changed("resp.epoch.csv", epoch_csv(EPOCHS, columns)), "resp")
    assert {name: np.transpose(each).tolist() for name, each in resp.epochs.items()} == {
        "STIM_b.wav": [[0.0, 0.1]],
        "STIM_a.wav": [[0.4, 0.5], [0.2, 0.3]],
        "TRIAL": [[0.0, 0.1]],
    }
    assert resp.stimuli() == ["STIM_a.wav", "STIM_b.wav"]


def test_trials_are_those_of_the_binning_at_the_signals_rate(scratch: Path) -> None:
    for fs, first, n_bins in ((100, [20, 40], [10, 10]), (1000.0, [200, 400], [100, 100])):
        head = header("PointProcess", chans=[CELL], fs=fs)
        resp = read_one(scratch, changed("resp.json", head), "resp")
        trials = resp.trials("STIM_a.wav")
        assert trials.onsets.tolist() == [0.2, 0.4]
        assert (trials.first.tolist(), trials.n_bins.tolist()) == (first, n_bins)


def test_an_epoch_may_end_where_the_recording_ends(scratch: Path) -> None:
    head = header("PointProcess", chans=[CELL], segments=[[0, 50]])
    assert (
        read_one(scratch, changed("resp.json", head), "resp").trials("STIM_a.wav").n_bins[1] == 10
    )
    head = header("PointProcess", chans=[CELL], segments=[[0, 49]])
    resp = read_one(scratch, changed("resp.json", head), "resp")
    with pytest.raises(CorpusError, match=r"STIM_a\.wav ends at bin 50, the recording at bin 49"):
        resp.trials("STIM_a.wav")


SPANS = st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(0, 40))


@given(st.lists(SPANS, max_size=8), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_windows_are_slices_of_the_raster(
    scratch: Path, spans: list[tuple[str, int, int]], block: int
) -> None:
    """In time order, however they overlap and however the raster is cut into blocks."""
    spans = [(name, *sorted(bins)) for name, *bins in spans]
    values = np.arange(80.0).reshape(2, 40)
    head = header("RasterizedSignal", chans=["x", "y"])
    rows = epoch_csv([(name, first / 100, stop / 100) for name, first, stop in spans])
    files = signal("resp", raster_csv(values), head, rows, suffix="csv")
    with patch.object(raster_module, "BLOCK", block):
        resp = read_one(scratch, files, "resp")
    expected = []
    for name in resp.epochs:
        trials = resp.trials(name)
        bounds = zip(trials.first.tolist(), trials.n_bins.tolist(), strict=True)
        expected += [(first, first + n_bins, name) for first, n_bins in bounds]
    found = list(resp.windows(list(resp.epochs)))
    assert [name for name, _ in found] == [name for *_, name in sorted(expected)]
    for (_, window), (first, stop, _) in zip(found, sorted(expected), strict=True):
        np.testing.assert_array_equal(window, values[:, first:stop])


def test_a_window_past_the_end_of_the_raster_is_refused(scratch: Path) -> None:
    head = header("RasterizedSignal", chans=["x", "y"])
    files = signal("resp", raster_csv(np.zeros((2, 49))), head, suffix="csv")
    with pytest.raises(CorpusError, match=r"STIM_a\.wav ends at bin 50, the data at bin 49"):
        list(read_one(scratch, files, "resp").windows(["STIM_a.wav"]))


def test_names_may_hold_commas_quotes_and_line_ends(scratch: Path) -> None:
    names = ["LIGHT_off, door closed", 'STIM_"a",b', "two\nlines", "two\r\nlines"]
    resp = read_one(
        scratch, response({CELL: []}, epochs=[(name, 0.0, 0.1) for name in names]), "resp"
    )
    assert list(resp.epochs) == names


def test_json_may_hold_nan(scratch: Path) -> None:
    head = header("PointProcess", chans=[CELL], meta={"snr": float("nan")})
    assert b"NaN" in head
    resp = read_one(scratch, changed("resp.json", head), "resp")
    assert resp.channels == [CELL]


# What is left alone


def test_later_views_of_a_signal_are_ignored(scratch: Path, whole: dict[str, Any]) -> None:
    later = response({CELL: [0.05]}, epochs=[("STIM_c.wav", 0.0, 0.1)])
    views = {f"01.{name}": content for name, content in later.items()}
    for files in (views | recording(), recording() | views):
        np.testing.assert_equal(read(pack(scratch, files)), whole)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_members_of_size_0_are_ignored(
    tmp_path: Path, whole: dict[str, Any], layout: Layout
) -> None:
    files = {f"{SESSION}.extra.h5": b"", **recording(), f"{SESSION}.resp.csv": b""}
    archive = layout(tmp_path, files)
    assert set(read_signals(archive)) == set(ALL)
    np.testing.assert_equal(read(archive), whole)


@pytest.mark.parametrize("wrapper", ["", "another_name/", "a/b.c/"])
def test_the_wrapper_directory_does_not_matter(
    scratch: Path, whole: dict[str, Any], wrapper: str
) -> None:
    np.testing.assert_equal(read(written(scratch, packed(recording(), wrapper))), whole)


def test_an_unpacked_folder_may_still_have_the_wrapper(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    wrapped = replace(unpack(tmp_path, recording()), path=tmp_path / "recordings")
    np.testing.assert_equal(read(wrapped), whole)


@pytest.mark.parametrize("layout", [unpack, pack_in_zip])
def test_a_folder_and_a_zip_give_the_same_as_the_archive(
    tmp_path: Path, whole: dict[str, Any], layout: Layout
) -> None:
    np.testing.assert_equal(read(layout(tmp_path, recording())), whole)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_that_are_not_asked_for_are_neither_kept_nor_decoded(
    tmp_path: Path, layout: Layout
) -> None:
    files = recording() | {f"{SESSION}.stim.h5": b"garbage", f"{SESSION}.mask.csv": b"garbage"}
    signals = read_signals(layout(tmp_path, files), ["resp"])
    assert {name: each.data for name, each in signals.items()} == {
        "resp": files[f"{SESSION}.resp.h5"],
        "stim": b"",
        "mask": b"",
    }
    assert dict(signals["resp"].bins())[CELL].tolist() == BINS
    assert signals["stim"].stimuli() == ["STIM_a.wav", "STIM_b.wav"]


# What is written is what is read

CELL_IDS = st.from_regex(r"TST001a(-[AB])?-[0-9]{1,3}-[0-9]", fullmatch=True)
SPIKE_TIMES = st.lists(st.floats(0, 2), max_size=5)
BOUNDS = st.tuples(st.floats(0, 1), st.floats(1, 2))
EPOCH_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(CELL_IDS, SPIKE_TIMES, max_size=3),
    st.lists(st.tuples(EPOCH_NAMES, BOUNDS), max_size=5),
)
def test_what_is_written_is_what_is_read(
    scratch: Path,
    spikes: dict[str, list[float]],
    epochs: list[tuple[str, tuple[float, float]]],
) -> None:
    rows = [(name, *bounds) for name, bounds in epochs]
    resp = read_one(scratch, response(spikes, epochs=rows), "resp")
    assert {cell: times.tolist() for cell, times in resp.spike_times()} == spikes
    assert {name: np.transpose(each).tolist() for name, each in resp.epochs.items()} == {
        name: [list(bounds) for other, bounds in epochs if other == name] for name, _ in epochs
    }


# Every damage is a CorpusError that names the archive and the member


def impossible_size(content: bytes) -> bytes:
    """An HDF5 file whose address of the driver's block, at 48, lies beyond any file."""
    return content[:54] + bytes([content[54] ^ 0x80]) + content[55:]


ROW = "name,start,end\nSTIM_a.wav,"
DAMAGES = [
    # member, its content (None: missing), what the message says where the words are ours
    ("resp.json", None, "no such member"),
    ("resp.json", b"", "no such member"),
    ("resp.epoch.csv", None, "no such member"),
    ("resp.json", b"{", ""),
    ("resp.json", b"\xff\xfe\xff", ""),
    ("resp.json", b"[" * 100_000, ""),
    ("resp.json", b"[1]", "not an object"),
    ("resp.json", b"{}", "fs"),
    ("resp.json", header("PointProcess", fs="100"), "fs"),
    ("resp.json", header("PointProcess", fs=None), "fs"),
    ("resp.json", header("PointProcess", fs=0), "fs is 0"),
    ("resp.json", header("PointProcess", fs=-100), "fs is -100"),
    ("resp.json", header("PointProcess", fs=float("nan")), "fs is nan"),
    ("resp.json", header("PointProcess", fs=float("inf")), "fs is inf"),
    ("resp.json", header("PointProcess", fs=10**400), "fs is 1000"),
    ("resp.json", header("PointProcess", chans=5), "chans is 5"),
    ("resp.json", header("PointProcess", chans=CELL), f"chans is {CELL}"),
    ("resp.json", header("SpikeTrain"), "unknown signal_type <class 'nems0.signal.SpikeTrain'>"),
    ("resp.json", header("PointProcess", signal_type=None), "unknown signal_type None"),
    ("resp.epoch.csv", b"start,end\n0.0,0.1\n", "no column 'name'"),
    ("resp.epoch.csv", b"name,end\nSTIM_a.wav,0.1\n", "no column 'start'"),
    ("resp.epoch.csv", b"name,start\nSTIM_a.wav,0.1\n", "no column 'end'"),
    ("resp.epoch.csv", b"start,end,name\n0.0,0.1\n", "too few columns"),
    ("resp.epoch.csv", f"{ROW}0.0,late\n".encode(), "'late'"),
    ("resp.epoch.csv", f"{ROW}0.0,\n".encode(), ""),
    ("resp.epoch.csv", f"{ROW}0.0\n".encode(), ""),
    ("resp.epoch.csv", f"{ROW}0.0,0.1\n\xff".encode("latin-1"), ""),
    ("resp.epoch.csv", f"{ROW}-0.1,0.1\n".encode(), "STIM_a.wav: an epoch starts before 0"),
    ("resp.epoch.csv", f"{ROW}0.2,0.1\n".encode(), "STIM_a.wav: an epoch starts before 0 or ends"),
    ("resp.epoch.csv", f"{ROW}nan,0.1\n".encode(), "STIM_a.wav: an epoch bound is not a finite"),
    ("resp.epoch.csv", f"{ROW}0.0,inf\n".encode(), "STIM_a.wav: an epoch bound is not a finite"),
    ("resp.h5", b"garbage", ""),
    ("resp.h5", recording()[f"{SESSION}.resp.h5"][:-100], ""),
    ("resp.h5", impossible_size(recording()[f"{SESSION}.resp.h5"]), ""),
    ("resp.h5", h5({CELL: SPIKES}), SILENT),
    ("resp.h5", h5({CELL: ["text"], SILENT: []}), ""),
    ("resp.h5", h5({f"{CELL}/below": SPIKES, SILENT: []}), ""),
    (
        "resp.h5",
        h5({CELL: [0.1, np.nan], SILENT: []}),
        f"cell {CELL}: a spike time is not a finite",
    ),
    ("resp.h5", h5({CELL: [], SILENT: [-np.inf]}), f"cell {SILENT}: a spike time is not"),
    ("stim.h5", b"garbage", ""),
    ("mask.csv", b"0.0,1.0\n0.0,\n", ""),
    ("mask.csv", b"0.0,1.0\n0.0\n", ""),
    ("mask.csv", b"0.0,1.0\n\n0.0,1.0\n", ""),
    ("mask.csv", b"0.0,1.0\n0.0,high\n", "'high'"),
    ("mask.csv", b"\n", ""),
    ("mask.csv", b"0.0,1.0,0.0\n", "3 columns, but 2 channels"),
    ("mask.h5", h5({"other": RASTER}), "raster"),
    ("mask.h5", h5({"raster": RASTER[0]}), "shape ("),
    ("resp.h5", h5({CELL: [[0.1], [0.2]], SILENT: []}), f"{CELL} have shape (2, 1)"),
]


def refusal(archive: Archive) -> str:
    """The message of the error; any other than a CorpusError fails the test."""
    with pytest.raises(CorpusError) as caught:
        read(archive)
    return str(caught.value)


@pytest.mark.parametrize(
    ("member", "content", "why"), DAMAGES, ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_damaged_member_is_named(
    scratch: Path, member: str, content: bytes | None, why: str
) -> None:
    archive = pack(scratch, changed(member, content))
    message = refusal(archive)
    assert f"{archive}: {SESSION}.{member}" in message
    assert why in message


@pytest.mark.parametrize("content", [None, b""])
def test_a_signal_that_was_asked_for_must_have_data(scratch: Path, content: bytes | None) -> None:
    archive = pack(scratch, changed("resp.h5", content))
    assert set(read_signals(archive)) == {"stim", "mask"}
    with pytest.raises(CorpusError, match=r"no signal 'resp'") as caught:
        read_signals(archive, ["resp"])
    assert f"{archive}: *.resp.h5" in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_message_says_where_the_archive_lies(tmp_path: Path, layout: Layout) -> None:
    archive = layout(tmp_path, changed("resp.h5", b"garbage"))
    message = refusal(archive)
    assert str(archive.path) in message
    assert f"{archive.member}: {SESSION}.resp.h5" in message


PACKED = packed(recording())


def flipped(position: int, mask: int) -> bytes:
    content = bytearray(PACKED)
    content[position] ^= mask
    return bytes(content)


# The last 8 bytes are gzip's checksum and length; all data lie before them.
@pytest.mark.parametrize("size", [*range(0, len(PACKED), 31), *range(len(PACKED) - 9, len(PACKED))])
def test_a_truncated_archive_is_refused(scratch: Path, size: int) -> None:
    archive = written(scratch, PACKED[:size])
    message = refusal(archive)
    assert f"{archive}: at or after" in message
    assert "damaged or incomplete" in message


def test_a_truncated_archive_is_refused_whatever_is_asked_for(scratch: Path) -> None:
    with pytest.raises(CorpusError, match=r"damaged or incomplete"):
        read_signals(written(scratch, PACKED[:-1]))


def test_the_message_says_how_far_an_archive_could_be_read(scratch: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    content = packed(recording() | {f"{SESSION}.stim.h5": noise})
    archive = written(scratch, content[: len(content) // 2])
    assert f"{archive}: at or after {SESSION}.stim.h5" in refusal(archive)


# Of gzip's header, bytes 4 to 9 (time, level, system) are of no consequence.
@pytest.mark.parametrize("position", [0, 1, 2, 3, *range(10, len(PACKED), 17), len(PACKED) - 1])
def test_a_flipped_byte_is_refused(scratch: Path, position: int) -> None:
    archive = written(scratch, flipped(position, 0xFF))
    assert f"{archive}: " in refusal(archive)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(PACKED) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing(
    scratch: Path, whole: dict[str, Any], position: int, bit: int
) -> None:
    with suppress(CorpusError):
        np.testing.assert_equal(read(written(scratch, flipped(position, 1 << bit))), whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 100, b"\x1f\x8b", gzip.compress(b"garbage" * 100), PACKED + b"garbage"],
    ids=["empty", "no gzip", "two bytes", "no tar", "garbage after the end"],
)
def test_what_is_no_archive_is_refused(scratch: Path, content: bytes) -> None:
    assert "damaged or incomplete" in refusal(written(scratch, content))


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(Archive("x.tgz", tmp_path / "x.tgz"))
