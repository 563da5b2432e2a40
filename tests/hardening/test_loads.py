"""Planted faults through to `load_dataset`: rates, stimuli, names, and paths of ``corpus://``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from datasets import Dataset, load_dataset

from builders.errors import CorpusError
from builders.nems.binning import MAX_BINS
from builders.nems.recording import read_signals
from builders.repository import findings
from tests.archives import CELL, SPIKES, pack, response
from tests.releases import change_member, copy_release, no_shard, refused
from wingert2026 import Wingert2026

pytestmark = pytest.mark.usefixtures("limited_memory")

# -- Rates, stimuli and names, through to `load_dataset` -------------------------------------------


@pytest.fixture
def own_release(own_home: Path, mini_release: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of wingert2026 to be spoilt."""
    folder = copy_release(mini_release, own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


@pytest.fixture
def own_nat4(
    own_home: Path, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A release of nat4 to be spoilt."""
    folder = copy_release(releases("nat4"), own_home / "nat4")
    monkeypatch.setenv("NAT4_DATA", str(folder))
    return folder


def archive_of(release: Path, session: str = "CLT027c") -> Path:
    (path,) = (release / "recordings").glob(f"{session}_*.tgz")
    return path


def change_json(**keys: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **keys}).encode()


@pytest.mark.parametrize("fs", [0, 50, 99.5, 105, 44110, 1e-300])
def test_a_rate_that_does_not_fit_is_refused(own_home: Path, own_release: Path, fs: float) -> None:
    archive = archive_of(own_release)
    change_member(archive, "resp.json", change_json(fs=fs))
    refused("wingert2026", "CLT027c", str(archive), "resp.")
    assert no_shard(own_home)


@pytest.mark.parametrize("fs", [50, 200, 1000])
def test_a_rate_of_spectrograms_that_does_not_fit_their_trials_is_noted(
    own_release: Path, fs: float
) -> None:
    """The spectrograms stay as they are stored; `dt_ms` says how long their bins are."""

    def stimuli() -> Dataset:
        files = "corpus://wingert2026/stimuli/CLT027c/*.parquet"
        return load_dataset("parquet", data_files=files, split="train")

    before = stimuli()
    change_member(archive_of(own_release), "stim.json", change_json(fs=fs))
    after = stimuli()
    assert set(after["dt_ms"]) == {1000 / fs}
    same = ["stim_id", "spectrogram", "n_trials"]
    assert after.select_columns(same)[:] == before.select_columns(same)[:]
    noted = {
        note.subject: note.text
        for note in findings.find(Wingert2026).notes
        if note.session == "CLT027c"
    }
    assert set(noted) == set(before["stim"])
    text = f"its spectrogram has 2200 bins, its trials {22 * fs:g}"
    assert set(noted.values()) == {text}


@pytest.mark.parametrize(
    ("fs", "why"), [(200, "expected 100"), (50, "a multiple of 100"), (100.5, "a multiple of 100")]
)
def test_a_rate_of_a_population_that_does_not_fit_is_refused(
    own_home: Path, own_nat4: Path, fs: float, why: str
) -> None:
    archive = own_nat4 / "A1_NAT4_ozgf.fs100.ch18.tgz"
    change_member(archive, "resp.json", change_json(fs=fs))
    refused("nat4", "A1", str(archive), "resp.", f"fs is {fs:g}", why)


@pytest.mark.parametrize("end", [3600.0 * 24 * 200, 1e12])
def test_an_epoch_of_many_days_is_refused(own_home: Path, own_release: Path, end: float) -> None:
    archive = archive_of(own_release)
    row = f"STIM_seq9999.wav,0.0,{end}\n".encode()

    def append(content: bytes) -> bytes:
        text = io.StringIO(content.decode(), newline="")
        columns = next(csv.reader(text))
        values = dict(zip(("name", "start", "end"), row.decode().strip().split(","), strict=True))
        return content + ",".join(values[name] for name in columns).encode() + b"\n"

    change_member(archive, "resp.epoch.csv", append)
    refused("wingert2026", "CLT027c", str(archive), "resp.epoch.csv", "STIM_seq9999.wav")


def test_the_longest_epoch_is_counted_in_bounded_memory(tmp_path: Path) -> None:
    """Whatever its segments are, an epoch may have `MAX_BINS`."""
    end = MAX_BINS / 100
    archive = pack(tmp_path, response({CELL: SPIKES}, epochs=[("STIM_a.wav", 0.0, end)]))
    trials = read_signals(archive, ["resp"])["resp"].trials("STIM_a.wav")
    assert trials.n_bins.tolist() == [MAX_BINS]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b",CLT027c,", b",CLT/027c,"),
        (b",CLT027c,", b",..,"),
        (b",CLT027c,", b"," + b"x" * 300 + b","),
        (b",CLT027c,", ",CLTä,".encode()),
        (b",A1,", b",A1/..,"),
        (b"\nCLT027c-", b"\nCLT/027c-"),
        (b"\nCLT027c-", b"\n../../x-"),
        (b"\nCLT027c-", b"\n-"),
    ],
)
def test_names_in_the_cell_list_that_are_paths_are_refused(
    own_home: Path, own_release: Path, old: bytes, new: bytes
) -> None:
    path = own_release / "cell_list.csv"
    content = path.read_bytes()
    assert content.count(old)
    path.write_bytes(content.replace(old, new))
    for config in ("A1", "CLT027c", "stimuli"):
        refused("wingert2026", config, "cannot be a folder")
    assert no_shard(own_home)


def test_a_cell_id_with_a_slash_is_a_cell_without_numbers(
    own_home: Path, own_release: Path
) -> None:
    path = own_release / "cell_list.csv"
    content = path.read_bytes()
    cell = next(each for each in content.split(b"\n") if each.startswith(b"CLT027c-"))
    cell = cell.partition(b",")[0]
    path.write_bytes(content.replace(cell, b"CLT027c-0/1"))
    cells = load_dataset("./wingert2026", "cells", split="cells")
    found = next(row for row in cells if row["cell_id"] == "CLT027c-0/1")
    assert (found["session"], found["electrode"]) == ("CLT027c", None)
    assert len(load_dataset("./wingert2026", "CLT027c", split="est")) > 0


def test_two_stimuli_of_one_name_are_repetitions(tmp_path: Path) -> None:
    """In the epochs. In HDF5 there is one dataset of a name."""
    epochs = [("STIM_a.wav", 0.0, 0.1), ("STIM_a.wav", 0.3, 0.4)]
    archive = pack(tmp_path, response({CELL: []}, epochs=epochs))
    trials = read_signals(archive, ["resp"])["resp"].trials("STIM_a.wav")
    assert trials.onsets.tolist() == [0.0, 0.3]


# -- corpus:// -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("nope/data/A1/CLT027c/est.parquet", "wingert2026"),
        ("../wingert2026/cells.parquet", "wingert2026"),
        ("wingert2026/../../etc/passwd", ".."),
        ("wingert2026/data/../cells.parquet", ".."),
        ("wingert2026/data/A1/CLT027c/../CLT028c/est.parquet", ".."),
        ("wingert2026/data/A9/CLT027c/est.parquet", "A1"),
        ("wingert2026/data/A1/CLT027x/est.parquet", "CLT027c"),
        ("wingert2026/data/A1/CLT027c/test.parquet", "est.parquet"),
        ("wingert2026/data/A1/CLT027c/est.parquet/x", "nothing below it"),
        ("wingert2026@../data/A1/CLT027c/est.parquet", "changed since"),
        ("wingert2026//cells.parquet", ""),
        ("wingert2026/data\0/x", ""),
        ("wingert2026/" + "x/" * 1000, ""),
    ],
)
def test_paths_that_lead_nowhere_are_refused(home: Path, path: str, word: str) -> None:
    filesystem = fsspec.filesystem("corpus")
    for act in (filesystem.open, filesystem.info, filesystem.glob, filesystem.cat_file):
        with pytest.raises(CorpusError) as caught:
            act(f"corpus://{path}")
        assert word in str(caught.value)


@pytest.mark.parametrize("path", ["", "wingert2026", "wingert2026/data", "wingert2026/data/A1"])
def test_a_folder_cannot_be_opened(home: Path, path: str) -> None:
    with pytest.raises(CorpusError):
        fsspec.filesystem("corpus").open(f"corpus://{path}")
