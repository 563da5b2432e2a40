"""Planted faults in the archives: members of a tar, bombs, zips. See `tests.hardening`."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import members
from builders.errors import CorpusError
from builders.nems import read_signals
from builders.release import Archive
from builders.zips import LARGEST_MEMBER, read_index

from .archives import CELL, SESSION, Files, packed, recording, response, unpack
from .hardening import RESP_EPOCHS, RESP_H5, RESP_JSON, STIM_H5, read, refusal, whole

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


def written(folder: Path, content: bytes) -> Archive:
    path = folder / "any.tgz"
    path.write_bytes(content)
    return Archive(path.name, path)


SPOILT = response({CELL: [0.05]})[RESP_H5]
ODD_MEMBERS: dict[str, tuple[Member, str]] = {
    "absolute path": ((info(f"/etc/{RESP_H5}", len(SPOILT)), SPOILT), "leads out"),
    "dots": ((info(f"../../{RESP_H5}", len(SPOILT)), SPOILT), "leads out"),
    "dots inside": ((info(f"x/../../{RESP_H5}", len(SPOILT)), SPOILT), "leads out"),
    "symbolic link": (
        (info(f"x/{RESP_H5}", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        "neither a plain file",
    ),
    "hard link": (
        (info(f"x/{RESP_H5}", type=tarfile.LNKTYPE, linkname=f"{SESSION}/{STIM_H5}"), b""),
        "neither a plain file",
    ),
    "hard link to itself": (
        (info(f"x/{RESP_H5}", type=tarfile.LNKTYPE, linkname=f"x/{RESP_H5}"), b""),
        "neither a plain file",
    ),
    "character device": (
        (info(f"x/{RESP_H5}", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
        "neither a plain file",
    ),
    "block device": ((info(f"x/{RESP_H5}", type=tarfile.BLKTYPE), b""), "neither a plain file"),
    "pipe": ((info(f"x/{RESP_H5}", type=tarfile.FIFOTYPE), b""), "neither a plain file"),
    "unknown type": ((info(f"x/{RESP_H5}", type=b"Z"), b""), "neither a plain file"),
    "the same name": ((info(f"{SESSION}/{RESP_H5}", len(SPOILT)), SPOILT), f"in {RESP_H5} too"),
    "the same name in another folder": (
        (info(f"x/{RESP_H5}", len(SPOILT)), SPOILT),
        f"in {RESP_H5} too",
    ),
    "the same signal of another recording": (
        (info("x/OTHER.resp.h5", len(SPOILT)), SPOILT),
        f"in {RESP_H5} too",
    ),
    "two data files of a signal": ((info("x/TST001a.resp.csv", 4), b"1.0\n"), f"in {RESP_H5} too"),
    "two headers of a signal": ((info(f"x/{RESP_JSON}", 2), b"{}"), "another such file"),
    "two epoch files of a signal": ((info(f"x/{RESP_EPOCHS}", 2), b"{}"), "another such file"),
    "a name that is no UTF-8": ((info("x/\udcff/../../y", 2), b"{}"), "leads out"),
}


@pytest.mark.parametrize(("member", "why"), ODD_MEMBERS.values(), ids=list(ODD_MEMBERS))
def test_an_odd_member_is_refused(tmp_path: Path, member: Member, why: str) -> None:
    name = member[0].name.rpartition("/")[2]
    archive = written(tmp_path, gzip.compress(tar_of(recording(), [member])))
    refusal(archive, name, why)


def test_what_stands_beside_a_recording_is_left_alone(tmp_path: Path) -> None:
    """Folders, files without a suffix of ours, and what macOS adds to archives and folders."""
    added = [
        (info(f"{SESSION}/", type=tarfile.DIRTYPE), b""),
        (info(f"{SESSION}/README", 2), b"hi"),
        (info(f"{SESSION}/._{RESP_H5}", 2), b"hi"),
        (info(f"{SESSION}/.DS_Store", 2), b"hi"),
    ]
    archive = written(tmp_path, gzip.compress(tar_of(recording(), added)))
    np.testing.assert_equal(read(archive), whole())
    folder = unpack(tmp_path, {**recording(), f"._{RESP_H5}": b"hi", ".DS_Store": b"hi"})
    np.testing.assert_equal(read(folder), whole())


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, format: int) -> None:
    files = {f"{'ä' if format != tarfile.USTAR_FORMAT else 'a'}{'x' * 60}/{name}": content
             for name, content in recording().items()}  # fmt: skip
    archive = written(tmp_path, gzip.compress(tar_of(files, format=format)))
    np.testing.assert_equal(read(archive), whole())


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


@pytest.mark.parametrize("kept", [-1024, -1023, -1536])
def test_an_archive_without_its_end_is_refused(tmp_path: Path, kept: int) -> None:
    archive = written(tmp_path, gzip.compress(tar_of(recording())[:kept]))
    refusal(archive, SESSION, "")


def test_what_follows_the_end_is_refused(tmp_path: Path) -> None:
    twice = tar_of(recording()) + tar_of({"TST001a.more.json": b"{}"})
    refusal(written(tmp_path, gzip.compress(twice)), SESSION, "something follows the end")


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    """GNU's sparse files declare a petabyte in a block, in two spellings."""
    holes = info(f"x/{RESP_H5}", 512, type=tarfile.GNUTYPE_SPARSE)
    header_ = bytearray(holes.tobuf(tarfile.GNU_FORMAT))
    header_[386:386 + 24] = b"%011o\0%011o\0" % (0, 512)  # fmt: skip
    header_[483:495] = b"%011o " % (8**11 - 1)
    header_[148:156] = b"%06o\0 " % (sum(header_[:148]) + 8 * 32 + sum(header_[156:]))
    old = bytes(header_) + b"\0" * 512 + b"\0" * 1024
    refusal(written(tmp_path, gzip.compress(old)), RESP_H5, "neither a plain file")

    new = info(f"x/{RESP_H5}", 512)
    new.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
        "GNU.sparse.name": f"x/{RESP_H5}", "GNU.sparse.realsize": str(10**15),
    }  # fmt: skip
    content = b"1\n0\n1\n".ljust(512, b"\0")
    refusal(written(tmp_path, gzip.compress(tar_of({}, [(new, content)]))), RESP_H5, "neither")


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
    with suppress(CorpusError):
        np.testing.assert_equal(read(archive), whole())


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
    "an epochs file": (start_of(f"{SESSION}.x.epoch.csv", 7 << 30), "x.epoch.csv", "the limit"),
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
    archive = written(tmp_path, (gzip.compress(b"") * 1000).join(pieces) + b"\0" * 200_000)
    np.testing.assert_equal(read(archive), whole())


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
                np.testing.assert_equal(read(Archive("a_1.tgz", path, entry.filename)), whole())


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
