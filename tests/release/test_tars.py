"""Tars of archives: read once, complete or not there, in a user's folder or fetched."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from builders.cli import app
from builders.errors import CorpusError
from builders.files import home as builders_home
from builders.release import http, tars
from builders.release.local import Release
from espejo2019 import Espejo2019
from tests.conftest import REPOSITORY, run_python
from tests.servers.zenodo import ZenodoServer

NAT, VMN = "A1_natural_sounds", "A1_voc_mod_noise"
FIRST, SECOND = (f"{site}_{'0' * 39}{n}.tgz" for n, site in enumerate(("AMT003c", "AMT004c")))
Members = dict[str, bytes]
TWO: Members = {f"{NAT}/NAT/{FIRST}": b"one", f"{NAT}/NAT/{SECOND}": b"two" * 100_000}


@pytest.fixture
def folder(own_home: Path, tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return place


def tar_of(members: Members | list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def pack(path: Path, members: Members | list[tuple[str, bytes]] = TWO) -> Path:
    content = tar_of(members)
    path.write_bytes(content if path.suffix == ".tar" else gzip.compress(content))
    return path


def contents(folder: Path, directory: str = NAT) -> dict[str, bytes]:
    found = {}
    for archive in Release("toy", folder, "nowhere").archives(directory):
        with archive.open() as file:
            found[archive.name] = file.read()
    return found


def unpacked() -> list[str]:
    return sorted(path.name for path in builders_home().rglob("*_0*") if path.is_file())


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(CorpusError) as caught:
        contents(folder)
    for word in words:
        assert word in str(caught.value)
    assert not list(builders_home().rglob(".index.json"))


EXPECTED = {FIRST: b"one", SECOND: b"two" * 100_000}


@pytest.mark.parametrize(
    "name", [f"{NAT}.tgz", f"{NAT}.tar.gz", f"{NAT}.tar", f"{NAT} (1).tgz", f"{NAT}-2.TGZ"]
)
def test_archives_are_found_in_a_tar(folder: Path, name: str) -> None:
    pack(folder / name)
    assert contents(folder) == EXPECTED
    assert [path.name for path in folder.iterdir()] == [name]  # the user's folder stays as it is


@pytest.mark.parametrize("place", [NAT, f"{NAT}/NAT", f"{NAT}/{NAT}", f"espejo2019/{NAT}/NAT"])
def test_archives_are_found_in_folders(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True)
    for name, content in EXPECTED.items():
        (folder / place / name).write_bytes(content)
    assert contents(folder) == EXPECTED


def test_a_tar_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(folder / f"{NAT}.tgz")
    assert contents(folder) == EXPECTED

    def unpack(*_: object) -> None:
        raise AssertionError("it is read again")

    monkeypatch.setattr(tars, "_unpack", unpack)
    assert contents(folder) == EXPECTED


def test_a_tar_that_was_written_to_is_read_again(folder: Path) -> None:
    path = pack(folder / f"{NAT}.tgz")
    assert contents(folder) == EXPECTED
    stat = path.stat()
    path.write_bytes(b"\0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CorpusError, match="cannot read a tar"):
        contents(folder)  # of the same size and date, but its status tells


def test_a_tar_is_synthesized_with_the_same_bytes_again(
    releases: Callable[[str], Path], tmp_path: Path
) -> None:
    Espejo2019.synthesize(tmp_path / "again", "mini", 0)
    first = sorted(releases("espejo2019").iterdir())
    assert [path.name for path in sorted((tmp_path / "again").iterdir())] == [f.name for f in first]
    for path in first:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_key_of_an_archive_follows_from_its_content(folder: Path) -> None:
    path = pack(folder / f"{NAT}.tgz")
    keys = [each.keys().values() for each in Release("toy", folder, "").archives(NAT)]
    shutil.rmtree(builders_home() / "releases")
    os.utime(path, (1, 1))
    again = [each.keys().values() for each in Release("toy", folder, "").archives(NAT)]
    assert [[*each] for each in keys] == [[*each] for each in again]
    pack(path, {**TWO, f"{NAT}/NAT/{FIRST}": b"One"})
    changed, same = (each.keys() for each in Release("toy", folder, "").archives(NAT))
    assert [*changed.values()] != [*keys[0]]
    assert [*same.values()] == [*keys[1]]
    assert contents(folder)[FIRST] == b"One"


def test_another_tar_takes_the_place_of_the_first(folder: Path) -> None:
    pack(folder / f"{NAT}.tgz")
    contents(folder)
    pack(folder / f"{NAT}.tgz", {f"x/{SECOND}": b"new"})
    assert contents(folder) == {SECOND: b"new"}
    assert unpacked() == [SECOND]


def test_an_unpacked_archive_that_is_lost_is_unpacked_again(folder: Path) -> None:
    pack(folder / f"{NAT}.tgz")
    contents(folder)
    (lost,) = builders_home().rglob(FIRST)
    lost.unlink()
    assert contents(folder) == EXPECTED
    lost.write_bytes(b"short"[:2])
    assert contents(folder) == EXPECTED


def test_what_is_no_archive_is_left_alone(folder: Path) -> None:
    with tarfile.open(folder / f"{NAT}.tgz", "w:gz") as tar:
        for name in ("README.txt", f"{NAT}/._{FIRST}", f"__MACOSX/{SECOND}", f"{NAT}/NAT/{FIRST}"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"one"))
        for kind, name in ((tarfile.SYMTYPE, SECOND), (tarfile.DIRTYPE, NAT)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert contents(folder) == {FIRST: b"one"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(tar_of(TWO))[:-300], "cannot read a tar"),
        (gzip.compress(tar_of(TWO))[:-6] + b"\0" * 6, "cannot read a tar"),
        (tar_of(TWO)[:100_000], "cannot read a tar"),
        (gzip.compress(b"no tar at all" * 1000), "cannot read a tar"),
        (gzip.compress(tar_of({f"../{FIRST}": b"x"})), "leads out of the tar"),
        (gzip.compress(tar_of({f"/{FIRST}": b"x"})), "leads out of the tar"),
        (gzip.compress(tar_of({f"..\\{FIRST}": b"x"})), "leads out of the tar"),
        (gzip.compress(tar_of({f"C:{FIRST}": b"x"})), "leads out of the tar"),
        (gzip.compress(tar_of([(FIRST, b"x"), (f"b/{FIRST}", b"y")])), "there twice"),
        (b"", "cannot read a tar"),
    ],
    ids=["cut", "crc", "plain-cut", "no-tar", "up", "root", "up-there", "drive", "twice", "empty"],
)
def test_a_bad_tar_is_refused_and_nothing_counts(folder: Path, content: bytes, why: str) -> None:
    (folder / f"{NAT}.tgz").write_bytes(content)
    refused(folder, why, f"{NAT}.tgz")


def test_a_tar_that_is_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "LARGEST_TAR", 1000)
    pack(folder / f"{NAT}.tgz")
    refused(folder, "its archives have more than 1000 bytes")


LOAD = 'from datasets import load_dataset; print(load_dataset("./espejo2019", "{}"))'


def test_a_process_that_is_killed_leaves_nothing_that_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = os.urandom(1 << 20)
    names = [f"AMT{n:03d}c_{'0' * 40}.tgz" for n in range(200)]
    pack(folder / f"{NAT}.tar", dict.fromkeys(names, chunk))
    code = f"""if True:
        from pathlib import Path
        from builders.release.local import Release
        Release("toy", Path({str(folder)!r}), "").archives("{NAT}")"""
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    while len(unpacked()) < 5:
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(builders_home().rglob(".index.json"))
    assert len(unpacked()) < len(names)
    assert set(contents(folder)) == set(names)


@pytest.fixture
def server(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ZenodoServer]:
    """A Zenodo that has the mini release of espejo2019, and a user who has not."""
    monkeypatch.delenv("ESPEJO2019_DATA")
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    files: dict[str, Path | bytes] = {p.name: p for p in releases("espejo2019").iterdir()}
    with ZenodoServer(records={Espejo2019.record: files}) as running:
        monkeypatch.setenv("ZENODO_ENDPOINT", running.url)
        monkeypatch.delenv("BUILDERS_OFFLINE", raising=False)
        yield running


def test_one_set_is_fetched_alone(server: ZenodoServer, releases: Callable[[str], Path]) -> None:
    assert len(load_dataset("./espejo2019", "VMN", split="val")) > 0
    assert server.sent(f"{VMN}.tgz") == (releases("espejo2019") / f"{VMN}.tgz").stat().st_size
    assert server.sent(f"{NAT}.tgz") == 0
    assert len(load_dataset("./espejo2019", "cells", split="cells")) > 0
    assert server.sent(f"{NAT}.tgz") > 0


def test_fetching_a_set_asks_for_its_tar_alone(
    server: ZenodoServer, releases: Callable[[str], Path]
) -> None:
    run = CliRunner().invoke
    done = run(app, ["fetch", "espejo2019", "VMN", "--dry-run"])
    assert f"all of {VMN}.tgz has to be fetched" in done.output
    assert "a tar has no parts" in done.output
    assert (server.sent(f"{VMN}.tgz"), server.sent(f"{NAT}.tgz")) == (0, 0)
    assert run(app, ["fetch", "espejo2019", "VMN"], input="n").exit_code != 0
    assert server.sent(f"{VMN}.tgz") == 0
    assert run(app, ["fetch", "espejo2019", "VMN"], input="y").exit_code == 0
    whole = (releases("espejo2019") / f"{VMN}.tgz").stat().st_size
    assert (server.sent(f"{VMN}.tgz"), server.sent(f"{NAT}.tgz")) == (whole, 0)

    load_dataset("./espejo2019", "VMN")
    done = run(app, ["configs", "espejo2019", "--json"])
    rows = {each["config"]: each["rows"] for each in json.loads(done.output)}
    assert all(rows["VMN"].values())
    assert set(rows["NAT"].values()) == {None}
    assert server.sent(f"{NAT}.tgz") == 0


def test_status_fetch_and_clean(server: ZenodoServer) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments])
        assert done.exception is None, done.output
        return done.output

    assert f"{NAT}.tgz: missing" in run("status")
    run("fetch", "espejo2019", "NAT", "--yes")
    assert f"{NAT}.tgz: here" in run("status")
    assert unpacked() == []  # all are named otherwise
    assert list(builders_home().rglob("AMT003c_*.tgz"))
    run("clean", "espejo2019", "--fetched", "--yes")
    assert not list(builders_home().rglob("*.tgz"))


def test_two_processes_unpack_once(server: ZenodoServer) -> None:
    load = LOAD.format("VMN")
    both = [
        subprocess.Popen([sys.executable, "-c", load], cwd=REPOSITORY, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    texts = [each.communicate()[0].decode() for each in both]
    assert texts[0] == texts[1]
    assert "est: Dataset" in texts[0]
    assert run_python(load) == texts[0]
