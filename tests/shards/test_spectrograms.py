"""Spectrograms of recordings as a laboratory may have left them: there, noted, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import (
    EPOCHS,
    SESSION,
    TILE,
    Files,
    epoch_csv,
    h5,
    header,
    pack,
    recording,
    response,
)
from tests.hardening.faults import STIM_H5
from tests.toy import EST, TILES, VAL_TILES, Toy

A, B, C = "STIM_a.wav", "STIM_b.wav", "STIM_00c.wav"
BOTH = {A: -TILE, B: TILE}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    return Toy(tmp_path)


def put(toy: Toy, tiles: dict[str, Any], epochs: bytes | None = None, **keys: Any) -> None:
    """Put the recording into the corpus, with these spectrograms."""
    files: Files = {**recording(), STIM_H5: h5(tiles)}
    files[f"{SESSION}.stim.json"] = header("TiledSignal", **keys)
    if epochs is not None:
        files[f"{SESSION}.stim.epoch.csv"] = epochs
    pack(toy.folder, files)


def spectrograms(toy: Toy, path: str = TILES) -> dict[str, list[list[float]]]:
    return {row["stim"]: row["spectrogram"] for row in toy.rows(path)}


def n_trials(toy: Toy, path: str = TILES) -> dict[str, int | None]:
    return {row["stim"]: row["n_trials"] for row in toy.rows(path)}


def test_a_sound_recording_has_no_notes(toy: Toy) -> None:
    put(toy, BOTH)
    assert spectrograms(toy) == {name: each.tolist() for name, each in BOTH.items()}
    assert n_trials(toy) == {A: 2, B: 1}
    assert {row["stim_id"] for row in toy.rows(TILES)} == {f"{SESSION}/{A}", f"{SESSION}/{B}"}
    assert toy.rows(VAL_TILES) == toy.notes(TILES) == toy.notes(VAL_TILES) == []


@pytest.mark.parametrize("n_bins", [7, 8, 9, 10, 11, 12, 13])
def test_a_spectrogram_stays_as_it_is_stored_however_long_its_trials_are(
    toy: Toy, n_bins: int
) -> None:
    tile = np.arange(2.0 * n_bins).reshape(2, n_bins)
    put(toy, {A: tile, B: TILE})
    assert spectrograms(toy) == {A: tile.tolist(), B: TILE.tolist()}
    text = f"its spectrogram has {n_bins} bins, its trials 10"
    assert toy.notes(TILES) == ([] if 9 <= n_bins <= 11 else [(A, text)])
    assert len(toy.rows(EST)) == 4


def test_one_trial_of_another_length_is_enough_to_be_noted(toy: Toy) -> None:
    put(toy, BOTH, epoch_csv([*EPOCHS, (A, 0.6, 0.65)]))
    assert n_trials(toy) == {A: 3, B: 1}
    assert toy.notes(TILES) == [
        (A, "its spectrogram has 10 bins, its trials 5 or 10"),
        (A, "its trials differ in length: 5 to 10 bins"),
    ]


def test_lengths_are_compared_in_bins_of_the_spectrograms(toy: Toy) -> None:
    put(toy, BOTH, fs=200)
    assert {row["dt_ms"] for row in toy.rows(TILES)} == {5.0}
    assert [text for _, text in toy.notes(TILES)] == [
        "its spectrogram has 10 bins, its trials 20"
    ] * 2


def test_a_stimulus_without_a_spectrogram_has_records_no_row_and_a_note(toy: Toy) -> None:
    put(toy, {B: TILE})
    assert list(spectrograms(toy)) == [B]
    assert toy.notes(TILES) == [(A, "it was presented, but has no spectrogram")]
    assert {row["stim"] for row in toy.rows(EST)} == {A, B}
    assert toy.notes(EST) == toy.notes(VAL_TILES) == []


def test_a_spectrogram_that_was_never_presented_is_a_row_and_noted(toy: Toy) -> None:
    put(toy, {**BOTH, "STIM_d.wav": TILE, C: TILE})
    assert n_trials(toy) == {A: 2, B: 1, "STIM_d.wav": 0}
    assert n_trials(toy, VAL_TILES) == {C: 0}
    text = "no epoch presents it, so it has no records"
    assert toy.notes(TILES) == [("STIM_d.wav", text)]
    assert toy.notes(VAL_TILES) == [(C, text)]


@pytest.mark.parametrize("gone", [True, False])
def test_without_epochs_nobody_knows_how_often(toy: Toy, gone: bool) -> None:
    files = {**recording(), f"{SESSION}.stim.epoch.csv": b""}
    if gone:
        del files[f"{SESSION}.stim.epoch.csv"]
    pack(toy.folder, files)
    assert spectrograms(toy) == {name: each.tolist() for name, each in BOTH.items()}
    assert n_trials(toy) == {A: None, B: None}
    text = "how often it was presented is not known: there is no epochs file"
    assert toy.notes(TILES) == [(A, text), (B, text)]


def test_trials_that_are_left_out_are_not_counted(toy: Toy) -> None:
    put(toy, BOTH, epoch_csv([*EPOCHS, (A, 0.7, "")]))  # type: ignore[list-item]
    assert n_trials(toy) == {A: 2, B: 1}
    assert toy.notes(TILES) == [(A, "1 occurrence left out: without a start or an end")]


ODD_TILES: dict[str, tuple[Any, str]] = {
    "a band too few": (TILE[:1], "shape (1, 10), expected (2, T)"),
    "a band too many": (np.zeros((3, 10)), "shape (3, 10), expected (2, T)"),
    "transposed": (TILE.T, "shape (10, 2), expected (2, T)"),
    "one axis": (TILE[0], "shape (10,), expected (2, T)"),
    "three axes": (TILE[None], "shape (1, 2, 10), expected (2, T)"),
    "texts": (["x", "y"], "no numbers"),
    "complex": (TILE * 1j, "no numbers"),
}


@pytest.mark.parametrize(("tile", "why"), ODD_TILES.values(), ids=list(ODD_TILES))
def test_an_odd_spectrogram_holds_back_no_subset_but_its_own(toy: Toy, tile: Any, why: str) -> None:
    put(toy, {A: tile, B: TILE, C: TILE})
    message = toy.refusal(TILES, f"{SESSION}/{A}")
    assert f"{SESSION}.tgz: {STIM_H5}" in message
    assert why in message
    assert list(spectrograms(toy, VAL_TILES)) == [C]
    toy.exclude(f"{SESSION}/{A}")
    assert list(spectrograms(toy)) == [B]
    toy.exclude()


def test_a_presentation_that_cannot_be_placed_holds_back_no_subset_but_its_own(toy: Toy) -> None:
    put(toy, {**BOTH, C: TILE}, epoch_csv([*EPOCHS, (A, 0.2, 0.1), (C, 0.7, 0.8)]))
    message = toy.refusal(TILES, f"{SESSION}/{A}")
    assert "stim.epoch.csv" in message
    assert n_trials(toy, VAL_TILES) == {C: 1}


def test_a_table_of_epochs_that_is_none_is_refused(toy: Toy) -> None:
    put(toy, BOTH, b"name,start\n")
    assert "no column 'end'" in toy.refusal(TILES, SESSION)


def test_spectrograms_need_no_spike_times(toy: Toy) -> None:
    files = {**recording(), f"{SESSION}.resp.h5": b"garbage"}
    pack(toy.folder, files)
    assert list(spectrograms(toy)) == [A, B]
    toy.refusal(EST, SESSION)


# In two archives


def again(toy: Toy, tiles: dict[str, Any], epochs: Any = EPOCHS) -> None:
    """A second archive of the session, with another cell."""
    files = {**recording(), **response({f"{SESSION}-009-1": [0.01]}, epochs=epochs)}
    files |= {STIM_H5: h5(tiles), f"{SESSION}.stim.epoch.csv": epoch_csv(epochs)}
    pack(toy.folder, files, f"{SESSION}_2.tgz")


def test_equal_spectrograms_in_two_archives_are_one_row(toy: Toy) -> None:
    """Presentations are counted in the first."""
    put(toy, BOTH)
    again(toy, {A: -TILE, "STIM_d.wav": TILE}, [(A, 0.0, 0.1), ("STIM_d.wav", 0.2, 0.3)])
    assert n_trials(toy) == {A: 2, B: 1, "STIM_d.wav": 1}
    assert toy.notes(TILES) == []


def test_spectrograms_that_differ_in_two_archives_are_refused(toy: Toy) -> None:
    put(toy, {**BOTH, C: TILE})
    changed = TILE.copy()
    changed[1, 3] += 1e-3
    again(toy, {B: changed, C: TILE})
    message = toy.refusal(TILES, f"{SESSION}/{B}")
    assert f"{SESSION}_2.tgz: {STIM_H5}" in message
    assert f"not the spectrogram that it is in {toy.folder}/recordings/{SESSION}.tgz" in message
    assert list(spectrograms(toy, VAL_TILES)) == [C]
