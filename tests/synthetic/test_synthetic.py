"""The synthetic release: its published counts, its archives member by member, its determinism."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import tarfile
import wave
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from builders.errors import CorpusError
from builders.synthetic.archive import PlantedSignal, h5_file, write_recording
from builders.synthetic.files import generator
from builders.synthetic.filters import LAGS, write_filters
from builders.synthetic.recordings import PlannedArchive, sounds, write_archive
from builders.synthetic.sounds import spectrogram
from builders.synthetic.spikes import drive, hard_spikes, spike_train
from builders.synthetic.timeline import timeline
from builders.synthetic.waveforms import write_waveforms
from wingert2026 import Wingert2026
from wingert2026.synthetic.cells import cell_list
from wingert2026.synthetic.release import archives

Row = dict[str, Any]


@dataclass
class Contents:
    """What one archive holds, read without the package's own reader."""

    members: list[tuple[str, int]]
    files: dict[str, bytes]  # by base name
    stem: str
    plan: PlannedArchive

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        with h5py.File(io.BytesIO(self.files[f"{self.stem}.{name}.h5"])) as file:
            return {key: file[key][:] for key in file}

    def header(self, signal: str) -> Row:
        content: Row = json.loads(self.files[f"{self.stem}.{signal}.json"])
        return content

    def epochs(self, signal: str) -> list[Row]:
        text = self.files[f"{self.stem}.{signal}.epoch.csv"].decode()
        return list(csv.DictReader(io.StringIO(text)))

    def spikes(self) -> NDArray[np.float64]:
        return np.concatenate(list(self.arrays("resp").values()))


def read(path: Path, plan: PlannedArchive) -> Contents:
    with tarfile.open(path) as tar:
        infos = tar.getmembers()
        files = {info.name.split("/")[1]: tar.extractfile(info).read() for info in infos}  # type: ignore[union-attr]
    return Contents([(info.name, info.size) for info in infos], files, path.stem, plan)


@pytest.fixture(scope="module")
def mini(mini_release: Path) -> dict[str, Contents]:
    """All archives of the mini release, by the name that they bear."""
    plans = {plan.name: plan for plan in archives("mini", 0)}
    paths = {path.name.split("_")[0]: path for path in (mini_release / "recordings").iterdir()}
    assert set(plans) == set(paths)
    return {name: read(path, plans[name]) for name, path in paths.items()}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The cell list of the full release."""
    return list(cell_list(0))


# The cell list


def test_published_counts(rows: list[Row]) -> None:
    assert len(rows) == 3259 == len({row["cellid"] for row in rows})
    areas = Counter(row["area"] for row in rows)
    assert areas == {"A1": 2128, "PEG": 746, "AC": 217, "HC": 37, "": 131}
    cortex = [row for row in rows if row["area"] in ("A1", "PEG")]
    assert Counter(row["layer"] for row in cortex) == {"56": 1084, "44": 744, "13": 1046}
    assert sum(row["narrow"] for row in cortex) == 477
    assert sum(row["goodpred"] for row in cortex) == 2337


def test_areas_of_sites(rows: list[Row]) -> None:
    areas: dict[str, Counter[str]] = {}
    for row in rows:
        areas.setdefault(row["siteid"], Counter())[row["area"]] += 1
    sessions = {row["cellid"].split("-")[0] for row in rows}
    assert len(areas) == 68
    assert len(sessions) == 67
    assert len({site for site, count in areas.items() if "A1" in count}) == 50
    assert {site for site, count in areas.items() if "" in count} == {
        "PRN010b", "PRN011b", "PRN020b",
    }  # fmt: skip
    mixed = {site for site, count in areas.items() if len(count) > 1}
    assert mixed == {"LMD037a", "PRN008a", "PRN045b", "PRN068a", "LMD048a"}
    assert areas["PRN045b"] == {"HC": 37, "AC": 10}
    assert areas["LMD037a"] + areas["PRN008a"] == {"A1": 113, "AC": 169}
    assert areas["SLJ032a"] == {"PEG": 76}
    assert areas["SLJ032a-B"] == {"PEG": 47}


def test_cells_are_consistent(rows: list[Row]) -> None:
    depths = {"13": (-800, 0), "44": (0, 220), "56": (220, 1000)}
    for row in rows:
        if not row["area"]:
            assert set(list(row.values())[18:]) == {""}
            continue
        assert row["narrow"] == (row["sw"] < 0.35)
        assert row["superficial"] == (row["layer"] in ("13", "3d1d"))
        assert row["celltype"] == "RN"[row["narrow"]] + "DS"[row["superficial"]]
        assert row["sorted_class"] == {"RS": 1, "RD": 3, "NS": 0, "ND": 2}[row["celltype"]]
        assert row["siteid_2"] == row["cellid"].split("-")[0]
        if row["area"] in ("A1", "PEG"):
            low, high = depths[row["layer"]]
            assert low <= row["depth"] < high
        else:
            assert row["layer"] in ("3d1d", "4d4d", "6d5d", "6d")


def test_waveforms(rows: list[Row]) -> None:
    texts = [row["mwf"] for row in rows if row["area"]]
    scientific = sum("e-" in text for text in texts)
    assert len(texts) / 3 < scientific < len(texts) * 2 / 3
    for row in rows:
        if row["area"]:
            points = np.array(row["mwf"].strip("[]").split(), float)
            assert points.shape == (100,)
            trough = int(points.argmin())
            width = (points[trough:].argmax()) * 0.027
            assert abs(width - row["sw"]) < 0.1 + 0.3 * row["sw"], row["cellid"]
            assert -1.3 < points.min() < -0.7


def test_mini_list_is_a_part_of_full(mini_release: Path, rows: list[Row]) -> None:
    content = (mini_release / "cell_list.csv").read_bytes()
    assert b"\r" not in content
    listed = list(csv.reader(io.StringIO(content.decode())))
    sessions = {plan.session for plan in archives("mini", 0)}
    wanted = [row for row in rows if row["cellid"].split("-")[0] in sessions]
    assert listed[0] == list(rows[0])
    assert len(listed[0]) == 30
    assert listed[1:] == [[str(value) for value in row.values()] for row in wanted]
    assert len(listed) - 1 == len(wanted) == 655
    assert content.count(b"\n") > 10 * len(listed)  # waveforms hold newlines
    assert b"np." not in content
    index = {name: i for i, name in enumerate(listed[0])}
    assert {row[index["goodpred"]] for row in listed[1:]} == {"True", "False"}
    assert {row[index["sorted_class"]] for row in listed[1:]} == {"0.0", "1.0", "2.0", "3.0", ""}


def test_list_order_is_the_published_one(rows: list[Row]) -> None:
    sites = [row["siteid"] for row in rows]
    assert rows[0]["cellid"] == "CLT050c-007-1"
    # The cells of two sites interleave.
    assert len([i for i in range(1, len(sites)) if sites[i] != sites[i - 1]]) > len(set(sites))


# What is in which archive


def test_full_plan() -> None:
    plans = {plan.name: plan for plan in archives("full", 0)}
    assert len(plans) == 68
    assert len({plan.session for plan in plans.values()}) == 67
    assert "PRN015a" not in plans
    assert plans["PRN015b"].session == "PRN015a"
    assert plans["PRN018b"].repetitions == plans["PRN018a"].repetitions
    sizes = [len(plan.repetitions) for plan in plans.values()]
    assert (min(sizes), max(sizes)) == (5, 256)
    assert 7000 < sum(sizes) < 8500  # half a megabyte each
    listed = sum(len(plan.cells) for plan in plans.values()) - len(plans["PRN018b"].cells)
    assert listed == 3259 + 1 - 1
    for plan in plans.values():
        val = {stim: n for stim, n in plan.repetitions.items() if stim.startswith("STIM_00")}
        assert len(val) <= 6
        assert all(1 <= n <= 30 for n in val.values())
    est = Counter(
        n
        for plan in plans.values()
        for stim, n in plan.repetitions.items()
        if not stim.startswith("STIM_00")
    )
    assert set(est) == {1, 2}
    assert est[2] == 1


@pytest.mark.parametrize("scale", ["mini", "full"])
def test_published_sessions(scale: Any) -> None:
    plans = {plan.name: plan for plan in archives(scale, 0)}
    shapes = {
        name: (len(plan.cells), len(plan.repetitions))
        for name, plan in plans.items()
        if name in ("CLT027c", "CLT028c", "SLJ032a")
    }
    assert shapes == {"CLT027c": (20, 11), "CLT028c": (57, 106), "SLJ032a": (123, 56)}
    assert sorted(plans["CLT027c"].repetitions.values()) == [1] * 10 + [2]


def test_cells_beyond_the_list(mini: dict[str, Contents], rows: list[Row]) -> None:
    listed = {row["cellid"] for row in rows}
    held = {name: set(contents.arrays("resp")) for name, contents in mini.items()}
    assert {cell for cells in held.values() for cell in cells} - listed == {"PRN015a-999-1"}
    sessions = {contents.plan.session for contents in mini.values()}
    wanted = {cell for cell in listed if cell.split("-")[0] in sessions}
    (absent,) = wanted - set().union(*held.values())
    assert absent.startswith("PRN010b")
    assert {cell.split("-")[0] for cell in held["PRN015b"]} == {"PRN015a"}


def test_duplicate_archive(mini: dict[str, Contents]) -> None:
    first, second = mini["PRN018a"], mini["PRN018b"]
    for signal in ("resp", "stim"):
        a, b = first.arrays(signal), second.arrays(signal)
        assert set(a) == set(b)
        assert all(np.array_equal(a[key], b[key]) for key in a)
    assert all(cell.startswith("PRN018a") for cell in second.arrays("resp"))


# The layout of an archive


def test_size_and_names(mini_release: Path) -> None:
    paths = [path for path in mini_release.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < 60e6
    names = [path.name for path in paths if path.name not in ("cell_list.csv", "wav.zip")]
    assert len(names) == 10
    assert all(re.fullmatch(r"[A-Z]{3}\d{3}[a-z]_[0-9a-f]{40}\.tgz", name) for name in names)


def test_members(mini: dict[str, Contents]) -> None:
    for contents in mini.values():
        names = [name for name, _ in contents.members]
        stem = contents.stem
        assert all(name.split("/")[0] == stem for name in names)
        assert names[0] == f"{stem}/{stem}.meta.json"
        base = {name.split("/")[1] for name in names}
        for signal in ("resp", "stim"):
            expected = {f"{stem}.{signal}.{end}" for end in ("h5", "json", "epoch.csv")}
            assert expected <= base
        rest = {name for name in base if not re.match(rf"{stem}\.(resp|stim|meta)\.", name)}
        assert all(name.startswith("01.") or name.endswith("pupil.h5") for name in rest)
        assert all(size == 0 for name, size in contents.members if "pupil" in name)


def test_quirks_vary(mini: dict[str, Contents]) -> None:
    headers = {name: contents.header("resp") for name, contents in mini.items()}
    spelled = {header["signal_type"] for header in headers.values()}
    assert spelled == {
        f"<class '{package}.signal.PointProcess'>" for package in ("nems", "nems0", "nems.tools")
    }
    alphabetical = {header["chans"] == sorted(header["chans"]) for header in headers.values()}
    names = [[name for name, _ in contents.members] for contents in mini.values()]
    resp_first = {
        [n.endswith(".resp.h5") for n in group].index(True)
        < [n.endswith(".stim.h5") for n in group].index(True)
        for group in names
    }
    assert alphabetical == resp_first == {True, False}
    for mark in ("/01.", ".pupil.h5"):
        assert 0 < sum(any(mark in name for name in group) for group in names) < len(names)
    dtypes = {
        values.dtype for contents in mini.values() for values in contents.arrays("stim").values()
    }
    assert dtypes == {np.dtype("f4"), np.dtype("f8")}


def test_sidecars(mini: dict[str, Contents]) -> None:
    keys = [
        "name", "chans", "fs", "meta", "recording", "segments", "signal_type", "normalization",
        "norm_baseline", "norm_gain",
    ]  # fmt: skip
    for contents in mini.values():
        for signal, kind in (("resp", "PointProcess"), ("stim", "TiledSignal")):
            raw, header = (
                contents.files[f"{contents.stem}.{signal}.json"],
                contents.header(signal),
            )
            assert list(header)[:10] == keys
            assert b"\n" not in raw
            assert b"NaN" in raw
            assert kind in header["signal_type"]
            assert header["fs"] == 100
            assert header["recording"] == contents.stem
            ((begin, n_bins),) = header["segments"]
            assert begin == 0
            assert n_bins > 1000
        assert contents.header("stim")["chans"] is None
        arrays = contents.arrays("resp")
        assert sorted(contents.header("resp")["chans"]) == list(arrays)


def test_later_view_is_wrong(mini: dict[str, Contents]) -> None:
    found = 0
    for contents in mini.values():
        stale = contents.files.get(f"01.{contents.stem}.resp.h5")
        if stale is not None:
            found += 1
            current = contents.arrays("resp")
            with h5py.File(io.BytesIO(stale)) as file:
                loud = [cell for cell in file if len(current[cell])]
                assert not any(np.array_equal(file[cell][:], current[cell]) for cell in loud)
    assert found


def test_gzip_header_has_no_time_and_no_name(mini_release: Path) -> None:
    for path in (mini_release / "recordings").iterdir():
        head = path.read_bytes()[:10]
        assert head[:2] == b"\x1f\x8b"
        assert head[3] == 0
        assert head[4:8] == bytes(4)


# The values


def test_spectrograms(mini: dict[str, Contents]) -> None:
    shared: dict[str, list[NDArray[Any]]] = {}
    for name, contents in mini.items():
        n_bins = 2200 if name.startswith("CLT") else 2000
        arrays = contents.arrays("stim")
        assert set(arrays) == set(contents.plan.repetitions)
        for stim, values in arrays.items():
            assert values.shape == (32, n_bins)
            assert values.min() == 0
            assert not values[:, :100].any()
            assert values[:, 100:].any()
            if n_bins == 2000:
                shared.setdefault(stim, []).append(values)
    several = [group for stim, group in shared.items() if len(group) > 1 and "00seq" in stim]
    assert several
    assert all(np.array_equal(group[0], other) for group in several for other in group)


def test_epochs(mini: dict[str, Contents]) -> None:
    orders, shuffled, overlapping = set(), [], []
    for name, contents in mini.items():
        ((_, n_bins),) = contents.header("resp")["segments"]
        for signal in ("resp", "stim"):
            rows = contents.epochs(signal)
            orders.add(tuple(rows[0]))
            stims = [row for row in rows if row["name"].startswith("STIM_")]
            starts = [float(row["start"]) for row in stims]
            shuffled.append(starts != sorted(starts))
            duration = 22 if name.startswith("CLT") else 20
            for row in stims:
                assert float(row["end"]) == float(row["start"]) + duration
                assert 0 < float(row["end"]) < n_bins / 100
            counts = Counter(row["name"] for row in stims)
            extra = counts - Counter(contents.plan.repetitions)
            if extra:
                overlapping.append((name, signal, extra.total()))
            assert not Counter(contents.plan.repetitions) - counts
            names = Counter(row["name"] for row in rows)
            trials = sum(contents.plan.repetitions.values())
            assert names["TRIAL"] == names["REFERENCE"] == names["PreStimSilence"] == trials
            assert names["PASSIVE_EXPERIMENT"] == 1
            assert any("," in epoch for epoch in names)
            assert any(epoch.startswith("FILE_") for epoch in names)
            on_grid = [start for start in starts if abs(start * 100 - round(start * 100)) < 1e-6]
            assert not on_grid
    assert len(orders) > 2
    assert 4 < sum(shuffled) < len(shuffled)  # some archives, and not only the overlapping row
    assert sorted(overlapping) == [("CLT050c", "resp", 1), ("CLT050c", "stim", 1)]


def test_overlap_lies_inside_the_occurrence_before(mini: dict[str, Contents]) -> None:
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in mini["CLT050c"].epochs("resp"):
        if row["name"].startswith("STIM_"):
            spans.setdefault(row["name"], []).append((float(row["start"]), float(row["end"])))
    overlaps = 0
    for occurrences in map(sorted, spans.values()):
        overlaps += sum(b[0] < a[1] for a, b in itertools.pairwise(occurrences))
    assert overlaps == 1


def test_hard_spikes() -> None:
    line = timeline(generator(0, "line"), {"STIM_seq0001.wav": 6, "STIM_seq0002.wav": 6}, 20.0, 100)
    times = hard_spikes(line)
    bins = np.floor(times * 100)
    left_edges = line.first_bins / 100
    early = (times[:, None] > left_edges) & (times[:, None] < line.onsets)
    assert early.any()
    nearest = np.rint(times * 100)
    on_edge = (times == nearest / 100) & (nearest < line.n_bins)
    assert (on_edge & (bins == nearest)).any()
    assert (on_edge & (bins < nearest)).any()  # t * fs falls short of the bin's number
    assert np.unique(bins, return_counts=True)[1].max() == 3
    assert (bins >= line.n_bins).any()
    assert (np.diff(times) >= 0).all()


def test_hard_cells(mini: dict[str, Contents]) -> None:
    """Each archive has a cell with hard spikes, and a silent one if it has more than ten."""
    negative = set()
    for name, contents in mini.items():
        ((_, n_bins),) = contents.header("resp")["segments"]
        arrays = contents.arrays("resp")
        assert all((np.diff(times) >= 0).all() for times in arrays.values())
        assert sum((times * 100 >= n_bins + 1).any() for times in arrays.values()) == 1
        silent = [cell for cell, times in arrays.items() if times.shape == (0,)]
        assert bool(silent) == (len(arrays) > 10)
        if any((times < 0).any() for times in arrays.values()):
            negative.add(name)
    assert negative == {"CLT027c"}


def test_spikes_follow_the_sound(mini: dict[str, Contents]) -> None:
    contents = mini["CLT028c"]
    ((_, n_bins),) = contents.header("resp")["segments"]
    rates = [len(times) / n_bins * 100 for times in contents.arrays("resp").values()]
    assert 2 < np.median(rates) < 8
    starts = np.array(
        [float(r["start"]) for r in contents.epochs("resp") if r["name"].startswith("STIM_")]
    )
    times = contents.spikes()

    def rate(begin: float, end: float) -> float:
        low, high = np.searchsorted(np.sort(times), [starts + begin, starts + end])
        return float((high - low).sum() / (end - begin))

    assert rate(1.1, 21) > 1.5 * rate(0, 1) > 0


def test_repeated_sounds_repeat_the_response() -> None:
    line = timeline(generator(0, "line"), {"STIM_00seq1.wav": 20}, 20.0, 100)
    heard = drive(line, lambda stim: spectrogram(0, stim, 32, 2000, fs=100, compressible=True))
    trains = [spike_train(generator(0, str(cell)), heard, 100) for cell in range(10)]
    counts = np.stack([np.histogram(t, np.arange(line.n_bins + 1) / 100)[0] for t in trains])
    trials = np.stack([counts[:, first : first + 2000] for first in line.first_bins])
    smooth = trials.reshape(20, 10, 200, 10).sum(-1).astype(float)
    halves = smooth[::2].mean(0).ravel(), smooth[1::2].mean(0).ravel()
    assert np.corrcoef(*halves)[0, 1] > 0.5


def test_full_spectrograms_do_not_compress() -> None:
    sizes = {}
    for compressible in (True, False):
        sound = spectrogram(0, "STIM_seq0001.wav", 32, 2000, fs=100, compressible=compressible)
        assert sound.min() == 0
        assert not sound[:, :100].any()
        sizes[compressible] = len(gzip.compress(sound.tobytes(), 1)) / sound.nbytes
    assert sizes[True] < 0.3
    assert sizes[False] > 0.75


# The sounds


def test_sounds_are_as_long_as_their_windows_allow(
    mini_release: Path, mini: dict[str, Contents]
) -> None:
    longest: dict[str, int] = {}
    for contents in mini.values():
        for stim, values in contents.arrays("stim").items():
            name = "wav/" + stim.removeprefix("STIM_")
            longest[name] = max(values.shape[1], longest.get(name, 0))
    with zipfile.ZipFile(mini_release / "wav.zip") as archive:
        infos = archive.infolist()
        assert sorted(archive.namelist()) == sorted(longest)
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        envelopes = set()
        for name, n_bins in longest.items():
            with wave.open(archive.open(name)) as file:
                assert file.getparams()[:4] == (1, 2, 44100, (n_bins - 200) * 441)
                if len(envelopes) < 20:  # reading all of them takes seconds
                    samples = np.frombuffer(file.readframes(n_bins * 441), "<i2")
                    assert samples[0] == 21000  # it sets in with the first sample
                    assert (samples != 0).mean() > 0.8
                    envelopes.add(np.abs(samples).reshape(-1, 441).max(1).tobytes())
    assert len(envelopes) == 20
    assert set(longest.values()) == {2000, 2200}
    assert (mini_release / "wav.zip").stat().st_size < 15e6


def test_full_has_the_published_sounds() -> None:
    seconds = sounds(archives("full", 0))
    assert 1900 < len(seconds) < 2010
    assert set(seconds.values()) == {18, 20}
    assert 3e9 < sum(seconds.values()) * 88_200 < 4e9
    assert {"wav/00seq1.wav", "wav/00seq5_hand.wav"} < set(seconds)


@pytest.mark.parametrize("pack", [True, False])
def test_sounds_are_packed_or_stored(tmp_path: Path, pack: bool) -> None:
    for name in ("a", "b"):
        write_waveforms(tmp_path / name, {"wav/y.wav": 1.0, "wav/x.wav": 0.3}, 0, pack=pack)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert ((tmp_path / "a").stat().st_size > 1.3 * 88_200) == (not pack)
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.namelist() == ["wav/x.wav", "wav/y.wav"]
        assert archive.testzip() is None


def test_interrupted_sounds_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        write_waveforms(tmp_path / "wav.zip", {"wav/x.wav": 1.0, "wav/y.wav": -1.0}, 0, pack=True)
    assert not list(tmp_path.iterdir())


# Driven cells


def slow_rate(file: Any, cell: str, sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spikes/s of a cell, by the formula at the head of `builders.synthetic.filters`."""
    row = file["cell_id"].tolist().index(cell)
    planted, offset, scale = (file[name][row] for name in ("filters", "offset", "scale"))
    x = np.log(10 * sound + 1)
    drives = np.full(x.shape[1], float(offset))
    for t in range(x.shape[1]):
        for lag in range(min(planted.shape[1], t + 1)):
            drives[t] += (planted[:, lag] * x[:, t - lag]).sum()
    rate: NDArray[np.float64] = scale * np.log(1 + np.exp(drives))
    return rate


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """A folder with an archive and its filters, and what the archive holds."""
    folder = tmp_path_factory.mktemp("driven")
    (found,) = (plan for plan in archives("mini", 0) if plan.name == "PRN018b")
    plan = replace(found, driven=True)
    write_filters(folder / "filters.npz", 0, 32, [(cell, cell) for cell in plan.cells])
    return folder, read(write_archive(folder, plan, 0), plan)


def test_planted_rate_is_the_one_of_the_spikes(driven: tuple[Path, Contents]) -> None:
    folder, contents = driven
    sound = contents.arrays("stim")
    starts = sorted(
        (round(float(row["start"]) * 100), row["name"])
        for row in contents.epochs("resp")
        if row["name"].startswith("STIM_")
    )
    ((_, end),) = contents.header("resp")["segments"]
    deviations, rates = [], []
    with np.load(folder / "filters.npz") as file:
        for cell, times in list(contents.arrays("resp").items())[:12]:
            bins = np.floor(times * 100)
            if not len(times) or bins[-1] >= end:
                continue  # silent, or with hard spikes, of which one is past the end
            expected = {stim: slow_rate(file, cell, x) / 100 for stim, x in sound.items()}
            counts = np.concatenate(
                [np.bincount(bins[(bins >= s) & (bins < s + 2000)].astype(int) - s, minlength=2000)
                 for s, _ in starts]
            )  # fmt: skip
            means = np.concatenate([expected[stim] for _, stim in starts])
            order = np.argsort(means)
            groups = counts[order].reshape(50, -1).sum(1), means[order].reshape(50, -1).sum(1)
            deviations.append((groups[0] - groups[1]) / np.sqrt(groups[1] + 0.1))
            rates.append(counts.sum() / len(counts) * 100)
            assert times[-1] > starts[-1][0] / 100  # over the whole recording
    assert len(rates) > 7
    assert 0.85 < np.std(deviations) < 1.15
    assert abs(np.mean(deviations)) < 0.1
    assert 2 < min(rates) < max(rates) < 40


def test_planted_filters(driven: tuple[Path, Contents]) -> None:
    folder, contents = driven
    with np.load(folder / "filters.npz") as file:
        assert file["cell_id"].tolist() == list(contents.plan.cells)
        planted = file["filters"]
    n_cells = len(contents.plan.cells)
    assert planted.shape == (n_cells, 32, LAGS)
    flat = planted.reshape(n_cells, -1)
    peak, trough = (np.unravel_index(f(flat, axis=1), (32, LAGS)) for f in (np.argmax, np.argmin))
    assert ((peak[1] >= 1) & (peak[1] <= 5)).all()  # excitation after 10 to 50 ms
    assert (trough[1] > peak[1]).all()  # and then inhibition
    assert len(set(peak[0])) > 5
    similar = np.corrcoef(flat) - np.eye(n_cells)
    assert similar.max() < 0.999
    assert abs(np.median(similar)) < 0.5


def test_driven_release_has_the_same_quirks(
    driven: tuple[Path, Contents], mini: dict[str, Contents]
) -> None:
    folder, contents = driven
    plain = mini["PRN018b"]
    assert contents.stem == plain.stem
    assert [name for name, _ in contents.members] == [name for name, _ in plain.members]
    assert contents.header("resp")["chans"] == plain.header("resp")["chans"]
    assert contents.epochs("resp") == plain.epochs("resp")
    assert {cell for cell, times in contents.arrays("resp").items() if not len(times)} == {
        cell for cell, times in plain.arrays("resp").items() if not len(times)
    }
    write_filters(folder / "again.npz", 0, 32, [(cell, cell) for cell in contents.plan.cells])
    assert (folder / "again.npz").read_bytes() == (folder / "filters.npz").read_bytes()
    again = write_archive(folder, contents.plan, 0)
    assert read(again, contents.plan).files == contents.files


# Determinism and errors


def test_same_seed_same_bytes(mini_release: Path, tmp_path: Path) -> None:
    (plan,) = (plan for plan in archives("mini", 0) if plan.name == "CLT050c")
    again = write_archive(tmp_path, plan, 0)
    first = mini_release / "recordings" / again.name
    assert again.read_bytes() == first.read_bytes()
    (other_plan,) = (plan for plan in archives("mini", 1) if plan.name == "CLT050c")
    other = write_archive(tmp_path, other_plan, 1)
    assert other.name != again.name
    a, b = read(again, plan).arrays("resp"), read(other, other_plan).arrays("resp")
    assert set(a) == set(b)
    assert not any(np.array_equal(a[cell], b[cell]) for cell in a)
    assert next(cell_list(0)) == next(cell_list(0)) != next(cell_list(1))


def test_target_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="not an empty folder"):
        Wingert2026.synthesize(tmp_path, "mini", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(CorpusError, match="empty folder"):
        Wingert2026.synthesize(tmp_path / "mine.txt", "mini", 0)


def test_unknown_scale(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="mini"):
        Wingert2026.synthesize(tmp_path / "new", "medium", 0)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_interrupted_archive_leaves_nothing(tmp_path: Path) -> None:
    def data() -> bytes:
        raise KeyboardInterrupt

    signal = PlantedSignal("resp", "PointProcess", ["a"], "h5", data)
    with pytest.raises(KeyboardInterrupt):
        write_recording(tmp_path / "r.tgz", [signal], [], fs=100, n_bins=10, rng=generator(0, "r"))
    assert not list(tmp_path.iterdir())


def test_h5_file_keeps_silent_cells() -> None:
    content = h5_file([("b", np.zeros(0)), ("a", np.ones(2))], 1)
    with h5py.File(io.BytesIO(content)) as file:
        assert list(file) == ["a", "b"]
        assert file["b"].shape == (0,)
        assert file["b"].compression == "gzip"
        assert file["b"].dtype == np.float64
