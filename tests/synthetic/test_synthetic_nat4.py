"""The synthetic nat4 release: its published counts, its files member by member, what is planted."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
import tarfile
import wave
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import builders.synthetic.archive
from builders.errors import CorpusError
from builders.synthetic.archive import Blocks, csv_file
from builders.synthetic.files import run_writers
from builders.synthetic.spikes import hard_spikes
from nat4.synthetic.plan import AREAS, GAP, Plan, Site, plan, sounds, waveform_names
from nat4.synthetic.release import record, synthesize, write_site

Floats = NDArray[np.float64]
Row = dict[str, Any]
Key = tuple[str, int, int]
KEYS = [
    "name", "chans", "fs", "meta", "recording", "segments", "signal_type", "normalization",
    "norm_baseline", "norm_gain",
]  # fmt: skip


@dataclass
class Contents:
    """What one archive holds, read without the package's own reader."""

    members: list[str]
    files: dict[str, bytes]  # by base name
    stem: str

    def header(self, signal: str) -> Row:
        content: Row = json.loads(self.files[f"{self.stem}.{signal}.json"])
        return content

    def epochs(self, signal: str) -> list[Row]:
        text = self.files[f"{self.stem}.{signal}.epoch.csv"].decode()
        rows: list[Row] = list(csv.DictReader(io.StringIO(text)))
        return [row | {key: float(row[key]) for key in ("start", "end")} for row in rows]

    def stims(self, signal: str = "resp") -> list[Row]:
        """Presentations in time order."""
        rows = [row for row in self.epochs(signal) if row["name"].startswith("STIM_")]
        return sorted(rows, key=lambda row: float(row["start"]))

    def table(self, signal: str) -> Floats:
        """A rasterized signal, (T, C)."""
        return np.loadtxt(
            io.BytesIO(self.files[f"{self.stem}.{signal}.csv"]), delimiter=",", ndmin=2
        )

    def trains(self) -> dict[str, Floats]:
        with h5py.File(io.BytesIO(self.files[f"{self.stem}.resp.h5"])) as file:
            return {cell: file[cell][:] for cell in file}


def read(content: bytes, name: str) -> Contents:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        infos = tar.getmembers()
        files = {info.name.split("/")[1]: tar.extractfile(info).read() for info in infos}  # type: ignore[union-attr]
    return Contents([info.name for info in infos], files, name.partition(".")[0])


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nat4") / "mini"
    synthesize(folder, "mini")
    return folder


def site_files(release: Path, area: str) -> Iterator[tuple[str, bytes]]:
    if area == "A1":
        for path in (release / "A1_single_sites").iterdir():
            yield path.name, path.read_bytes()
        return
    with zipfile.ZipFile(release / "PEG_single_sites.zip") as archive:
        for name in archive.namelist():
            yield name.removeprefix("PEG_single_sites/"), archive.read(name)


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {area: plan(area, "mini") for area in AREAS}


@pytest.fixture(scope="module")
def populations(release: Path) -> dict[str, Contents]:
    names = {area: f"{area}_NAT4_ozgf.fs100.ch18.tgz" for area in AREAS}
    return {area: read((release / name).read_bytes(), name) for area, name in names.items()}


@pytest.fixture(scope="module")
def resp(populations: dict[str, Contents]) -> dict[str, dict[str, Floats]]:
    """Responses of each cell of each area, (sounds, 150)."""
    return {
        area: dict(
            zip(
                contents.header("resp")["chans"],
                contents.table("resp").T.reshape(-1, 46, 150),
                strict=True,
            )
        )
        for area, contents in populations.items()
    }


@pytest.fixture(scope="module")
def sites(release: Path) -> dict[str, Contents]:
    """The site recordings of both areas, by site."""
    return {
        name.split("_")[1]: read(content, name)
        for area in AREAS
        for name, content in site_files(release, area)
    }


def site_plans(plans: dict[str, Plan]) -> dict[str, Site]:
    return {site.name: site for each in plans.values() for site in each.sites}


def numbers(cell: str) -> Key:
    site, electrode, unit = cell.split("-")
    return site, int(electrode), int(unit)


def counts_of(contents: Contents, times: Floats) -> dict[str, NDArray[np.int64]]:
    """10 ms counts of each trial of each sound, by the convention, (R, 150)."""
    bins = [int(np.floor(time * 1000)) for time in times.tolist()]
    trials: dict[str, list[NDArray[np.int64]]] = {}
    stop: dict[str, int] = {}
    for row in contents.stims():
        first = round(row["start"] * 1000)
        if first < stop.get(row["name"], 0):
            continue
        stop[row["name"]] = first + 1500
        inside = [(b - first) // 10 for b in bins if first <= b < first + 1500]
        trials.setdefault(row["name"], []).append(np.bincount(inside, minlength=150))
    return {stim: np.stack(each) for stim, each in trials.items()}


# What full holds


@pytest.mark.parametrize(
    ("area", "cells", "auditory", "files"), [("A1", 849, 777, 22), ("PEG", 398, 339, 12)]
)
def test_full_counts(area: str, cells: int, auditory: int, files: int) -> None:
    full = plan(area, "full")
    assert len(full.cells) == cells
    assert len(full.cells) - len(full.deaf) == auditory
    assert full.deaf <= set(full.cells)
    assert len({site.name for site in full.sites}) == len(full.sites) == files
    assert (len(full.est), len(full.val)) == (575, 18)
    assert all(
        site.repetitions == dict.fromkeys(full.val, 20) and not site.overlap for site in full.sites
    )
    assert len({numbers(cell) for cell in full.cells}) == cells
    assert all(re.fullmatch(r"[A-Z]{3}\d{3}[a-z]-\d\d-[1-9]", cell) for cell in full.cells)
    assert all(1 <= numbers(cell)[1] <= 64 for cell in full.cells)
    held = [cell for site in full.sites for cell in site.held]
    assert len(set(held)) == len(held)
    assert all(cell.startswith(site.name) for site in full.sites for cell in site.held)
    assert full.unlisted == ""


def test_full_sites() -> None:
    found = {area: {site.name for site in plan(area, "full").sites} for area in AREAS}
    prefixes = {area: Counter(name[:3] for name in names) for area, names in found.items()}
    assert prefixes["A1"] == {"ARM": 5, "CRD": 2, "DRX": 3, "TNC": 12}
    assert prefixes["PEG"] == {"ARM": 11, "TNC": 1}
    assert {"ARM029a", "CRD016d", "DRX008b", "TNC021a"} <= found["A1"]
    assert {"ARM017a", "ARM028b", "TNC022a"} <= found["PEG"]


def test_full_matches() -> None:
    for area, n_padded in (("A1", 33), ("PEG", 0)):
        full = plan(area, "full")
        held = {cell for site in full.sites for cell in site.held}
        unmatched = set(full.cells) - held
        assert unmatched == set(full.padded)
        assert len(unmatched) == n_padded
        assert all(cell.startswith("TNC") for cell in unmatched)
        assert all(numbers(cell) == numbers(other) for cell, other in full.padded.items())
        assert len({numbers(cell) for cell in held}) == len(held)
        extra = {cell for cell in held if numbers(cell) not in set(map(numbers, full.cells))}
        assert {cell.split("-")[0] for cell in extra} == {"ARM029a" if area == "A1" else "TNC022a"}
        assert (len(extra) == 1) == (area == "A1")
    a1 = plan("A1", "full")
    exact = len(a1.cells) - len(a1.padded)
    assert len(a1.cells) * len(a1.est) + exact * len(a1.val) - len(a1.missing) == 502_863


def test_full_missing() -> None:
    assert not plan("A1", "full").missing
    missing = plan("PEG", "full").missing
    assert len(missing) == 5
    assert set(missing.values()) == {(0, 150)}


def test_full_site_has_the_published_weight(tmp_path: Path) -> None:
    """70 MB for the 850 cells of A1."""
    full = plan("A1", "full")
    site = sorted(full.sites, key=lambda site: len(site.held))[5]
    write_site(tmp_path, full, site, 0)
    (path,) = tmp_path.iterdir()
    assert 45e6 < path.stat().st_size / len(site.held) * 850 < 90e6
    line, trains = record(full, site, 0)
    gaps = np.diff(line.onsets) - 1.5
    assert GAP["full"][0] < gaps.min() < gaps.max() < GAP["full"][1]
    assert len(line.stims) == 360
    assert np.median([len(times) for times in trains.values()]) > 2000


def test_names_of_sounds() -> None:
    for scale, n_est, n_val in (("mini", 40, 6), ("full", 575, 18)):
        est, val = sounds(scale)  # type: ignore[arg-type]
        assert (len(est), len(val)) == (n_est, n_val)
        assert all(re.fullmatch(r"STIM_cat\d+_rec\d_\w+_excerpt\d\.wav", stim) for stim in est)
        assert all(re.fullmatch(r"STIM_00cat\d+_rec\d_\w+_excerpt\d\.wav", stim) for stim in val)
        assert len({stim.lower() for stim in est + val}) == n_est + n_val
        assert any(stim[5:] != stim[5:].lower() for stim in est + val)
    a1, peg = (plan(area, "full") for area in AREAS)
    assert set(a1.est) == set(peg.est)
    assert set(a1.val) == set(peg.val)
    assert a1.est != peg.est


# Files and layout


def test_files(release: Path) -> None:
    paths = [path for path in release.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < 15e6
    assert {path.name for path in release.iterdir()} == {
        "A1_NAT4_ozgf.fs100.ch18.tgz", "PEG_NAT4_ozgf.fs100.ch18.tgz",
        "A1_pred_correlation.csv", "PEG_pred_correlation.csv",
        "A1_single_sites", "PEG_single_sites.zip", "wav.zip",
    }  # fmt: skip
    expected = {
        "A1": {"TNC008a", "TNC012a", "ARM029a", "DRX006b"},
        "PEG": {"ARM017a", "ARM018a", "TNC022a"},
    }
    for area, names in expected.items():
        found = [name for name, _ in site_files(release, area)]
        assert all(re.fullmatch(rf"{area}_\w{{7}}_[0-9a-f]{{40}}\.tgz", name) for name in found)
        assert {name.split("_")[1] for name in found} == names
        assert len(found) == len(names)


def test_waveforms(release: Path, plans: dict[str, Plan]) -> None:
    stims = [*plans["A1"].est, *plans["A1"].val]
    expected = {"wav/" + stim.removeprefix("STIM_") for stim in stims}
    with zipfile.ZipFile(release / "wav.zip") as archive:
        names = set(archive.namelist())
        assert len(archive.namelist()) == len(names) == 46
        assert {name.lower() for name in names} == {name.lower() for name in expected}
        assert 0 < len(names - expected) < 20  # some differ in letter case
        for name in names:
            with wave.open(archive.open(name)) as file:
                assert file.getparams()[:4] == (1, 2, 44100, 44100)
                assert file.readframes(1) != b"\0\0"


def test_full_waveform_names() -> None:
    names = waveform_names("full")
    assert len({name.lower() for name in names}) == 593
    assert sum(name.startswith("wav/00cat") for name in names) == 18


def test_zip_is_stored_and_timeless(release: Path) -> None:
    with zipfile.ZipFile(release / "PEG_single_sites.zip") as archive:
        for info in archive.infolist():
            assert info.filename.startswith("PEG_single_sites/PEG_")
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)


def test_members(populations: dict[str, Contents], sites: dict[str, Contents]) -> None:
    for area, contents in populations.items():
        stem = f"{area}_NAT4_ozgf"
        order = ["resp", "stim", "mask_est"][:: 1 if area == "A1" else -1]
        ends = ("csv", "epoch.csv", "json")
        expected = [f"{signal}.{end}" for signal in order for end in ends]
        assert contents.members == [f"{stem}/{stem}.{end}" for end in ["meta.json", *expected]]
        for signal in order:
            header = contents.header(signal)
            assert list(header)[:10] == KEYS
            assert "RasterizedSignal" in header["signal_type"]
            assert header["fs"] == 100
            assert header["segments"] == [[0, 46 * 150]]
    for contents in sites.values():
        stem = contents.stem
        assert contents.members == [
            f"{stem}/{stem}.{end}"
            for end in ("meta.json", "resp.h5", "resp.epoch.csv", "resp.json")
        ]
        header = contents.header("resp")
        assert "PointProcess" in header["signal_type"]
        assert header["fs"] == 1000
        assert sorted(header["chans"]) == sorted(contents.trains())
    orders = {
        contents.header("resp")["chans"] == sorted(contents.trains()) for contents in sites.values()
    }
    assert orders == {True, False}


def test_csv_text(populations: dict[str, Contents]) -> None:
    number = rb"-?\d\.\d{18}e[+-]\d\d"
    for area, contents in populations.items():
        widths = {"resp": len(contents.header("resp")["chans"]), "stim": 18}
        widths["mask_est"] = 1 if area == "A1" else widths["resp"]
        for signal, width in widths.items():
            content = contents.files[f"{contents.stem}.{signal}.csv"]
            line = rb"(%s|nan)(,(%s|nan)){%d}" % (number, number, width - 1)
            lines = content.splitlines()
            assert len(lines) == 46 * 150
            assert content.endswith(b"\n")
            assert all(re.fullmatch(line, each) for each in lines[::7])
            assert (b"nan" in content) == (signal == "resp")


def test_population_epochs(populations: dict[str, Contents], plans: dict[str, Plan]) -> None:
    columns = set()
    for area, contents in populations.items():
        for signal in ("resp", "stim", "mask_est"):
            rows = contents.epochs(signal)
            columns.add(tuple(rows[0]))
            stims = contents.stims(signal)
            names = [row["name"] for row in stims]
            assert names == [*plans[area].val, *plans[area].est]
            assert [name.startswith("STIM_00") for name in names] == [True] * 6 + [False] * 40
            assert names[:6] != sorted(names[:6])
            assert names[6:] != sorted(names[6:])
            assert [(row["start"], row["end"]) for row in stims] == [
                (1.5 * i, 1.5 * i + 1.5) for i in range(46)
            ]
            starts = [row["start"] for row in rows if row["name"].startswith("STIM_")]
            assert starts != sorted(starts)
            assert Counter(row["name"] for row in rows)["TRIAL"] == 46
            assert Counter(row["name"] for row in rows)["REFERENCE"] == 46
            for name, offset in (("PreStimSilence", 0), ("PostStimSilence", 1.25)):
                spans = sorted((r["start"], r["end"]) for r in rows if r["name"] == name)
                assert spans == [(1.5 * i + offset, 1.5 * i + offset + 0.25) for i in range(46)]
    assert len(columns) > 1


def test_site_epochs(sites: dict[str, Contents], plans: dict[str, Plan]) -> None:
    orders = set()
    for name, contents in sites.items():
        stims = contents.stims()
        starts = np.array([row["start"] for row in stims])
        for grid in (1000, 100):
            assert (np.abs(starts * grid - np.rint(starts * grid)) > 1e-6).mean() > 0.98
        assert all(row["end"] == row["start"] + 1.5 for row in stims)
        if name != "ARM029a":  # there one overlaps
            gaps = np.diff(starts) - 1.5
            assert len(set(np.round(gaps, 6))) > 100
            assert gaps.min() > 0.4
        names = tuple(row["name"] for row in stims)
        orders.add(names)
        assert sum(a == b for a, b in itertools.pairwise(names)) < 60
        assert set(names) == set(plans["A1"].val) == set(plans["PEG"].val)
        silences = [r for r in contents.epochs("resp") if r["name"] == "PreStimSilence"]
        assert np.allclose([row["end"] - row["start"] for row in silences], 0.25)
    assert len(orders) == len(sites)


# Values


def test_stim(populations: dict[str, Contents]) -> None:
    heard = {}
    for area, contents in populations.items():
        values = contents.table("stim").T.reshape(18, 46, 150)
        assert values.min() == 0
        assert not values[..., :25].any()
        assert not values[..., -25:].any()
        assert values[..., 25:-25].any(axis=(0, 2)).all()
        names = [row["name"] for row in contents.stims("stim")]
        heard[area] = {name: values[:, i] for i, name in enumerate(names)}
    assert all(np.array_equal(heard["A1"][name], heard["PEG"][name]) for name in heard["A1"])
    assert len({values.tobytes() for values in heard["A1"].values()}) == 46


def test_mask(
    populations: dict[str, Contents], plans: dict[str, Plan], resp: dict[str, dict[str, Floats]]
) -> None:
    for area, contents in populations.items():
        mask = contents.table("mask_est").T.reshape(-1, 46, 150)
        assert len(mask) == (1 if area == "A1" else len(plans["PEG"].cells))
        assert not mask[:, :6].any()
        if area == "A1":
            assert mask[:, 6:].all()
        else:
            assert contents.header("mask_est")["chans"] == list(plans["PEG"].cells)
            missing = np.isnan(np.stack(list(resp["PEG"].values())))
            assert missing.any()
            assert np.array_equal(mask[:, 6:] == 0, missing[:, 6:])


def test_estimation_responses(resp: dict[str, dict[str, Floats]]) -> None:
    for cells in resp.values():
        values = np.stack(list(cells.values()))
        known = values[:, 6:][~np.isnan(values[:, 6:])]
        assert np.array_equal(known, np.rint(known))
        assert known.min() == 0
        assert 0.02 < known.mean() < 0.2
        assert known.max() > 1
        sound, quiet = np.nanmean(values[..., 30:120]), np.nanmean(values[..., :25])
        assert sound > 1.5 * quiet > 0
        assert not np.isnan(values[:, :6]).any()


def test_missing(plans: dict[str, Plan], resp: dict[str, dict[str, Floats]]) -> None:
    spans = {"A1": [(0, 150)] * 2, "PEG": [(0, 150)] * 2 + [(60, 150)]}
    for area, cells in resp.items():
        expected = plans[area].missing
        assert list(expected.values()) == spans[area]
        order = [*plans[area].val, *plans[area].est]
        found = {}
        for cell, values in cells.items():
            for i in np.flatnonzero(np.isnan(values).any(axis=1)):
                bins = np.flatnonzero(np.isnan(values[i]))
                assert len(bins) == bins[-1] + 1 - bins[0]
                found[cell, order[i]] = (int(bins[0]), int(bins[-1]) + 1)
        assert found == expected


def test_validation_is_the_mean_of_the_site_recordings(
    plans: dict[str, Plan], resp: dict[str, dict[str, Floats]], sites: dict[str, Contents]
) -> None:
    repetitions = Counter[int]()
    for area, each in plans.items():
        for cell, ids in each.cells.items():
            if ids:
                contents = sites[cell.split("-")[0]]
                counts = counts_of(contents, contents.trains()[ids[0]])
                repetitions.update(map(len, counts.values()))
                means = np.stack([counts[stim].mean(axis=0) for stim in each.val])
                assert np.array_equal(resp[area][cell][:6], means), cell
            else:
                values = resp[area][cell][:6] * 380
                assert values.any()
                assert np.array_equal(values, np.rint(values))
    assert set(repetitions) == {19, 20}


def test_responses_of_a_cell_agree(resp: dict[str, dict[str, Floats]]) -> None:
    """Rates of estimation and validation go together: it is the same cell in both."""
    values = np.stack(list(resp["A1"].values()))
    est, val = np.nanmean(values[:, 6:], axis=(1, 2)), values[:, :6].mean(axis=(1, 2))
    assert np.corrcoef(est, val)[0, 1] > 0.9


def test_repetitions(sites: dict[str, Contents], plans: dict[str, Plan]) -> None:
    odd = {}
    for name, contents in sites.items():
        counts = Counter(row["name"] for row in contents.stims())
        if set(counts.values()) != {20}:
            odd[name] = sorted(counts.values())
    assert odd == {"DRX006b": [19] + [20] * 5, "ARM029a": [20] * 5 + [21]}
    stims = sites["ARM029a"].stims()
    name = max(plans["A1"].val, key=lambda stim: sum(row["name"] == stim for row in stims))
    same = itertools.pairwise(row for row in stims if row["name"] == name)
    assert sum(a["start"] < b["start"] < a["end"] for a, b in same) == 1


def test_hard_spikes(sites: dict[str, Contents], plans: dict[str, Plan]) -> None:
    for area, each in plans.items():
        for site in each.sites:
            contents = sites[site.name]
            line, _ = record(each, site, 0)
            times = contents.trains()[site.hard]
            assert (np.diff(times) >= 0).all()
            assert np.isin(hard_spikes(line), times).all()
            first = np.array([round(row["start"] * 1000) for row in contents.stims()])
            starts = np.array([row["start"] for row in contents.stims()])
            bins = np.floor(times * 1000)
            nearest = np.rint(times * 1000)
            border = times == nearest / 1000
            for step in (1, 10):
                offsets = (nearest[border] - first[:, None]) % step
                inside = (nearest[border] >= first[:, None]) & (
                    nearest[border] < first[:, None] + 1500
                )
                assert (inside & (offsets == 0)).any(axis=1).sum() >= 1
            assert (border & (bins < nearest)).any()  # t * fs falls short of the bin's number
            early = (bins == first[:, None]) & (times < starts[:, None])
            assert early.sum() >= 2
            assert (bins == first[:, None] + 1499).any()
            assert (bins == first[:, None] + 1500).any()
            assert np.unique(bins, return_counts=True)[1].max() >= 3
            assert (bins >= line.n_bins).any()
            if area == "A1" or site.cells:
                assert site.cells[site.hard] == (site.hard,)
                assert site.hard != each.unlisted


def test_silent_cells(
    sites: dict[str, Contents], plans: dict[str, Plan], resp: dict[str, dict[str, Floats]]
) -> None:
    found = {
        cell: times.shape
        for contents in sites.values()
        for cell, times in contents.trains().items()
        if not len(times)
    }
    assert sorted(cell.split("-")[0] for cell in found) == ["ARM017a", "ARM029a"]
    assert set(found.values()) == {(0,)}
    for cells in resp.values():
        silent = {cell for cell, values in cells.items() if not np.nan_to_num(values).any()}
        assert silent == set(cells) & set(found)
        assert len(silent) == 1


def test_spike_times(sites: dict[str, Contents]) -> None:
    rates = []
    for contents in sites.values():
        ((_, n_bins),) = contents.header("resp")["segments"]
        for times in contents.trains().values():
            assert times.dtype == np.float64
            rates.append(len(times) / n_bins * 1000)
    assert 2 < np.median(rates) < 8


# Cells


def test_population_order(populations: dict[str, Contents], plans: dict[str, Plan]) -> None:
    for area, contents in populations.items():
        cells = contents.header("resp")["chans"]
        assert cells == list(plans[area].cells)
        order = list(dict.fromkeys(cell.split("-")[0] for cell in cells))
        assert cells != sorted(cells)
        assert cells == [cell for site in order for cell in sorted(cells) if site in cell]
        for count in Counter(cell.split("-")[0] for cell in cells).values():
            assert (8 <= count <= 12) if area == "A1" else (5 <= count <= 8)


def test_cells_of_site_files(
    populations: dict[str, Contents], sites: dict[str, Contents], plans: dict[str, Plan]
) -> None:
    """The kinds of cell that there are, found without asking the plan."""
    kinds: dict[str, Counter[str]] = {}
    for area in AREAS:
        population = populations[area].header("resp")["chans"]
        held = {
            cell for site in plans[area].sites for cell in sites[site.name].header("resp")["chans"]
        }
        same: dict[Key, list[str]] = {}
        for cell in held:
            same.setdefault(numbers(cell), []).append(cell)
        kinds[area] = Counter()
        for cell in population:
            others = same.pop(numbers(cell), [])
            kind = "exact" if cell in others else f"{len(others)} of the same numbers"
            kinds[area][kind] += 1
            if kind != "exact" and others:
                assert cell.startswith("TNC")
                zeros = sorted(other.split("-")[1] for other in others)
                electrode = cell.split("-")[1]
                assert zeros == ([f"00{electrode}"] if len(others) > 1 else []) + [f"0{electrode}"]
        kinds[area]["only in site files"] = len(same)
        spurious = {key[0] for key in same}
        assert spurious == ({"ARM029a"} if area == "A1" else {"TNC022a"})
    assert kinds["A1"] == {
        "exact": 35,
        "1 of the same numbers": 3,
        "2 of the same numbers": 1,
        "0 of the same numbers": 1,
        "only in site files": 1,
    }
    assert kinds["PEG"] == {"exact": 13, "only in site files": 5}
    assert len(plans["A1"].padded) == 3


def test_predictions(release: Path, populations: dict[str, Contents]) -> None:
    n_deaf = {"A1": 4, "PEG": 3}
    for area in AREAS:
        content = (release / f"{area}_pred_correlation.csv").read_text()
        rows = list(csv.DictReader(io.StringIO(content)))
        cells = populations[area].header("resp")["chans"]
        listed = [row["cellid"] for row in rows]
        assert len(set(listed)) == len(listed) == len(cells) - (area == "A1")
        assert set(listed) < set(cells) if area == "A1" else set(listed) == set(cells)
        assert listed != [cell for cell in cells if cell in listed]
        assert {row["sig_auditory"] for row in rows} == {"True", "False"}
        lacking = set(cells) - set(listed)
        deaf = sum(row["sig_auditory"] == "False" for row in rows)
        assert deaf + len(lacking & plan(area, "mini").deaf) == n_deaf[area]
        assert any(row["r_ceiling"] == "" for row in rows)
        for row in rows:
            hears = float(row["r_test"]) > float(row["r_floor"])
            assert hears == (row["sig_auditory"] == "True") == bool(row["r_ceiling"])


# Driven cells


def test_driven_release(release: Path, plans: dict[str, Plan], tmp_path: Path) -> None:
    """Estimation and validation follow from the same rate; the quirks are those of any release."""
    synthesize(tmp_path / "driven", "mini", driven=True)
    paths = {str(path.relative_to(release)) for path in release.rglob("*")}
    found = {
        str(path.relative_to(tmp_path / "driven")) for path in (tmp_path / "driven").rglob("*")
    }
    assert found == paths | {"filters.npz"}
    name = "A1_NAT4_ozgf.fs100.ch18.tgz"
    population = read((tmp_path / "driven" / name).read_bytes(), name)
    files = dict(site_files(tmp_path / "driven", "A1"))
    sites = {path.split("_")[1]: read(content, path) for path, content in files.items()}
    a1 = plans["A1"]
    assert population.header("resp")["chans"] == list(a1.cells)
    counts = population.table("resp").T.reshape(-1, 46, 150)
    sound = population.table("stim").T.reshape(18, 46, 150).swapaxes(0, 1)
    with np.load(tmp_path / "driven" / "filters.npz") as file:
        planted = {key: file[key] for key in file}
    assert planted["cell_id"].tolist() == [*a1.cells, *plans["PEG"].cells]
    assert planted["filters"].shape == (53, 18, 15)
    site_plan = site_plans(plans)
    deviations: dict[str, list[Floats]] = {"est": [], "val": []}
    for row, (cell, ids) in enumerate(a1.cells.items()):
        site = site_plan[cell.split("-")[0]]
        if not ids or {site.hard, site.silent} & {cell}:
            continue
        trials = counts_of(sites[site.name], sites[site.name].trains()[ids[0]])
        for i, stim in enumerate([*a1.val, *a1.est]):
            x = np.pad(np.log(10 * sound[i] + 1), ((0, 0), (14, 0)))
            windows = np.stack([x[:, 14 - lag : 164 - lag] for lag in range(15)])
            drives = np.einsum("fl,lft->t", planted["filters"][row], windows)
            rate = planted["scale"][row] * np.log1p(np.exp(planted["offset"][row] + drives))
            mean = rate.reshape(10, 15).sum(1) / 100
            of_stim = trials[stim] if stim in a1.val else counts[row, i][None]
            observed = of_stim.reshape(-1, 10, 15).sum((0, 2))
            expected = mean * len(of_stim)
            if np.isfinite(observed).all():
                subset = "val" if stim in a1.val else "est"
                deviations[subset].append((observed - expected) / np.sqrt(expected + 0.1))
    for values in deviations.values():
        assert len(values) > 100
        assert 0.8 < np.std(values) < 1.15
        assert abs(np.mean(values)) < 0.1


# Determinism and errors


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_seed_same_bytes(release: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", "mini", 0)
    assert digests(tmp_path / "again") == digests(release)
    synthesize(tmp_path / "other", "mini", 1)
    assert not set(digests(tmp_path / "other").values()) & set(digests(release).values())
    other = plan("A1", "mini", 1)
    assert other.cells != plan("A1", "mini", 0).cells


def test_target_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="not an empty folder"):
        synthesize(tmp_path, "mini")
    with pytest.raises(CorpusError, match="mini"):
        synthesize(tmp_path / "new", "medium")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_failure_of_a_writer_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_writers([tmp_path.exists, partial((tmp_path / "nowhere").read_bytes)])


# The writer of CSV files


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_csv_file(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders.synthetic.archive, "CSV_BLOCK", block)
    values = np.array([0.0, -1 / 3, np.nan, np.inf, 1e-300])
    codes = np.array([[0, 1, 2, 3], [4, 2, 0, 0]], np.uint16)
    content = csv_file(codes, values)
    expected = io.BytesIO()
    np.savetxt(expected, values[codes].T, fmt="%.18e", delimiter=",")
    assert len(content) == len(expected.getvalue())
    assert content.read() == expected.getvalue()


def test_blocks_are_read_in_any_pieces() -> None:
    def blocks() -> Blocks:
        return Blocks(10, iter([b"abc", b"defgh", b"ij"]))

    assert blocks().read() == b"abcdefghij"
    assert list(iter(partial(blocks().read, 2), b"")) == [b"ab", b"c", b"de", b"fg", b"h", b"ij"]
    assert io.BufferedReader(blocks()).read(9) == b"abcdefghi"
