"""A corpus' raw files: their keys, and where archives lie."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.files import home, replace_file
from builders.nems.recording import read_signals
from builders.release.archive import Archive, confirm_key, content_key
from builders.release.fetched import FetchedRelease
from builders.release.local import Release
from tests.archives import (
    LAYOUTS,
    pack,
    pack_in_zip,
    packed,
    recording,
    response,
    unpack,
)

Layout = Callable[..., Archive]
TIMES = count(10**18, 10**9)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a release without files; a cache of one's own."""
    path = tmp_path / "toy"
    path.mkdir()
    monkeypatch.setenv("TOY_DATA", str(path))
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    return path


def release() -> Release:
    return Release("toy", Path(os.environ["TOY_DATA"]), "https://example.org/toy")


def touch(path: Path) -> None:
    """Give a file a time that no file had, whatever the clock's resolution."""
    time = next(TIMES)
    os.utime(path, ns=(time, time))


def write(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    touch(path)
    return path


def write_confirmed(path: Path, content: bytes) -> str:
    """Write a file and confirm its key, which is returned."""
    key = content_key(write(path, content))
    confirm_key(path, key)
    return key


# The key of a file


def test_a_confirmed_file_keeps_its_key_however_often_it_is_touched(folder: Path) -> None:
    key = write_confirmed(folder / "a", b"old")
    for _ in range(3):
        assert content_key(folder / "a") == key
        touch(folder / "a")
    assert content_key(folder / "a") == key


def test_an_unconfirmed_file_that_is_touched_may_be_another(folder: Path) -> None:
    key = content_key(write(folder / "a", b"old"))
    assert content_key(folder / "a") == key
    touch(folder / "a")
    assert content_key(folder / "a") != key


NEW_CONTENT = pytest.mark.parametrize("content", [b"new", b"other size"])


@NEW_CONTENT
def test_new_content_has_a_new_key(folder: Path, content: bytes) -> None:
    old = write_confirmed(folder / "a", b"old")
    new = write_confirmed(folder / "a", content)
    assert new != old
    touch(folder / "a")
    assert content_key(folder / "a") == new


def test_two_folders_that_hold_files_of_one_name_size_and_time_have_two_keys(folder: Path) -> None:
    """Tars are normalised, and Nix gives all files one date."""
    keys = set()
    for name in ("one", "other"):
        path = write(folder / name / "a", name[:2].encode())
        os.utime(path, ns=(1, 1))
        keys.add(content_key(path))
    assert len(keys) == 2


def test_a_confirmed_file_that_another_of_its_size_and_time_replaces_has_a_new_key(
    folder: Path,
) -> None:
    path = folder / "a"
    key = write_confirmed(path, b"old")
    before = path.stat()
    for other in (folder / "b", path):  # another file, and the same one
        write(other, b"new" if other == path else b"NEW")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert content_key(path) != key
        key = content_key(path)


def test_files_of_the_same_name_have_their_own_keys(folder: Path) -> None:
    key = write_confirmed(folder / "x" / "a", b"old")
    write_confirmed(folder / "y" / "a", b"new")
    touch(folder / "x" / "a")
    assert content_key(folder / "x" / "a") == key


@NEW_CONTENT
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_file_that_changed_meanwhile_is_not_confirmed(
    folder: Path, confirmed: bool, content: bytes
) -> None:
    path = folder / "a"
    key = write_confirmed(path, b"old") if confirmed else content_key(write(path, b"old"))
    write(path, content)
    with pytest.raises(CorpusError, match="changed while it was being read") as caught:
        confirm_key(path, key)
    assert str(path) in str(caught.value)
    assert content_key(path) != key


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["touch", "confirm", b"aa", b"bb", b"ccc"]), max_size=12))
def test_a_key_never_stands_for_two_contents(
    tmp_path_factory: pytest.TempPathFactory, events: list[str | bytes]
) -> None:
    path = write(tmp_path_factory.mktemp("keys") / "a", content := b"aa")
    key, confirmed = content_key(path), False
    contents = {key: content}
    for event in events:
        if event == "touch":
            touch(path)
        elif event == "confirm":
            confirm_key(path, key)
            confirmed = True
        elif isinstance(event, bytes):
            confirmed &= event == content
            write(path, content := event)
        assert content_key(path) == key or not confirmed
        key = content_key(path)
        assert contents.setdefault(key, content) == content


# The keys of an archive


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archives_keys_follow_its_content(folder: Path, layout: Layout) -> None:
    archive = layout(folder, recording())
    keys = archive.keys()
    archive.confirm(keys)
    for file in archive.files():
        touch(file)
    assert archive.keys() == keys
    shutil.rmtree(folder)
    folder.mkdir()
    changed = layout(folder, {**recording(), **response({"TST001a-009-1": [0.5]})})
    for file in changed.files():
        touch(file)
    assert changed.path == archive.path
    assert changed.keys() != keys


def test_an_unpacked_archive_has_a_key_for_each_file(folder: Path) -> None:
    archive = unpack(folder, {"x": b"1", "y": b"2"})
    keys = archive.keys()
    assert list(keys) == archive.files() == [archive.path / "x", archive.path / "y"]
    archive.confirm(keys)
    write(archive.path / "y", b"3")
    assert [path.name for path, key in archive.keys().items() if key != keys[path]] == ["y"]
    with pytest.raises(CorpusError, match="changed while it was being read"):
        archive.confirm(keys)


def test_a_file_that_is_deleted_while_it_is_read_is_an_error_that_names_it(folder: Path) -> None:
    archive = unpack(folder, {"x": b"1", "y": b"2"})
    keys = archive.keys()
    (archive.path / "y").unlink()
    with pytest.raises(CorpusError, match="cannot read a file of the release") as error:
        archive.confirm(keys)
    assert str(archive.path / "y") in str(error.value)


def test_a_zip_is_keyed_by_its_directory_and_needs_no_record(folder: Path) -> None:
    archive = pack_in_zip(folder, recording())
    keys = archive.keys()
    pack_in_zip(folder, {}, "other.tgz")
    assert archive.keys() == keys
    archive.confirm(keys)
    assert not home().exists()


# The folder of a release


@pytest.mark.parametrize("value", ["", None])
def test_without_its_variable_a_release_is_fetched(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("NAT4_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("NAT4_DATA", value)
    found = find_corpus("nat4").release()
    assert isinstance(found, FetchedRelease)
    assert found.folder == home() / "releases" / "nat4"


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere", "no such folder"), ("file", "it is a file"), ("file/x", "no such folder")],
)
def test_a_release_is_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    write(folder / "file")
    monkeypatch.setenv("NAT4_DATA", str(folder / name))
    with pytest.raises(CorpusError, match=rf"{why}\n.*NAT4_DATA.*zenodo") as caught:
        find_corpus("nat4").release()
    assert str(folder / name) in str(caught.value)


NO_USER = "~nobody-has-this-name/release"
TOO_LONG = f"/tmp/{'x' * 256}/release"


def test_a_tilde_stands_for_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("NAT4_DATA", "~/toy")
    monkeypatch.setenv("BUILDERS_HOME", "~/caches")
    assert find_corpus("nat4").release().folder == folder
    assert home() == folder.parent / "caches"


@pytest.mark.parametrize("value", [NO_USER, TOO_LONG])
@pytest.mark.parametrize("variable", ["NAT4_DATA", "BUILDERS_HOME"])
def test_a_variable_that_can_name_no_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(CorpusError, match=f"{variable} names no folder") as caught:
        find_corpus("nat4").release() if variable == "NAT4_DATA" else home()
    assert value in str(caught.value)


def test_a_file_of_a_release(folder: Path) -> None:
    path = write(folder / "cells.csv")
    assert release().file("cells.csv") == path


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "cells.csv").mkdir()
    with pytest.raises(CorpusError, match=r"release of toy lacks cells\.csv") as caught:
        release().file("cells.csv")
    assert str(folder) in str(caught.value)
    assert "TOY_DATA" in str(caught.value)


def test_the_folder_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "cells.csv")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("TOY_DATA", "toy")
    assert release().file("cells.csv") == folder / "cells.csv"


# Where archives lie


@pytest.mark.parametrize("layout", LAYOUTS)
def test_archives_are_sorted_by_name_whatever_their_layout(folder: Path, layout: Layout) -> None:
    expected = [layout(folder, recording(), name) for name in ("b_1.tgz", "a_2.tgz", "a_1.tgz")]
    archives = release().archives("recordings")
    assert archives == expected[::-1]
    assert [each.name for each in archives] == ["a_1.tgz", "a_2.tgz", "b_1.tgz"]


def test_packed_and_unpacked_archives_lie_side_by_side(folder: Path) -> None:
    expected = [unpack(folder, recording(), "a_1.tgz"), pack(folder, recording(), "b_1.tgz")]
    assert release().archives("recordings") == expected


def test_of_an_archive_packed_and_unpacked_the_packed_one_counts(folder: Path) -> None:
    unpack(folder, recording())
    expected = pack(folder, recording())
    assert release().archives("recordings") == [expected]


def test_a_zip_has_what_was_not_taken_out_of_it(folder: Path) -> None:
    expected = pack_in_zip(folder, recording(), "a_1.tgz")
    pack_in_zip(folder, recording(), "b_1.tgz")
    unpacked = pack(folder, recording(), "b_1.tgz")
    assert release().archives("recordings") == [expected, unpacked]


def test_beside_archives_a_damaged_zip_is_not_needed(folder: Path) -> None:
    write(folder / "recordings.zip", b"half a download")
    expected = pack(folder, recording())
    assert release().archives("recordings") == [expected]


def test_other_files_are_no_archives(folder: Path) -> None:
    expected = pack(folder, recording())
    for name in ("readme.txt", "a_1.tgz.part", "md5"):
        write(folder / "recordings" / name)
    assert release().archives("recordings") == [expected]


def test_archives_are_not_opened(folder: Path) -> None:
    path = write(folder / "recordings" / "a_1.tgz", b"garbage")
    assert release().archives("recordings") == [Archive("a_1.tgz", path)]


def test_a_zip_of_archives_may_hold_other_files(folder: Path) -> None:
    expected = pack_in_zip(folder, recording())
    with zipfile.ZipFile(folder / "recordings.zip", "a") as outer:
        outer.writestr("recordings/readme.txt", b"")
        outer.writestr("recordings/more/", b"")
    assert release().archives("recordings") == [expected]


def no_recordings(folder: Path) -> None:
    pass


def empty_directory(folder: Path) -> None:
    (folder / "recordings").mkdir()


def directory_of_other_files(folder: Path) -> None:
    write(folder / "recordings" / "readme.txt")


def empty_zip(folder: Path) -> None:
    zipfile.ZipFile(folder / "recordings.zip", "w").close()


@pytest.mark.parametrize(
    "lay_out", [no_recordings, empty_directory, directory_of_other_files, empty_zip]
)
def test_a_release_without_recordings(folder: Path, lay_out: Callable[[Path], None]) -> None:
    lay_out(folder)
    with pytest.raises(CorpusError, match=r"release of toy has no recordings\b") as caught:
        release().archives("recordings")
    assert str(folder) in str(caught.value)
    assert "recordings.zip" in str(caught.value)


# A zip's directory of members comes last: without its last byte there is none.
@pytest.mark.parametrize("kept", [0, 100, -50, -1])
def test_a_truncated_zip_is_refused(folder: Path, kept: int) -> None:
    path = pack_in_zip(folder, recording()).path
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorpusError, match=r"cannot read a zip of the release") as caught:
        release().archives("recordings")
    assert str(path) in str(caught.value)


def read_from_zip(content: bytes, folder: Path) -> str:
    """The message of the error on reading the archive in a zip of these bytes."""
    write(folder / "recordings.zip", content)
    (archive,) = release().archives("recordings")
    with pytest.raises(CorpusError) as caught:
        read_signals(archive, ["resp"])
    return str(caught.value)


def test_a_flipped_byte_inside_a_zip_is_refused(folder: Path) -> None:
    archive = pack_in_zip(folder, recording())
    content = archive.path.read_bytes()
    start, size = content.index(b"\x1f\x8b"), len(packed(recording()))
    for position in range(start + 10, start + size, 37):
        damaged = content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]
        assert f"{archive}: " in read_from_zip(damaged, folder)


def test_a_zip_that_python_cannot_read_is_refused(folder: Path) -> None:
    archive = pack_in_zip(folder, recording())
    content = bytearray(archive.path.read_bytes())
    method = content.index(b"PK\x01\x02") + 10
    content[method] = 9  # Deflate64, in which Windows writes large files
    assert str(archive.path) in read_from_zip(bytes(content), folder)


# What is the user's, and what is ours


def test_home_is_where_the_environment_says(tmp_path: Path) -> None:
    assert home() == tmp_path / "builders"


def test_who_reads_a_file_that_is_replaced_reads_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_what_macos_strews_about_is_no_archive(folder: Path) -> None:
    expected = pack(folder, recording())
    for name in ("._TST001a_1.tgz", "__MACOSX"):
        (expected.path.parent / name).mkdir()
    assert release().archives("recordings") == [expected]


def test_a_key_is_never_given_to_another_content(folder: Path) -> None:
    """Not even where the times of the two agree, as they do when one is restored from a copy."""
    path = folder / "a.tgz"
    path.write_bytes(b"old")
    os.utime(path, ns=(0, 10**9))
    old = content_key(path)
    confirm_key(path, old)
    os.utime(path, ns=(0, 2 * 10**9))
    assert content_key(path) == old
    path.write_bytes(b"new")
    os.utime(path, ns=(0, 10**9))
    new = content_key(path)
    assert new != old
    assert content_key(path) == new
