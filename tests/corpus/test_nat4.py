"""What is particular to nat4: two kinds of recordings, cell ids that differ, and its errors."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Value, concatenate_datasets, load_dataset

from builders.corpus.registry import find_corpus
from builders.repository import findings
from builders.shards.excluded import write_excluded
from builders.shards.notes import Note
from nat4.builder import Nat4
from nat4.population import Area, column_type, match_cells, read_area, typed_column
from nat4.synthetic.plan import plan
from tests import releases as spoilt
from tests.releases import change_h5, change_member, copy_release, no_shard, read_member, rewrite

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
    return read_member(archive, ".resp.epoch.csv").decode()


def load(config: str, subset: str | None = None) -> DatasetDict:
    return load_dataset("./nat4", config, split=subset)


def load_shard(path: str) -> Dataset:
    """One shard alone: `load_dataset` prepares all splits of a config, whichever is asked for."""
    return load_dataset("parquet", data_files=f"corpus://nat4/{path}", split="train")


def refused(config: str, *words: str) -> None:
    spoilt.refused("nat4", config, *words)


def notes(subject: str, session: str | None = None) -> list[str]:
    """What is noted of a cell, a stimulus or a file, or, of an empty subject, of a session."""
    return [
        note.text
        for note in findings.find(Nat4).notes
        if note.subject == subject and session in (None, note.session)
    ]


def responses(config: str, subset: str) -> dict[tuple[str, str], list[list[float]]]:
    rows = load(config, subset)
    return {(row["stim"], row["cell_id"]): row["response"] for row in rows}


def site_archive(release: Path, site: str) -> Path:
    (archive,) = (release / "A1_single_sites").glob(f"A1_{site}_*")
    return archive


# -- what is there ---------------------------------------------------------------------------------


def test_responses_have_the_shapes_of_one_and_of_twenty_trials(home: Path) -> None:
    torch = load("TNC008a").with_format("torch")
    assert torch["est"][0]["response"].shape == (1, 150)
    assert torch["val"][0]["response"].shape == (20, 150)


def test_est_is_a_single_trial_whose_onset_the_release_has_dropped(home: Path) -> None:
    assert set(map(str, load("est", "est")["onsets"])) == {"[]"}
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
    """Whoever uses the cell must know; one who leaves it out need not."""
    area = listed(release, r"^(TNC008a-42-1,.*),\w+$", r"\1,maybe")
    (cell,) = area.known.invalid
    why = f"{cell}: row "
    refused("TNC008a", why, "column sig_auditory: 'maybe' is no flag", f"exclude nat4 {cell} --b")
    assert load("TNC012a").num_rows["val"] > 0


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
    unpack(release / f"A1_{POPULATION}")
    unpack(site_archive(release, "TNC008a"))
    unpacked = load("TNC008a")
    assert [unpacked[subset][:] for subset in packed] == [packed[subset][:] for subset in packed]


def unpack(archive: Path) -> Path:
    folder = archive.with_name(archive.name.removesuffix(".tgz"))
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for info in tar:
            file = tar.extractfile(info)
            (folder / info.name.split("/")[-1]).write_bytes(file.read() if file else b"")
    archive.unlink()
    return folder


def test_an_unpacked_population_is_edited_between_two_loads(release: Path) -> None:
    folder = unpack(release / f"A1_{POPULATION}")
    before = load("TNC008a", "est")
    (file,) = folder.glob("*.resp.json")
    cell, other = before["cell_id"][0], f"{before['cell_id'][0]}9"
    # In place: neither the names in the folder nor its date change.
    with file.open("r+b") as opened:
        edited = opened.read().replace(f'"{cell}"'.encode(), f'"{other}"'.encode())
        opened.seek(0)
        opened.write(edited)
    after = load("TNC008a", "est")
    assert cell not in after["cell_id"]
    assert responses_of(after, other) == responses_of(before, cell)


def responses_of(records: Dataset, cell: str) -> list[tuple[Any, ...]]:
    return [(row["stim_id"], row["response"]) for row in records if row["cell_id"] == cell]


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


@pytest.mark.parametrize("n_bins", [149, 1, 0])
def test_a_window_is_cut_where_the_population_ends(release: Path, n_bins: int) -> None:
    archive = release / f"A1_{POPULATION}"
    sound = responses("A1", "est")
    rows = [
        row for row in csv.DictReader(io.StringIO(epochs_of(archive))) if "STIM_" in row["name"]
    ]
    last = max(rows, key=lambda row: float(row["start"]))["name"]
    lost = 150 - n_bins
    change_member(archive, ".resp.csv", edit_csv(lambda lines: lines[:-lost]))
    found = responses("A1", "est")
    for (stim, cell), trials in sound.items():
        if stim != last:
            assert found[stim, cell] == trials
        elif n_bins:
            assert found[stim, cell] == [trial[:n_bins] for trial in trials]
        else:
            assert (stim, cell) not in found
    assert notes(last) == ["the population's data end before it does: it is cut there"]


def without(ending: str) -> Callable[[str, bytes], bytes | None]:
    return lambda name, content: None if name.endswith(ending) else content


def with_mask(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[str, bytes], bytes]:
    edit = edit_csv(change)
    return lambda name, content: edit(content) if name.endswith(".mask_est.csv") else content


MASKS: dict[str, Callable[[str, bytes], bytes | None]] = {
    "leaves out nothing": with_mask(lambda lines: [each.replace(b"0.0", b"1.0") for each in lines]),
    "has another width": with_mask(lambda lines: [each.strip() + b",0.0\n" for each in lines]),
    "is no table": with_mask(lambda lines: [b"x\n"]),
    "is too short": with_mask(lambda lines: lines[:10]),
    "is not there": lambda name, content: None if ".mask_est." in name else content,
    "has no header": without(".mask_est.json"),
    "has no epochs": without(".mask_est.epoch.csv"),
}


def partly_missing() -> tuple[str, str, int, int]:
    """Cell and stimulus of a trace that is missing in part, and where it is."""
    (found,) = [
        (*pair, *place)
        for pair, place in plan("PEG", "mini").missing.items()
        if place[1] - place[0] < 150
    ]
    return found


@pytest.mark.parametrize("change", MASKS.values(), ids=list(MASKS))
def test_a_trace_that_is_missing_in_part_is_kept_as_stored_unless_the_mask_leaves_it_out(
    release: Path, change: Callable[[str, bytes], bytes | None]
) -> None:
    cell, stim, first, stop = partly_missing()
    sound = responses("PEG", "est")
    assert (stim, cell) not in sound
    assert notes(cell) == [
        f"{stim}: values are missing in a part of it; no trial, as mask_est leaves it out"
    ]
    rewrite(release / f"PEG_{POPULATION}", change)
    found = responses("PEG", "est")
    (trial,) = found.pop((stim, cell))
    assert np.flatnonzero(np.isnan(trial)).tolist() == list(range(first, stop))
    assert found == sound
    assert notes(cell) == [f"{stim}: values are missing in a part of it; kept as stored"]


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


def test_missing_site_archive(release: Path) -> None:
    before, stimuli = load("A1"), load("stimuli", "val")
    site_archive(release, "TNC012a").unlink()
    site = load("TNC012a")
    assert site["val"].num_rows == 0
    others = before["val"].filter(lambda row: row["site"] != "TNC012a")
    after = load("A1")
    assert after["est"][:] == before["est"][:]
    assert after["val"][:] == others[:]
    where = release / "A1_single_sites"
    text = f"no validation data: none of 3 archives in {where} holds a cell of TNC012a"
    assert notes("", "TNC012a") == [text]
    cells = load("cells", "cells")
    assert notes("", "TNC012a") == [text]
    assert {row["has_val"] for row in cells if row["site"] == "TNC012a"} == {False}
    assert load("stimuli", "val")[:] == stimuli[:]


def test_no_sites_at_all(release: Path) -> None:
    before = load("A1")
    shutil.rmtree(release / "A1_single_sites")
    after = load("A1")
    assert after["est"][:] == before["est"][:]
    assert after["val"].num_rows == 0
    for site in before["val"].unique("site"):
        assert notes("", site) == [f"no validation data: none of 0 archives holds a cell of {site}"]
    cells = load("cells", "cells")
    assert {row["has_val"] for row in cells if row["area"] == "A1"} == {False}
    assert load("PEG", "val").num_rows > 0


def test_a_site_whose_archive_is_broken(release: Path, own_home: Path) -> None:
    """Its validation data are refused, and nothing else; nobody knows which cells have some."""
    before, cells, stimuli = load("A1"), load("cells", "cells"), load("stimuli", "val")
    archive = site_archive(release, "ARM029a")  # the first one, which says how often
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[:-9])
    exclude = 'builders exclude nat4 ARM029a --because "..."'
    refused("A1", str(archive), "damaged or incomplete", exclude)
    for site in ("ARM029a", "TNC008a"):
        of_site = before["est"].filter(lambda row, site=site: row["site"] == site)
        assert load_shard(f"data/A1/{site}/est.parquet")[:] == of_site[:]
    assert load("TNC008a", "val").num_rows > 0
    for old, new in zip(cells, load("cells", "cells"), strict=True):
        unknown = {"has_val": None, "val_match": None} if new["site"] == "ARM029a" else {}
        assert new == {**old, **unknown}
    for old, new in zip(stimuli, load("stimuli", "val"), strict=True):
        assert new["spectrogram"] == old["spectrogram"]
        assert new["n_trials"] in (19, 20)
    first, second = notes("", "ARM029a")
    assert first.startswith("its recording cannot be read, so has_val is null: the archive is dam")
    assert second.startswith("its recording cannot be read, so its trials are not counted: the arc")
    write_excluded("nat4", {"ARM029a": "its archive is broken"})
    after = load("A1")
    assert after["est"][:] == before["est"][:]
    assert after["val"][:] == before["val"].filter(lambda row: row["site"] != "ARM029a")[:]
    assert notes("", "ARM029a") == ["left out by `builders exclude`: its archive is broken"]


def test_a_stimulus_that_cannot_be_placed_at_one_site_is_counted_at_the_next(
    release: Path,
) -> None:
    archive = site_archive(release, "ARM029a")
    stim = next(row["stim"] for row in load("ARM029a", "val"))
    change_member(archive, ".epoch.csv", lambda data: f"name,start,end\n{stim},2,1\n".encode())
    (row,) = [row for row in load("stimuli", "val") if row["stim"] == stim]
    assert row["n_trials"] in (19, 20)
    assert notes(stim) == [
        f"its trials are not counted in {archive.name}: {stim}: an epoch starts before 0 or ends "
        "before it starts"
    ]
    refused("ARM029a", archive.name, f"builders exclude nat4 {stim} --because")


def test_missing_population(release: Path, own_home: Path) -> None:
    (release / f"A1_{POPULATION}").unlink()
    refused("A1", f"lacks A1_{POPULATION}", str(release))
    assert no_shard(own_home)


def test_an_area_without_its_list_of_cells_has_no_rows_and_the_other_has_all(
    release: Path,
) -> None:
    before = load("PEG")
    (release / "A1_pred_correlation.csv").unlink()
    after = load("PEG")
    assert [after[subset][:] for subset in after] == [before[subset][:] for subset in before]
    refused("A1", "nat4 has no data for 'A1'", "the release lacks A1_pred_correlation.csv")
    assert set(load("all", "est").unique("area")) == {"PEG"}
    assert notes("A1") == ["the release lacks A1_pred_correlation.csv"]
    assert set(load("cells", "cells").unique("area")) == {"PEG"}
    (release / "PEG_pred_correlation.csv").unlink()
    refused("PEG", "lacks A1_pred_correlation.csv", str(release))


def test_cells_that_the_list_or_the_population_has_alone_are_noted(release: Path) -> None:
    """One of the population is in `cells`; without a cell in the list, its site has no shard."""
    before, cells = load("A1", "est"), load("cells", "cells")
    path = release / "A1_pred_correlation.csv"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("TNC012a")]
    added = kept[1].replace(kept[1].partition(",")[0], "TNC008a-99-9")
    path.write_text("".join([*kept, added]))
    assert load("A1", "est")[:] == before.filter(lambda row: row["site"] != "TNC012a")[:]
    assert notes("TNC008a-99-9") == [
        "A1_pred_correlation.csv lists it, but the population does not hold it"
    ]
    after = load("cells", "cells")
    assert after["cell_id"] == cells["cell_id"]
    unlisted = {row["cell_id"] for row in after if row["site"] == "TNC012a"}
    for cell in {"DRX006b-17-1", *unlisted}:
        assert notes(cell) == ["A1_pred_correlation.csv does not list it"]
    assert {row["auditory"] for row in after if row["cell_id"] in unlisted} == {None}


def test_cells_that_were_matched_by_number_are_noted_one_by_one(release: Path) -> None:
    load("A1", "val")
    for cell, held in plan("A1", "mini").padded.items():
        assert notes(cell) == [f"matched by number: {held} in the site's recording"]
    for cell in ("TNC008a-38-1", "DRX006b-63-1"):
        assert notes(cell) == ["no validation data: the site's recording does not hold it"]
    load("PEG", "val")
    assert notes("ARM029a-64-9") == ["the site's recording holds it, but the population does not"]


def test_a_cell_that_cannot_be_read_is_named_as_the_population_names_it(release: Path) -> None:
    cell = "TNC008a-42-1"
    held = plan("A1", "mini").padded[cell]

    def spoil(h5: h5py.File) -> None:
        del h5[held]
        h5[held] = [np.nan]

    before = load("TNC008a", "val")
    archive = site_archive(release, "TNC008a")
    change_member(archive, ".resp.h5", lambda data: change_h5(data, spoil))
    refused("TNC008a", held, "not a finite number", f"builders exclude nat4 {cell} --because")
    write_excluded("nat4", {cell: "noisy"})
    site = load("TNC008a")
    assert site["val"][:] == before.filter(lambda row: row["cell_id"] != cell)[:]
    assert cell not in site["est"].unique("cell_id")
    assert "left out by `builders exclude`: noisy" in notes(cell)


def test_a_stimulus_that_is_left_out_has_neither_records_nor_a_spectrogram(release: Path) -> None:
    """Be it of the population or of the sites; another one is not built again."""
    before, stimuli = load("all"), load("stimuli")
    left = [min(stimuli[subset]["stim"]) for subset in ("est", "val")]
    write_excluded("nat4", dict.fromkeys(left, "noisy"))
    after = load("all")
    for subset, stim in zip(("est", "val"), left, strict=True):
        assert after[subset][:] == before[subset].filter(lambda row, s=stim: row["stim"] != s)[:]
        kept = load("stimuli", subset)["stim"]
        assert kept == [each for each in stimuli[subset]["stim"] if each != stim]
        assert set(notes(stim)) == {"left out by `builders exclude`: noisy"}
    write_excluded("nat4", {})
    assert [load("all")[subset][:] for subset in before] == [before[s][:] for s in before]


@pytest.mark.parametrize(
    ("chans", "why"),
    [(None, "the population names no cells"), ("twice", " twice")],
)
def test_a_population_that_does_not_say_which_cell_is_which_is_refused(
    release: Path, own_home: Path, chans: str | None, why: str
) -> None:
    archive = release / f"A1_{POPULATION}"

    def change(content: bytes) -> bytes:
        header = json.loads(content)
        names = header["chans"]
        header["chans"] = [names[1], *names[1:]] if chans else None
        return json.dumps(header).encode()

    change_member(archive, ".resp.json", change)
    for config in ("A1", "cells"):
        refused(config, archive.name, ".resp.json", why)
    assert load("PEG", "est").num_rows > 0


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


def test_a_stimulus_of_the_population_that_cannot_be_placed(release: Path) -> None:
    """It holds back the estimation data of its area; left out, it holds back nothing."""
    before = load("A1", "est")
    stim = before["stim"][0]
    archive = release / f"A1_{POPULATION}"
    rows = epochs_of(archive).splitlines()
    header = rows[0].split(",")
    row = dict.fromkeys(header, "") | {"name": stim, "start": "5", "end": "1"}
    added = ",".join(row[name] for name in header).encode() + b"\n"
    change_member(archive, ".resp.epoch.csv", lambda content: content + added)
    why = f"{stim}: an epoch starts before 0 or ends before it starts"
    refused("A1", archive.name, ".resp.epoch.csv", why, f"builders exclude nat4 {stim} --because")
    assert load_shard("data/A1/TNC008a/val.parquet").num_rows > 0
    write_excluded("nat4", {stim: "its epoch is odd"})
    assert load("A1", "est")[:] == before.filter(lambda row: row["stim"] != stim)[:]


def test_a_sound_that_the_population_has_twice_has_two_trials(release: Path) -> None:
    """One window is that of another sound: then no spectrogram is that of both."""

    def twice(content: bytes) -> bytes:
        return content.replace(other.encode(), stim.encode())

    archive = release / f"A1_{POPULATION}"
    first, *_, last = sorted(
        (float(row["start"]), row["name"])
        for row in csv.DictReader(io.StringIO(epochs_of(archive)))
        if row["name"].startswith("STIM_cat")
    )
    (_, stim), (_, other) = first, last
    before, sounds = responses("A1", "est"), load("stimuli", "est")
    change_member(archive, ".resp.epoch.csv", twice)
    found = responses("A1", "est")
    assert other not in {name for name, _ in found}
    cells = {cell for name, cell in before if name in (stim, other)}
    for cell in cells:
        trials = [*before.get((stim, cell), []), *before.get((other, cell), [])]
        assert found[stim, cell] == trials
    assert notes(stim) == ["the population has it 2 times: so many trials"]

    change_member(archive, ".stim.epoch.csv", twice)
    (release / f"PEG_{POPULATION}").unlink()
    (release / "PEG_pred_correlation.csv").unlink()
    left = load("stimuli", "est")["stim"]
    assert left == [name for name in sounds["stim"] if name not in (stim, other)]
    assert "its 2 spectrograms in A1 differ: none is given" in notes(stim)


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


def test_a_list_that_changes_in_an_unknown_column_is_read_again(release: Path) -> None:
    before = load("cells", "cells")["r_test"]
    path = release / "A1_pred_correlation.csv"
    header, first, *rest = path.read_text().splitlines(keepends=True)
    cell, _, others = first.split(",", 2)
    path.write_text("".join([header, f"{cell},0.123456,{others}", *rest]))
    after = load("cells", "cells")["r_test"]
    assert 0.123456 in after
    assert 0.123456 not in before
