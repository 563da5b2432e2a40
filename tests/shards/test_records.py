"""Records of recordings as a laboratory may have left them: what is there, noted, or refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.conventions import Conventions
from builders.nems.archive import recording_error
from builders.nems.binning import MAX_BINS
from builders.nems.recording import read_signals
from builders.shards.spikes import Spikes
from tests.archives import (
    CELL,
    EPOCHS,
    SESSION,
    SILENT,
    SPIKES,
    Files,
    epoch_csv,
    h5,
    header,
    pack,
    recording,
    response,
)
from tests.toy import EST, VAL, Toy, counts

A, B, C = "STIM_a.wav", "STIM_b.wav", "STIM_00c.wav"
#: What `recording` holds.
SOUND = {
    (A, SILENT): [counts(), counts()],
    (A, CELL): [counts(5), counts(9)],
    (B, SILENT): [counts()],
    (B, CELL): [counts(1, 1)],
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    return Toy(tmp_path)


def put(toy: Toy, **members: bytes) -> None:
    """Put the recording into the corpus, with other contents: ``resp_h5`` is X.resp.h5."""
    names = {f"{SESSION}.{name.replace('_', '.')}": each for name, each in members.items()}
    pack(toy.folder, {**recording(), **names})


def with_epochs(*rows: tuple[str, float | str, float | str]) -> bytes:
    return epoch_csv([*EPOCHS, *rows])  # type: ignore[list-item]


def test_a_sound_recording_has_no_notes(toy: Toy) -> None:
    put(toy)
    assert toy.responses(EST) == SOUND
    assert toy.responses(VAL) == {}
    assert toy.notes(EST) == toy.notes(VAL) == []


# Cells


def test_a_cell_that_the_json_names_without_spike_times_has_no_records(toy: Toy) -> None:
    put(toy, resp_h5=h5({CELL: SPIKES}))
    assert toy.responses(EST) == {key: each for key, each in SOUND.items() if CELL in key}
    assert toy.notes(EST) == [(SILENT, "its JSON names it, but there are no spike times")]


@pytest.mark.parametrize("chans", [[CELL], [CELL, "x"]])
def test_a_cell_with_spike_times_that_the_json_does_not_name_has_records(
    toy: Toy, chans: list[str]
) -> None:
    put(toy, resp_json=header("PointProcess", chans=chans))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == [
        (SILENT, "its spike times are there, though the JSON does not name it")
    ]


def test_a_json_that_names_no_cells_is_no_loss(toy: Toy) -> None:
    put(toy, resp_json=header("PointProcess", chans=None))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == []


def test_cells_that_the_list_or_the_archive_has_alone_have_no_records(toy: Toy) -> None:
    listed = {CELL: "A1", f"{SESSION}-003-1": "A1", f"{SESSION}-004-1": "PEG", "PRN001a-1-1": "A1"}
    toy = Toy(toy.folder, listed)
    put(toy)
    assert toy.responses(EST) == {key: each for key, each in SOUND.items() if CELL in key}
    unlisted = (SILENT, "an archive holds it, but the cell list does not name it")
    assert toy.notes(EST) == [
        unlisted,
        (f"{SESSION}-003-1", "the cell list names it, but no archive holds it"),
    ]
    peg = EST.replace("A1", "PEG")
    assert toy.rows(peg) == []
    assert toy.notes(peg) == [
        unlisted,
        (f"{SESSION}-004-1", "the cell list names it, but no archive holds it"),
    ]


@pytest.mark.parametrize(
    "times", [[0.1, np.nan], [np.inf], ["text"], [[0.1, 0.2], [0.3, 0.4]], [1j]]
)
def test_a_cell_that_cannot_be_read_holds_back_no_shard_but_its_own(
    toy: Toy, times: Sequence[object]
) -> None:
    toy = Toy(toy.folder, {SILENT: "A1", CELL: "PEG"})
    put(toy, resp_h5=h5({CELL: times, SILENT: []}))
    message = toy.refusal(EST.replace("A1", "PEG"), CELL)
    assert f"{SESSION}.tgz: {SESSION}.resp.h5" in message
    assert CELL in message.splitlines()[2]
    assert toy.responses(EST) == {key: each for key, each in SOUND.items() if SILENT in key}
    assert toy.notes(EST) == []


def test_a_cell_that_cannot_be_read_and_is_not_listed_harms_none(toy: Toy) -> None:
    toy = Toy(toy.folder, {SILENT: "A1"})
    put(toy, resp_h5=h5({CELL: [np.nan], SILENT: []}))
    assert toy.responses(EST) == {key: each for key, each in SOUND.items() if SILENT in key}


# Trials


def test_an_occurrence_without_an_end_is_left_out_and_noted(toy: Toy) -> None:
    put(toy, resp_epoch_csv=with_epochs((A, 0.0, ""), (A, "nan", 0.1), ("LICK", 0.3, "")))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == [(A, "2 occurrences left out: without a start or an end")]


def test_an_occurrence_that_overlaps_is_left_out_and_noted(toy: Toy) -> None:
    put(toy, resp_epoch_csv=with_epochs((A, 0.25, 0.35), (A, 0.2, 0.3)))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == [(A, "1 occurrence left out: overlapping the one before")]


def test_an_occurrence_without_bins_and_a_row_that_stands_twice_are_no_loss(toy: Toy) -> None:
    put(toy, resp_epoch_csv=with_epochs((A, 0.05, 0.05), (A, 0.2, 0.3)))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == []


def test_a_stimulus_without_a_trial_has_no_records_and_is_noted(toy: Toy) -> None:
    put(toy, resp_epoch_csv=with_epochs(("STIM_d.wav", 0.6, ""), ("STIM_e.wav", 0.6, 0.6)))
    assert toy.responses(EST) == SOUND
    assert toy.notes(EST) == [
        ("STIM_d.wav", "1 occurrence left out: without a start or an end"),
        ("STIM_d.wav", "no trial is left, so it has no records"),
        ("STIM_e.wav", "no trial is left, so it has no records"),
    ]


def test_trials_of_unequal_length_are_as_they_are_and_noted(toy: Toy) -> None:
    """But for one bin, which an onset half-way between two bins makes."""
    put(toy, resp_epoch_csv=with_epochs((A, 0.6, 0.65), (B, 0.7, 0.81), (B, 0.9, 1.0)))
    found = toy.responses(EST)
    assert found[A, CELL] == [counts(5), counts(9), counts(n_bins=5)]
    assert [len(trial) for trial in found[B, CELL]] == [10, 11, 10]
    assert toy.notes(EST) == [(A, "its trials differ in length: 5 to 10 bins")]


def test_lengths_are_told_in_bins_of_the_shard(toy: Toy) -> None:
    epochs = with_epochs((A, 0.6, 0.655), (B, 0.7, 0.809))
    put(toy, resp_epoch_csv=epochs, resp_json=header("PointProcess", fs=1000))
    assert [len(trial) for trial in toy.responses(EST)[A, CELL]] == [10, 10, 6]
    assert toy.notes(EST) == [(A, "its trials differ in length: 5.5 to 10 bins")]


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (-0.1, 0.1, "an epoch starts before 0"),
        (0.2, 0.1, "ends before it starts"),
        (0.0, MAX_BINS, "past bin"),
        (0.0, "inf", "past bin"),
        ("late", 0.1, "'late' is no number"),
    ],
)
def test_a_stimulus_that_cannot_be_placed_holds_back_no_subset_but_its_own(
    toy: Toy, start: float | str, end: float | str, why: str
) -> None:
    put(toy, resp_epoch_csv=with_epochs((A, start, end), (C, 0.4, 0.5)))
    message = toy.refusal(EST, f"{SESSION}/{A}")
    assert f"{SESSION}.tgz: {SESSION}.resp.epoch.csv" in message
    assert why in message
    assert toy.responses(VAL) == {(C, CELL): [counts(9)], (C, SILENT): [counts()]}


def test_the_table_of_epochs_is_needed(toy: Toy) -> None:
    put(toy, resp_epoch_csv=b"name,start\n")
    for path in (EST, VAL):
        assert "no column 'end'" in toy.refusal(path, SESSION)


def test_an_archive_as_published_is_not_to_be_fetched_again(toy: Toy) -> None:
    put(toy, resp_h5=b"garbage")
    assert "where they differ, download it again; to go on" in toy.refusal(EST, SESSION)
    fetched = replace(pack(toy.folder, recording()), key="md5", fetch=lambda: None)
    for archive, is_published in ((fetched, True), (replace(fetched, fetch=None), False)):
        message = str(recording_error(archive, "x", "y"))
        assert ("as published, its checksum agrees" in message) == is_published
        assert ("download it again" in message) != is_published


# Many cells and long recordings


def test_248_cells_of_73_minutes_at_1_khz_are_counted_in_64_bits(toy: Toy) -> None:
    """Laid end to end, with a gap after each, they have more bins than 32 bits can name."""
    cells = [f"{SESSION}-{i:03d}-1" for i in range(248)]
    end = 73 * 60.0
    spikes = {cell: [0.05, end - 0.95 + i / 1e4] for i, cell in enumerate(cells)}
    files: Files = response(spikes, epochs=[(A, 0.0, 0.1), (B, end - 1, end)])
    files |= {f"{SESSION}.resp.json": header("PointProcess", chans=cells, fs=1000)}
    archive = pack(toy.folder, files)

    resp = read_signals(archive, ["resp"])["resp"]
    line = Spikes([resp], {cell: [(0, cell)] for cell in cells}, Conventions())._bins
    assert line.dtype == np.int64
    assert line.max() > 2**31
    assert (np.diff(line) >= 0).all()

    found = Toy(toy.folder, dict.fromkeys(cells, "A1")).responses(EST)
    assert len(found) == 2 * len(cells)
    for i, cell in enumerate(cells):
        assert found[A, cell] == [counts(5)], cell
        at = int((end - 0.95 + i / 1e4) * 1000) - round(1000 * (end - 1))
        assert found[B, cell] == [counts(at // 10, n_bins=100)], cell


def test_two_folders_with_archives_of_one_name_size_and_date_do_not_share_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a folder with what lay in it before."""
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    found = []
    for name, time in (("one", 0.05), ("other", 0.06), ("one", 0.07)):
        toy = Toy(tmp_path / name)
        archive = pack(toy.folder, response({CELL: [time], SILENT: []})).path
        archive.write_bytes(archive.read_bytes().ljust(1 << 16, b"\0"))
        os.utime(archive, (1, 1))
        found.append(toy.responses(EST)[B, CELL])
    assert found == [[counts(each)] for each in (5, 6, 7)]
