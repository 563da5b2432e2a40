"""What Zenodo's web server does to a downloader, one thing at a time, and what we let it know."""

from __future__ import annotations

import json
import re
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from builders.corpus import storage
from builders.errors import CorpusError, CorpusWarning
from builders.release import download, http, pace
from builders.release.archive import Archive
from builders.texts import redacted
from tests.conftest import run_python
from tests.release.test_zenodo import (
    CELLS,
    RECORDINGS,
    archive,
    content,
    original,
    published,
    refused,
    release,
    server,
    visible,
)
from tests.servers.zenodo import REFERENCE, Fault, ZenodoServer
from wingert2026.builder import Wingert2026

__all__ = ["published", "server"]  # fixtures

SECRET = "DoNotTellAnyoneAboutThisOne"


def asked(server: ZenodoServer) -> list[tuple[str, int]]:
    """Which address was asked for a file, and with what status it answered."""
    return [(each.path.split("/")[1], each.status) for each in server.log if each.key]


def report(error: BaseException) -> str:
    """All that a traceback would show of an error, and of those behind it."""
    return "".join(traceback.format_exception(error))


# -- who asks, and where ---------------------------------------------------------------------------


def test_every_request_says_who_asks(server: ZenodoServer) -> None:
    content(archive())
    release().file(CELLS)
    assert {each.agent for each in server.log} == {http.AGENT}
    assert re.fullmatch(r"[\w-]+/\d+\.\d+\.\d+ \(https://\S+\)", http.AGENT)
    assert len(server.log) == 4  # the record, the zip's directory, a member, the list


def test_files_are_asked_for_where_ranges_are_sent(server: ZenodoServer) -> None:
    content(archive())
    release().file(CELLS)
    assert asked(server) == [("records", 206), ("records", 206), ("records", 200)]
    assert server.log[1].path == f"/records/{Wingert2026.record}/files/{RECORDINGS}?download=1"


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_one_address_refuses_comes_from_the_other(
    server: ZenodoServer, mini_release: Path, status: int
) -> None:
    server.refuses = {"/records/": status}
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    (release().folder / CELLS).unlink()
    release().file(CELLS)
    # The second time, the address that works is asked first.
    assert asked(server) == [("records", status), ("api", 200), ("api", 200)]


def test_ranges_are_found_at_the_other_address(server: ZenodoServer, mini_release: Path) -> None:
    server.ranges = ("/api/",)
    of_site = archive()
    assert content(of_site) == original(of_site, mini_release)
    assert asked(server) == [("records", 200), ("api", 206), ("api", 206)]
    assert len(visible()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-65535/{size}"},
        {"Content-Range": "bytes */{size}"},
        {"Content-Range": ()},
        {"Content-Range": "bytes " + "9" * 5000 + "-9/{size}"},
    ],
)
def test_a_206_that_is_another_part_is_no_range(
    server: ZenodoServer, mini_release: Path, headers: dict[str, Any]
) -> None:
    server.ranges = ("/api/", "/records/")
    size = release().files()[RECORDINGS].size
    spelled = {
        name: value.format(size=size) if isinstance(value, str) else value
        for name, value in headers.items()
    }
    server.fail(RECORDINGS, Fault(headers=spelled))
    assert content(archive()) == original(archive(), mini_release)
    assert asked(server) == [("records", 206), ("api", 206), ("api", 206)]


@pytest.mark.parametrize("etags", ["strong", "weak", "none", "two"])
def test_etags_do_not_matter(
    server: ZenodoServer, mini_release: Path, etags: Literal["strong", "weak", "none", "two"]
) -> None:
    server.etags = etags
    server.ranges = ("/api/", "/records/")
    of_site = archive()
    for key in (CELLS, RECORDINGS):
        # Cut at one address, and taken up at the other.
        server.fail(key, Fault(cut=2000), Fault(status=403))
    server.clear()
    assert content(of_site) == original(of_site, mini_release)
    assert asked(server) == [("records", 206), ("records", 403), ("api", 206)]
    assert server.sent(RECORDINGS) < of_site.size + 1000
    server.clear()
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    assert [status for _, status in asked(server)] == [200, 403, 206]


def test_a_resume_without_ranges_begins_anew(server: ZenodoServer, mini_release: Path) -> None:
    server.ranges = ()
    server.fail(CELLS, Fault(cut=2000))
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    assert [status for _, status in asked(server)] == [200, 200, 200, 200]


def test_a_file_that_is_always_cut_and_never_resumed_is_given_up(server: ZenodoServer) -> None:
    server.ranges = ()
    server.fail(CELLS, Fault(cut=2000), forever=True)
    refused(lambda: release().file(CELLS), "interrupted 5 times")
    assert len(server.log) < 20


def test_pieces_that_do_not_fit_together_are_fetched_once_more(
    server: ZenodoServer, mini_release: Path
) -> None:
    part = release().folder / f".{CELLS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 2000)
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()
    assert [status for _, status in asked(server)] == [206, 200]
    assert not part.exists()
    of_site = archive()
    part = of_site.path.with_name(f".{of_site.name}.part")
    part.parent.mkdir()
    part.write_bytes(b"x" * of_site.size)  # all of it, and none of it right
    assert content(of_site) == original(of_site, mini_release)
    assert not part.exists()


def test_files_on_another_host(server: ZenodoServer, mini_release: Path) -> None:
    server.redirect = "localhost"
    assert content(archive()) == original(archive(), mini_release)
    assert asked(server) == [("records", 302), ("storage", 206)] * 2
    assert {each.host for each in server.log} == {"127.0.0.1", "localhost"}


# -- how often -------------------------------------------------------------------------------------


def fifty(server: ZenodoServer, tmp_path: Path) -> list[Archive]:
    """Small archives in a zip on the server."""
    path = tmp_path / RECORDINGS
    with zipfile.ZipFile(path, "w") as file:
        for number in range(50):
            file.writestr(f"recordings/{number}.tgz", str(number))
    server.replace(RECORDINGS, path)
    return release().archives("recordings")


def test_an_area_stays_below_the_limit_that_is_stated(server: ZenodoServer, tmp_path: Path) -> None:
    server.limit, server.window = 20, 2.0
    archives = fifty(server, tmp_path)
    assert release().fetch_all(archives) == []
    assert [each.path.read_text() for each in archives] == [each.name[:-4] for each in archives]
    assert len(server.log) == 52
    assert 429 not in {each.status for each in server.log}


def test_an_area_stays_below_the_limit_that_is_not_stated(
    server: ZenodoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pace.MOST < 133
    monkeypatch.setattr(pace, "MOST", 20)
    monkeypatch.setattr(pace, "MINUTE", 1.0)
    server.limit, server.window, server.states_limit = 30, 1.0, False
    began = time.monotonic()
    assert release().fetch_all(fifty(server, tmp_path)) == []
    assert time.monotonic() - began > 2
    assert 429 not in {each.status for each in server.log}


def test_an_area_of_the_real_limit_does_not_wait(server: ZenodoServer, tmp_path: Path) -> None:
    began = time.monotonic()
    assert release().fetch_all(fifty(server, tmp_path)) == []
    assert time.monotonic() - began < 30
    assert 429 not in {each.status for each in server.log}


def test_the_bar_says_what_is_waited_for(server: ZenodoServer) -> None:
    said: list[str] = []

    class Bar:
        def update(self, n: int) -> None:
            pass

        def set_postfix_str(self, s: str) -> None:
            said.append(s)

    release().files()
    server.fail(CELLS, Fault(status=429, retry_after=1))
    of_record = release()
    of_record.remote._bar = Bar()
    of_record.file(CELLS)
    assert said == ["waiting 1 s for the server", ""]


def test_who_has_made_all_requests_waits(server: ZenodoServer, mini_release: Path) -> None:
    server.limit, server.window = 1, 2.0
    assert content(archive()) == original(archive(), mini_release)
    # The first answer says that none is left. No request is sent to be refused.
    assert [each.status for each in server.log] == [200, 206, 206]


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e999", "nan", "9" * 5000])
def test_limits_that_make_no_sense(server: ZenodoServer, value: str) -> None:
    headers = {f"X-RateLimit-{name}": value for name in ("Limit", "Remaining", "Reset")}
    server.fail("", Fault(headers=headers))
    http.get(f"{server.url}/api/records/{Wingert2026.record}").close()
    client = http._client.__wrapped__(0, "")
    client.pace.begin(lambda _: None)
    client.pace.end(headers)
    assert client.pace._reset - time.monotonic() < pace.LONGEST_WAIT or value == "nan"


# -- who is blocked --------------------------------------------------------------------------------


def test_being_blocked_is_explained(
    server: ZenodoServer, mini_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release().files()
    server.clear()
    server.refuses = {"/": 403}
    for call in (lambda: release().file(CELLS), archive):
        refused(
            call,
            "the server answers 403 Forbidden",
            "unusual traffic from your network",
            f"(reference {REFERENCE})",
            "wait for an hour",
            "ZENODO_TOKEN",
            f"with a browser from {Wingert2026.source} into {release().folder}",
        )
    assert asked(server) == [("records", 403), ("api", 403)] * 2
    monkeypatch.setenv("ZENODO_TOKEN", SECRET)
    refused(lambda: release().file(CELLS), "whether the token in ZENODO_TOKEN is still valid")
    server.refuses = {}
    monkeypatch.delenv("ZENODO_TOKEN")
    assert release().file(CELLS).read_bytes() == (mini_release / CELLS).read_bytes()


def test_a_blocked_list_of_files_is_explained(server: ZenodoServer) -> None:
    server.refuses = {"/api/": 403}
    refused(lambda: release().file(CELLS), "403", REFERENCE, "ZENODO_TOKEN", "browser")


def test_being_blocked_says_more_than_being_nowhere(server: ZenodoServer) -> None:
    release().files()
    server.refuses = {"/records/": 404, "/api/": 403}
    refused(lambda: release().file(CELLS), "403", REFERENCE)


def test_the_name_of_a_library_is_blocked(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would happen without our own."""
    monkeypatch.setattr(http, "AGENT", "python-requests/2.34.2")
    http._client.cache_clear()
    refused(lambda: release().file(CELLS), "403", REFERENCE)
    http._client.cache_clear()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b'{"status": 403, "message": "Permission denied."}', "Forbidden: Permission denied."),
        (b"", "Forbidden\n"),
        (b"\xff\x00\x1b[31mno", "Forbidden: \N{REPLACEMENT CHARACTER} [31mno\n"),
        (b"<p>" + b"word " * 9999, "word [...]\n"),
        (b"<head" * 9999, "Forbidden: [...]"),
        (b"[" * 100_000, "Forbidden"),
    ],
)
def test_pages_of_all_kinds(server: ZenodoServer, page: bytes, said: str) -> None:
    release().files()
    server.refuses, server.page = {"/records/": 403, "/api/": 404}, page
    with pytest.raises(CorpusError) as caught:
        release().file(CELLS)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 2000


# -- a token ---------------------------------------------------------------------------------------


def test_a_token_is_sent_to_zenodo(
    server: ZenodoServer, mini_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token, server.limit, server.token_limit = SECRET, 0, 100
    monkeypatch.setenv("ZENODO_TOKEN", f" {SECRET}\n")
    assert content(archive()) == original(archive(), mini_release)
    assert {each.authorization for each in server.log} == {f"Bearer {SECRET}"}


def test_a_token_is_not_sent_to_another_host(
    server: ZenodoServer, mini_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token, server.redirect = SECRET, "localhost"
    monkeypatch.setenv("ZENODO_TOKEN", SECRET)
    assert content(archive()) == original(archive(), mini_release)
    sent = {(each.host, each.authorization) for each in server.log}
    assert sent == {("127.0.0.1", f"Bearer {SECRET}"), ("localhost", "")}


def test_nothing_is_sent_from_netrc(
    server: ZenodoServer, mini_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(
        "".join(f"machine {host} login me password x\n" for host in ("127.0.0.1", "localhost"))
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.redirect = "localhost"
    assert content(archive()) == original(archive(), mini_release)
    assert {each.authorization for each in server.log} == {""}


def test_a_token_that_is_not_valid(server: ZenodoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENODO_TOKEN", SECRET)
    with pytest.raises(CorpusError, match="401") as caught:
        release().file(CELLS)
    assert "whether the token in ZENODO_TOKEN is still valid" in str(caught.value)
    assert SECRET not in report(caught.value)


@pytest.mark.parametrize("token", [f"{SECRET}\nHost: x", f"{SECRET} {SECRET}", f"{SECRET}é"])
def test_a_token_that_is_none(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("ZENODO_TOKEN", token)
    with pytest.raises(CorpusError, match="cannot use the token") as caught:
        release().file(CELLS)
    assert SECRET not in report(caught.value)
    assert server.log == []


def test_a_token_is_not_told(server: ZenodoServer, own_home: Path) -> None:
    """With all logs turned on, where it is right, where it is wrong, and where nobody answers."""
    server.token = SECRET
    said = run_python(
        """
        import logging, os, sys, traceback
        sys.stderr = sys.stdout
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
        from datasets import load_dataset
        from nat4.builder import Nat4

        def attempt(act, *arguments):
            try:
                print(act(*arguments))
            except Exception:
                traceback.print_exc()

        attempt(load_dataset, "./nat4", "TNC008a")
        attempt(Nat4.release().file, "nope.tgz")
        os.environ["ZENODO_TOKEN"] += "x"
        attempt(Nat4.release().file, "PEG_NAT4_ozgf.fs100.ch18.tgz")
        os.environ["ZENODO_ENDPOINT"] = "http://127.0.0.1:1"
        attempt(Nat4.release().file, "PEG_NAT4_ozgf.fs100.ch18.tgz")
        """,
        ZENODO_TOKEN=SECRET,
        USE_TORCH="0",
    )
    assert said.count("CorpusError") >= 3
    assert "GET /records/" in said  # the logs are on
    assert SECRET not in said
    files = [path for path in own_home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


# -- another address -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", " ", "https://zenodo.org/"])
def test_where_zenodo_is(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZENODO_ENDPOINT", value)
    assert http.endpoint() == "https://zenodo.org"
    monkeypatch.delenv("ZENODO_ENDPOINT")
    assert http.endpoint() == "https://zenodo.org"


@pytest.mark.parametrize(
    "value",
    [
        "zenodo.org",
        "ftp://zenodo.org",
        "https://",
        f"https://me:{SECRET}@[zenodo",
        f"https://me:{SECRET}@zenodo:port",
        f"https://me:{SECRET} {SECRET}@zenodo",
        f"https://me:a/{SECRET}@zenodo",
        f"//me:{SECRET}@zenodo.org",
    ],
)
def test_an_address_that_is_none(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ZENODO_ENDPOINT", value)
    with pytest.raises(CorpusError, match="ZENODO_ENDPOINT") as caught:
        release().file(CELLS)
    assert SECRET not in report(caught.value)


def test_a_password_in_the_address_is_used_and_not_told(
    server: ZenodoServer, mini_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENODO_ENDPOINT", server.url.replace("//", f"//me:{SECRET}@"))
    assert content(archive()) == original(archive(), mini_release)
    assert all(each.authorization.startswith("Basic ") for each in server.log)
    texts = []
    for fault in (
        Fault(status=500),
        Fault(status=403),
        Fault(size=10),
        Fault(flip=10),
        Fault(cut=0),
        Fault(endless=True),
        Fault(status=302, headers={"Location": "http://[bad"}),
    ):
        server.fail(CELLS, fault, forever=True)
        with pytest.raises(CorpusError) as caught:
            release().file(CELLS)
        texts.append(report(caught.value))
    server.checksums[CELLS] = "md5:x"
    (release().folder / f".record-{Wingert2026.record}.json").unlink()
    with pytest.raises(CorpusError) as caught:
        release().file(CELLS)
    texts.append(report(caught.value))
    assert all("127.0.0.1" in text for text in texts)
    assert not [text for text in texts if SECRET in text]
    assert redacted(f"https://me:{SECRET}@h/x") == "https://***@h/x"
    assert redacted("https://h/x?a@b") == "https://***@b"  # rather too much than too little
    assert redacted("https://h/x") == "https://h/x"


# -- what no server should send --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", CELLS, RECORDINGS])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(headers={"Content-Length": "many"}), ["many"]),
        (Fault(headers={"Content-Length": "-5"}), ["-5"]),
        (Fault(headers={"Content-Length": ("5", "6")}), ["5, 6"]),
        (Fault(headers={"Content-Length": ("5", "5")}), ["5, 5"]),
        (Fault(status=302, headers={"Location": "http://[bad"}), ["no usable answer"]),
        (Fault(status=302, headers={"Location": "http://"}), ["no usable answer"]),
        (Fault(status=302, headers={"Location": "ftp://x/y"}), ["no usable answer"]),
        (Fault(status=302, headers={"Location": "file:///etc/passwd"}), ["no usable answer"]),
        (Fault(status=302, headers={"Location": "http://x\u00ff.\u00ff:x/"}), ["no usable answer"]),
        (Fault(status=302, headers={"Location": "?again"}), ["no usable answer"]),
        (Fault(status=302), ["answers 302"]),
        (Fault(endless=True), ["more than"]),
        (Fault(status=204), ["answers 204"]),
        (Fault(status=999), ["answers 999"]),
    ],
)
def test_answers_that_are_none(
    server: ZenodoServer, key: str, fault: Fault, words: list[str]
) -> None:
    is_length = "Content-Length" in fault.headers
    if key == "" and is_length:  # where the end is, the JSON says
        return
    server.fail(key, fault, forever=True)
    call = archive if key == RECORDINGS else lambda: release().file(CELLS)
    refused(call, *words)
    assert visible() == []
    parts = [path for path in release().folder.rglob("*") if path.name.endswith(".part")]
    assert all(path.stat().st_size <= release().files()[CELLS].size for path in parts)


def test_an_endless_answer_is_not_read_for_ever(server: ZenodoServer) -> None:
    size = release().files()[CELLS].size
    server.fail(CELLS, Fault(endless=True), forever=True)
    with pytest.raises(download.Failed, match="more than"):
        download.fetch(
            [f"{server.url}/records/{Wingert2026.record}/files/{CELLS}"],
            release().folder / "part",
            0,
            size,
            size,
            _Written(size),
        )


class _Written:
    """A bar that allows no more bytes than there are."""

    def __init__(self, most: int) -> None:
        self.left = most

    def update(self, n: int) -> None:
        self.left -= n
        assert self.left >= 0

    def set_postfix_str(self, s: str) -> None:
        pass


@pytest.mark.parametrize(
    "size", ["Infinity", "-Infinity", "NaN", '"12"', "12.0", "-1", "true", "null", "1" + "0" * 400]
)
def test_a_size_that_is_none(server: ZenodoServer, size: str) -> None:
    described = server._describe(Wingert2026.record)
    text = described.read(0, described.size)
    server.replace("", re.sub(rb'"size": \d+', b'"size": ' + size.encode(), text))
    refused(lambda: release().file(CELLS), "not what the record API answers")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"files": ' + b'[{"x":' * 100_000,
        b'{"files": [{"key": ["x"]}]}',
        b'{"files": {"key": "x"}}',
        b"\xff\xfe",
        b"9" * 5000,
        b" " * (17 << 20),
        b"",
    ],
)
def test_json_that_is_no_record(server: ZenodoServer, text: bytes) -> None:
    server.replace("", text)
    with pytest.raises(CorpusError, match="not what the record API answers") as caught:
        release().file(CELLS)
    assert len(str(caught.value)) < 2000


def test_a_checksum_that_is_none(server: ZenodoServer) -> None:
    for checksum in ("md5:x", "sha256:" + "0" * 64, "x" * 10**6):
        server.checksums[CELLS] = checksum
        with pytest.raises(CorpusError, match="not what the record API answers") as caught:
            release().file(CELLS)
        assert len(str(caught.value)) < 2000


# -- what is kept on disk --------------------------------------------------------------------------

Spoil = Callable[[Path], object]


def spoiled_size(note: Path) -> None:
    listed = json.loads(note.read_bytes())
    listed["files"][RECORDINGS]["size"] = "much"
    note.write_text(json.dumps(listed))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def other_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe[]")


NOTES = {
    f".record-{Wingert2026.record}.json": (cut, flipped, emptied, nested, other_text, spoiled_size),
    f".{RECORDINGS}.directory": (cut, flipped, emptied, other_text),
    f".{RECORDINGS}.directory.checksum": (cut, emptied, other_text, Path.unlink),
}


@pytest.mark.parametrize(
    ("name", "spoil"), [(name, spoil) for name, spoils in NOTES.items() for spoil in spoils]
)
def test_a_spoilt_note_is_asked_for_again(
    server: ZenodoServer,
    mini_release: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spoil: Spoil,
) -> None:
    of_site = archive()
    spoil(release().folder / name)
    server.clear()
    assert len(release().members_of(RECORDINGS)) == 0
    assert list(storage.status(Wingert2026))
    assert server.log == []  # who only looks asks nobody
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    refused(lambda: archive(), "not on this machine", "BUILDERS_OFFLINE")
    monkeypatch.delenv("BUILDERS_OFFLINE")
    assert content(archive()) == original(of_site, mini_release)
    asked_again = "" if name.startswith(".record-") else RECORDINGS
    assert [each.key for each in server.log] == [asked_again, RECORDINGS]
    assert len(release().members_of(RECORDINGS)) > 0


def test_the_directory_of_another_zip_is_none(server: ZenodoServer, tmp_path: Path) -> None:
    """The record note was thrown away, and the record has another zip of the same size now."""
    archives = [each.name for each in fifty(server, tmp_path)]
    other = tmp_path / "other.zip"
    other.write_bytes((tmp_path / RECORDINGS).read_bytes().replace(b".tgz", b".tgx"))
    server.replace(RECORDINGS, other)
    emptied(release().folder / f".record-{Wingert2026.record}.json")
    assert archives
    assert release().archives("recordings") == []


def test_a_list_without_a_file_that_is_needed_is_none(
    server: ZenodoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version of the package may read more files of the record."""
    with monkeypatch.context() as older:
        older.setattr(Wingert2026, "published", {CELLS: ""})
        release().file(CELLS)
    assert archive().name
    assert [each.key for each in server.log] == ["", CELLS, "", RECORDINGS]


# -- whose fault it is -----------------------------------------------------------------------------


def bad_zip(tmp_path: Path) -> Path:
    """A zip that was published with a damaged member."""
    path = tmp_path / RECORDINGS
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("recordings/CLT027c.tgz", b"x" * 1000)
    path.write_bytes(path.read_bytes().replace(b"x" * 1000, b"x" * 999 + b"y"))
    return path


def test_a_zip_that_was_published_like_this(server: ZenodoServer, tmp_path: Path) -> None:
    server.replace(RECORDINGS, bad_zip(tmp_path))
    (one,) = release().archives("recordings")
    with pytest.raises(CorpusError, match="arrived damaged") as caught:
        content(one)
    assert "the published zip is damaged there: tell its authors" in str(caught.value)
    server.ranges = ()
    with (
        pytest.warns(CorpusWarning, match=RECORDINGS),
        pytest.raises(CorpusError, match="the zip is as it was published") as caught,
    ):
        content(one)
    assert "again" not in str(caught.value)
    assert visible() == [RECORDINGS]


def test_a_zip_that_is_none_was_published(server: ZenodoServer) -> None:
    server.replace(RECORDINGS, b"<html>")
    with pytest.raises(CorpusError, match="cannot read a zip") as caught:
        archive()
    assert "it was published like this" in str(caught.value)
    (release().folder / RECORDINGS).write_bytes(b"<html>")
    with pytest.raises(CorpusError, match="cannot read a zip") as caught:
        archive()
    assert "compare its md5 with the published one" in str(caught.value)
    assert "again" not in str(caught.value)


def test_an_empty_file_is_one(server: ZenodoServer) -> None:
    server.replace(CELLS, b"")
    assert release().file(CELLS).read_bytes() == b""
