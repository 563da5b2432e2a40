"""Which archives hold a session, and what comes of cells that lie in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.errors import CorpusError
from builders.nems.sessions import candidates, read_session
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.release.local import Release
from tests.archives import (
    CELL,
    EPOCHS,
    LAYOUTS,
    SESSION,
    SILENT,
    SPIKES,
    Epochs,
    header,
    pack,
    recording,
    response,
)
from tests.toy import EST, TILES, Toy, counts

Layout = Callable[..., Archive]
FIRST, SECOND = f"{SESSION}_1.tgz", f"{SESSION}_2.tgz"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a release without files; a cache of one's own."""
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    return tmp_path / "toy"


def hold(folder: Path, sessions: Mapping[str, str], layout: Layout = pack) -> None:
    """Put archives of these names into the release, each with a session and a spike in it."""
    folder.mkdir(exist_ok=True)
    for name, session in sessions.items():
        layout(folder, response({f"{session}-001-1": [0.01]}), name)


def spoil(folder: Path, name: str, content: bytes = b"garbage") -> Path:
    path = folder / "recordings" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def archives(folder: Path) -> list[Archive]:
    return Release("toy", folder, "nowhere").archives("recordings")


def guessed(folder: Path, session: str, *listed: str) -> list[str]:
    """Names of the archives that are read first, if the cell list knows these sessions."""
    found = candidates(archives(folder), session, {session, *listed})
    return [each.name for each in found.first]


def found(
    folder: Path, session: str, *listed: str, name: str = "resp", cells: tuple[str, ...] = ()
) -> list[Signal]:
    return read_session(archives(folder), session, {session, *listed}, name, cells=cells)


def names(signals: list[Signal]) -> list[str]:
    return [each.archive.name for each in signals]


# Judged by name


def test_the_archives_named_after_a_session_are_read_first(folder: Path) -> None:
    all_names = (
        *("CLT001a_1.tgz", "CLT001_1.tgz", "CLT001ab_1.tgz", "A1_CLT001a_2.tgz", "CLT001b_1.tgz"),
    )
    hold(folder, dict.fromkeys(all_names, "CLT001a"))
    assert guessed(folder, "CLT001a") == ["A1_CLT001a_2.tgz", "CLT001a_1.tgz"]


def test_else_the_unlisted_archives_that_are_named_most_like_it(folder: Path) -> None:
    all_names = (
        *("A1_PRN018b_1.tgz", "CLT018a_1.tgz", "PRN018c_1.tgz", "PRN019a_1.tgz", "PRN020a_1.tgz"),
    )
    hold(folder, dict.fromkeys(all_names, "PRN018a"))
    listed = ["PRN018b", "PRN018c", "CLT018a", "PRN019a", "PRN020a"]
    assert guessed(folder, "PRN018a") == ["A1_PRN018b_1.tgz", "PRN018c_1.tgz"]
    assert guessed(folder, "PRN018a", *listed[:2]) == ["PRN019a_1.tgz"]
    assert guessed(folder, "PRN018a", *listed) == []


def test_names_are_judged_without_opening_an_archive(folder: Path) -> None:
    spoil(folder, "CLT001a_1.tgz")
    assert guessed(folder, "CLT001a") == ["CLT001a_1.tgz"]


# Found by what is inside


def test_a_session_is_read_from_the_archives_of_its_name_and_no_other_is_opened(
    folder: Path,
) -> None:
    spoil(folder, "CLT000a_1.tgz")
    hold(folder, {"CLT001a_1.tgz": "CLT001a", "CLT001a_2.tgz": "CLT001a", "P_1.tgz": "CLT001a"})
    assert names(found(folder, "CLT001a")) == ["CLT001a_1.tgz", "CLT001a_2.tgz"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_swapped_names_give_the_right_data_and_are_remembered(folder: Path, layout: Layout) -> None:
    true = {"PRN015a_1.tgz": "PRN015b", "PRN015b_1.tgz": "PRN015a", "PRN016a_1.tgz": "PRN016a"}
    hold(folder, true, layout)
    before = list(snapshot(folder))
    listed = true.values()
    for name, session in true.items():
        first_guess = f"{session}_1.tgz"
        assert guessed(folder, session, *listed) == [first_guess]
        for _ in range(2):
            (signal,) = found(folder, session, *listed)
            assert signal.archive.name == name
            assert [(cell, times.tolist()) for cell, times in signal.spike_times()] == [
                (f"{session}-001-1", [0.01])
            ]
            assert guessed(folder, session, *listed) == list(dict.fromkeys([first_guess, name]))
            signal.archive.confirm(signal.archive.keys())
    assert list(snapshot(folder)) == before  # nothing is written into the release


def snapshot(folder: Path) -> Iterator[tuple[Path, int, bytes]]:
    for path in sorted([folder, *folder.rglob("*")]):
        yield path, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b""


def test_an_archive_is_read_first_once(folder: Path) -> None:
    hold(folder, {"PRN015b_1.tgz": "PRN015a"})
    found(folder, "PRN015a", "PRN015b")  # not guessed, since another session has its name
    assert guessed(folder, "PRN015a") == ["PRN015b_1.tgz"]  # guessed and remembered


def test_what_is_remembered_of_one_release_is_not_told_of_another(
    folder: Path, tmp_path: Path
) -> None:
    true = {"PRN015a_1.tgz": "PRN015b", "PRN015b_1.tgz": "PRN015a"}
    for each in (folder, tmp_path / "other"):
        hold(each, true)
    found(folder, "PRN015a", "PRN015b")
    assert guessed(tmp_path / "other", "PRN015a", "PRN015b") == ["PRN015a_1.tgz"]


def test_a_session_is_the_first_part_of_a_cell_id_and_no_less(folder: Path) -> None:
    hold(folder, {"CLT001_1.tgz": "CLT001a"})
    assert found(folder, "CLT001") == []


@pytest.mark.parametrize("chans", [None, [], "CLT001a", ["other-1"]])
def test_cells_are_those_of_the_data_whatever_the_json_names(folder: Path, chans: object) -> None:
    files = {**recording(), f"{SESSION}.resp.json": header("PointProcess", chans=chans)}
    pack(folder, files, "x_1.tgz")
    assert names(found(folder, SESSION)) == ["x_1.tgz"]
    if not isinstance(chans, list) or not chans:
        assert names(found(folder, SESSION, name="stim")) == ["x_1.tgz"]


# Archives that cannot be read


def test_a_session_that_no_archive_holds_has_no_rows_and_is_noted(folder: Path) -> None:
    folder.mkdir()
    pack(folder, {**recording(), **response({"CLT001b-001-1": []})}, "CLT001b_1.tgz")
    pack(folder, recording(), "CLT009a_1.tgz")
    assert found(folder, "CLT009a", "CLT001b") == []
    toy = Toy(folder, {"CLT009a-001-1": "A1"})
    text = f"none of 2 archives in {folder / 'recordings'} holds a cell of CLT009a"
    for path in (EST, TILES):
        path = path.replace(SESSION, "CLT009a")
        assert toy.rows(path) == []
        assert toy.notes(path) == [("", text)]


def test_a_session_without_any_archive() -> None:
    assert read_session([], "CLT001a", {"CLT001a"}, "resp") == []


def test_a_broken_archive_of_its_name_is_an_error_whatever_else_is_there(folder: Path) -> None:
    hold(folder, {f"{SESSION}_1.tgz": SESSION, "x_1.tgz": SESSION})
    path = spoil(folder, f"{SESSION}_2.tgz")
    with pytest.raises(CorpusError, match="damaged or incomplete") as caught:
        found(folder, SESSION)
    assert f"{path}: " in str(caught.value)
    assert str(path) in Toy(folder).refusal(EST, SESSION)


def test_the_search_goes_on_past_broken_archives_and_those_without_a_response(
    folder: Path,
) -> None:
    stim = {name: each for name, each in recording().items() if ".stim." in name}
    no_times = {**recording(), f"{SESSION}.resp.h5": b"garbage"}
    pack(folder, stim, "TST002a_1.tgz")
    pack(folder, no_times, "TST003a_1.tgz")
    spoil(folder, "TST001b_1.tgz")
    spoil(folder, "AAA001a_1.tgz")
    pack(folder, recording(), "ZZZ001a_1.tgz")
    assert names(found(folder, SESSION)) == ["ZZZ001a_1.tgz"]
    assert guessed(folder, SESSION) == ["TST001b_1.tgz", "ZZZ001a_1.tgz"]
    assert len(Toy(folder).rows(EST)) == 4
    assert Toy(folder).notes(EST) == []


def test_where_nothing_is_found_the_first_error_of_the_search_is_raised(folder: Path) -> None:
    """The broken archive may be the one that holds it."""
    hold(folder, {"CLT001a_1.tgz": "CLT001a"})
    first, _ = spoil(folder, "TST001b_1.tgz"), spoil(folder, "AAA001a_1.tgz")
    with pytest.raises(CorpusError, match="damaged or incomplete") as caught:
        found(folder, SESSION, "CLT001a")
    assert f"{first}: " in str(caught.value)


def test_an_archive_of_its_name_without_a_response_is_an_error(folder: Path) -> None:
    files = {name: each for name, each in recording().items() if ".resp." not in name}
    archive = pack(folder, files, FIRST)
    with pytest.raises(CorpusError, match=r"no signal 'resp'") as caught:
        found(folder, SESSION)
    assert f"{archive}: *.resp" in str(caught.value)
    assert names(found(folder, SESSION, name="stim")) == [FIRST]


# Cells that are missing


def test_missing_cells_are_looked_for_in_archives_that_are_named_after_no_session(
    folder: Path,
) -> None:
    hold(folder, {f"{SESSION}_1.tgz": SESSION, "CLT001a_1.tgz": "CLT001a"})
    pack(folder, response({CELL: SPIKES}), "XYZ001a_1.tgz")
    pack(folder, response({f"{SESSION}-003-1": SPIKES}), "CLT001a_2.tgz")
    cells = (SILENT, CELL, f"{SESSION}-003-1")
    assert names(found(folder, SESSION, "CLT001a")) == [FIRST]
    assert names(found(folder, SESSION, "CLT001a", cells=cells[:2])) == [FIRST, "XYZ001a_1.tgz"]
    assert names(found(folder, SESSION, "CLT001a", cells=cells)) == [FIRST, "XYZ001a_1.tgz"]
    assert guessed(folder, SESSION, "CLT001a") == [FIRST, "XYZ001a_1.tgz"]


def test_for_missing_cells_only_an_archive_that_is_named_as_the_session_but_for_a_letter_is_fetched(
    folder: Path,
) -> None:
    pack(folder, response({SILENT: []}), FIRST)
    pack(folder, response({CELL: SPIKES}), "TST001b_1.tgz")
    pack(folder, response({f"{SESSION}-003-1": SPIKES}), "TST002a_1.tgz")
    fetched: list[str] = []

    def fetched_as_read(archive: Archive) -> Archive:
        return replace(archive, fetch=lambda: fetched.append(archive.name))

    remote = [fetched_as_read(each) for each in archives(folder)]
    signals = read_session(remote, SESSION, {SESSION}, "resp", cells=[SILENT, CELL, "x"])
    assert names(signals) == [FIRST, "TST001b_1.tgz"]
    assert fetched == [FIRST, "TST001b_1.tgz"]


def test_a_broken_neighbour_is_no_error_where_it_is_but_looked_into(folder: Path) -> None:
    pack(folder, response({SILENT: []}), FIRST)
    spoil(folder, "TST001b_1.tgz")
    toy = Toy(folder)
    assert {row["cell_id"] for row in toy.rows(EST)} == {SILENT}
    assert toy.notes(EST) == [(CELL, "the cell list names it, but no archive holds it")]


# Cells in two archives


@pytest.mark.parametrize("second", [SECOND, "XYZ001a_2.tgz"])
def test_cells_that_lie_in_two_archives_are_all_there(folder: Path, second: str) -> None:
    """Each with the trials of its own recording."""
    pack(folder, response({SILENT: [0.013]}), FIRST)
    shown: Epochs = [("STIM_a.wav", 0.0, 0.1), ("STIM_d.wav", 0.2, 0.3)]
    pack(folder, response({CELL: SPIKES}, epochs=shown), second)
    toy = Toy(folder)
    assert toy.responses(EST) == {
        ("STIM_a.wav", SILENT): [counts(), counts()],
        ("STIM_b.wav", SILENT): [counts(1)],
        ("STIM_a.wav", CELL): [counts(1, 1)],
        ("STIM_d.wav", CELL): [counts(5)],
    }
    assert toy.notes(EST) == []


@pytest.mark.parametrize("copies", [(FIRST, SECOND), ("XYZ001a_1.tgz", "XYZ001b_1.tgz")])
def test_a_cell_that_two_archives_hold_alike_is_there_once(
    folder: Path, copies: tuple[str, str]
) -> None:
    """Spikes after the last trial do not matter."""
    first, second = copies
    pack(folder, recording(), first)
    alone = Toy(folder).responses(EST)
    pack(folder, response({CELL: [*SPIKES[::-1], 7.0], SILENT: []}), second)
    toy = Toy(folder)
    assert toy.responses(EST) == alone
    assert toy.notes(EST) == []


DIFFERENT: dict[str, tuple[list[float], Epochs]] = {
    "a spike less": (SPIKES[1:], EPOCHS),
    "a spike moved": ([0.033, *SPIKES[1:]], EPOCHS),
    "a trial less": (SPIKES, EPOCHS[:-1]),
    "a trial moved": (SPIKES, [*EPOCHS[:-1], ("STIM_a.wav", 0.21, 0.31)]),
    "a trial cut": (SPIKES, [*EPOCHS[:-1], ("STIM_a.wav", 0.2, 0.29)]),
    "a stimulus more": (SPIKES, [*EPOCHS, ("STIM_d.wav", 0.3, 0.4)]),
    "a stimulus that cannot be placed": (SPIKES, [*EPOCHS, ("STIM_d.wav", 0.4, 0.3)]),
    "a spike time that is none": ([np.nan], EPOCHS),
}


@pytest.mark.parametrize(("spikes", "epochs"), DIFFERENT.values(), ids=list(DIFFERENT))
@pytest.mark.parametrize("copies", [(FIRST, SECOND), ("XYZ001a_1.tgz", "XYZ001b_1.tgz")])
def test_a_cell_that_two_archives_hold_otherwise_is_refused(
    folder: Path, copies: tuple[str, str], spikes: list[float], epochs: Epochs
) -> None:
    """And the cells that lie in one of them are not held back by it."""
    first, second = copies
    pack(folder, recording(), first)
    pack(folder, response({CELL: spikes}, epochs=epochs), second)
    toy = Toy(folder, {SILENT: "A1", CELL: "PEG"})
    message = toy.refusal(EST.replace("A1", "PEG"), CELL)
    assert second in message
    if np.isfinite(spikes).all():
        assert f"{CELL} is not as it is in {folder / 'recordings' / first}" in message
    assert len(toy.rows(EST)) == 2
    toy.exclude(CELL)
    assert toy.rows(EST.replace("A1", "PEG")) == []


def test_two_rates_in_one_session_are_refused(folder: Path) -> None:
    pack(folder, response({SILENT: []}), FIRST)
    files = response({CELL: SPIKES})
    name = f"{SESSION}.resp.json"
    files[name] = files[name].replace(b'"fs": 100', b'"fs": 1000')
    pack(folder, files, SECOND)
    assert "fs is 1000, in " in Toy(folder).refusal(EST, SESSION)
