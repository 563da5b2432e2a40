"""`builders clean` removes what was made here and nothing else, and says what it could not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from builders.cli import app
from builders.corpus import storage
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.files import locked

SHARD = "nat4/cells.parquet"


@pytest.fixture
def shards(own_home: Path) -> Path:
    """A cache that holds a shard."""
    fsspec.filesystem("corpus").open(f"corpus://{SHARD}").close()
    folder = own_home / "builders" / "shards" / "nat4"
    assert len(parquet(folder)) == 1
    return folder


def parquet(folder: Path) -> list[Path]:
    return [*folder.glob("*.parquet")]


def clean(*arguments: str) -> str:
    """What it prints; a `CorpusError` is raised as it is."""
    done = CliRunner().invoke(app, ["clean", "nat4", "--yes", *arguments])
    if done.exception:
        raise done.exception
    return done.output


def test_all_that_was_made_goes(shards: Path) -> None:
    assert str(shards) in clean()
    assert not shards.exists()
    assert clean() == ""


def test_foreign_files_stay(shards: Path) -> None:
    foreign = [
        *(shards / name for name in ("notes.txt", "mine.parquet", "locks/mine.txt")),
        shards / "data" / "README.md",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    clean()
    assert sorted(path for path in shards.rglob("*") if path.is_file()) == sorted(foreign)


@pytest.mark.parametrize("inside", [".", "data"])
def test_behind_a_link_shards_go_and_the_link_stays(
    shards: Path, tmp_path: Path, inside: str
) -> None:
    fsspec.filesystem("corpus").open("corpus://nat4/data/A1/TNC008a/val.parquet").close()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(shards / inside, elsewhere)
    (shards / inside).symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(elsewhere)
    assert [*elsewhere.rglob("*.parquet")]
    clean()
    assert not [*elsewhere.rglob("*.parquet")]
    assert (shards / inside).is_symlink()


def test_what_cannot_be_removed_is_said(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = parquet(shards)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == file:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CorpusError, match=f"{file}: Permission denied\n1 files not removed"):
        clean()
    assert file.exists()


def test_a_lock_that_is_held_stays(shards: Path) -> None:
    (lock,) = (shards / "locks").glob("*.lock")
    with locked(lock), pytest.raises(CorpusError, match="another process is at work"):
        clean()
    assert lock.exists()
    assert not parquet(shards)


def test_what_stood_for_a_lock_goes(shards: Path) -> None:
    """A killed process leaves it behind on a disk without locks, and all others wait for it."""
    (lock,) = (shards / "locks").glob("*.lock")
    lock.with_name(f"{lock.name}.held").touch()
    clean()
    assert not shards.exists()


@pytest.mark.parametrize("below", [".", "mine", "mine/too"])
@pytest.mark.parametrize("variable", ["NAT4_DATA", "WINGERT2026_DATA"])
def test_a_folder_of_the_user_is_not_touched(
    shards: Path, monkeypatch: pytest.MonkeyPatch, below: str, variable: str
) -> None:
    owned = shards.parent.parent / "releases" / "nat4" / below
    owned.mkdir(parents=True, exist_ok=True)
    (owned / "A1_pred_correlation.csv").write_text("mine")
    monkeypatch.setenv(variable, str(owned))
    with pytest.raises(CorpusError, match=f"{variable} names .*: it is yours"):
        clean("--fetched")
    assert (owned / "A1_pred_correlation.csv").read_text() == "mine"
    assert parquet(shards)
    clean()
    assert not shards.exists()


def test_nor_is_one_that_a_link_leads_to(
    shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owned, folder = tmp_path / "mine", shards.parent.parent / "releases" / "nat4"
    (owned / "A1_single_sites").mkdir(parents=True)
    (owned / "A1_single_sites" / "x.tgz").write_text("mine")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "A1_single_sites").symlink_to(owned / "A1_single_sites")
    monkeypatch.setenv("NAT4_DATA", str(owned))
    with pytest.raises(CorpusError, match=r"NAT4_DATA names .*: it is yours"):
        clean("--fetched")
    assert (owned / "A1_single_sites" / "x.tgz").read_text() == "mine"


def test_of_a_fetched_release_what_has_published_names_goes(shards: Path) -> None:
    folder = shards.parent.parent / "releases" / "nat4"
    own = [
        *("A1_pred_correlation.csv", "A1_single_sites/x.tgz", "A1_single_sites/.x.tgz.part"),
        *(".record-1.json", ".A1_single_sites.zip.directory", ".wav.zip.directory.checksum"),
        *(".A1_pred_correlation.csv.lock", ".wav.zip.directory.77", "wav.zip"),
    ]
    foreign = ["paper.pdf", "A1_single_sites/by/hand.tgz", ".bashrc", "mine/wav.zip"]
    for name in (*own, *foreign):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    found = storage.own_files(find_corpus("nat4"), folder)
    assert sorted(str(path.relative_to(folder)) for path in found) == sorted(own)
    os.environ.pop("NAT4_DATA")
    clean("--fetched")
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {*foreign}
