"""Reading one NEMS recording: what its signals give, what is left alone, how damage is named."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable, Sequence
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

from builders.errors import CorpusError
from builders.nems import raster as raster_module
from builders.nems import recording as recording_module
from builders.nems.binning import MAX_BINS
from builders.nems.recording import LARGEST_SIDECAR, read_signals
from builders.nems.signal import SIGNAL_TYPES, Signal
from builders.release.archive import Archive
from tests.archives import (
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
from tests.hardening.faults import (
    ALL,
    bins_of,
    changed,
    raster,
    refusal,
    same,
    same_or_refused,
    written,
)

Layout = Callable[[Path, Files], Archive]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of one archive, which is written again and again."""
    return tmp_path_factory.mktemp("nems")


def read_one(release: Path, files: Files, name: str) -> Signal:
    return read_signals(pack(release, files), [name])[name]


def bounds_of(signal: Signal, epoch: str) -> list[list[float]]:
    """Start and end of each occurrence."""
    return [list(each) for each in zip(*signal.epochs.bounds(epoch), strict=True)]


# The three types of signal


def test_a_point_process_gives_the_spike_times_of_each_cell(scratch: Path) -> None:
    times = dict(read_one(scratch, recording(), "resp").spike_times())
    assert {cell: each.tolist() for cell, each in times.items()} == {CELL: SPIKES, SILENT: []}
    assert {each.dtype for each in times.values()} == {np.dtype(np.float64)}


def test_cells_are_those_that_have_spike_times_whatever_the_json_names(scratch: Path) -> None:
    for named in ([CELL, SILENT], [SILENT, CELL], [SILENT], ["TST001a-009-1"], None):
        head = header("PointProcess", chans=named)
        resp = read_one(scratch, changed("resp.json", head), "resp")
        assert resp.channels == (named or [])
        assert resp.cells == [cell for cell, _ in resp.spike_times()] == [SILENT, CELL]
        assert resp.known_cells() == {CELL, SILENT, *(named or [])}


def test_cells_come_in_the_order_in_which_they_are_asked_for(scratch: Path) -> None:
    resp = read_one(scratch, recording(), "resp")
    for order in ([CELL, SILENT], [SILENT, CELL], [SILENT], []):
        assert [cell for cell, _ in resp.spike_times(order)] == order
        bins = [each.tolist() for each in resp.bins(order, 100)]  # type: ignore[union-attr]
        assert bins == [BINS if cell == CELL else [] for cell in order]


@pytest.mark.parametrize(
    "times",
    [SPIKES, [SPIKES], [[each] for each in SPIKES], [[[each]] for each in SPIKES]],
    ids=["n", "1 x n", "n x 1", "n x 1 x 1"],
)
@pytest.mark.parametrize("silent", [np.zeros(0), np.zeros((0, 1)), np.zeros((1, 0))])
def test_spike_times_may_have_a_second_axis(
    scratch: Path, times: object, silent: NDArray[np.float64]
) -> None:
    same(pack(scratch, changed("resp.h5", h5({CELL: times, SILENT: silent}))))


def test_a_cell_that_cannot_be_decoded_is_none_of_the_others(scratch: Path) -> None:
    """Only the cells that are asked for are decoded, and each has an error of its own."""
    files = changed("resp.h5", h5({CELL: SPIKES, SILENT: ["text"], "x": [np.nan]}))
    resp = read_one(scratch, files, "resp")
    assert resp.cells == [SILENT, CELL, "x"]
    assert [times.tolist() for _, times in resp.spike_times([CELL])] == [SPIKES]
    good, *bad = resp.bins([CELL, SILENT, "x"], 100)
    assert good.tolist() == BINS  # type: ignore[union-attr]
    assert [str(error).splitlines()[2] for error in bad] == [
        f"  why:  {SILENT}: {SILENT} holds object, which are no numbers",
        "  why:  cell x: a spike time is not a finite number",
    ]


@pytest.mark.parametrize("n_bins", [0, 1, 50, 51, MAX_BINS])
def test_bins_reach_as_far_as_they_are_asked_for(scratch: Path, n_bins: int) -> None:
    found = bins_of(read_one(scratch, recording(), "resp"), n_bins)
    assert found == {SILENT: [], CELL: [each for each in BINS if each < n_bins]}


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


def test_an_empty_cell_of_a_raster_is_a_missing_value(scratch: Path) -> None:
    """And so is whatever pandas reads as one; pandas takes no notice of an empty line, either."""
    content = b"1.0,\n,NaN\nNA,2.0\n\nnan,nan\n"
    mask = read_one(scratch, changed("mask.csv", content), "mask")
    np.testing.assert_array_equal(raster(mask), [[1] + [np.nan] * 3, [np.nan, np.nan, 2, np.nan]])


@pytest.mark.parametrize(
    "chans", [None, [], 5, "x", {"0": "x"}, [["x"], ["y"]], ["x", None], ["x", "\ud800"]]
)
def test_channels_may_have_no_names(scratch: Path, chans: object) -> None:
    head = header("RasterizedSignal", chans=chans)
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
    assert {name: bounds_of(resp, name) for name in ("STIM_b.wav", "STIM_a.wav", "TRIAL")} == {
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


@pytest.mark.parametrize(
    "segments", [[[0, 49]], [[0, 0.5]], [], 5, "ab", [[0, None]], [[0, -60]], {"ab": 1}]
)
def test_segments_are_not_looked_at(scratch: Path, segments: object) -> None:
    """A laboratory writes them in seconds, or forgets them: the last epoch's end counts."""
    same(pack(scratch, changed("resp.json", resp_header(segments=segments))))


def resp_header(**keys: object) -> bytes:
    return header("PointProcess", **{"chans": [CELL, SILENT], **keys})


NAMES = ("a", "b", "c")
SPANS = st.tuples(st.sampled_from(NAMES), st.integers(0, 40), st.integers(0, 40))


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
    with patch.object(raster_module, "RASTER_BLOCK", block):
        resp = read_one(scratch, files, "resp")
    expected = []
    shown = [name for name in NAMES if name in resp.epochs]
    for name in shown:
        trials = resp.trials(name)
        bounds = zip(trials.first.tolist(), trials.n_bins.tolist(), strict=True)
        expected += [(first, first + n_bins, name) for first, n_bins in bounds]
    found = list(resp.windows(shown))
    assert [name for name, _ in found] == [name for *_, name in sorted(expected)]
    for (_, window), (first, stop, _) in zip(found, sorted(expected), strict=True):
        np.testing.assert_array_equal(window, values[:, first:stop])


@pytest.mark.parametrize("n_bins", [50, 49, 40, 30, 0])
def test_a_window_is_cut_where_the_data_end(scratch: Path, n_bins: int) -> None:
    head, values = header("RasterizedSignal", chans=["x", "y"]), np.arange(100).reshape(2, 50)
    files = signal("resp", h5({"raster": values[:, :n_bins]}), head)
    windows = list(read_one(scratch, files, "resp").windows(["STIM_a.wav"]))
    assert [name for name, _ in windows] == ["STIM_a.wav"] * 2
    for (_, window), first in zip(windows, (20, 40), strict=True):
        np.testing.assert_array_equal(window, values[:, first : min(first + 10, n_bins)])


def test_names_may_hold_commas_quotes_and_line_ends(scratch: Path) -> None:
    names = ["LIGHT_off, door closed", 'STIM_"a",b', "two\nlines", "two\r\nlines"]
    epochs = [(name, 0.0, 0.1) for name in names]
    resp = read_one(scratch, response({CELL: []}, epochs=epochs), "resp")
    assert [bounds_of(resp, name) for name in names] == [[[0.0, 0.1]]] * 4


def test_json_may_hold_nan(scratch: Path) -> None:
    head = header("PointProcess", chans=[CELL], meta={"snr": float("nan")})
    assert b"NaN" in head
    resp = read_one(scratch, changed("resp.json", head), "resp")
    assert resp.channels == [CELL]


# What is left alone


def test_later_views_of_a_signal_are_ignored(scratch: Path) -> None:
    later = response({CELL: [0.05]}, epochs=[("STIM_c.wav", 0.0, 0.1)])
    views = {f"01.{name}": content for name, content in later.items()}
    for files in (views | recording(), recording() | views):
        same(pack(scratch, files))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_members_of_size_0_are_ignored(tmp_path: Path, layout: Layout) -> None:
    files = {f"{SESSION}.extra.h5": b"", **recording(), f"{SESSION}.resp.csv": b""}
    same(layout(tmp_path, files))


@pytest.mark.parametrize("wrapper", ["", "another_name/", "a/b.c/"])
def test_the_wrapper_directory_does_not_matter(scratch: Path, wrapper: str) -> None:
    same(written(scratch, packed(recording(), wrapper)))


def test_an_unpacked_folder_may_still_have_the_wrapper(tmp_path: Path) -> None:
    same(replace(unpack(tmp_path, recording()), path=tmp_path / "recordings"))


@pytest.mark.parametrize("layout", [unpack, pack_in_zip])
def test_a_folder_and_a_zip_give_the_same_as_the_archive(tmp_path: Path, layout: Layout) -> None:
    same(layout(tmp_path, recording()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_asked_for_is_neither_kept_nor_decoded(tmp_path: Path, layout: Layout) -> None:
    names = ("stim.h5", "mask.csv", "mask.json", "mask.epoch.csv")
    garbage = {f"{SESSION}.{name}": b"garbage" for name in names}
    files = recording() | garbage
    signals = read_signals(layout(tmp_path, files), ["resp"], ["stim"])
    assert {name: each.data for name, each in signals.items()} == {
        "resp": files[f"{SESSION}.resp.h5"],
        "stim": b"",
    }
    assert bins_of(signals["resp"])[CELL] == BINS
    assert signals["stim"].stimuli() == ["STIM_a.wav", "STIM_b.wav"]


BROKEN_STIM: dict[str, dict[str, bytes | None]] = {
    "no data": {"h5": None},
    "no header": {"json": None},
    "a header that is none": {"json": b"{"},
    "no rate": {"json": b"{}"},
    "two data files": {"csv": b"1.0\n"},
    "a header of 64 MB": {"json": b" " * (LARGEST_SIDECAR + 1)},
}


@pytest.mark.parametrize("broken", BROKEN_STIM.values(), ids=list(BROKEN_STIM))
@pytest.mark.parametrize("layout", [pack, unpack])
def test_a_broken_signal_is_refused_only_where_its_data_are_asked_for(
    tmp_path: Path, layout: Layout, broken: dict[str, bytes | None]
) -> None:
    files: dict[str, Any] = {**recording(), **{f"{SESSION}.stim.{n}": c for n, c in broken.items()}}
    archive = layout(tmp_path, {name: each for name, each in files.items() if each is not None})
    assert list(read_signals(archive, ["resp"], ["stim"])) == ["resp"]
    with pytest.raises(CorpusError, match=rf"{SESSION}\.stim|no signal 'stim'"):
        read_signals(archive, ["resp", "stim"])


def test_data_that_are_not_asked_for_may_have_any_size(scratch: Path) -> None:
    """A population's raster has 1.9 GB; without its data, it is not parsed."""
    files = recording()
    limit = max(len(each) for name, each in files.items() if not name.endswith(".h5"))
    with patch.object(recording_module, "LARGEST_SIDECAR", limit):
        assert len(files[f"{SESSION}.resp.h5"]) > limit
        assert list(read_signals(pack(scratch, files), [], ["resp"])) == ["resp"]


def test_two_files_of_one_name_in_a_folder_are_refused_where_they_are_asked_for(
    tmp_path: Path,
) -> None:
    """Nobody knows which of them the archive held last."""
    archive = unpack(tmp_path, recording())
    for name in ("resp.h5", "resp.json"):
        again = archive.path / "again" / f"{SESSION}.{name}"
        again.parent.mkdir(exist_ok=True)
        again.write_bytes(recording()[again.name])
        assert f"{again.name}\n  why:  two files have this name" in refusal(archive, again.name)
        assert list(read_signals(archive, ["stim"], ["resp"])) == ["stim"]
        again.unlink()


def test_epochs_are_read_when_they_are_asked_for(scratch: Path) -> None:
    for content in (None, b"", b"start,end\n"):
        resp = read_one(scratch, changed("resp.epoch.csv", content), "resp")
        assert bins_of(resp)[CELL] == BINS
        with pytest.raises(CorpusError, match=rf"{SESSION}\.resp\.epoch\.csv"):
            resp.stimuli()


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
    for name, _ in epochs:
        assert bounds_of(resp, name) == [list(each) for other, each in epochs if other == name]


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
    ("resp.json", header("SpikeTrain"), "unknown signal_type <class 'nems0.signal.SpikeTrain'>"),
    ("resp.json", header("PointProcess", signal_type=None), "unknown signal_type None"),
    ("resp.epoch.csv", b"start,end\n0.0,0.1\n", "no column 'name'"),
    ("resp.epoch.csv", b"name,end\nSTIM_a.wav,0.1\n", "no column 'start'"),
    ("resp.epoch.csv", b"name,start\nSTIM_a.wav,0.1\n", "no column 'end'"),
    ("resp.epoch.csv", f"{ROW}0.0,late\n".encode(), "'late'"),
    ("resp.epoch.csv", f"{ROW}-0.1,0.1\n".encode(), "STIM_a.wav: an epoch starts before 0"),
    ("resp.epoch.csv", f"{ROW}0.2,0.1\n".encode(), "STIM_a.wav: an epoch starts before 0 or ends"),
    ("resp.epoch.csv", f"{ROW}0.0,inf\n".encode(), "STIM_a.wav: an epoch bound is past bin"),
    ("resp.h5", b"garbage", ""),
    ("resp.h5", recording()[f"{SESSION}.resp.h5"][:-100], ""),
    ("resp.h5", impossible_size(recording()[f"{SESSION}.resp.h5"]), ""),
    ("resp.h5", h5({CELL: ["text"], SILENT: []}), ""),
    ("resp.h5", h5({f"{CELL}/below": SPIKES, SILENT: []}), ""),
    (
        "resp.h5",
        h5({CELL: [0.1, np.nan], SILENT: []}),
        f"cell {CELL}: a spike time is not a finite",
    ),
    ("resp.h5", h5({CELL: [], SILENT: [-np.inf]}), f"cell {SILENT}: a spike time is not"),
    ("stim.h5", b"garbage", ""),
    ("mask.csv", b"0.0,1.0\n0.0\n", ""),
    ("mask.csv", b"0.0,1.0\n0.0,high\n", "'high'"),
    ("mask.csv", b"0.0,1.0,0.0\n", "3 columns, but 2 channels"),
    ("mask.h5", h5({"other": RASTER}), "raster"),
    ("mask.h5", h5({"raster": RASTER[0]}), "shape ("),
    ("resp.h5", h5({CELL: [[0.1, 0.3], [0.2, 0.4]]}), f"{CELL} have shape (2, 2)"),
]


@pytest.mark.parametrize(
    ("member", "content", "why"), DAMAGES, ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_damaged_member_is_named(
    scratch: Path, member: str, content: bytes | None, why: str
) -> None:
    archive = pack(scratch, changed(member, content))
    assert f"{archive}: {SESSION}.{member}" in refusal(archive, SESSION, why)


@pytest.mark.parametrize("content", [None, b""])
def test_a_signal_that_was_asked_for_must_have_data(scratch: Path, content: bytes | None) -> None:
    archive = pack(scratch, changed("resp.h5", content))
    assert set(read_signals(archive, ["stim"], ["mask", "resp"])) == {"stim", "mask"}
    refusal(archive, "*.resp.h5", "no signal 'resp'")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_message_says_where_the_archive_lies(tmp_path: Path, layout: Layout) -> None:
    archive = layout(tmp_path, changed("resp.h5", b"garbage"))
    message = refusal(archive, str(archive.path))
    assert f"{archive.member}: {SESSION}.resp.h5" in message


PACKED = packed(recording())


def flipped(position: int, mask: int) -> bytes:
    content = bytearray(PACKED)
    content[position] ^= mask
    return bytes(content)


# The last 8 bytes are gzip's checksum and length; all data lie before them.
@pytest.mark.parametrize("size", [*range(0, len(PACKED), 31), *range(len(PACKED) - 9, len(PACKED))])
def test_a_truncated_archive_is_refused(scratch: Path, size: int) -> None:
    refusal(written(scratch, PACKED[:size]), "at or after", "damaged or incomplete")


@pytest.mark.parametrize("others", [[], ["resp"], ["unknown"]])
def test_a_truncated_archive_is_refused_whatever_is_asked_for(
    scratch: Path, others: list[str]
) -> None:
    with pytest.raises(CorpusError, match=r"damaged or incomplete"):
        read_signals(written(scratch, PACKED[:-1]), [], others)


def test_the_message_says_how_far_an_archive_could_be_read(scratch: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    content = packed(recording() | {f"{SESSION}.stim.h5": noise})
    archive = written(scratch, content[: len(content) // 2])
    # Python 3.10 fails before it has the header of the damaged member: it names the one before.
    member = "meta.json" if sys.version_info < (3, 11) else "stim.h5"
    refusal(archive, f"{archive}: at or after {SESSION}.{member}")


# Of gzip's header, bytes 4 to 9 (time, level, system) are of no consequence.
@pytest.mark.parametrize("position", [0, 1, 2, 3, *range(10, len(PACKED), 17), len(PACKED) - 1])
def test_a_flipped_byte_is_refused(scratch: Path, position: int) -> None:
    refusal(written(scratch, flipped(position, 0xFF)), "")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(PACKED) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing(
    scratch: Path, position: int, bit: int
) -> None:
    same_or_refused(written(scratch, flipped(position, 1 << bit)))


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 100, b"\x1f\x8b", gzip.compress(b"garbage" * 100), PACKED + b"\x1f\x8b"],
    ids=["empty", "no gzip", "two bytes", "no tar", "another gzip stream that is none"],
)
def test_what_is_no_archive_is_refused(scratch: Path, content: bytes) -> None:
    refusal(written(scratch, content), "", "damaged or incomplete")


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    refusal(Archive("x.tgz", tmp_path / "x.tgz"), "", "No such file")
