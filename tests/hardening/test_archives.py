"""Planted faults in the archives: members of a tar, bombs, zips. See `tests.hardening.faults`."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builders.errors import CorpusError
from builders.nems import archive as members
from builders.nems.recording import read_signals
from builders.release.archive import Archive
from builders.release.zips import LARGEST_MEMBER, read_index
from tests.archives import CELL, SESSION, Files, packed, recording, response, unpack
from tests.conftest import run_python
from tests.hardening.faults import (
    RESP_EPOCHS,
    RESP_H5,
    RESP_JSON,
    STIM_H5,
    bins_of,
    refusal,
    same,
    same_or_refused,
    written,
)
from tests.releases import copy_release

pytestmark = pytest.mark.usefixtures("limited_memory")

# -- The members of a tar --------------------------------------------------------------------------

Member = tuple[tarfile.TarInfo, bytes]


def info(name: str, size: int = 0, **values: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    for key, value in values.items():
        setattr(found, key, value)
    return found


def tar_of(
    files: Mapping[str, bytes], added: Sequence[Member] = (), *, format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar of these files, and of members whose headers may say anything."""
    tar = io.BytesIO()
    entries = [(info(f"{SESSION}/{name}", len(each)), each) for name, each in files.items()]
    for each, content in [*entries, *added]:
        tar.write(each.tobuf(format, "utf-8", "surrogateescape"))
        tar.write(content + b"\0" * (-len(content) % 512))
    return tar.getvalue() + b"\0" * 1024


SPOILT = response({CELL: [0.05]})[RESP_H5]
LINKS: dict[str, dict[str, Any]] = {
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": f"{SESSION}/{STIM_H5}"},
    "character device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
    "unknown type": {"type": b"Z"},
}
links = pytest.mark.parametrize("values", LINKS.values(), ids=list(LINKS))


@links
@pytest.mark.parametrize("name", [RESP_H5, RESP_JSON, RESP_EPOCHS, STIM_H5, "x.mask.csv"])
def test_a_link_in_the_place_of_a_file_is_refused(
    tmp_path: Path, values: dict[str, Any], name: str
) -> None:
    content = tar_of(recording(), [(info(f"x/{name}", **values), b"")])
    refusal(written(tmp_path, gzip.compress(content)), name, "neither a plain file")


@links
def test_a_link_that_nobody_needs_is_left_alone(tmp_path: Path, values: dict[str, Any]) -> None:
    """Be it a note, a later view, or a file of a signal that is not wanted."""
    names = ("notes.txt", f"01.{RESP_H5}", f"{SESSION}.pupil.h5", f"{SESSION}.pupil.json")
    added = [(info(f"x/{name}", **values), b"") for name in names]
    same(written(tmp_path, gzip.compress(tar_of(recording(), added))))


@links
def test_a_link_makes_a_signal_that_is_wanted_without_data_absent(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    for name in (f"{SESSION}.mask.csv", f"{SESSION}.mask.epoch.csv"):
        content = tar_of(recording(), [(info(f"x/{name}", **values), b"")])
        archive = written(tmp_path, gzip.compress(content))
        assert set(read_signals(archive, ["resp"], ["stim", "mask"])) == {"resp", "stim"}


def test_a_hard_link_to_itself_is_refused(tmp_path: Path) -> None:
    member = info(f"x/{RESP_H5}", type=tarfile.LNKTYPE, linkname=f"x/{RESP_H5}")
    archive = written(tmp_path, gzip.compress(tar_of(recording(), [(member, b"")])))
    refusal(archive, RESP_H5, "neither a plain file")


@pytest.mark.parametrize("base", [RESP_H5, "notes.txt", f"01.{RESP_H5}"])
@pytest.mark.parametrize("folder", ["/etc/", "../../", "x/../../", "x/\udcff/../../"])
@pytest.mark.parametrize("type", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])
def test_a_path_that_leads_out_is_refused_whoever_needs_it(
    tmp_path: Path, folder: str, base: str, type: bytes
) -> None:
    size = len(SPOILT) if type == tarfile.REGTYPE else 0
    member = info(f"{folder}{base}", size, type=type, linkname="/etc/passwd")
    content = tar_of(recording(), [(member, SPOILT[:size])])
    refusal(written(tmp_path, gzip.compress(content)), base, "leads out")


@pytest.mark.parametrize("folder", [f"{SESSION}/", "x/", ""])
@pytest.mark.parametrize("name", [RESP_H5, RESP_JSON, RESP_EPOCHS])
def test_of_a_member_that_comes_twice_the_last_one_counts(
    tmp_path: Path, folder: str, name: str
) -> None:
    """As when it is unpacked."""
    right = recording()
    spoilt = {**right, name: SPOILT}
    again = [(info(f"{folder}{name}", len(right[name])), right[name])]
    same(written(tmp_path, gzip.compress(tar_of(spoilt, again))))
    again = [(info(f"{folder}{name}", len(SPOILT)), SPOILT)]
    archive = written(tmp_path, gzip.compress(tar_of(right, again)))
    if name == RESP_H5:
        assert bins_of(read_signals(archive, ["resp"])["resp"]) == {CELL: [5]}
    else:
        refusal(archive, name)


@pytest.mark.parametrize("name", ["OTHER.resp.h5", "TST001a.resp.csv", "OTHER.resp.csv"])
def test_two_data_files_of_a_signal_are_refused(tmp_path: Path, name: str) -> None:
    added = [(info(f"x/{name}", 4), b"1.0\n")]
    archive = written(tmp_path, gzip.compress(tar_of(recording(), added)))
    refusal(archive, f"{RESP_H5} and {name}", "the signal has two data files")
    assert set(read_signals(archive, ["stim"], ["resp"])) == {"stim"}


def test_what_stands_beside_a_recording_is_left_alone(tmp_path: Path) -> None:
    """Folders, files without a suffix of ours, and what macOS adds to archives and folders."""
    added = [
        (info(f"{SESSION}/", type=tarfile.DIRTYPE), b""),
        (info(f"{SESSION}/README", 2), b"hi"),
        (info(f"{SESSION}/._{RESP_H5}", 2), b"hi"),
        (info(f"{SESSION}/.DS_Store", 2), b"hi"),
    ]
    same(written(tmp_path, gzip.compress(tar_of(recording(), added))))
    same(unpack(tmp_path, {**recording(), f"._{RESP_H5}": b"hi", ".DS_Store": b"hi"}))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, format: int) -> None:
    files = {f"{'ä' if format != tarfile.USTAR_FORMAT else 'a'}{'x' * 60}/{name}": content
             for name, content in recording().items()}  # fmt: skip
    same(written(tmp_path, gzip.compress(tar_of(files, format=format))))


def with_size(files: Files, member: str, size: int) -> bytes:
    """A tar in which one member's header states another size than the member has."""
    tar = io.BytesIO()
    for name, content in files.items():
        stated = size if name == member else len(content)
        tar.write(info(f"{SESSION}/{name}", stated).tobuf(tarfile.GNU_FORMAT))
        tar.write(content + b"\0" * (-len(content) % 512))
    return tar.getvalue() + b"\0" * 1024


SIZE = len(recording()[RESP_H5])


@pytest.mark.parametrize("member", [RESP_H5, STIM_H5, RESP_JSON])
@pytest.mark.parametrize(
    "size", [0, 1, 700, SIZE + 4096, 10**6, 10**9, 10**15, 2**63, 2**80, -1, -512, -(2**40)]
)
def test_a_size_that_lies_is_refused(tmp_path: Path, member: str, size: int) -> None:
    """Also where the member is not wanted: what follows it is no longer where it should be."""
    if member == RESP_JSON and size in (1, SIZE + 4096):
        size = 4096  # of a small file, one block holds any smaller size
    archive = written(tmp_path, gzip.compress(with_size(recording(), member, size)))
    refusal(archive, SESSION, "")


def test_a_damaged_header_is_not_the_end_of_an_archive(tmp_path: Path) -> None:
    """Python's `tarfile` takes it for that, and all later members would be lost."""
    files = recording()
    content = bytearray(tar_of(files))
    position = content.index(f"{SESSION}/{SESSION}.mask.csv".encode())
    content[position] ^= 1
    archive = written(tmp_path, gzip.compress(bytes(content)))
    with pytest.raises(CorpusError, match="no header where a member should begin"):
        read_signals(archive, ["resp"])


@pytest.mark.parametrize("kept", [-1536, -1100, -1025])
def test_a_tar_that_ends_within_a_member_is_refused(tmp_path: Path, kept: int) -> None:
    refusal(written(tmp_path, gzip.compress(tar_of(recording())[:kept])), SESSION)


@pytest.mark.parametrize("kept", [-1024, -1023, -513, -512, -1])
def test_a_tar_may_lack_its_end(tmp_path: Path, kept: int) -> None:
    """Or a part of it: the gzip stream says that nothing else is missing."""
    same(written(tmp_path, gzip.compress(tar_of(recording())[:kept])))


@pytest.mark.parametrize(
    "rest",
    [b"\0", b"garbage", b"\0" * 10_000 + b"x" * 1000, b"\0" * 200_000, b"\0" * 70_000 + b"x"],
)
def test_what_follows_the_gzip_stream_is_left_alone(tmp_path: Path, rest: bytes) -> None:
    same(written(tmp_path, packed(recording()) + rest))


@pytest.mark.parametrize("rest", [b"\0" * 9000, b"garbage", b"x" * 100_000])
def test_what_follows_the_end_of_a_tar_is_left_alone(tmp_path: Path, rest: bytes) -> None:
    same(written(tmp_path, gzip.compress(tar_of(recording()) + rest)))


@pytest.mark.parametrize("between", [0, 512, 10_240, 300_032])
@pytest.mark.parametrize("streams", [1, 2])
def test_members_after_the_end_of_a_tar_are_refused(
    tmp_path: Path, between: int, streams: int
) -> None:
    """No reader of tar looks at them, but they would be lost."""
    first = tar_of(recording()) + b"\0" * between
    second = tar_of({"TST001a.more.json": b"{}"})
    whole = (
        gzip.compress(first + second)
        if streams == 1
        else gzip.compress(first) + gzip.compress(second)
    )
    refusal(written(tmp_path, whole), SESSION, "more members follow")


def with_holes(name: str, size: int) -> Member:
    """A file of that size of which a block is stored, as GNU tar spells it in POSIX archives."""
    member = info(name, 512)
    member.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
        "GNU.sparse.name": name, "GNU.sparse.realsize": str(size),
    }  # fmt: skip
    return member, b"1\n0\n1\n".ljust(512, b"\0")


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    """GNU's sparse files declare a petabyte in a block, in two spellings."""
    holes = info(f"x/{RESP_H5}", 512, type=tarfile.GNUTYPE_SPARSE)
    header_ = bytearray(holes.tobuf(tarfile.GNU_FORMAT))
    header_[386:386 + 24] = b"%011o\0%011o\0" % (0, 512)  # fmt: skip
    header_[483:495] = b"%011o " % (8**11 - 1)
    header_[148:156] = b"%06o\0 " % (sum(header_[:148]) + 8 * 32 + sum(header_[156:]))
    old = bytes(header_) + b"\0" * 512 + b"\0" * 1024
    refusal(written(tmp_path, gzip.compress(old)), RESP_H5, "neither a plain file")

    for size, why in ((1000, "neither a plain file"), (10**15, "bytes unpacked")):
        content = tar_of(recording(), [with_holes(f"x/{RESP_H5}", size)])
        refusal(written(tmp_path, gzip.compress(content)), RESP_H5, why)


def test_a_file_with_holes_that_nobody_needs_is_left_alone_unless_it_is_huge(
    tmp_path: Path,
) -> None:
    same(written(tmp_path, gzip.compress(tar_of(recording(), [with_holes("notes", 1000)]))))
    huge = written(tmp_path, gzip.compress(tar_of(recording(), [with_holes("notes", 10**15)])))
    refusal(huge, "notes", "bytes unpacked")


@pytest.mark.parametrize(
    "records",
    [
        {"size": "many"},
        {"size": "-1"},
        {"size": str(10**30)},
        {"GNU.sparse.map": "1,x"},
        {"GNU.sparse.size": "x", "GNU.sparse.offset": "y"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"hdrcharset": "BINARY", "path": "\udcff"},
        {"mtime": "nan"},
        {"path": ""},
    ],
    ids=str,
)
def test_odd_extended_headers_are_refused_or_change_nothing(
    tmp_path: Path, records: dict[str, str]
) -> None:
    odd = info(f"{SESSION}/note", 512)
    odd.pax_headers = records
    archive = written(tmp_path, gzip.compress(tar_of(recording(), [(odd, b"x" * 512)])))
    same_or_refused(archive)


# -- Decompression bombs ---------------------------------------------------------------------------

ZEROS = 1 << 26


def zeros(size: int) -> Iterator[bytes]:
    """Gzip streams that hold so many zeros together, or some more."""
    of_one = gzip.compress(b"\0" * ZEROS, 1)
    for _ in range(0, size, ZEROS):
        yield of_one


def bomb(folder: Path, start: bytes, size: int) -> Archive:
    path = folder / "bomb.tgz"
    with path.open("wb") as file:
        file.write(gzip.compress(start))
        for block in zeros(size):
            file.write(block)
    return Archive(path.name, path)


def start_of(name: str, size: int, *, type: bytes = tarfile.REGTYPE) -> bytes:
    """A recording's tar up to the header of a member of this size."""
    whole = tar_of(recording())
    return whole[:-1024] + info(f"{SESSION}/{name}", size, type=type).tobuf(tarfile.GNU_FORMAT)


BOMBS: dict[str, tuple[bytes, str, str]] = {
    "a JSON file": (start_of(f"{SESSION}.x.json", 50 << 30), "x.json", "bytes unpacked"),
    "an epochs file": (start_of("x.resp.epoch.csv", 7 << 30), "x.resp.epoch.csv", "the limit"),
    "a header": (start_of("x.stim.json", 65 << 20), "x.stim.json", "the limit"),
    "data that are not wanted": (start_of(f"{SESSION}.x.h5", 50 << 30), "x.h5", "bytes unpacked"),
    "a note": (start_of("note", 50 << 30), "note", "bytes unpacked"),
    "a long name": (
        start_of("x", 50 << 30, type=tarfile.GNUTYPE_LONGNAME), SESSION, "headers or padding",
    ),
    "an extended header": (
        start_of("x", 50 << 30, type=tarfile.XHDTYPE), SESSION, "headers or padding",
    ),
    "a header for all": (
        start_of("x", 50 << 30, type=tarfile.XGLTYPE), SESSION, "headers or padding",
    ),
    "padding": (tar_of(recording()), SESSION, "headers or padding"),
}  # fmt: skip


@pytest.mark.parametrize(("start", "member", "why"), BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, start: bytes, member: str, why: str
) -> None:
    """50 GB of zeros are 50 MB packed; those of the file beyond the first are never read."""
    refusal(bomb(tmp_path, start, 1 << 28), member, why)


@pytest.mark.parametrize("size", [50 << 30, 2 << 30])
def test_a_bomb_of_an_hdf5_file_is_refused(tmp_path: Path, size: int) -> None:
    start = tar_of({name: content for name, content in recording().items() if name != RESP_H5})
    start = start[:-1024] + info(f"x/{RESP_H5}", size).tobuf(tarfile.GNU_FORMAT)
    refusal(bomb(tmp_path, start, 1 << 28), RESP_H5, "unpacked")


def test_fifty_gigabytes_of_zeros_in_a_side_car(tmp_path: Path) -> None:
    """All of them are there."""
    refusal(bomb(tmp_path, start_of(f"{SESSION}.x.json", 50 << 30), 50 << 30), "x.json", "bytes")


PEAK = """
import sys
from pathlib import Path

from datasets import load_dataset

load_dataset("./wingert2026", "CLT027c")
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # kB
"""
PEAK_MB = 600


def test_a_gigabyte_of_zeros_that_nobody_asked_for(mini_release: Path, tmp_path: Path) -> None:
    """Whatever such members are called, they are read past piece by piece."""
    release = copy_release(mini_release, tmp_path / "release")
    archive = next((release / "recordings").glob("CLT027c*"))
    content = archive.read_bytes()
    archive.unlink()
    with archive.open("wb") as file:
        for name in ("zeros.bin", "CLT027c.pupil.h5", "CLT027c.pupil.csv"):
            file.write(gzip.compress(info(f"CLT027c/{name}", 1 << 30).tobuf(tarfile.GNU_FORMAT)))
            for block in zeros(1 << 30):
                file.write(block)
        file.write(content)
    peak = run_python(
        PEAK,
        WINGERT2026_DATA=str(release),
        BUILDERS_HOME=str(tmp_path / "builders"),
        HF_HOME=str(tmp_path / "hf"),
    )
    assert int(peak) / 1024 < PEAK_MB


def test_many_members_are_refused(tmp_path: Path) -> None:
    one = info("note", 0).tobuf(tarfile.GNU_FORMAT)
    archive = written(tmp_path, gzip.compress(one * (members.MAX_MEMBERS + 1) + b"\0" * 1024, 1))
    refusal(archive, "note", f"{members.MAX_MEMBERS + 1} members")


def test_many_extended_headers_are_refused(tmp_path: Path) -> None:
    """Python's `tarfile` reads each inside the one before."""
    one = info("x", 512, type=tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT) + b"\0" * 512
    refusal(written(tmp_path, gzip.compress(one * 100_000, 1)), "the archive itself", "")


def test_many_gzip_streams_are_refused(tmp_path: Path) -> None:
    empty = gzip.compress(b"")
    archive = written(tmp_path, empty * (members.MAX_STREAMS + 1) + packed(recording()))
    refusal(archive, "the archive itself", "gzip streams")


def test_some_gzip_streams_hold_one_archive(tmp_path: Path) -> None:
    content = tar_of(recording())
    pieces = [gzip.compress(content[i : i + 1000]) for i in range(0, len(content), 1000)]
    same(written(tmp_path, (gzip.compress(b"") * 1000).join(pieces) + b"\0" * 200_000))


@pytest.mark.parametrize("n_zeros", [1, 2, 3, 1000, 65_536, 65_537, 200_000])
def test_zeros_between_two_gzip_streams_are_skipped(tmp_path: Path, n_zeros: int) -> None:
    """Wherever they lie in the blocks that the file is read in."""
    content = tar_of(recording())
    for at in (1, 1024, len(content) // 2, len(content) - 1):
        first, second = gzip.compress(content[:at]), gzip.compress(content[at:])
        same(written(tmp_path, first + b"\0" * n_zeros + second))


# -- Zips ------------------------------------------------------------------------------------------


def zip_of(folder: Path, *names: str) -> Path:
    path = folder / "recordings.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, packed(recording()))
    return path


NAME = "recordings/ä_1.tgz"
ENTRY = b"PK\x01\x02"  # of the directory; 46 bytes and the name


@pytest.mark.parametrize("at", range(4, 46 + len(NAME.encode())))
def test_a_damaged_directory_of_a_zip_is_refused_or_changes_nothing(
    tmp_path: Path, at: int
) -> None:
    path = zip_of(tmp_path, NAME)
    content = path.read_bytes()
    start = content.index(ENTRY) + at
    for byte in (0, 1, 8, 9, 0x7F, 0xFF):
        path.write_bytes(content[:start] + bytes([byte]) + content[start + 1 :])
        with suppress(CorpusError):
            for entry in read_index(path).members.values():
                same_or_refused(Archive("a_1.tgz", path, entry.filename))


@pytest.mark.parametrize("name", ["", ".", "/", "//a.tgz", "../a.tgz", "x/../../a.tgz"])
def test_a_member_of_a_zip_whose_name_leads_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recordings.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(CorpusError, match="leads out of the zip, or nowhere") as caught:
        read_index(path)
    assert f"{path}: {name}" in str(caught.value)


def test_a_member_of_a_zip_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, NAME)
    content = bytearray(path.read_bytes())
    place = content.index(ENTRY) + 24
    content[place : place + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=f"{2**31} bytes unpacked; {LARGEST_MEMBER}") as caught:
        read_index(path)
    assert f"{path}: {NAME}" in str(caught.value)


def test_a_zip_that_holds_its_archive_packed_a_thousand_times_over(tmp_path: Path) -> None:
    """An archive that is itself packed again in the zip: what it unpacks to is what counts."""
    path = tmp_path / "recordings.zip"
    archive = bomb(tmp_path, start_of(f"{SESSION}.x.json", 50 << 30), 1 << 28)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(archive.path, "recordings/a_1.tgz")
    refusal(Archive("a_1.tgz", path, "recordings/a_1.tgz"), "x.json", "unpacked")
