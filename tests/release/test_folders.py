"""A release's folder as people leave it: unpacked here and there, renamed, in parts, twice."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from datasets import load_dataset

from builders.errors import CorpusError
from builders.nems.recording import read_signals
from builders.release.archive import Archive
from builders.release.local import Release
from tests.archives import packed, recording, response

HASH = "6ffc61b1" * 5
FIRST, SECOND = f"TST001a_{HASH}.tgz", f"TST002a_{HASH}.tgz"
FILES, OTHER = recording(), response({"TST001a-009-1": [0.5]})
PACKED = packed(FILES)
POPULATION = "A1_NAT4_ozgf.fs100.ch18.tgz"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a release without files; a cache of one's own."""
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    path = tmp_path / "data"
    path.mkdir()
    return path


def release(folder: Path) -> Release:
    return Release("toy", folder, "https://example.org/toy")


def write(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pack(path: Path) -> Path:
    return write(path, PACKED)


def unpack(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        write(path / name, content)
    return path


def zip_up(path: Path, *names: str, inside: str = "recordings/", content: bytes = PACKED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "a") as outer:
        for name in names:
            outer.writestr(inside + name, content)
    return path


def paths(folder: Path, directory: str = "recordings", suffix: str = ".tgz") -> dict[str, Path]:
    """The archives' names, and where each was found."""
    return {each.name: each.path for each in release(folder).archives(directory, suffix)}


def error(ask: Callable[[], object]) -> str:
    with pytest.raises(CorpusError) as caught:
        ask()
    return str(caught.value)


def cells(archive: Archive) -> list[str]:
    return read_signals(archive, ["resp"])["resp"].channels


# Where archives lie

PLACES = pytest.mark.parametrize(
    "place",
    [
        "recordings",
        "recordings/recordings",
        "recordings (1)/recordings",
        "recordings(1)",
        "recordings-2/recordings",
        "recordings 2/recordings 2",
        "Recordings",
        ".",
        "18331549",
        "18331549/recordings",
        "18331549/recordings/recordings",
    ],
)


@PLACES
@pytest.mark.parametrize("beside", [False, True])
def test_archives_are_found_in_every_place(folder: Path, place: str, beside: bool) -> None:
    """With the cell list and a folder of sounds beside them, or a zip of these at the top."""
    archive, unpacked = pack(folder / place / FIRST), unpack(folder / place / SECOND[:-4])
    top = folder / "18331549" if place.startswith("1") and beside else folder
    table = write(top / "cells.csv")
    if beside:
        sounds = write(top / "wav" / "a.wav")
    else:
        sounds = zip_up(top / "wav.zip", "a.wav", inside="wav/")
    assert paths(folder) == {FIRST: archive, SECOND: unpacked}
    assert release(folder).file("cells.csv") == table
    assert paths(folder, "wav", ".wav") == {"a.wav": sounds}
    wanted = ["cells.csv", "recordings.zip", "wav.zip", "no.csv"]
    assert release(folder).lacking(wanted) == ["no.csv"]


def test_the_folder_of_the_corpus_name_is_looked_into_though_others_are_there(folder: Path) -> None:
    archive = pack(folder / "toy" / "recordings" / FIRST)
    table = write(folder / "toy" / "cells.csv")
    pack(folder / "other" / "recordings" / SECOND)
    assert paths(folder) == {FIRST: archive}
    assert release(folder).file("cells.csv") == table


def test_of_two_folders_none_is_taken_for_the_release(folder: Path) -> None:
    for name in ("old", "new"):
        pack(folder / name / "recordings" / FIRST)
        write(folder / name / "cells.csv")
    assert "has no recordings" in error(lambda: paths(folder))
    assert "lacks cells.csv" in error(lambda: release(folder).file("cells.csv"))


def test_places_that_each_hold_a_part_hold_all(folder: Path) -> None:
    names = [f"TST00{i}a_{HASH}.tgz" for i in range(4)]
    where = [folder, folder / "recordings", folder / "recordings" / "recordings"]
    expected = [pack(place / name) for place, name in zip(where, names, strict=False)]
    expected.append(zip_up(folder / "recordings.zip", *names))
    assert list(paths(folder).values()) == expected


@pytest.mark.parametrize(
    "name",
    [
        "recordings.zip",
        "recordings (1).zip",
        "recordings(1).zip",
        "recordings-1.zip",
        "recordings 2.zip",
        "recordings.ZIP",
    ],
)
@pytest.mark.parametrize("place", [".", "18331549", "recordings"])
@pytest.mark.parametrize("inside", ["recordings/", "", "a/recordings/"])
def test_a_zip_is_found(folder: Path, name: str, place: str, inside: str) -> None:
    outer = zip_up(folder / place / name, FIRST, inside=inside)
    (archive,) = release(folder).archives("recordings")
    assert (archive.name, archive.path, archive.member) == (FIRST, outer, inside + FIRST)
    assert len(cells(archive)) == 2
    assert release(folder).lacking(["recordings.zip", "wav.zip"]) == ["wav.zip"]


def test_sounds_are_found_loose_too(folder: Path) -> None:
    names = {"a.wav": write(folder / "a.wav"), "b (2).wav": write(folder / "b (2).wav")}
    names["c.wav"] = write(folder / "wav" / "c.WAV")
    (folder / "wav" / "folder").mkdir()
    assert paths(folder, "wav", ".wav") == names
    assert release(folder).lacking(["wav.zip", "recordings.zip"]) == ["recordings.zip"]


# What archives are called


@pytest.mark.parametrize(
    "name",
    [f"TST001a_{HASH}{end}" for end in (".tar.gz", ".TGZ", ".Tar.GZ", " (1).tgz", "(2).tgz")],
)
@pytest.mark.parametrize("place", ["recordings", "."])
def test_an_archive_has_its_published_name(folder: Path, name: str, place: str) -> None:
    path = pack(folder / place / name)
    (archive,) = release(folder).archives("recordings")
    assert (archive.name, archive.path) == (FIRST, path)
    assert len(cells(archive)) == 2


def test_a_name_in_a_zip_is_the_published_one_too(folder: Path) -> None:
    zip_up(folder / "recordings.zip", f"TST001a_{HASH}.tar.gz")
    (archive,) = release(folder).archives("recordings")
    assert (archive.name, len(cells(archive))) == (FIRST, 2)


def test_at_the_top_an_archive_is_known_by_the_hash_in_its_name(folder: Path) -> None:
    expected = {FIRST: pack(folder / FIRST)}
    write(folder / "linux-x64.tgz")
    unpack(folder / "figures")
    assert paths(folder) == expected


@pytest.mark.parametrize(
    "name",
    [
        f"._{FIRST}",
        f".{FIRST}",
        f"{FIRST}.part",
        f"{FIRST}.crdownload",
        f"{FIRST}.download/x",
        f"__MACOSX/{FIRST}",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "@eaDir/x",
    ],
)
@pytest.mark.parametrize("place", ["recordings", "18331549/recordings", "18331549"])
def test_what_systems_and_browsers_leave_is_no_archive(folder: Path, name: str, place: str) -> None:
    expected = pack(folder / place / SECOND)
    write(folder / place / name)
    write(folder / name)
    assert paths(folder) == {SECOND: expected}


def test_a_tar_is_not_read_and_the_error_says_so(folder: Path) -> None:
    path = write(folder / "recordings" / FIRST.replace(".tgz", ".tar"))
    assert "of all .tar files" in error(lambda: paths(folder))
    path.unlink()
    assert "of all .tar" not in error(lambda: paths(folder))


# The archives of two areas, side by side


@pytest.fixture
def areas(folder: Path) -> dict[str, list[str]]:
    """The names of each area's archives; none of them is there."""
    return {area: [f"{area}_TST00{i}a_{HASH}.tgz" for i in range(3)] for area in ("A1", "PEG")}


def test_at_the_top_each_area_has_its_own_archives(
    folder: Path, areas: dict[str, list[str]]
) -> None:
    populations = {area: pack(folder / POPULATION.replace("A1", area)) for area in areas}
    for first, *others in areas.values():
        for name in others:
            pack(folder / name)
        unpack(folder / first.removesuffix(".tgz"))
    for area, names in areas.items():
        assert list(paths(folder, f"{area}_single_sites")) == names
        assert release(folder).archive(populations[area].name).path == populations[area]
    wanted = ["A1_single_sites.zip", "PEG_single_sites.zip"]
    assert release(folder).lacking(wanted) == []
    for path in folder.glob("PEG_T*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert release(folder).lacking(wanted) == ["PEG_single_sites.zip"]
    assert "has no PEG_single_sites" in error(lambda: paths(folder, "PEG_single_sites"))


@pytest.mark.parametrize("place", [".", "8044773"])
def test_each_area_has_its_own_zip(folder: Path, areas: dict[str, list[str]], place: str) -> None:
    zips = {"A1": "A1_single_sites.zip", "PEG": "PEG_single_sites (1).zip"}
    for area, names in areas.items():
        zip_up(folder / place / zips[area], *names, inside=f"{area}_single_sites/")
        assert set(paths(folder, f"{area}_single_sites")) == set(names)
    (folder / place / zips["A1"]).unlink()
    assert "has no A1_single_sites" in error(lambda: paths(folder, "A1_single_sites"))


def test_a_folder_of_one_area_does_not_stand_for_the_other(
    folder: Path, areas: dict[str, list[str]]
) -> None:
    for name in areas["A1"]:
        pack(folder / "A1_single_sites" / name)
    assert list(paths(folder, "A1_single_sites")) == areas["A1"]
    assert "has no PEG_single_sites" in error(lambda: paths(folder, "PEG_single_sites"))


@pytest.mark.parametrize("place", [".", "8044773"])
def test_a_single_archive_is_found_packed_and_unpacked(folder: Path, place: str) -> None:
    stem = POPULATION.removesuffix(".tgz")
    unpacked = unpack(folder / place / stem)
    assert release(folder).archive(POPULATION) == Archive(POPULATION, unpacked)
    for name in (f"{stem} (1).tgz", f"{stem}.tar.gz", POPULATION):
        path = pack(folder / place / name)
        assert release(folder).archive(POPULATION) == Archive(POPULATION, path)
    assert release(folder).lacking([POPULATION, "PEG.tgz"]) == ["PEG.tgz"]
    assert "lacks PEG.tgz" in error(lambda: release(folder).archive("PEG.tgz"))


# Files


@pytest.mark.parametrize("name", ["cells.csv", "cells.CSV", "Cells.csv", "cells (1).csv"])
def test_a_file_is_found_however_it_is_spelled(folder: Path, name: str) -> None:
    for place in (folder, folder / "18331549"):
        path = write(place / name)
        assert release(folder).file("cells.csv") == path
        assert release(folder).lacking(["cells.csv"]) == []
        path.unlink()
    assert release(folder).lacking(["cells.csv"]) == ["cells.csv"]


def test_other_names_are_other_files(folder: Path) -> None:
    for name in ("cells.csv.part", "my cells.csv", "cells.csv.bak", "cells_old.csv", "cellsXcsv"):
        write(folder / name)
    assert "lacks cells.csv" in error(lambda: release(folder).file("cells.csv"))


def test_a_file_that_is_there_twice_is_the_same_or_refused(folder: Path) -> None:
    one, other = write(folder / "cells.csv", b"a"), write(folder / "cells (1).csv", b"a")
    assert release(folder).file("cells.csv") == one
    other.write_bytes(b"b")
    message = error(lambda: release(folder).file("cells.csv"))
    assert "cells.csv is there twice, with different contents" in message
    assert str(one) in message
    assert str(other) in message


# An archive that is there twice

TWICE = pytest.mark.parametrize(
    "others",
    [
        (f"recordings/TST001a_{HASH}.tar.gz",),
        (f"recordings/TST001a_{HASH} (1).tgz",),
        (f"recordings/recordings/{FIRST}",),
        (FIRST, f"recordings/recordings/{FIRST}"),
    ],
)


@TWICE
def test_of_two_archives_with_one_content_the_published_name_counts(
    folder: Path, others: tuple[str, ...]
) -> None:
    pack(folder / "recordings" / FIRST)
    for name in others:
        pack(folder / name)
    (archive,) = release(folder).archives("recordings")
    assert archive.path.name == archive.name == FIRST
    assert len(cells(archive)) == 2


@TWICE
@pytest.mark.parametrize("same_size", [True, False])
def test_two_archives_that_differ_are_refused_when_read_and_no_sooner(
    folder: Path, others: tuple[str, ...], same_size: bool
) -> None:
    path = pack(folder / "recordings" / FIRST)
    pack(folder / "recordings" / SECOND)
    content = path.read_bytes()
    for name in others:
        write(folder / name, content[::-1] if same_size else content + b"\0")
    first, second = release(folder).archives("recordings")
    assert len(cells(second)) == 2
    assert list(first.keys()) == [first.path]
    message = error(lambda: cells(first))
    assert f"{FIRST} is there twice, with different contents" in message
    for name in (f"recordings/{FIRST}", others[-1]):
        assert str(folder / name) in message or len(others) > 1


def test_two_unpacked_archives_are_compared_file_by_file(folder: Path) -> None:
    stem = FIRST.removesuffix(".tgz")
    for place in ("recordings", "recordings/recordings"):
        unpack(folder / place / stem)
    (archive,) = release(folder).archives("recordings")
    keys = archive.keys()
    write(archive.path / ".DS_Store")
    assert len(cells(archive)) == 2
    assert archive.keys() == keys
    changed = folder / "recordings" / "recordings" / stem / "TST001a.meta.json"
    changed.write_bytes(changed.read_bytes()[::-1])
    (archive,) = release(folder).archives("recordings")
    assert archive.keys()
    assert "is there twice, with different contents" in error(lambda: cells(archive))
    changed.unlink()
    assert "is there twice, with different contents" in error(lambda: cells(archive))


def test_a_packed_archive_is_not_compared_with_an_unpacked_one(folder: Path) -> None:
    unpack(folder / "recordings" / FIRST.removesuffix(".tgz"), OTHER)
    path = pack(folder / FIRST)
    (archive,) = release(folder).archives("recordings")
    assert archive.path == path
    assert len(cells(archive)) == 2


def test_an_archive_that_was_taken_out_of_the_zip_in_part_is_refused(folder: Path) -> None:
    zip_up(folder / "recordings.zip", FIRST, SECOND)
    path = pack(folder / "recordings" / FIRST)
    assert [len(cells(each)) for each in release(folder).archives("recordings")] == [2, 2]
    path.write_bytes(path.read_bytes()[:-100])
    first, second = release(folder).archives("recordings")
    assert len(cells(second)) == 2
    message = error(lambda: cells(first))
    assert "is there twice, with different contents" in message
    assert str(folder / "recordings.zip") in message


def test_two_zips_make_up_one_unless_they_differ(folder: Path) -> None:
    zip_up(folder / "recordings.zip", FIRST)
    zip_up(folder / "recordings (1).zip", FIRST, SECOND)
    archives = release(folder).archives("recordings")
    assert [len(cells(each)) for each in archives] == [2, 2]
    third = zip_up(folder / "recordings (2).zip", SECOND, content=packed(OTHER))
    first, second = release(folder).archives("recordings")
    assert len(cells(first)) == 2
    assert str(third) in error(lambda: cells(second))


def test_of_two_zips_a_damaged_one_is_not_needed(folder: Path) -> None:
    write(folder / "recordings.zip", b"half a download")
    assert str(folder / "recordings.zip") in error(lambda: paths(folder))
    expected = zip_up(folder / "recordings (1).zip", FIRST)
    assert paths(folder) == {FIRST: expected}


# Links, pipes, devices


@pytest.mark.parametrize("what", ["file", "folder", "directory", "top"])
def test_links_are_followed(folder: Path, tmp_path: Path, what: str) -> None:
    disk = tmp_path / "disk"
    pack(disk / "recordings" / FIRST)
    unpack(disk / "recordings" / SECOND.removesuffix(".tgz"))
    here = folder / "recordings"
    if what == "top":
        (folder / "18331549").symlink_to(disk)
    elif what == "directory":
        here.symlink_to(disk / "recordings")
    else:
        here.mkdir()
        for path in (disk / "recordings").iterdir():
            (here / path.name).symlink_to(path)
    assert [len(cells(each)) for each in release(folder).archives("recordings")] == [2, 2]


@pytest.mark.parametrize("target", [FIRST, "nowhere", f"x/{'x' * 256}"])
def test_a_link_that_leads_nowhere_is_refused_when_it_is_read(folder: Path, target: str) -> None:
    good, bad = pack(folder / "recordings" / SECOND), folder / "recordings" / FIRST
    bad.symlink_to(target)
    assert paths(folder) == {FIRST: bad, SECOND: good}
    archive = release(folder).archives("recordings")[0]
    assert str(bad) in error(lambda: cells(archive))
    assert str(bad) in error(archive.keys)


@pytest.mark.parametrize("name", ["recordings", "cells.csv", "recordings.zip", "18331549"])
@pytest.mark.parametrize("target", ["", "nowhere"])
def test_a_link_in_place_of_a_file_or_folder_may_lead_nowhere(
    folder: Path, name: str, target: str
) -> None:
    (folder / name).symlink_to(target or name)
    for ask in (lambda: paths(folder), lambda: release(folder).file("cells.csv")):
        assert str(folder) in error(ask)
    release(folder).stamp()
    write(folder / "cells (1).csv")
    if name == "cells.csv":
        assert str(folder / name) in error(lambda: release(folder).file(name))


def test_a_copy_may_be_a_link_that_leads_nowhere(folder: Path) -> None:
    pack(folder / FIRST)
    (folder / f"TST001a_{HASH}.tar.gz").symlink_to("nowhere")
    write(folder / "cells.csv")
    (folder / "cells (1).csv").symlink_to("nowhere")
    (archive,) = release(folder).archives("recordings")
    for ask in (lambda: cells(archive), lambda: release(folder).file("cells.csv")):
        assert "cannot compare" in error(ask)


def test_a_folder_that_holds_itself_ends(folder: Path) -> None:
    pack(folder / "recordings" / FIRST)
    (folder / "recordings" / "recordings").symlink_to(folder / "recordings")
    (folder / "toy").symlink_to(folder)
    (archive,) = release(folder).archives("recordings")
    assert len(cells(archive)) == 2
    assert "lacks cells.csv" in error(lambda: release(folder).file("cells.csv"))


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device"])
@pytest.mark.parametrize("name", [FIRST, "recordings.zip", "cells.csv", "recordings"])
def test_pipes_and_devices_are_left_out(folder: Path, tmp_path: Path, kind: str, name: str) -> None:
    expected = pack(folder / "recordings (1)" / SECOND)
    pipe = folder / name if kind == "pipe" else tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind != "pipe":
        (folder / name).symlink_to("/dev/zero" if "device" in kind else pipe)
    assert paths(folder) == {SECOND: expected}
    assert "lacks" in error(lambda: release(folder).file("cells.csv"))
    release(folder).stamp()


def test_a_name_that_no_file_can_have_is_not_there(folder: Path) -> None:
    name = f"{'x' * 256}.tgz"
    pack(folder / FIRST)
    for ask in (
        lambda: release(folder).file(name),
        lambda: release(folder).archive(name),
    ):
        assert f"lacks {name}" in error(ask)
    assert f"has no {name}" in error(lambda: paths(folder, f"{name}_y"))
    assert release(folder).lacking([name, f"{name}_y.zip"]) == [name, f"{name}_y.zip"]


def test_a_folder_that_has_gone_is_an_error(folder: Path) -> None:
    folder.rmdir()
    for ask in (
        release(folder).stamp,
        lambda: paths(folder),
        lambda: release(folder).file("cells.csv"),
    ):
        assert f"cannot list a folder of the release\n  in:   {folder}" in error(ask)


# The errors


def test_the_error_lists_the_places(folder: Path) -> None:
    for place in ("recordings/recordings", "recordings (1)", "18331549"):
        (folder / place).mkdir(parents=True)
    shutil.rmtree(folder / "recordings (1)")
    shutil.rmtree(folder / "recordings")
    (folder / "18331549" / "recordings" / "recordings").mkdir(parents=True)
    message = error(lambda: paths(folder))
    top = folder / "18331549"
    for place in (folder, top, top / "recordings", top / "recordings" / "recordings"):
        assert f"{place}," in message or f"{place}\n" in message
    message = error(lambda: release(folder).file("cells.csv"))
    assert f"no such file in {folder}, {top}\n" in message


# The stamp


@pytest.mark.parametrize(
    "name",
    [
        "cells.csv",
        FIRST,
        f"recordings/{FIRST}",
        f"recordings/recordings/{FIRST}",
        f"recordings (1)/recordings/{FIRST}",
        f"data/{FIRST}",
        "data/cells.csv",
        "data/recordings.zip",
        f"data/recordings/{FIRST}",
        f"data/recordings/recordings/{FIRST}",
    ],
)
@pytest.mark.parametrize("change", ["add", "remove"])
def test_the_stamp_changes_with_every_place(folder: Path, name: str, change: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Clocks of file systems may stand still for some milliseconds.
    if change == "remove":
        path.touch()
    os.utime(path.parent, ns=(0, 10**18))
    before = release(folder).stamp()
    assert release(folder).stamp() == before
    path.touch() if change == "add" else path.unlink()
    assert release(folder).stamp() != before


@pytest.mark.parametrize("name", ["cells.csv", "recordings.zip", "data/cells.csv"])
def test_the_stamp_changes_with_the_content_of_a_file(folder: Path, name: str) -> None:
    path = write(folder / name)
    os.utime(path, ns=(0, 10**18))
    before = release(folder).stamp()
    path.write_bytes(b"new")
    assert release(folder).stamp() != before


# All the way


@pytest.mark.parametrize("layout", ["recordings/recordings", ".", "18331549/recordings"])
def test_loading_gives_the_same_whatever_the_layout(
    home: Path,
    mini_release: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
) -> None:
    configs = ("CLT027c", "cells")
    expected = {config: load_dataset("./wingert2026", config) for config in configs}
    for path in (mini_release / "recordings").iterdir():
        copy = folder / layout / path.name.replace(".tgz", ".tar.gz")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    top = folder / "18331549" if layout.startswith("1") else folder
    shutil.copy(mini_release / "cell_list.csv", top / "cell_list (1).CSV")
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    for config in configs:
        found = load_dataset("./wingert2026", config)
        assert {split: rows.to_dict() for split, rows in found.items()} == {
            split: rows.to_dict() for split, rows in expected[config].items()
        }
