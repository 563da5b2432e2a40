"""What the user leaves out: a session, a cell, a stimulus; and that it can be taken in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.errors import CorpusError
from builders.files import home
from builders.shards.excluded import read_excluded, write_excluded
from tests.archives import CELL, SESSION, SILENT, h5, header, pack, recording
from tests.hardening.faults import RESP_H5, RESP_JSON
from tests.toy import EST, TILES, VAL, VAL_TILES, Toy, counts

A, B = "STIM_a.wav", "STIM_b.wav"
TEXT = "left out by `builders exclude`: noisy"
ALL = (EST, VAL, TILES, VAL_TILES)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    pack(tmp_path, recording())
    return Toy(tmp_path)


def contents(toy: Toy) -> list[bytes]:
    return [toy.shard(path).read_bytes() for path in ALL]


def test_a_session_that_is_left_out_has_no_rows_and_its_archives_are_not_opened(toy: Toy) -> None:
    before = contents(toy)
    toy.exclude(SESSION)
    (archive,) = (toy.folder / "recordings").iterdir()
    sound = archive.read_bytes()
    archive.write_bytes(b"garbage")
    for path in ALL:
        assert toy.job(path).archives() == []
        assert toy.rows(path) == []
        assert toy.notes(path) == [("", TEXT)]
    archive.unlink()
    archive.parent.rmdir()
    assert toy.rows(EST) == []
    archive.parent.mkdir()
    archive.write_bytes(sound)
    toy.exclude()
    assert contents(toy) == before


def test_a_cell_that_is_left_out_has_no_records(toy: Toy) -> None:
    before = contents(toy)
    toy.exclude(CELL)
    assert toy.responses(EST) == {(A, SILENT): [counts(), counts()], (B, SILENT): [counts()]}
    assert toy.notes(EST) == toy.notes(VAL) == [(CELL, TEXT)]
    assert len(toy.rows(TILES)) == 2
    assert toy.notes(TILES) == []
    toy.exclude()
    assert contents(toy) == before


def test_a_cell_that_cannot_be_read_can_be_left_out(toy: Toy) -> None:
    pack(toy.folder, {**recording(), RESP_H5: h5({CELL: ["text"], SILENT: []})})
    toy.refusal(EST, CELL)
    toy.exclude(CELL)
    assert {row["cell_id"] for row in toy.rows(EST)} == {SILENT}


def test_nothing_else_is_noted_of_a_cell_that_is_left_out(toy: Toy) -> None:
    head = header("PointProcess", chans=[SILENT])
    pack(toy.folder, {**recording(), RESP_JSON: head})
    assert [subject for subject, _ in toy.notes(EST)] == [CELL]
    toy.exclude(CELL)
    assert toy.notes(EST) == [(CELL, TEXT)]


def test_a_stimulus_that_is_left_out_has_neither_records_nor_a_spectrogram(toy: Toy) -> None:
    before = contents(toy)
    unit = f"{SESSION}/{A}"
    toy.exclude(unit)
    assert toy.responses(EST) == {(B, SILENT): [counts()], (B, CELL): [counts(1, 1)]}
    assert [row["stim"] for row in toy.rows(TILES)] == [B]
    assert toy.notes(EST) == [(unit, TEXT)]
    assert toy.notes(TILES) == [(A, TEXT)]
    for path in (VAL, VAL_TILES):
        assert toy.notes(path) == []
    toy.exclude()
    assert contents(toy) == before


@pytest.mark.parametrize("unit", ["TST001b", f"{SESSION}x", "TST001b-002-1", f"TST001b/{A}"])
def test_what_is_left_out_of_one_session_is_nothing_to_another(toy: Toy, unit: str) -> None:
    before = contents(toy)
    etags = [toy.etag(path) for path in ALL]
    toy.exclude(unit)
    assert [toy.etag(path) for path in ALL] == etags
    assert contents(toy) == before
    assert [note for path in ALL for note in toy.notes(path)] == []


def test_several_are_left_out_together(toy: Toy) -> None:
    toy.exclude(CELL, f"{SESSION}/{B}", "CLT001a")
    assert toy.responses(EST) == {(A, SILENT): [counts(), counts()]}
    assert toy.notes(EST) == [(CELL, TEXT), (f"{SESSION}/{B}", TEXT)]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"a": 1}', b"[" * 100_000, b"null", b'["a"]']
)
def test_a_file_that_does_not_say_what_is_left_out_is_an_error_that_names_it(
    toy: Toy, content: bytes
) -> None:
    write_excluded("toy", {"b": "2", "a": "1"})
    assert list(read_excluded("toy").items()) == [("a", "1"), ("b", "2")]
    (path,) = (home() / "excluded").iterdir()
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="cannot read what is left out of toy") as caught:
        toy.rows(EST)
    assert str(path) in str(caught.value)
