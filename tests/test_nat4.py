"""What is particular to nat4: two kinds of recordings, cell ids that differ, and its errors."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from datasets import DatasetDict, Value, concatenate_datasets, load_dataset

from builders.builder import find_corpus
from builders.errors import CorpusError
from builders.notes import Note
from builders.reference import members
from builders.release import Archive
from nat4.builder import Nat4
from nat4.population import Area, column_type, match_cells, read_area, typed_column
from nat4.synthetic import plan
from tests import releases as spoilt
from tests.releases import change_h5, change_member, copy_release, no_shard, rewrite

POPULATION = "NAT4_ozgf.fs100.ch18.tgz"


@pytest.fixture
def release(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the mini release to spoil, with empty caches."""
    folder = copy_release(releases("nat4"), own_home / "release")
    monkeypatch.setenv("NAT4_DATA", str(folder))
    return folder


def epochs_of(archive: Path) -> str:
    return members(Archive(archive.name, archive))["resp.epoch.csv"].decode()


def load(config: str, subset: str | None = None) -> DatasetDict:
    return load_dataset("./nat4", config, split=subset)


def refused(config: str, *words: str) -> None:
    spoilt.refused("nat4", config, *words)


def site_archive(release: Path, site: str) -> Path:
    (archive,) = (release / "A1_single_sites").glob(f"A1_{site}_*")
    return archive


# -- what is there ---------------------------------------------------------------------------------


def test_responses_have_the_shapes_of_one_and_of_twenty_trials(home: Path) -> None:
    torch = load("TNC008a").with_format("torch")
    assert torch["est"][0]["response"].shape == (1, 150)
    assert torch["val"][0]["response"].shape == (20, 150)


def test_est_is_a_single_trial_whose_onset_the_release_has_dropped(home: Path) -> None:
    assert set(map(str, load("est", "est")["onsets"])) == {"None"}
    assert {len(onsets) for onsets in load("TNC012a", "val")["onsets"]} == {20}


def test_the_number_of_trials_is_what_the_epochs_say(home: Path) -> None:
    site = load("DRX006b", "val")
    trials = {row["stim"]: len(row["response"]) for row in site}
    assert Counter(trials.values()) == {20: 5, 19: 1}


def test_auditory_configs_hold_the_auditory_cells_and_no_others(home: Path) -> None:
    for area in ("A1", "PEG"):
        cells = load("cells", "cells").filter(lambda row, area=area: row["area"] == area)
        auditory = {row["cell_id"] for row in cells if row["auditory"]}
        assert set(load(f"{area}-auditory", "est").unique("cell_id")) == auditory
        assert 0 < len(auditory) < len(cells)


def test_a_cell_that_the_list_lacks_is_of_unknown_hearing_and_not_deaf(home: Path) -> None:
    (row,) = [row for row in load("cells", "cells") if row["cell_id"] == "DRX006b-17-1"]
    assert [row[name] for name in ("auditory", "sig_auditory", "r_test", "cellid")] == [None] * 4
    assert set(load("DRX006b", "est").filter(is_cell("DRX006b-17-1"))["auditory"]) == {None}


def is_cell(cell: str) -> Callable[[dict[str, object]], bool]:
    return lambda row: row["cell_id"] == cell


def test_cells_keep_all_columns_of_the_lists(home: Path, releases: Callable[[str], Path]) -> None:
    cells = {row["cell_id"]: row for row in load("cells", "cells")}
    for area in ("A1", "PEG"):
        with (releases("nat4") / f"{area}_pred_correlation.csv").open(newline="") as file:
            for listed in csv.DictReader(file):
                row = cells[listed["cellid"]]
                assert row["area"] == area
                for name in ("r_test", "r_floor", "r_ceiling"):
                    assert row[name] == (float(listed[name]) if listed[name] else None)


def test_missing_traces_have_no_record(home: Path) -> None:
    est = load("est", "est")
    pairs = set(zip(est["cell_id"], est["stim"], strict=True))
    cells = load("cells", "cells")
    missing = {
        (cell, stim)
        for cell in cells["cell_id"]
        for stim in est.unique("stim")
        if (cell, stim) not in pairs
    }
    assert missing == {pair for area in ("A1", "PEG") for pair in plan(area, "mini").missing}
    # Two whole traces of each area, and the trace of a cell that the mask leaves out in part.
    assert len(missing) == 5


# -- which cell is which ---------------------------------------------------------------------------


def test_cells_are_matched_by_exact_id_and_then_by_number(home: Path) -> None:
    a1 = plan("A1", "mini")
    cells = {row["cell_id"]: row for row in load("cells", "cells") if row["area"] == "A1"}
    matched = {cell for cell, row in cells.items() if row["val_match"] == "number"}
    assert matched == set(a1.padded)
    assert len(matched) == 3
    without = {cell for cell, row in cells.items() if not row["has_val"]}
    assert without == {"TNC008a-38-1", "DRX006b-63-1"}  # two with its numbers; in no site file
    assert {row["val_match"] for row in cells.values()} == {"exact", "number", None}
    with_val = set(load("A1", "val").unique("cell_id"))
    assert with_val == set(cells) - without


def test_numbers_decide_only_where_they_are_unique_on_both_sides() -> None:
    assert match_cells(["S-07-1"], ["S-007-1"]) == {"S-07-1": ("S-007-1", "number")}
    assert match_cells(["S-07-1"], ["S-07-1", "S-007-1"]) == {"S-07-1": ("S-07-1", "exact")}
    assert match_cells(["S-07-1"], ["S-007-1", "S-0007-1"]) == {}
    assert match_cells(["S-07-1", "S-7-1"], ["S-007-1"]) == {}
    assert match_cells(["S-07-1"], ["S-07-2", "T-07-1"]) == {}
    assert match_cells(["odd"], ["odd", "odder"]) == {"odd": ("odd", "exact")}


def test_cells_of_a_site_that_no_population_has_give_nothing(home: Path) -> None:
    assert "TNC022a" not in set(load("all", "val").unique("site"))
    assert "TNC022a" not in set(load("cells", "cells").unique("site"))
    assert "ARM029a-64-9" not in set(load("all", "val").unique("cell_id"))


def test_info_reports_how_many_cells_were_matched_each_way(home: Path) -> None:
    corpus = find_corpus("nat4")
    facts = corpus.describe(corpus.release())
    assert facts["A1 cells found in the site files by their exact id"] == 35
    assert facts["A1 cells found by site, electrode and unit number"] == 3
    assert facts["A1 cells without validation data"] == 2
    assert facts["A1 cells that are auditory, are not, are not said to be"] == "35, 4, 1"
    assert facts["A1 estimation and validation sounds"] == "40 and 6"


# -- the list of cells, as a laboratory may have written it ----------------------------------------


def listed(release: Path, old: str, new: str) -> Area:
    """The area A1 when its list is changed by a regular expression."""
    path = release / "A1_pred_correlation.csv"
    content = path.read_text()
    changed = re.sub(old, new, content, flags=re.M)
    assert changed != content
    path.write_text(changed)
    return read_area(Nat4.release(), "A1")


def test_ids_that_the_list_pads_otherwise_are_matched_by_number(release: Path) -> None:
    before = read_area(Nat4.release(), "A1")
    cells = before.cells()
    assert before.notes == []
    area = listed(release, r"^(TNC008a)-(\d+)-", r"\1-00\2-")
    padded = sum(cell.startswith("TNC008a-") for cell in cells["cell_id"].to_pylist())
    assert area.cells() == cells
    text = f"matched by number, their ids being padded otherwise: {padded} of 40 cells"
    assert area.notes == [Note("", "A1_pred_correlation.csv", text)]


def test_a_number_that_the_list_has_twice_matches_no_cell(release: Path) -> None:
    before = read_area(Nat4.release(), "A1").cells()["auditory"].to_pylist()
    area = listed(release, r"^TNC008a-(\d+)-(.*)$", r"TNC008a-0\1-\2\nTNC008a-00\1-\2")
    cells = area.cells().to_pylist()
    assert area.notes == []
    for cell, auditory in zip(cells, before, strict=True):
        assert cell["auditory"] == (None if cell["site"] == "TNC008a" else auditory)


def test_a_list_that_does_not_say_which_cells_are_auditory(release: Path) -> None:
    area = listed(release, r",sig_auditory$", ",hears")
    assert set(area.cells()["auditory"].to_pylist()) == {None}
    text = "no column sig_auditory: it is null in all rows"
    assert area.notes == [Note("", "A1_pred_correlation.csv", text)]
    assert {row["auditory"] for row in load("cells", "cells") if row["area"] == "A1"} == {None}


def test_flags_that_are_printed_as_numbers(release: Path) -> None:
    before = load("cells", "cells")
    for path in release.glob("*_pred_correlation.csv"):
        path.write_text(path.read_text().replace(",True\n", ",1.0\n").replace(",False\n", ",0\n"))
    cells = load("cells", "cells")
    for name in ("auditory", "sig_auditory"):
        assert cells[name] == before[name]
        assert cells.features[name] == Value("bool")


def test_an_odd_value_in_the_list_names_its_cell(release: Path) -> None:
    with pytest.raises(CorpusError, match=r"-1: row \d+, column sig_auditory: 'maybe' is no flag"):
        listed(release, r",False$", ",maybe")


def test_the_type_of_a_column_is_that_of_all_its_texts() -> None:
    def type_of(*texts: list[str | None]) -> pa.DataType:
        return column_type([pa.chunked_array([each], pa.string()) for each in texts])

    assert type_of(["1", "1.5", None], ["-2e3"]) == pa.float64()
    assert type_of(["True", None], ["1.0", "0"]) == type_of(["true"]) == pa.bool_()
    assert type_of(["True"], ["2"]) == type_of(["1_0"]) == type_of(["x"]) == pa.string()
    assert column_type([pa.chunked_array([[None, True]])]) == pa.bool_()
    texts = pa.chunked_array([["1.0", None, "False"]])
    assert typed_column(texts, pa.bool_()).to_pylist() == [True, None, False]


# -- beside the other corpus -----------------------------------------------------------------------


def test_records_of_both_corpora_concatenate(home: Path) -> None:
    parts = [
        load_dataset("./nat4", "A1", split="est"),
        load_dataset("./wingert2026", "CLT027c", split="est"),
    ]
    both = concatenate_datasets(parts)
    assert len(both) == sum(map(len, parts))
    assert [len(both[i]["response"][0]) for i in (0, len(both) - 1)] == [150, 2200]


# -- other forms of the release --------------------------------------------------------------------


def test_unpacked_folders_give_the_same_records(release: Path) -> None:
    packed = load("TNC008a")
    for archive in (release / f"A1_{POPULATION}", site_archive(release, "TNC008a")):
        folder = archive.with_name(archive.name.removesuffix(".tgz"))
        folder.mkdir()
        with tarfile.open(archive) as tar:
            for info in tar:
                file = tar.extractfile(info)
                (folder / info.name.split("/")[-1]).write_bytes(file.read() if file else b"")
        archive.unlink()
    unpacked = load("TNC008a")
    assert [unpacked[subset][:] for subset in packed] == [packed[subset][:] for subset in packed]


def test_site_archives_are_read_inside_the_zip(release: Path) -> None:
    wanted = load("TNC008a", "val")[:]
    folder = release / "A1_single_sites"
    with zipfile.ZipFile(f"{folder}.zip", "w") as file:
        for archive in folder.iterdir():
            file.write(archive, f"A1_single_sites/{archive.name}")
    shutil.rmtree(folder)
    assert load("TNC008a", "val")[:] == wanted


# -- errors ----------------------------------------------------------------------------------------


def edit_csv(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda content: b"".join(edit(content.splitlines(keepends=True)))


def test_population_without_a_column(release: Path, own_home: Path) -> None:
    archive = release / f"A1_{POPULATION}"
    drop = edit_csv(lambda lines: [line.partition(b",")[2] for line in lines])
    change_member(archive, ".resp.csv", drop)
    refused("A1", archive.name, ".resp.csv", "39 columns, but 40 channels", "download it again")
    assert no_shard(own_home)


def test_population_with_a_short_row(release: Path, own_home: Path) -> None:
    archive = release / f"A1_{POPULATION}"
    cut = edit_csv(lambda lines: [*lines[:4000], lines[4000].partition(b",")[2], *lines[4001:]])
    change_member(archive, ".resp.csv", cut)
    refused("A1", archive.name, ".resp.csv", "Expected 40 columns, got 39")
    assert no_shard(own_home)


def test_epoch_past_the_end_of_the_population(release: Path, own_home: Path) -> None:
    archive = release / f"A1_{POPULATION}"
    change_member(archive, ".resp.csv", edit_csv(lambda lines: lines[:-1]))
    refused("A1", archive.name, ".resp.csv", "STIM_", "the data at bin 6899")
    assert no_shard(own_home)


def test_partly_missing_trace_that_the_mask_does_not_leave_out(
    release: Path, own_home: Path
) -> None:
    archive = release / f"PEG_{POPULATION}"
    all_in = edit_csv(lambda lines: [line.replace(b"0.0", b"1.0") for line in lines])
    change_member(archive, ".mask_est.csv", all_in)
    (pair,) = [
        pair for pair, (first, stop) in plan("PEG", "mini").missing.items() if stop - first < 150
    ]
    refused("PEG", archive.name, ".resp.csv", *pair, "mask_est does not leave it out")
    assert no_shard(own_home)


def test_population_without_a_mask_where_it_is_needed(release: Path) -> None:
    rewrite(release / f"PEG_{POPULATION}", lambda name, data: None if "mask_est" in name else data)
    refused("PEG", POPULATION, "has no signal 'mask_est'")


def test_sound_that_a_site_was_not_presented_has_no_records_there(release: Path) -> None:
    archive = site_archive(release, "TNC012a")
    epochs = epochs_of(archive)
    gone = next(word for line in epochs.splitlines() for word in line.split(",") if "STIM_" in word)
    change_member(
        archive, ".epoch.csv", lambda data: data.replace(gone.encode(), b"something else")
    )
    presented = set(load("TNC012a", "val").unique("stim"))
    assert len(presented) == 5
    assert gone not in presented
    assert len(load("TNC008a", "val").unique("stim")) == 6
    facts = Nat4.describe(Nat4.release())
    assert facts["A1 validation sounds that TNC012a was not presented"] == gone


def test_missing_site_archive(release: Path, own_home: Path) -> None:
    site_archive(release, "TNC012a").unlink()
    refused("TNC012a", "no archive holds session TNC012a", "A1_single_sites")
    assert len(load("TNC008a", "val")) > 0


def test_missing_population(release: Path, own_home: Path) -> None:
    (release / f"A1_{POPULATION}").unlink()
    refused("A1", f"lacks A1_{POPULATION}", str(release))
    assert no_shard(own_home)


def test_missing_list_of_cells(release: Path) -> None:
    (release / "A1_pred_correlation.csv").unlink()
    refused("A1", "lacks A1_pred_correlation.csv", str(release))


def test_list_without_a_site_of_the_population(release: Path) -> None:
    path = release / "A1_pred_correlation.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("TNC012a")))
    refused("A1", POPULATION, "A1_pred_correlation.csv has no cell of TNC012a")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9999])
def test_truncated_population(release: Path, own_home: Path, kept: float) -> None:
    archive = release / f"A1_{POPULATION}"
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: int(len(content) * kept)])
    refused("A1", archive.name, "damaged or incomplete")
    assert no_shard(own_home)


def test_spectrograms_of_another_number_of_bands(release: Path) -> None:
    def narrower(content: bytes) -> bytes:
        return content.replace(b'"chans": ["', b'"chans": ["x", "')

    archive = release / f"A1_{POPULATION}"
    change_member(archive, ".stim.csv", edit_csv(lambda lines: [b"0.0," + line for line in lines]))
    change_member(archive, ".stim.json", narrower)
    refused("stimuli", archive.name, ".stim.csv", "has 19 bands, expected 18")


def test_spike_times_at_another_rate_than_can_be_summed(release: Path) -> None:
    archive = site_archive(release, "TNC008a")
    change_member(archive, ".json", lambda data: data.replace(b'"fs": 1000', b'"fs": 30'))
    refused("TNC008a", archive.name, "fs is 30; bins of 0.01 s need a multiple of 100")


def test_spikes_on_the_borders_of_1_and_10_ms(release: Path) -> None:
    """Planted by hand: the first trial of a site starts at bin `first` of 1 ms."""
    archive = site_archive(release, "TNC008a")
    rows = csv.DictReader(io.StringIO(epochs_of(archive)))
    onsets = sorted((float(row["start"]), row["name"]) for row in rows if "STIM_" in row["name"])
    onset, stim = onsets[0]
    first = round(onset * 1000)
    cell = "TNC008a-42-1"
    held = plan("A1", "mini").padded[cell]
    planted = np.array([first - 0.5, first + 0.5, first + 9.5, first + 10.5, first + 19.5]) / 1000

    def plant(h5: h5py.File) -> None:
        del h5[held]
        h5[held] = planted

    change_member(archive, ".resp.h5", lambda data: change_h5(data, plant))
    (record,) = [
        row for row in load("TNC008a", "val") if row["cell_id"] == cell and row["stim"] == stim
    ]
    assert record["onsets"][0] == onset
    assert record["response"][0][:3] == [2.0, 2.0, 0.0]
    assert sum(map(sum, record["response"])) == 4


def test_estimation_sound_that_stands_twice_in_the_population(release: Path) -> None:
    def twice(content: bytes) -> bytes:
        lines = content.splitlines()
        est, other = [line for line in lines if b"STIM_cat" in line][:2]
        name = next(word for word in est.split(b",") if b"STIM_" in word)
        old = next(word for word in other.split(b",") if b"STIM_" in word)
        return content.replace(old, name)

    archive = release / f"A1_{POPULATION}"
    change_member(archive, ".resp.epoch.csv", twice)
    refused("A1", archive.name, ".resp.csv", "stands there twice")


def test_unknown_columns_of_the_lists_are_kept_whatever_they_hold(release: Path) -> None:
    """One that has a name of ours, one whose type differs between the areas, one of dates."""
    for area, number in (("A1", "1.5"), ("PEG", "high")):
        path = release / f"{area}_pred_correlation.csv"
        header, *lines = path.read_text().splitlines()
        added = [f"{line},deep,{number},2019-04-01,7" for line in lines]
        path.write_text("\n".join([f"{header},area,odd,when,unit", *added]) + "\n")
    cells = load("cells", "cells")
    listed = [row for row in cells if row["cellid"]]
    assert {row["published_area"] for row in listed} == {"deep"}
    assert {(row["area"], row["odd"]) for row in listed} == {("A1", "1.5"), ("PEG", "high")}
    assert {row["when"] for row in listed} == {"2019-04-01"}
    assert {row["published_unit"] for row in listed} == {7.0}
    assert len(set(cells["unit"])) > 1
    assert set(load("A1", "est").unique("area")) == {"A1"}


def test_number_of_trials_is_that_of_a_site_that_was_presented_the_sound(release: Path) -> None:
    sites = sorted(path.name.split("_")[1] for path in (release / "A1_single_sites").iterdir())
    archive = site_archive(release, sites[0])
    epochs = epochs_of(archive)
    gone = next(word for line in epochs.splitlines() for word in line.split(",") if "STIM_" in word)
    change_member(archive, ".epoch.csv", lambda data: data.replace(gone.encode(), b"other"))
    (row,) = [row for row in load("stimuli", "val") if row["stim"] == gone]
    assert row["n_trials"] in (19, 20)


def test_mask_without_the_epoch_that_is_asked_for(release: Path) -> None:
    archive = release / f"PEG_{POPULATION}"
    change_member(archive, ".mask_est.epoch.csv", lambda data: data.replace(b"STIM_", b"STEM_"))
    refused("PEG", archive.name, "mask_est.epoch.csv", "no such epoch")


def test_a_list_that_changes_in_an_unknown_column_is_read_again(release: Path) -> None:
    before = load("cells", "cells")["r_test"]
    path = release / "A1_pred_correlation.csv"
    header, first, *rest = path.read_text().splitlines(keepends=True)
    cell, _, others = first.split(",", 2)
    path.write_text("".join([header, f"{cell},0.123456,{others}", *rest]))
    after = load("cells", "cells")["r_test"]
    assert 0.123456 in after
    assert 0.123456 not in before
