"""What is particular to wingert2026: published counts, quirks of the release, and its errors."""

from __future__ import annotations

import csv
import gzip
import io
import re
import shutil
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import Dataset, DatasetDict, load_dataset

from builders.errors import CorpusError
from builders.repository import findings
from builders.shards.excluded import write_excluded
from builders.shards.notes import Note
from tests import releases
from tests.releases import change_h5, change_member, copy_release, no_shard, read_member, rewrite
from wingert2026 import Wingert2026


@pytest.fixture
def release(mini_release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the mini release to spoil, with empty caches. Unspoilt archives are links."""
    folder = copy_release(mini_release, own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


def archive_of(release: Path, name: str) -> Path:
    (archive,) = (release / "recordings").glob(f"{name}_*")
    return archive


def load(config: str, subset: str | None = None) -> DatasetDict:
    return load_dataset("./wingert2026", config, split=subset)


# -- published counts ------------------------------------------------------------------------------


def test_clt027c_has_20_cells_11_stimuli_and_220_records(home: Path) -> None:
    site = load("CLT027c")
    assert {subset: len(rows) for subset, rows in site.items()} == {"est": 180, "val": 40}
    assert {subset: len(rows.unique("stim")) for subset, rows in site.items()} == {
        "est": 9,
        "val": 2,
    }
    assert len(site["est"].unique("cell_id")) == 20
    trials = {row["stim"]: [len(trial) for trial in row["response"]] for row in site["val"]}
    assert sorted(trials.values()) == [[2200], [2200, 2200]]


def test_clt027c_and_clt028c_have_6262_records_of_117_stimuli(home: Path) -> None:
    sites = [load(site) for site in ("CLT027c", "CLT028c")]
    stim_ids = {key for site in sites for rows in site.values() for key in rows.unique("stim_id")}
    cells = {key for site in sites for rows in site.values() for key in rows.unique("cell_id")}
    records = [sum(map(len, site.values())) for site in sites]
    assert (records, len(stim_ids), len(cells)) == ([220, 6042], 117, 77)
    assert len(stim_ids) * len(cells) - sum(records) == 2747


def test_slj032a_is_two_sites_in_one_archive_with_one_set_of_56_stimuli(home: Path) -> None:
    both = load("SLJ032a-AB")
    cells = Counter(
        (row["probe"], row["site"], row["session"], row["area"])
        for row in both["val"].remove_columns("response")
        if row["stim"] == both["val"][0]["stim"]
    )
    assert cells == {
        ("A", "SLJ032a", "SLJ032a", "PEG"): 76,
        ("B", "SLJ032a-B", "SLJ032a", "PEG"): 47,
    }
    stimuli = load("stimuli")
    of_session = [
        stim for rows in stimuli.values() for stim in rows["stim_id"] if stim.startswith("SLJ032a/")
    ]
    assert len(of_session) == len(set(of_session)) == 56
    assert len(load("SLJ032a-A")["est"]) == len(load("SLJ032a")["est"]) == 50 * 76
    assert len(load("SLJ032a-B")["est"]) == 50 * 47


def test_both_cohorts_are_there(home: Path) -> None:
    lengths = {(row["session"][:3], len(row["response"][0])) for row in load("all", "val")}
    assert lengths == {("CLT", 2200), ("SLJ", 2000), ("PRN", 2000), ("LMD", 2000)}


def test_cells_keep_all_30_published_columns_and_their_values(
    home: Path, mini_release: Path
) -> None:
    cells = load("cells", "cells")
    with (mini_release / "cell_list.csv").open(newline="") as file:
        published = list(csv.DictReader(file))
    assert len(cells) == len(published)
    for row, wanted in zip(cells, published, strict=True):
        for column, text in wanted.items():
            value = row[column]
            if column == "mwf" and text:
                numbers = np.array(text.strip("[]").split(), np.float32)
                assert numbers.shape == (100,)
                assert np.array_equal(np.float32(value), numbers)
            elif isinstance(value, bool):
                assert str(value) == text
            elif isinstance(value, int | float):
                assert value == float(text)
            else:
                assert (value or "") == text


# -- quirks ----------------------------------------------------------------------------------------


def test_an_archive_that_carries_another_sessions_name_is_found(home: Path) -> None:
    assert set(load("PRN015a", "val")["session"]) == {"PRN015a"}


def test_cells_that_are_on_one_side_only_have_no_records(home: Path) -> None:
    assert "PRN015a-999-1" not in load("PRN015a", "est").unique("cell_id")
    listed = {cell for cell in load("cells", "cells")["cell_id"] if cell.startswith("PRN010b")}
    assert len(listed - set(load("PRN010b", "est").unique("cell_id"))) == 1


def test_duplicate_archives_give_each_record_once(home: Path) -> None:
    records = load("PRN018a", "est")
    assert len(records) == len(set(zip(records["stim"], records["cell_id"], strict=True)))


def test_unlabelled_cells_have_null_metadata(home: Path) -> None:
    row = load("unlabeled", "est")[0]
    assert row["site"] == "PRN010b"
    assert [row[name] for name in ("area", "layer", "depth", "narrow", "celltype", "sw")] == [
        None
    ] * 6
    assert row["goodpred"] is not None


def test_a_site_may_hold_cells_of_two_areas(home: Path) -> None:
    site = load("LMD037a", "est")
    assert set(site.unique("area")) == {"A1", "AC"}
    assert set(site.unique("probe")) == {"A"}
    in_a1 = {cell for cell in load("A1", "est").unique("cell_id") if cell.startswith("LMD037a")}
    assert in_a1 == set(site.filter(lambda row: row["area"] == "A1").unique("cell_id"))


def test_silent_cells_have_records_full_of_zeros(home: Path, mini_release: Path) -> None:
    archive = archive_of(mini_release, "CLT028c")
    with h5py.File(io.BytesIO(read_member(archive, ".resp.h5"))) as h5:
        silent = [cell for cell in h5 if h5[cell].shape == (0,)]
    records = load("CLT028c", "val").filter(lambda row: row["cell_id"] in silent)
    assert len(records) == 6 * len(silent) > 0
    assert sum(sum(map(sum, row["response"])) for row in records) == 0


def test_goodpred_is_the_cohorts_good_cells(home: Path) -> None:
    cohort = load("A1+PEG", "val")
    wanted = cohort.filter(lambda row: row["goodpred"])
    assert load("goodpred", "val")["cell_id"] == wanted["cell_id"]
    assert 0 < len(wanted) < len(cohort)


# -- other forms of the release --------------------------------------------------------------------


def test_unpacked_folders_give_the_same_records_as_archives(release: Path) -> None:
    packed = load("CLT027c", "val")[:]
    archive = archive_of(release, "CLT027c")
    with tarfile.open(archive) as tar:
        folder = archive.with_suffix("")
        folder.mkdir()
        for info in tar:
            file = tar.extractfile(info)
            (folder / info.name.split("/")[-1]).write_bytes(file.read() if file else b"")
    archive.unlink()
    assert load("CLT027c", "val")[:] == packed


def test_archives_are_read_inside_the_zip_as_downloaded(release: Path) -> None:
    unzipped = load("CLT027c", "val")[:]
    shutil.make_archive(str(release / "recordings"), "zip", release, "recordings")
    shutil.rmtree(release / "recordings")
    assert load("CLT027c", "val")[:] == unzipped


def test_swapped_archive_names_give_the_right_sessions(release: Path) -> None:
    wanted = load("CLT027c", "est")["cell_id"]
    one, other = archive_of(release, "CLT027c"), archive_of(release, "CLT050c")
    name = one.with_suffix(".aside")
    one.rename(name)
    other.rename(one)
    name.rename(other)
    assert load("CLT027c", "est")["cell_id"] == wanted


# -- errors: each names file and member, says what to do, and leaves no shard ----------------------


def refused(config: str, *words: str) -> None:
    releases.refused("wingert2026", config, *words)


def test_no_data_folder(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINGERT2026_DATA")
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    refused("CLT027c", "BUILDERS_OFFLINE is set", "10.5281/zenodo.18331549", "WINGERT2026_DATA")


def test_data_folder_that_does_not_exist(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINGERT2026_DATA", str(release / "nowhere"))
    refused("CLT027c", "nowhere", "no such folder")


def test_folder_without_cell_list(release: Path) -> None:
    (release / "cell_list.csv").unlink()
    refused("cells", "lacks cell_list.csv", str(release))


def test_folder_without_recordings(release: Path, own_home: Path) -> None:
    shutil.rmtree(release / "recordings")
    refused("CLT027c", "no recordings", str(release), "recordings.zip")
    assert no_shard(own_home)
    assert len(load("cells", "cells")) > 0


def test_missing_archive_of_a_listed_session(release: Path) -> None:
    """It has no rows, and `A1` has those of the other sessions."""
    before = load("A1", "est")
    archive_of(release, "CLT027c").unlink()
    n_archives = len(list((release / "recordings").iterdir()))
    text = f"none of {n_archives} archives in {release / 'recordings'} holds a cell of CLT027c"
    refused("CLT027c", "wingert2026 has no data for 'CLT027c'", text)
    assert load("A1", "est")[:] == before.filter(lambda row: row["session"] != "CLT027c")[:]
    assert Note("CLT027c", "", text) in findings.find(Wingert2026).notes


def test_unknown_config_lists_near_matches(home: Path) -> None:
    with pytest.raises(CorpusError, match=r"did you mean .*CLT027c"):
        Wingert2026("CLT027d")
    with pytest.raises(ValueError, match=r"'CLT027d' not found\. Available: .*'CLT027c'"):
        load("CLT027d")


def test_site_that_the_release_does_not_list(release: Path) -> None:
    refused("PRN005a", "'PRN005a'", "valid names", "PRN015a", str(release))


def test_archive_without_resp(release: Path, own_home: Path) -> None:
    archive = archive_of(release, "CLT027c")
    rewrite(archive, lambda name, content: None if ".resp." in name else content)
    refused("CLT027c", archive.name, "has no signal 'resp'", "download it again")
    assert no_shard(own_home)


def test_cell_list_without_a_column_that_records_have(release: Path) -> None:
    path = release / "cell_list.csv"
    path.write_text(path.read_text().replace(",layer,", ",stratum,", 1))
    assert Wingert2026.read_list(Wingert2026.release()).notes == [
        Note("", "cell_list.csv", "no column layer: it is null in all rows")
    ]
    records = load("CLT027c", "est")
    assert (len(records), set(records["layer"])) == (180, {None})
    assert set(load("cells", "cells")["layer"]) == {None}


def test_cell_list_without_a_column_that_all_needs(release: Path, own_home: Path) -> None:
    path = release / "cell_list.csv"
    path.write_text(path.read_text().replace(",siteid,", ",place,", 1))
    refused("CLT027c", "cell_list.csv", "no column siteid")
    assert no_shard(own_home)


def stimuli_of(session: str) -> Dataset:
    files = f"corpus://wingert2026/stimuli/{session}/*.parquet"
    return load_dataset("parquet", data_files=files, split="train")


def test_spectrogram_with_the_wrong_number_of_bands(release: Path, own_home: Path) -> None:
    def cut(h5: h5py.File) -> None:
        name = max(h5)
        shorter = h5[name][:31]
        del h5[name]
        h5[name] = shorter

    before = stimuli_of("CLT027c")
    archive = archive_of(release, "CLT027c")
    change_member(archive, ".stim.h5", lambda data: change_h5(data, cut))
    unit = max(before["stim_id"])
    with pytest.raises(CorpusError) as caught:
        stimuli_of("CLT027c")
    for word in (
        archive.name,
        "stim.h5",
        "shape (31, 2200), expected (32, T)",
        f"exclude wingert2026 {unit} ",
    ):
        assert word in str(caught.value)
    assert len(load("CLT027c", "est")) == 180
    write_excluded("wingert2026", {unit: "31 bands"})
    kept = [row for row in before if row["stim_id"] != unit]
    assert list(stimuli_of("CLT027c")) == kept
    assert unit not in load("CLT027c", "est").unique("stim_id")


def test_presented_stimulus_without_a_spectrogram(release: Path) -> None:
    gone: list[str] = []

    def remove(h5: h5py.File) -> None:
        gone.append(min(h5))
        del h5[gone[0]]

    before, records = stimuli_of("CLT027c"), load("CLT027c", "val")
    archive = archive_of(release, "CLT027c")
    change_member(archive, ".stim.h5", lambda data: change_h5(data, remove))
    assert list(stimuli_of("CLT027c")) == [row for row in before if row["stim"] not in gone]
    assert load("CLT027c", "val")[:] == records[:]
    note = Note("CLT027c", gone[0], "it was presented, but has no spectrogram")
    assert note in findings.find(Wingert2026).notes


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99999])
def test_truncated_archive(release: Path, own_home: Path, kept: float) -> None:
    archive = archive_of(release, "CLT027c")
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: int(len(content) * kept)])
    refused("CLT027c", archive.name, "damaged or incomplete", "download it again")
    assert no_shard(own_home)
    archive.write_bytes(content)
    assert len(load("CLT027c", "est")) == 180


def test_a_flipped_bit_is_noticed_by_the_archives_own_checksum(release: Path) -> None:
    archive = archive_of(release, "CLT027c")
    plain = bytearray(gzip.decompress(archive.read_bytes()))
    packed = gzip.compress(bytes(plain), 1)
    archive.unlink()
    archive.write_bytes(packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])
    refused("CLT027c", archive.name, "hecksum")


def test_cell_listed_by_the_archive_but_without_spike_times(release: Path) -> None:
    gone: list[str] = []

    def remove(h5: h5py.File) -> None:
        gone.append(min(h5))
        del h5[gone[0]]

    before = load("CLT027c", "est")
    archive = archive_of(release, "CLT027c")
    change_member(archive, ".resp.h5", lambda data: change_h5(data, remove))
    after = load("CLT027c", "est")
    assert after[:] == before.filter(lambda row: row["cell_id"] not in gone)[:]
    note = Note("CLT027c", gone[0], "its JSON names it, but there are no spike times")
    assert note in findings.find(Wingert2026).notes


def test_a_cell_that_cannot_be_read_holds_back_no_other_area(release: Path) -> None:
    """LMD037a has cells of A1 and of AC."""
    site = load("LMD037a", "est")
    spoilt = min(row["cell_id"] for row in site.remove_columns("response") if row["area"] == "AC")

    def spoil(h5: h5py.File) -> None:
        del h5[spoilt]
        h5[spoilt] = [0.1, np.nan]

    archive = archive_of(release, "LMD037a")
    change_member(archive, ".resp.h5", lambda data: change_h5(data, spoil))
    for config in ("LMD037a", "AC"):
        refused(config, archive.name, f"cell {spoilt}: a spike time is not a finite number")
    of_a1 = load("A1", "est").filter(lambda row: row["session"] == "LMD037a")
    assert of_a1[:] == site.filter(lambda row: row["area"] == "A1")[:]
    write_excluded("wingert2026", {spoilt: "its times are NaN"})
    assert load("LMD037a", "est")[:] == site.filter(lambda row: row["cell_id"] != spoilt)[:]


def test_a_stimulus_that_cannot_be_placed_holds_back_no_other_subset(release: Path) -> None:
    """`load_dataset` looks into all splits of a config, whichever is asked for."""
    before = load("CLT027c")
    stim = min(before["est"]["stim"])
    archive = archive_of(release, "CLT027c")
    header = read_member(archive, ".resp.epoch.csv").decode().splitlines()[0].split(",")
    row = dict.fromkeys(header, "") | {"name": stim, "start": "2", "end": "1"}
    added = ",".join(row[name] for name in header).encode() + b"\n"
    change_member(archive, ".resp.epoch.csv", lambda content: content + added)
    exclude = f"builders exclude wingert2026 CLT027c/{stim} --because"
    refused("CLT027c", archive.name, f"{stim}: an epoch starts before 0", exclude)
    val = "corpus://wingert2026/data/A1/CLT027c/val.parquet"
    assert load_dataset("parquet", data_files=val, split="train")[:] == before["val"][:]
    write_excluded("wingert2026", {f"CLT027c/{stim}": "it ends before it starts"})
    after = load("CLT027c")
    assert after["est"][:] == before["est"].filter(lambda row: row["stim"] != stim)[:]
    assert after["val"][:] == before["val"][:]


def test_epochs_past_the_segments_of_the_recording(release: Path) -> None:
    """The last epoch's end is that of the recording, whatever its JSON says."""
    wanted = load("CLT027c")
    archive = archive_of(release, "CLT027c")
    shorter = partial(re.sub, rb'"segments": \[\[0, \d+\]\]', b'"segments": [[0, 900]]')
    before = read_member(archive, ".resp.json")
    change_member(archive, ".resp.json", shorter)
    assert read_member(archive, ".resp.json") != before
    assert [load("CLT027c")[subset][:] for subset in wanted] == [wanted[s][:] for s in wanted]
    assert not [note for note in findings.find(Wingert2026).notes if note.session == "CLT027c"]


@pytest.mark.parametrize("prefix", ["01.", "02.", "17."])
def test_later_views_of_a_signal_are_ignored(release: Path, prefix: str) -> None:
    wanted = load("CLT027c", "est")[:]
    archive = archive_of(release, "CLT027c")
    views = ("resp.h5", "resp.json", "resp.epoch.csv")
    wrong = {f"CLT027c/{prefix}CLT027c.{view}": b"wrong" for view in views}
    rewrite(archive, lambda name, content: content, wrong)
    assert load("CLT027c", "est")[:] == wanted


def test_signals_that_nobody_asks_for_may_hold_anything(release: Path) -> None:
    wanted = load("CLT027c", "est")[:]
    archive = archive_of(release, "CLT027c")
    names = ("pupil.h5", "pupil.json", "pupil.epoch.csv", "facemap.csv", "meta.json")
    rewrite(archive, lambda name, content: content, {f"CLT027c.{name}": b"\0x" for name in names})
    assert load("CLT027c", "est")[:] == wanted


def test_a_cell_without_a_site(release: Path) -> None:
    path = release / "cell_list.csv"
    path.write_text(path.read_text().replace(",CLT027c,", ",,", 1))
    refused("cells", "cell_list.csv", "CLT027c-", "has no siteid")


def test_a_column_that_stands_twice(release: Path) -> None:
    """Where the two differ, it stops those who ask for it."""
    path = release / "cell_list.csv"
    text = path.read_text()
    path.write_text(text.replace("siteid_2,", "iso,", 1))
    refused("cells", "cell_list.csv", "twice, with different values: iso")
    assert len(load("CLT027c", "est")) == 180
    path.write_text(text.replace("siteid_2,", "area,", 1))
    refused("CLT027c", "cell_list.csv", "twice, with different values: area")


def test_links_that_lead_nowhere_do_no_harm(release: Path) -> None:
    (release / "wav").symlink_to(release / "nowhere")
    assert len(load("CLT027c", "est")) == 180


def test_swapped_archive_whose_content_changes_is_noticed(release: Path) -> None:
    one, other = archive_of(release, "CLT027c"), archive_of(release, "CLT050c")
    contents = one.read_bytes(), other.read_bytes()
    for path, content in zip((other, one), contents, strict=True):
        path.unlink()
        path.write_bytes(content)
    assert sum(map(sum, load("CLT027c", "est")[0]["response"])) > 0

    def silence(h5: h5py.File) -> None:
        for cell in list(h5):
            del h5[cell]
            h5[cell] = np.zeros(0)

    change_member(other, ".resp.h5", lambda data: change_h5(data, silence))
    assert sum(map(sum, load("CLT027c", "est")[0]["response"])) == 0
