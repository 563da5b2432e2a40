"""Releases fetched from a Zenodo on 127.0.0.1: how many bytes, and what goes wrong on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from builders.cli import app
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError, CorpusWarning
from builders.release import http
from builders.release.archive import Archive
from builders.release.fetched import FetchedRelease
from builders.release.zips import read_index
from nat4.builder import Nat4
from tests.conftest import REPOSITORY, run_python
from tests.releases import as_published
from tests.servers.zenodo import REFERENCE, Fault, ZenodoServer
from wingert2026.builder import Wingert2026

RECORDINGS, CELLS = "recordings.zip", "cell_list.csv"
SITE = "CLT027c"
MEGABYTE = 1 << 20
POPULATION = "A1_NAT4_ozgf.fs100.ch18.tgz"
RECORDS = {name: find_corpus(name).record for name in ("nat4", "wingert2026")}


@pytest.fixture(scope="module")
def published(
    releases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, Path | bytes]]:
    """Both mini releases."""
    return {
        number: as_published(releases(name), tmp_path_factory.mktemp(name))
        for name, number in RECORDS.items()
    }


@pytest.fixture
def server(
    published: dict[int, dict[str, Path | bytes]],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ZenodoServer]:
    """A Zenodo that has both, and a user who has neither."""
    for name in RECORDS:
        monkeypatch.delenv(f"{name.upper()}_DATA")
    # The pinned sums are those of the real release.
    monkeypatch.setattr(Wingert2026, "published", dict.fromkeys(Wingert2026.published, ""))
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    monkeypatch.setattr(http, "TIMEOUT", (5, 2))
    with ZenodoServer(records=published) as running:
        monkeypatch.setenv("ZENODO_ENDPOINT", running.url)
        monkeypatch.delenv("BUILDERS_OFFLINE", raising=False)
        yield running


def release() -> FetchedRelease:
    found = Wingert2026.release()
    assert isinstance(found, FetchedRelease)
    return found


def nat4() -> FetchedRelease:
    found = Nat4.release()
    assert isinstance(found, FetchedRelease)
    return found


def archive(session: str = SITE) -> Archive:
    return next(each for each in release().archives("recordings") if session in each.name)


def content(of: Archive) -> bytes:
    with of.open() as file:
        return file.read()


def original(of: Archive, mini_release: Path) -> bytes:
    return (mini_release / "recordings" / of.name).read_bytes()


def size(server: ZenodoServer, key: str) -> int:
    return release().files()[key].size


def refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(CorpusError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def visible(of: FetchedRelease | None = None) -> list[str]:
    """The names that what has been fetched has in the release; nothing half-done is among them."""
    paths = (of or release()).folder.rglob("[!.]*")
    return sorted(path.name for path in paths if path.is_file())


# -- how many bytes -------------------------------------------------------------------------------


def test_one_site_fetches_its_archive(
    server: ZenodoServer, mini_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = load_dataset("./wingert2026", SITE)
    of_site = original(archive(), mini_release)
    directory = 64 << 10
    assert server.sent() <= (
        (mini_release / CELLS).stat().st_size + len(of_site) + directory + MEGABYTE
    )
    assert server.sent(RECORDINGS) <= len(of_site) + directory + 200
    asked = [(each.key, each.status) for each in server.log]
    assert sorted(asked) == [("", 200), (CELLS, 200), (RECORDINGS, 206), (RECORDINGS, 206)]
    assert visible() == sorted([archive().name, CELLS])
    server.clear()
    again = load_dataset("./wingert2026", SITE)
    assert server.log == []
    monkeypatch.setenv("WINGERT2026_DATA", str(mini_release))
    monkeypatch.setenv("BUILDERS_HOME", os.environ["BUILDERS_HOME"] + "-local")
    local = load_dataset("./wingert2026", SITE)
    for split, rows in local.items():
        assert fetched[split].data.table.equals(rows.data.table)
        assert again[split].data.table.equals(rows.data.table)


def test_cells_fetch_the_list_alone(server: ZenodoServer, mini_release: Path) -> None:
    cells = load_dataset("./wingert2026", "cells", split="cells")
    assert len(cells) > 0
    assert {each.key for each in server.log} == {"", CELLS}
    assert server.sent(CELLS) == (mini_release / CELLS).stat().st_size


def test_a_stream_starts_after_the_first_archive(server: ZenodoServer) -> None:
    next(iter(load_dataset("./wingert2026", "A1", split="est", streaming=True)))
    assert len([name for name in visible() if name.endswith(".tgz")]) == 1


def test_a_stream_of_an_area_makes_one_request_for_each_archive(server: ZenodoServer) -> None:
    sites = {
        row["site"] for row in load_dataset("./wingert2026", "A1", split="val", streaming=True)
    }
    here = list((release().folder / "recordings").glob("*.tgz"))
    assert len(sites) > 2
    assert 0 < len(here) <= len(sites)
    of_zip = [each for each in server.log if each.key == RECORDINGS]
    assert len(of_zip) == len(here) + 1  # and its directory
    fetched = sum(path.stat().st_size for path in here)
    assert server.sent() <= fetched + server.sent(CELLS) + (64 << 10) + MEGABYTE
    assert {each.status for each in server.log} == {200, 206}


def test_nat4_fetches_the_area_that_is_asked_for(
    server: ZenodoServer, releases: Callable[[str], Path]
) -> None:
    assert len(load_dataset("./nat4", "A1", split="est")) > 0
    assert not [each for each in server.log if each.key.startswith("PEG_NAT4")]
    assert server.sent(POPULATION) == (releases("nat4") / POPULATION).stat().st_size
    assert {each.status for each in server.log} == {200, 206}
    paths = {each.path.partition(str(Nat4.record))[0] for each in server.log if each.key}
    assert paths == {"/records/"}


def test_shards_built_anew_need_no_request(server: ZenodoServer) -> None:
    url = f"corpus://wingert2026/data/A1/{SITE}/val.parquet"
    before = load_dataset("parquet", data_files=url, split="train").data.table
    server.clear()
    emitted = run_python(
        f"""
        import pandas, shutil, pathlib, os
        shutil.rmtree(pathlib.Path(os.environ["BUILDERS_HOME"]) / "shards")
        print(len(pandas.read_parquet("{url}")))
        """
    )
    assert int(emitted) == len(before)
    assert server.log == []


def test_all_of_nat4(server: ZenodoServer, releases: Callable[[str], Path]) -> None:
    fetched = load_dataset("./nat4", "all")
    keys = {each.key for each in server.log}
    assert keys == {"", *Nat4.published} - {"wav.zip"}
    assert server.sent("A1_single_sites.zip") < 2 * size_of(releases("nat4") / "A1_single_sites")
    assert len(fetched["est"]) > 0


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_connection_that_is_cut_is_resumed(server: ZenodoServer, mini_release: Path) -> None:
    whole = size(server, CELLS)
    server.fail(CELLS, Fault(cut=10_000), Fault(cut=20_000), Fault(status=503))
    path = release().file(CELLS)
    assert path.read_bytes() == (mini_release / CELLS).read_bytes()
    assert server.sent(CELLS) < whole + 1000  # and the body of the 503
    assert [each.status for each in server.log if each.key == CELLS] == [200, 206, 503, 206]


def test_a_member_that_is_cut_is_resumed(server: ZenodoServer, mini_release: Path) -> None:
    of_site = archive()
    server.clear()
    server.fail(RECORDINGS, Fault(cut=100_000))
    assert content(of_site) == original(of_site, mini_release)
    assert server.sent(RECORDINGS) == of_site.size


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(status=429, retry_after=0)],
        [Fault(status=503), Fault(status=500), Fault(status=502)],
        [Fault(cut=0), Fault(cut=0)],
        [Fault(stall=100, seconds=30)],
    ],
)
def test_a_server_in_trouble_is_asked_again(
    server: ZenodoServer, mini_release: Path, faults: list[Fault]
) -> None:
    for key in ("", CELLS, RECORDINGS):
        server.fail(key, *faults)
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    of_site = archive()
    server.fail(RECORDINGS, *faults)
    assert content(of_site) == original(of_site, mini_release)


def test_a_server_that_asks_for_a_minute_is_given_it(server: ZenodoServer) -> None:
    server.fail(CELLS, Fault(status=429, retry_after=1))
    release().file(CELLS)
    assert [each.status for each in server.log if each.key == CELLS] == [429, 200]


@pytest.mark.parametrize(
    ("key", "fault", "words"),
    [
        ("", Fault(status=500), ["answers 500"]),
        ("", Fault(html=True), ["web page"]),
        ("", Fault(status=404), ["answers 404"]),
        (CELLS, Fault(status=500), ["answers 500"]),
        (CELLS, Fault(html=True), ["web page"]),
        (CELLS, Fault(size=100), ["expected", "sends 100"]),
        (CELLS, Fault(size=10 << 20), ["expected", "10485760"]),
        (CELLS, Fault(flip=1000), ["expected md5"]),
        (CELLS, Fault(cut=0), ["interrupted 5 times"]),
        (CELLS, Fault(status=429, retry_after=3600), ["wait for 3600 s"]),
        (RECORDINGS, Fault(status=500), ["answers 500"]),
        (RECORDINGS, Fault(html=True), ["web page"]),
        (RECORDINGS, Fault(size=1000), ["answers 416"]),
    ],
)
def test_what_stays_wrong_is_an_error_and_no_file(
    server: ZenodoServer, mini_release: Path, key: str, fault: Fault, words: list[str]
) -> None:
    server.fail(key, fault, forever=True)
    call = archive if key == RECORDINGS else lambda: release().file(CELLS)
    record = str(Wingert2026.record)
    refused(call, *words, record, server.url)
    assert visible() == []
    server.heal()
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    assert content(archive()) == original(archive(), mini_release)


def test_a_file_that_is_not_what_the_record_says(server: ZenodoServer) -> None:
    server.checksums[CELLS] = "md5:" + "0" * 32
    refused(lambda: release().file(CELLS), "expected md5 0000", CELLS)
    assert visible() == []


def test_a_record_that_is_no_json(server: ZenodoServer) -> None:
    for sent in (b"{", b"[]", b'{"files": [{"key": "x"}]}', b'{"files": null}'):
        server.replace("", sent)
        refused(lambda: release().file(CELLS), "not what the record API answers")


def test_a_record_that_is_another_release(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    emitted = run_python(
        """
        from wingert2026.builder import Wingert2026
        try:
            Wingert2026.release().file("cell_list.csv")
        except RuntimeError as error:
            print(error)
        """,
        ZENODO_ENDPOINT=server.url,
        BUILDERS_HOME=str(release().folder / "fresh"),
        WINGERT2026_DATA="",
    )
    assert "cell_list.csv: expected md5 301e93a36f2fc00197e92cf7ef6718c7" in emitted


def test_a_server_without_ranges_sends_the_whole_zip(
    server: ZenodoServer, mini_release: Path
) -> None:
    server.ranges = ()
    megabytes = f"{size(server, RECORDINGS) / 1e6:,.1f} MB"
    with pytest.warns(CorpusWarning, match=f"all of {RECORDINGS} has to be fetched, {megabytes}"):
        assert len(load_dataset("./wingert2026", SITE)["est"]) > 0
    assert visible() == [CELLS, RECORDINGS]
    server.clear()
    assert content(archive("CLT028c")) == original(archive("CLT028c"), mini_release)
    assert server.log == []


def test_a_server_that_has_forgotten_ranges(server: ZenodoServer, mini_release: Path) -> None:
    of_site = archive()
    server.fail(RECORDINGS, Fault(whole=True), forever=True)
    with pytest.warns(CorpusWarning, match=RECORDINGS):
        assert content(of_site) == original(of_site, mini_release)


def test_who_is_blocked_is_told_so_by_a_load(server: ZenodoServer) -> None:
    server.refuses = {"/": 403}
    refused(lambda: load_dataset("./wingert2026", SITE), "403", REFERENCE, "ZENODO_TOKEN")
    assert len(server.log) < 5
    server.refuses = {"/records/": 403}
    with pytest.warns(CorpusWarning, match="403 Forbidden.*; it sends the whole file"):
        assert len(load_dataset("./wingert2026", SITE)["est"]) > 0


def test_a_guest_who_may_not_loads_with_a_token(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.limit, server.token_limit, server.token = 0, 100, "secret"
    monkeypatch.setenv("ZENODO_TOKEN", "secret")
    assert len(load_dataset("./wingert2026", SITE)["est"]) > 0
    assert {each.status for each in server.log} == {200, 206}


def test_a_member_with_a_bad_checksum(
    server: ZenodoServer, published: dict[int, dict[str, Path | bytes]], mini_release: Path
) -> None:
    outer = published[Wingert2026.record][RECORDINGS]
    assert isinstance(outer, Path)
    of_site = archive()
    start, stop = read_index(outer).spans[f"recordings/{of_site.name}"]
    server.fail(RECORDINGS, Fault(flip=(start + stop) // 2))
    refused(lambda: content(of_site), "arrived damaged", of_site.name, "CRC")
    assert visible() == []
    assert content(of_site) == original(of_site, mini_release)


def test_a_zip_that_changes_between_two_ranges(
    server: ZenodoServer, published: dict[int, dict[str, Path | bytes]], mini_release: Path
) -> None:
    outer = published[Wingert2026.record][RECORDINGS]
    assert isinstance(outer, Path)
    of_site = archive()
    other = bytearray(outer.read_bytes())
    start, stop = read_index(outer).spans[f"recordings/{of_site.name}"]
    other[(start + stop) // 2] ^= 1
    server.replace(RECORDINGS, bytes(other))
    refused(lambda: content(of_site), "arrived damaged", RECORDINGS, of_site.name)
    assert visible() == []
    server.replace(RECORDINGS, outer)
    assert content(archive()) == original(of_site, mini_release)


def test_a_file_that_changes_while_it_is_resumed_begins_anew(
    server: ZenodoServer, mini_release: Path
) -> None:
    wanted = (mini_release / CELLS).read_bytes()
    server.replace(CELLS, wanted[::-1])
    server.checksums[CELLS] = server._records[Wingert2026.record][CELLS].md5
    server.fail(CELLS, Fault(cut=5000), Fault(content=wanted))
    server.replace(CELLS, wanted[::-1])
    true = ZenodoServer({CELLS: wanted})._records[1][CELLS].md5
    server.checksums[CELLS] = true
    assert release().file(CELLS).read_bytes() == wanted


def test_no_room(server: ZenodoServer) -> None:
    """A limit on the size of files, which any user may set, for a disk that is full."""
    emitted = run_python(
        """
        import resource
        from nat4.builder import Nat4
        from builders.errors import CorpusError, CorpusWarning
        release = Nat4.release()
        release.files()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            release.file("A1_NAT4_ozgf.fs100.ch18.tgz")
        except CorpusError as error:
            print(error)
        print([path.name for path in release.folder.glob("[!.]*")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(release.file("A1_NAT4_ozgf.fs100.ch18.tgz").stat().st_size)
        """
    )
    assert "cannot store a file of the release" in emitted
    assert "make room" in emitted
    assert "\n[]\n" in emitted
    assert emitted.endswith(f"{nat4().files()[POPULATION].size}\n")


FETCH = f'from nat4.builder import Nat4; print(Nat4.release().file("{POPULATION}"))'


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_download_that_is_killed_goes_on(
    server: ZenodoServer, releases: Callable[[str], Path]
) -> None:
    wanted = (releases("nat4") / POPULATION).read_bytes()
    half = len(wanted) // 2
    server.fail(POPULATION, Fault(stall=half))
    killed = child(FETCH)
    server.wait_for_sent(POPULATION, half)
    part = Nat4.release().folder / f".{POPULATION}.part"
    while not part.exists() or part.stat().st_size < min(half, http.HTTP_BLOCK) // 2:
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (Nat4.release().folder / POPULATION).exists()
    had = part.stat().st_size
    server.clear()
    assert run_python(FETCH).strip() == str(Nat4.release().folder / POPULATION)
    assert (Nat4.release().folder / POPULATION).read_bytes() == wanted
    assert server.sent(POPULATION) == len(wanted) - had


def test_a_load_that_is_killed_goes_on(server: ZenodoServer, mini_release: Path) -> None:
    of_site = archive()
    half = of_site.size // 2
    server.fail(RECORDINGS, Fault(stall=half))
    server.clear()
    load = f'from datasets import load_dataset; print(load_dataset("./wingert2026", "{SITE}"))'
    killed = child(load)
    part = of_site.path.with_name(f".{of_site.name}.part")
    while not part.exists() or part.stat().st_size < half:
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    assert visible() == [CELLS]
    server.clear()
    assert "est: Dataset" in run_python(load)
    assert server.sent(RECORDINGS) == of_site.size - half
    assert original(of_site, mini_release) == of_site.path.read_bytes()


def test_two_processes_download_a_file_once(server: ZenodoServer) -> None:
    server.fail(POPULATION, Fault(rate=200_000), forever=True)
    both = [child(FETCH) for _ in range(2)]
    for each in both:
        out, err = each.communicate(timeout=60)
        assert out.decode().strip().endswith(POPULATION), err
    assert server.sent(POPULATION) == nat4().files()[POPULATION].size


# -- zips --------------------------------------------------------------------------------


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            file.writestr(name, str(number))
    return path


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["recordings/a.tgz", "/etc/a.tgz"], "/etc/a.tgz"),
        (["recordings/../../a.tgz"], "leads out of the zip"),
        (["recordings\\..\\a.tgz"], "leads out of the zip"),
        (["recordings/a.tgz", "recordings/a.tgz"], "another member has the same name"),
        (["recordings/a.tgz", "other/a.tgz"], "another member has the same name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_such_members_is_refused(
    server: ZenodoServer, tmp_path: Path, names: list[str], why: str
) -> None:
    server.replace(RECORDINGS, zip_of(tmp_path / RECORDINGS, *names))
    refused(archive, why, "refused a zip")
    folder = release().folder
    folder.mkdir(parents=True, exist_ok=True)
    zip_of(folder / RECORDINGS, *names)
    refused(archive, why, "refused a zip")


@pytest.mark.parametrize("at", [26, 28])
def test_a_member_whose_header_lies_about_its_length_is_refused(
    server: ZenodoServer, tmp_path: Path, at: int
) -> None:
    """What the header says would lie beyond the bytes that have been fetched."""
    path = zip_of(tmp_path / RECORDINGS, "recordings/a.tgz")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("recordings/b.tgz", b"b" * MEGABYTE)
    lying = bytearray(path.read_bytes())
    lying[at : at + 2] = b"\xff\xff"
    server.replace(RECORDINGS, bytes(lying))
    refused(lambda: content(release().archives("recordings")[0]), "a.tgz", "damaged")


def test_zip64(server: ZenodoServer, tmp_path: Path) -> None:
    """More members than a plain zip can count, and a directory that is larger than its tail."""
    path = tmp_path / RECORDINGS
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(66_000):
            file.writestr(f"recordings/{number}.tgz", str(number))
    server.replace(RECORDINGS, path)
    archives = release().archives("recordings")
    assert len(archives) == 66_000
    one = next(each for each in archives if each.name == "65999.tgz")
    assert content(one) == b"65999"
    assert len([each for each in server.log if each.key == RECORDINGS]) == 3


def test_packed_members_and_those_of_macos(server: ZenodoServer, tmp_path: Path) -> None:
    path = tmp_path / RECORDINGS
    with zipfile.ZipFile(path, "w") as file:
        file.mkdir("recordings") if sys.version_info >= (3, 11) else None
        file.writestr("recordings/a.tgz", b"x" * 100_000, zipfile.ZIP_DEFLATED)
        file.writestr("__MACOSX/recordings/._a.tgz", b"litter")
        file.writestr("recordings/notes.txt", b"notes")
    server.replace(RECORDINGS, path)
    (one,) = release().archives("recordings")
    assert content(one) == b"x" * 100_000


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_member_that_is_packed_in_another_way_is_refused_where_it_is_asked_for(
    server: ZenodoServer, tmp_path: Path, method: int
) -> None:
    path = tmp_path / RECORDINGS
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("recordings/a.tgz", b"a" * 100_000, method)
        file.writestr("recordings/b.tgz", b"b" * 100_000, zipfile.ZIP_DEFLATED)
    server.replace(RECORDINGS, path)
    odd, plain = release().archives("recordings")
    refused(lambda: content(odd), f"packed by method {method}", "a.tgz")
    assert content(plain) == b"b" * 100_000


# -- offline, and by hand --------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["BUILDERS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(server: ZenodoServer, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    words = [variable, Wingert2026.source, str(release().folder), "WINGERT2026_DATA"]
    refused(lambda: release().file(CELLS), CELLS, *words)
    monkeypatch.delenv(variable)
    of_site = archive()
    monkeypatch.setenv(variable, "1")
    refused(lambda: content(of_site), RECORDINGS, *words)
    assert server.log[-1].key == RECORDINGS  # the directory's


def test_nobody_answers(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    monkeypatch.delenv("WINGERT2026_DATA")
    monkeypatch.delenv("BUILDERS_OFFLINE", raising=False)
    with ExitStack() as stack:
        url = stack.enter_context(ZenodoServer({})).url
    monkeypatch.setenv("ZENODO_ENDPOINT", url)
    refused(archive, "no connection", "refused", Wingert2026.source, "WINGERT2026_DATA")


def test_files_put_there_by_hand(
    server: ZenodoServer,
    published: dict[int, dict[str, Path | bytes]],
    mini_release: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    for number, files in published.items():
        name = next(name for name, of in RECORDS.items() if of == number)
        folder = find_corpus(name).release().folder
        folder.mkdir(parents=True)
        for key, source in files.items():
            if isinstance(source, Path):
                (folder / key).write_bytes(source.read_bytes())
    assert content(archive()) == original(archive(), mini_release)
    assert len(load_dataset("./wingert2026", SITE, split="val")) > 0
    assert len(load_dataset("./nat4", "A1", split="est")) > 0
    assert server.log == []


def test_a_wrong_file_put_there_by_hand(server: ZenodoServer) -> None:
    release().files()
    (release().folder / CELLS).write_text("<html>")
    refused(lambda: release().file(CELLS), "not the published one", "delete it")


# -- the command line ------------------------------------------------------------------------------


def builders(*arguments: str, answer: str = "") -> str:
    """What the command prints, after its exit code."""
    done = CliRunner().invoke(app, arguments, input=answer)
    assert done.exception is None or isinstance(done.exception, CorpusError | SystemExit)
    return f"{done.exit_code}\n{done.output}{done.exception or ''}"


def test_fetch_and_status(server: ZenodoServer, releases: Callable[[str], Path]) -> None:
    planned = builders("fetch", "nat4", "TNC008a", "--dry-run")
    assert "A1_single_sites/A1_TNC008a_" in planned
    assert "to fetch in 2 files; 0 are in" in planned
    assert server.sent(POPULATION) == 0
    assert [name for name in visible(nat4()) if name.endswith(".tgz")] == []
    assert "0\n" in builders("fetch", "nat4", "TNC008a")
    folder, published = nat4().folder, releases("nat4")
    assert (folder / POPULATION).read_bytes() == (published / POPULATION).read_bytes()
    (of_site,) = (folder / "A1_single_sites").glob("*.tgz")
    assert of_site.read_bytes() == (published / "A1_single_sites" / of_site.name).read_bytes()
    server.clear()
    assert "to fetch in 0 files; 2 are in" in builders("fetch", "nat4", "TNC008a")
    assert server.log == []

    shown = builders("status")
    n_sites = len(list((published / "A1_single_sites").iterdir()))
    assert f"A1_single_sites.zip: 1 of {n_sites} archives here" in shown
    assert f"{POPULATION}: here" in shown
    assert "PEG_NAT4_ozgf.fs100.ch18.tgz: missing, " in shown

    spoilt = bytearray(of_site.read_bytes())
    spoilt[100] ^= 1
    of_site.write_bytes(spoilt)
    (folder / POPULATION).write_bytes(bytes((folder / POPULATION).stat().st_size))
    found = builders("fetch", "nat4", "TNC008a", "--verify")
    assert found.count("damaged, fetched anew") == 2
    assert of_site.read_bytes() == (published / "A1_single_sites" / of_site.name).read_bytes()
    assert (folder / POPULATION).read_bytes() == (published / POPULATION).read_bytes()

    everything = builders("fetch", "nat4", "--waveforms")
    assert "wav.zip" in everything
    assert "1 of" not in builders("status")
    assert len(list((folder / "A1_single_sites").glob("*.tgz"))) == n_sites


def test_fetch_goes_on_past_what_fails(server: ZenodoServer) -> None:
    server.checksums[POPULATION] = "md5:" + "0" * 32
    shown = builders("fetch", "nat4", "TNC008a")
    assert shown.startswith("1\n")
    assert "1 files not fetched" in shown
    assert f"expected md5 {'0' * 32}" in shown
    assert len(list((nat4().folder / "A1_single_sites").glob("*.tgz"))) == 1


def test_fetch_asks_before_it_fetches_a_whole_zip(server: ZenodoServer) -> None:
    server.ranges = ()
    asks = "all of recordings.zip has to be fetched"
    planned = builders("fetch", "wingert2026", SITE, "--dry-run", "--yes")
    assert planned.startswith("0\n")
    assert asks in planned
    for answer in ("n\n", ""):
        shown = builders("fetch", "wingert2026", SITE, answer=answer)
        assert shown.startswith("1\n")
        assert asks in shown
    assert visible() == [CELLS]
    assert "to fetch in 0 files" in builders("fetch", "wingert2026", SITE, answer="y\n")
    assert visible() == [CELLS, RECORDINGS]
    (release().folder / RECORDINGS).unlink()
    with pytest.warns(CorpusWarning, match=asks):
        assert builders("fetch", "wingert2026", SITE, "--yes").startswith("0\n")
    assert visible() == [CELLS, RECORDINGS]


def test_fetch_does_not_ask_from_many_threads(server: ZenodoServer) -> None:
    archive()
    server.ranges = ()
    shown = builders("fetch", "wingert2026", SITE)
    assert shown.startswith("1\n")
    assert "all of recordings.zip has to be fetched" in shown
    assert "--yes" in shown
    assert visible() == [CELLS]


def test_fetch_of_a_folder_of_ones_own(
    server: ZenodoServer, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAT4_DATA", str(releases("nat4")))
    assert "nothing to fetch: NAT4_DATA names" in builders("fetch", "nat4")
    assert f"{releases('nat4')}, yours" in builders("status")


def test_clean_names_what_it_removes(server: ZenodoServer) -> None:
    builders("fetch", "nat4", "TNC008a")
    run_python("import pandas; pandas.read_parquet('corpus://nat4/data/A1/TNC008a/val.parquet')")
    shards = Path(os.environ["BUILDERS_HOME"]) / "shards" / "nat4"
    kept = builders("clean", "nat4")  # nobody answers
    assert str(shards) in kept
    assert shards.exists()
    assert str(shards) in builders("clean", "nat4", "--yes")
    assert not shards.exists()
    assert (nat4().folder / POPULATION).exists()
    assert str(nat4().folder) in builders("clean", "nat4", "--fetched", "--yes")
    assert not nat4().folder.exists()
