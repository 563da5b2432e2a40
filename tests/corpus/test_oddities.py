"""Oddities in some sessions: a whole area loads, they are noted, and nothing else changes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from datasets import DatasetDict, load_dataset
from typer.testing import CliRunner

from builders.cli import app
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError, CorpusWarning
from tests.oddities import KINDS
from tests.releases import copy_release

MINI = ("CLT027c", "CLT028c", "CLT050c", "LMD037a", "SLJ032a")


def load(config: str) -> tuple[DatasetDict, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load_dataset("./wingert2026", config)
    return loaded, [str(each.message) for each in caught if each.category is CorpusWarning]


def sow(release: Path, kinds: dict[str, int]) -> dict[str, str]:
    """Sow a kind into each session; what must be noted of it."""
    return {session: KINDS[kind](release, session) for session, kind in kinds.items()}


def infos() -> list[dict[str, str]]:
    done = CliRunner().invoke(app, ["info", "wingert2026", "--json"])
    assert done.exit_code == 0, done.output
    notes: list[dict[str, str]] = json.loads(done.output)["notes"]
    return notes


def test_an_area_loads_whatever_is_odd_in_some_sessions(
    mini_release: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, warned = load("A1+PEG")
    # The synthetic release is odd itself: it lists some cells that no archive holds.
    own = {note["session"] for note in infos()}
    assert len(warned) == bool(own)
    for kinds in (range(5), range(5, 10)):
        release = copy_release(mini_release, tmp_path / f"odd-{kinds.start}")
        monkeypatch.setenv("WINGERT2026_DATA", str(release))
        noted = sow(release, dict(zip(MINI, kinds, strict=True)))
        found, (warning,) = load("A1+PEG")
        notes = infos()
        assert warning.startswith(f"{len(notes)} notes on wingert2026")
        for session, text in noted.items():
            of_session = [note["text"] for note in notes if note["session"] == session]
            assert [each for each in of_session if text in each], (session, text, of_session)
        assert {note["session"] for note in notes} <= {*noted, *own}
        assert_same_but_for(noted, sound, found)


def assert_same_but_for(noted: dict[str, str], sound: DatasetDict, found: DatasetDict) -> None:
    """The records of all sessions but those noted are the same, bit for bit."""
    for split, rows in sound.items():
        sessions = set(rows.unique("session")).difference(noted)
        assert sessions
        for session in sessions:
            one, other = (
                each.filter(lambda s, wanted=session: s == wanted, input_columns="session")
                for each in (rows, found[split])
            )
            assert one.with_format("arrow")[:].equals(other.with_format("arrow")[:])


def test_what_is_left_out_is_said_everywhere_and_can_be_taken_in_again(
    mini_release: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = copy_release(mini_release, tmp_path / "odd")
    monkeypatch.setenv("WINGERT2026_DATA", str(release))
    archive = next((release / "recordings").glob("CLT050c_*.tgz"))
    archive.unlink()
    archive.write_bytes(b"garbage")
    with pytest.raises(CorpusError) as caught:
        load_dataset("./wingert2026", "PEG")
    command = 'builders exclude wingert2026 CLT050c --because "..."'
    assert command in str(caught.value)

    run = CliRunner().invoke
    arguments = command.split()[1:-1]
    assert run(app, arguments[:-1]).exit_code == 1  # without a reason
    unknown = run(app, ["exclude", "wingert2026", "CLT05c", "--because", "x"])
    assert isinstance(unknown.exception, CorpusError)
    assert "did you mean CLT050c" in str(unknown.exception)
    assert run(app, [*arguments, "its archive is garbage"]).exit_code == 0
    loaded, (warning,) = load("PEG")
    assert "CLT050c" not in loaded["est"].unique("session")
    assert warning.startswith("1 note on wingert2026")
    for line in ("info", "status"):
        done = run(app, [line] + ["wingert2026"] * (line == "info"))
        assert "CLT050c: its archive is garbage" in done.output
    with pytest.raises(CorpusError, match="has no data for 'CLT050c'"):
        load_dataset("./wingert2026", "CLT050c")
    assert run(app, ["export", "wingert2026", "PEG", "--out", str(tmp_path / "out")]).exit_code == 0
    manifest = json.loads((tmp_path / "out" / "MANIFEST.json").read_bytes())
    assert manifest["excluded"] == {"CLT050c": "its archive is garbage"}
    assert "its archive is garbage" in (tmp_path / "out" / "README.md").read_text()

    assert run(app, ["exclude", "wingert2026", "CLT050c", "--undo"]).exit_code == 0
    with pytest.raises(CorpusError, match="cannot read a recording"):
        load_dataset("./wingert2026", "PEG")


@pytest.mark.slow
def test_ten_kinds_in_ten_sessions_of_a_full_release(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "full"
    find_corpus("wingert2026").synthesize(release, "full", 0)
    monkeypatch.setenv("WINGERT2026_DATA", str(release))
    sound, _ = load("A1+PEG")
    own = {note["session"] for note in infos()}
    sessions = [s for s in sorted(sound["val"].unique("session")) if s not in own][:10]
    noted = sow(release, dict(zip(sessions, range(10), strict=True)))
    found, (warning,) = load("A1+PEG")
    notes = infos()
    assert warning.startswith(f"{len(notes)} notes on wingert2026")
    for session, text in noted.items():
        assert [note for note in notes if note["session"] == session and text in note["text"]]
    assert_same_but_for(noted, sound, found)
