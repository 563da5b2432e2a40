"""The Zenodo that other tests download from: its answers byte by byte, its faults, its log."""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request as Asked
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.zenodo import BLOCKED, HTML, REFERENCE, Fault, Request, ZenodoServer

RECORD = "/api/records/7"
DATA = bytes(range(256)) * 4096  # 1 MiB: several blocks
AGENT = "tool/1.2.3 (https://tool.example)"
LARGE = bytes(64 << 20)  # more than the buffers of two sockets


def file_path(key: str = "data.bin", record: int = 7) -> str:
    return f"/records/{record}/files/{key}"


def api_path(key: str = "data.bin", record: int = 7) -> str:
    return f"/api/records/{record}/files/{key}/content"


def etag_of(content: bytes) -> str:
    return f'"md5:{hashlib.md5(content).hexdigest()}"'


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    whole: bool = True


def connect(server: ZenodoServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)


def talk(
    connection: http.client.HTTPConnection, path: str, method: str, headers: dict[str, str]
) -> Answer:
    connection.request(method, path, headers={"User-Agent": AGENT, **headers})
    response = connection.getresponse()
    try:
        return Answer(response.status, response.headers, response.read())
    except http.client.IncompleteRead as error:
        return Answer(response.status, response.headers, error.partial, whole=False)


def ask(
    server: ZenodoServer, path: str = file_path(), method: str = "GET", **headers: str
) -> Answer:
    """One request on a connection of its own."""
    connection = connect(server)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return talk(connection, path, method, named)
    finally:
        connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ZenodoServer]:
    """DATA as data.bin, from the disk, beside an empty file."""
    (tmp_path / "somewhere").write_bytes(DATA)
    with ZenodoServer({"data.bin": tmp_path / "somewhere", "empty": b""}, 7) as zenodo:
        zenodo.limit = 1000
        yield zenodo


@pytest.fixture(scope="module")
def letters() -> Iterator[ZenodoServer]:
    """A short file from memory."""
    with ZenodoServer({"letters": b"abcdefghij"}, 7) as zenodo:
        zenodo.limit = 1000
        yield zenodo


# ---- the record


def test_a_record_describes_its_files(server: ZenodoServer) -> None:
    answer = ask(server, RECORD)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {
        "id": 7,
        "files": [
            {
                "key": "data.bin",
                "size": 1 << 20,
                "checksum": "md5:" + hashlib.md5(DATA).hexdigest(),
                "links": {"self": f"{server.url}/api/records/7/files/data.bin/content"},
            },
            {
                "key": "empty",
                "size": 0,
                "checksum": "md5:d41d8cd98f00b204e9800998ecf8427e",
                "links": {"self": f"{server.url}/api/records/7/files/empty/content"},
            },
        ],
    }


def test_links_lead_to_files_whatever_their_keys() -> None:
    keys = ["a b.zip", "50%.csv", "what?.csv", "#1+2.csv", "größe.csv", "folder/x.csv", "content"]
    with ZenodoServer({key: key.encode() for key in keys}, 7) as server:
        files = json.loads(ask(server, RECORD).body)["files"]
        for key, file in zip(keys, files, strict=True):
            for link in (file["links"]["self"], server.url + file_path(quote(key))):
                with urlopen(Asked(link, headers={"User-Agent": AGENT}), timeout=20) as response:
                    assert response.read() == key.encode()
        assert [request.key for request in server.log[1::2]] == keys
        assert [request.key for request in server.log[2::2]] == keys


def test_records_are_told_apart() -> None:
    with ZenodoServer(records={7: {"wav.zip": b"seven"}, 8: {"wav.zip": b"eight", "x": b""}}) as s:
        assert ask(s, file_path("wav.zip", 7)).body == b"seven"
        assert ask(s, file_path("wav.zip", 8)).body == b"eight"
        assert ask(s, file_path("x", 7)).status == 404
        described = json.loads(ask(s, "/api/records/8").body)
        assert (described["id"], [file["key"] for file in described["files"]]) == (
            8,
            ["wav.zip", "x"],
        )


def test_a_record_can_be_made_to_lie(server: ZenodoServer) -> None:
    server.checksums["data.bin"] = "md5:0"
    server.sizes["data.bin"] = 3
    first, second = json.loads(ask(server, RECORD).body)["files"]
    assert (first["checksum"], first["size"]) == ("md5:0", 3)
    assert (second["checksum"], second["size"]) == ("md5:d41d8cd98f00b204e9800998ecf8427e", 0)
    answer = ask(server)
    assert (answer.body, answer.headers["ETag"]) == (DATA, etag_of(DATA))


def test_checksums_are_computed_when_first_asked_for_and_kept(tmp_path: Path) -> None:
    with ZenodoServer({"late": tmp_path / "late"}, 7) as server:
        (tmp_path / "late").write_bytes(b"one")
        first = ask(server, RECORD).body
        (tmp_path / "late").write_bytes(b"two")
        assert json.loads(first)["files"][0]["checksum"] == etag_of(b"one").strip('"')
        assert ask(server, RECORD).body == first


# ---- files


def test_a_file_comes_with_its_headers(server: ZenodoServer, tmp_path: Path) -> None:
    answer = ask(server)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["Content-Length"] == "1048576"
    assert answer.headers.get_all("Accept-Ranges") == ["none", "bytes"]
    assert answer.headers["ETag"] == etag_of(DATA)
    written = (tmp_path / "somewhere").stat().st_mtime
    assert answer.headers["Last-Modified"] == formatdate(written, usegmt=True)


def test_head_says_what_get_would(server: ZenodoServer) -> None:
    for path in (file_path(), RECORD, "/nowhere"):
        head, get = ask(server, path, "HEAD"), ask(server, path)
        assert (head.status, head.body) == (get.status, b"")
        moving = {"Date", "Last-Modified"} if path == RECORD else {"Date"}
        moving |= {"Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
        assert {k: v for k, v in head.headers.items() if k not in moving} == {
            k: v for k, v in get.headers.items() if k not in moving
        }
    assert ask(server, method="HEAD", Range="bytes=0-9").headers["Content-Length"] == "1048576"
    assert [r.sent for r in server.log if r.method == "HEAD"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("bytes=262143-262144", 262143, 262145),
        ("bytes=1048575-", 1048575, 1048576),
        ("bytes=1000000-", 1000000, 1048576),
        ("bytes=1048000-99999999", 1048000, 1048576),
        ("bytes=-1", 1048575, 1048576),
        ("bytes=-99999999", 0, 1048576),
        ("bytes=0-", 0, 1048576),
    ],
)
def test_ranges(server: ZenodoServer, header: str, start: int, stop: int) -> None:
    answer = ask(server, Range=header)
    assert (answer.status, answer.body) == (206, DATA[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/1048576"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["ETag"] == etag_of(DATA)


@given(first=st.none() | st.integers(0, 13), last=st.none() | st.integers(0, 13))
def test_ranges_byte_by_byte(letters: ZenodoServer, first: int | None, last: int | None) -> None:
    text = b"abcdefghij"
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = ask(letters, file_path("letters"), Range=header)
    nothing = first is None and last is None
    if nothing or (first is not None and last is not None and last < first):
        assert (answer.status, answer.body) == (200, text)
        return
    wanted = [
        at
        for at in range(10)
        if (
            at >= 10 - (last or 0)
            if first is None
            else first <= at and (last is None or at <= last)
        )
    ]
    if wanted:
        assert (answer.status, answer.body) == (206, bytes(text[at] for at in wanted))
        assert answer.headers["Content-Range"] == f"bytes {wanted[0]}-{wanted[-1]}/10"
    else:
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize("header", ["bytes=1048576-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_past_the_end_is_refused(server: ZenodoServer, header: str) -> None:
    answer = ask(server, Range=header)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */1048576"
    assert json.loads(answer.body)["status"] == 416


def test_an_empty_file_has_no_ranges(server: ZenodoServer) -> None:
    answer = ask(server, file_path("empty"))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    answer = ask(server, file_path("empty"), Range="bytes=0-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=0-1", "bytes=9-3", "bytes=-", "3"])
def test_other_ranges_are_ignored(server: ZenodoServer, header: str) -> None:
    answer = ask(server, Range=header)
    assert (answer.status, answer.body) == (200, DATA)
    assert "Content-Range" not in answer.headers


def test_the_record_has_no_ranges(server: ZenodoServer) -> None:
    answer = ask(server, RECORD, Range="bytes=0-1")
    assert (answer.status, json.loads(answer.body)["id"]) == (200, 7)
    assert "Accept-Ranges" not in answer.headers


def test_conditions(server: ZenodoServer) -> None:
    tag = etag_of(DATA)
    assert ask(server, Range="bytes=0-9", If_Range=tag).status == 206
    for other in ('"other"', f"W/{tag}", ask(server).headers["Last-Modified"]):
        answer = ask(server, Range="bytes=0-9", If_Range=other)
        assert (answer.status, answer.body) == (200, DATA)
    server.etags = "weak"
    assert ask(server, Range="bytes=0-9", If_Range=f"W/{tag}").status == 200
    server.etags = "strong"
    for matching in (tag, "*", f'"other", {tag}'):
        assert ask(server, Range="bytes=0-9", If_Match=matching).status == 206
    answer = ask(server, Range="bytes=0-9", If_Match='"other"')
    assert (answer.status, json.loads(answer.body)["status"]) == (412, 412)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/records",
        "/api/records/8",
        file_path(record=8),
        file_path("no"),
        f"{RECORD}/files",
    ],
)
def test_what_does_not_exist(server: ZenodoServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {"status": 404, "message": "no such record or file"}


def test_a_query_changes_nothing(server: ZenodoServer) -> None:
    assert ask(server, file_path() + "?download=1").body == DATA
    assert (server.log[0].path, server.log[0].key) == (file_path() + "?download=1", "data.bin")


def test_one_connection_serves_many_requests(server: ZenodoServer) -> None:
    connection = connect(server)
    connection.connect()
    port = connection.sock.getsockname()
    for path, status in [(RECORD, 200), ("/no", 404), (file_path(), 206), (file_path(), 206)]:
        assert talk(connection, path, "GET", {"Range": "bytes=5-6"}).status == status
        assert connection.sock.getsockname() == port
    connection.close()


def test_other_methods_are_refused(server: ZenodoServer) -> None:
    answer = ask(server, RECORD, "POST")
    assert (answer.status, answer.headers["Connection"]) == (501, "close")
    assert server.log == [Request("POST", RECORD, "", None, 501, len(answer.body))]


# ---- what its users report of the real one


@pytest.mark.parametrize("path", [RECORD, file_path(), api_path()])
@pytest.mark.parametrize(
    "agent",
    [
        "",
        "python-requests/2.32.5",
        "Python-urllib/3.11",
        "python-httpx/0.28",
        "Python/3.11 aiohttp/3.9",
        "curl/8.5.0",
        "Wget/1.21",
    ],
)
def test_libraries_are_blocked(server: ZenodoServer, path: str, agent: str) -> None:
    answer = ask(server, path, User_Agent=agent)
    assert answer.status == 403
    assert b"unusual traffic from your network" in answer.body
    assert REFERENCE.encode() in answer.body
    assert server.log[0].agent == agent


@pytest.mark.parametrize("agent", [AGENT, "Mozilla/5.0 (X11; Linux x86_64)"])
def test_others_are_not(server: ZenodoServer, agent: str) -> None:
    assert [ask(server, path, User_Agent=agent).status for path in (RECORD, file_path())] == [
        200,
        200,
    ]


def test_the_address_of_the_api_sends_no_ranges(server: ZenodoServer) -> None:
    for headers in ({}, {"Range": "bytes=5-6"}, {"Range": "bytes=9999999-"}):
        answer = ask(server, api_path(), **headers)
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers.get_all("Accept-Ranges") == ["none"]
        assert "Content-Range" not in answer.headers
    server.ranges = ("/api/",)
    assert ask(server, api_path(), Range="bytes=5-6").body == DATA[5:7]
    assert ask(server, Range="bytes=5-6").status == 200


def test_a_limit_is_stated_and_kept(server: ZenodoServer) -> None:
    server.limit, server.window = 3, 3600.0
    answers = [ask(server, path, Range="bytes=5-6") for path in (RECORD, file_path(), api_path())]
    assert [answer.status for answer in answers] == [200, 206, 200]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["3"] * 3
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]
    left = int(answers[0].headers["X-RateLimit-Reset"]) - time.time()
    assert 0 < left <= 3600
    # What says when the limit ends is there even where there is nothing to wait for.
    assert abs(int(answers[1].headers["Retry-After"]) - left) < 5
    refused = ask(server)
    assert (refused.status, json.loads(refused.body)["status"]) == (429, 429)
    assert abs(int(refused.headers["Retry-After"]) - left) < 5
    server.limit = 4
    assert ask(server).status == 429  # the refused one counts
    server.limit = 6
    server.states_limit = False
    answer = ask(server)
    assert not [name for name in answer.headers if name.startswith(("X-Rate", "Retry"))]


def test_a_limit_begins_anew(server: ZenodoServer) -> None:
    server.limit, server.window = 1, 0.5
    while ask(server).status != 429:
        pass
    time.sleep(0.5)
    assert ask(server).status == 200


def test_a_token_has_its_own_limit(server: ZenodoServer) -> None:
    server.limit, server.token_limit, server.token = 0, 1, "secret"
    server.window = 3600.0
    assert ask(server).status == 429
    assert ask(server, Authorization="Bearer secret").status == 200
    assert ask(server, Authorization="Bearer secret").status == 429
    server.token_limit = 9
    assert ask(server, Authorization="Bearer other").status == 401
    assert [each.authorization for each in server.log[:2]] == ["", "Bearer secret"]


def test_etags_of_all_kinds(server: ZenodoServer) -> None:
    tag = etag_of(DATA)
    server.etags = "weak"
    assert ask(server).headers["ETag"] == f"W/{tag}"
    server.etags = "none"
    answer = ask(server, Range="bytes=5-6")
    assert (answer.status, "ETag" in answer.headers) == (206, False)
    server.etags = "two"
    tags = [ask(server, path).headers["ETag"] for path in (file_path(), api_path())]
    assert tags[0] == tag != tags[1]


def test_files_on_another_host(server: ZenodoServer) -> None:
    server.redirect = "localhost"
    for path in (file_path(), api_path()):
        answer = ask(server, path)
        assert answer.status == 302
        start = f"http://localhost:{server.server_port}"
        assert answer.headers["Location"] == f"{start}/storage{path}"
        assert ask(server, f"/storage{path}").body == DATA
    assert ask(server, f"/storage{file_path()}", Range="bytes=5-6").status == 206
    assert ask(server, f"/storage{api_path()}", Range="bytes=5-6").status == 200
    assert ask(server, RECORD).status == 200


def test_refusals_on_demand(server: ZenodoServer) -> None:
    server.refuses = {"/records/": 403, "/api/records/7/": 404}
    answer = ask(server)
    assert (answer.status, answer.body) == (403, BLOCKED)
    server.page = b"go away"
    assert ask(server).body == b"go away"
    assert ask(server, api_path()).status == 404
    assert ask(server, RECORD).status == 200


def test_headers_on_demand(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(headers={"ETag": ("a", "b"), "Content-Length": "3"}))
    answer = ask(server)
    assert answer.headers.get_all("ETag") == ["a", "b"]
    assert answer.body == DATA[:3]


def test_an_answer_without_an_end(server: ZenodoServer) -> None:
    server.fail("empty", Fault(endless=True))
    connection = connect(server)
    connection.request("GET", file_path("empty"), headers={"User-Agent": AGENT})
    response = connection.getresponse()
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert len(response.read(10 << 20)) == 10 << 20
    connection.close()


# ---- the log


def test_the_log(server: ZenodoServer) -> None:
    record = ask(server, RECORD).body
    ask(server, method="HEAD")
    ask(server, Range="bytes=-300000")
    missing = ask(server, file_path("no")).body
    ask(server)
    assert server.log == [
        Request("GET", RECORD, "", None, 200, len(record)),
        Request("HEAD", file_path(), "data.bin", None, 200, 0),
        Request("GET", file_path(), "data.bin", "bytes=-300000", 206, 300000),
        Request("GET", file_path("no"), "no", None, 404, len(missing)),
        Request("GET", file_path(), "data.bin", None, 200, 1048576),
    ]
    assert server.sent("data.bin") == 1348576
    assert server.sent("") == len(record)
    assert server.sent("nothing") == 0
    assert server.sent() == 1348576 + len(record) + len(missing)
    with pytest.raises(FrozenInstanceError):
        server.log[0].sent = 1  # type: ignore[misc]
    server.log.clear()  # a copy
    assert len(server.log) == 5
    server.clear()
    assert (server.log, server.sent()) == ([], 0)


def test_the_log_of_many_clients_at_once(server: ZenodoServer) -> None:
    server.fail("data.bin", *[Fault(status=503)] * 10)

    def client(number: int) -> tuple[int, int]:
        answer = ask(server, Range=f"bytes={number}-{number * 1000}")
        return answer.status, len(answer.body)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(client, range(1, 101)))
    assert sorted(answers) == sorted((request.status, request.sent) for request in server.log)
    assert [status for status, _ in answers].count(503) == 10
    assert server.sent("data.bin") == sum(size for _, size in answers)


def test_what_a_client_has_received_is_in_the_log(server: ZenodoServer) -> None:
    for _ in range(200):
        server.clear()
        answer = ask(server, file_path("empty"), Range="bytes=0-")
        assert server.sent() == len(answer.body) > 0


def test_a_request_under_way_shows_what_it_has_sent(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(stall=1000))
    connection = connect(server)
    connection.request("GET", file_path(), headers={"User-Agent": AGENT})
    assert len(connection.getresponse().read(1000)) == 1000
    assert server.log == [Request("GET", file_path(), "data.bin", None, 200, 1000)]
    server.wait_for_sent("data.bin", 1000, timeout=0)
    with pytest.raises(TimeoutError, match=r"1000 of 1001 bytes of 'data\.bin'"):
        server.wait_for_sent("data.bin", 1001, timeout=0.05)
    connection.close()


def test_a_request_cleared_away_stays_away(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(stall=1000, seconds=0.1))
    connection = connect(server)
    connection.request("GET", file_path(), headers={"User-Agent": AGENT})
    response = connection.getresponse()
    assert len(response.read(1000)) == 1000
    server.clear()
    assert len(response.read()) == 1047576
    assert server.log == []
    connection.close()


# ---- faults


@pytest.mark.parametrize("after", [0, 1, 262144, 300000, 1048575])
def test_cut(server: ZenodoServer, after: int) -> None:
    server.fail("data.bin", Fault(cut=after))
    answer = ask(server)
    assert (answer.status, answer.body, answer.whole) == (200, DATA[:after], False)
    assert answer.headers["Content-Length"] == "1048576"
    assert ask(server).body == DATA
    assert [request.sent for request in server.log] == [after, 1048576]


def test_cut_counts_from_the_start_of_a_range(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(cut=10), Fault(cut=100))
    answer = ask(server, Range="bytes=100-199")
    assert (answer.status, answer.body, answer.whole) == (206, DATA[100:110], False)
    answer = ask(server, Range="bytes=100-199")  # nothing left to cut
    assert (answer.body, answer.whole) == (DATA[100:200], True)


def test_cut_ends_the_connection(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(cut=3))
    connection = connect(server)
    connection.request("GET", file_path(), headers={"User-Agent": AGENT})
    response = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    assert connection.sock.recv(1) == b""
    connection.close()


def test_statuses_come_in_their_order_and_end(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(status=503), Fault(status=429, retry_after=7), Fault())
    server.fail("data.bin", Fault(status=500, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"))
    answers = [ask(server) for _ in range(5)]
    assert [answer.status for answer in answers] == [503, 429, 200, 500, 200]
    assert [answer.headers["Retry-After"] for answer in answers if answer.status != 200] == [
        None,
        "7",
        "Wed, 21 Oct 2015 07:28:00 GMT",
    ]
    assert json.loads(answers[1].body) == {"status": 429, "message": "a fault on demand"}
    assert "ETag" not in answers[1].headers
    assert ask(server, file_path("empty")).status == 200


def test_a_fault_for_ever_and_its_end(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(status=429), Fault(status=503), forever=True)
    assert [ask(server).status for _ in range(5)] == [429, 503, 503, 503, 503]
    server.fail("data.bin", Fault())
    assert [ask(server).status for _ in range(3)] == [200, 503, 503]
    server.heal()
    assert ask(server).status == 200


def test_head_takes_a_fault_too(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(status=503))
    answer = ask(server, method="HEAD")
    assert (answer.status, answer.body) == (503, b"")
    assert ask(server).status == 200


def test_faults_of_the_record(server: ZenodoServer) -> None:
    server.fail("", Fault(status=500), Fault(html=True), Fault(cut=5), Fault(content=b"{"))
    assert ask(server).status == 200
    assert ask(server, RECORD).status == 500
    assert ask(server, RECORD).body == HTML
    answer = ask(server, RECORD)
    assert (answer.body, answer.whole) == (b'{"id"', False)
    assert [ask(server, RECORD).body for _ in range(2)] == [b"{", b"{"]


def test_an_html_page(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(html=True), Fault(html=True, status=503, retry_after=1))
    answer = ask(server, Range="bytes=0-9")
    assert (answer.status, answer.body) == (200, HTML)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Length"] == str(len(HTML))
    assert {"ETag", "Accept-Ranges", "Retry-After"} & set(answer.headers) == set()
    answer = ask(server)
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (503, HTML, "1")


def test_a_server_without_ranges(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(whole=True), Fault(whole=True))
    for header in ("bytes=10-19", "bytes=9999999-"):
        answer = ask(server, Range=header)
        assert (answer.status, answer.body) == (200, DATA)
        assert {"Accept-Ranges", "Content-Range"} & set(answer.headers) == set()


@pytest.mark.parametrize("size", [0, 1000, 1048576 + 300000])
def test_another_size_than_the_record_says(server: ZenodoServer, size: int) -> None:
    server.fail("data.bin", Fault(size=size), Fault(size=size))
    answer = ask(server)
    assert answer.body == (DATA + bytes(300000))[:size]
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))
    answer = ask(server, Range="bytes=-500")
    expected = f"bytes {size - 500}-{size - 1}/{size}" if size else "bytes */0"
    assert answer.headers["Content-Range"] == expected
    assert json.loads(ask(server, RECORD).body)["files"][0]["size"] == 1048576
    assert ask(server).body == DATA


@pytest.mark.parametrize("offset", [0, 262144, 1048575])
def test_one_byte_wrong(server: ZenodoServer, offset: int) -> None:
    server.fail("data.bin", Fault(flip=offset), Fault(flip=offset), Fault(flip=offset))
    wrong = bytearray(DATA)
    wrong[offset] ^= 0xFF
    answer = ask(server)
    assert answer.body == wrong
    assert (answer.headers["ETag"], answer.headers["Content-Length"]) == (etag_of(DATA), "1048576")
    assert ask(server, Range=f"bytes={offset}-{offset}").body == wrong[offset : offset + 1]
    assert ask(server, Range="bytes=1-9").body == DATA[1:10]
    assert ask(server).body == DATA


@pytest.mark.parametrize("by", ["method", "fault"])
def test_another_file_from_now_on(server: ZenodoServer, by: str, tmp_path: Path) -> None:
    assert ask(server).headers["ETag"] == etag_of(DATA)
    (tmp_path / "new").write_bytes(b"new bytes")
    if by == "method":
        server.replace("data.bin", tmp_path / "new")
    else:
        server.fail("data.bin", Fault(content=tmp_path / "new"))
    answer = ask(server, Range="bytes=4-", If_Range=etag_of(DATA))
    assert (answer.status, answer.body) == (200, b"new bytes")
    assert answer.headers["ETag"] == etag_of(b"new bytes")
    assert ask(server, If_Match=etag_of(DATA)).status == 412
    file = json.loads(ask(server, RECORD).body)["files"][0]
    assert (file["size"], file["checksum"]) == (9, etag_of(b"new bytes").strip('"'))
    assert ask(server, file_path("empty")).headers["ETag"] == etag_of(b"")


def test_a_file_changes_in_the_records_that_have_it() -> None:
    with ZenodoServer(records={7: {"x": b"one"}, 8: {"x": b"two"}, 9: {}}) as server:
        server.replace("x", b"three")
        paths = [file_path("x", record) for record in (7, 8)]
        assert [ask(server, path).body for path in paths] == [b"three", b"three"]
        assert ask(server, file_path("x", 9)).status == 404


def test_an_answer_under_way_is_of_one_file(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(stall=1000, seconds=0.1))
    connection = connect(server)
    connection.request("GET", file_path(), headers={"User-Agent": AGENT})
    response = connection.getresponse()
    start = response.read(1000)
    server.replace("data.bin", b"new")
    assert start + response.read() == DATA
    connection.close()


@pytest.mark.parametrize("after", [0, 1000])
def test_stall_for_ever_and_for_a_while(server: ZenodoServer, after: int) -> None:
    server.fail("data.bin", Fault(stall=after), Fault(stall=after, seconds=0.3))
    connection = connect(server)
    connection.request("GET", file_path(), headers={"User-Agent": AGENT})
    response = connection.getresponse()
    assert response.read(after) == DATA[:after]
    connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        response.fp.read(1)
    connection.close()
    began = time.monotonic()
    assert ask(server).body == DATA
    assert time.monotonic() - began > 0.29


def test_slow(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(rate=50_000))
    began = time.monotonic()
    assert ask(server, Range="bytes=0-19999").body == DATA[:20000]
    assert 0.39 < time.monotonic() - began < 5


def test_faults_together(server: ZenodoServer) -> None:
    server.fail("data.bin", Fault(whole=True, flip=1, cut=3, stall=2, seconds=0))
    answer = ask(server, Range="bytes=5-")
    assert (answer.status, answer.body, answer.whole) == (200, b"\x00\xfe\x02", False)


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("POST", 501)])
def test_a_fault_is_over_with_its_answer(server: ZenodoServer, method: str, status: int) -> None:
    server.fail("data.bin", Fault(flip=0))
    connection = connect(server)
    assert talk(connection, file_path(), "GET", {}).body == b"\xff" + DATA[1:]
    answer = talk(connection, "/nowhere", method, {})
    assert (answer.status, json.loads(answer.body)["status"]) == (status, status)
    connection.close()


def test_no_fault_for_a_file_that_does_not_exist(server: ZenodoServer) -> None:
    with pytest.raises(KeyError, match=r"no record has a file 'dat\.bin'"):
        server.fail("dat.bin", Fault())
    with pytest.raises(KeyError, match=r"no record has a file 'dat\.bin'"):
        server.replace("dat.bin", b"")


def test_a_file_in_memory_is_served_alike() -> None:
    with ZenodoServer({"data.bin": DATA}, 7) as server:
        server.fail("data.bin", Fault(), Fault(size=len(DATA) + 9), Fault(flip=0))
        assert ask(server).body == DATA
        assert ask(server).body == DATA + bytes(9)
        assert ask(server).body == b"\xff" + DATA[1:]
        answer = ask(server, Range="bytes=262143-262144")
        assert (answer.status, answer.body) == (206, b"\xff\x00")
        assert answer.headers["Last-Modified"] == ask(server).headers["Last-Modified"]


# ---- robustness


def test_a_client_that_goes_away_leaves_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    with ZenodoServer({"large": LARGE, "small": b"small"}, 7) as server:
        for _ in range(3):
            connection = connect(server)
            connection.request("GET", file_path("large"), headers={"User-Agent": AGENT})
            assert len(connection.getresponse().read(1000)) == 1000
            connection.close()
        assert ask(server, file_path("small")).body == b"small"
    assert [1000 <= request.sent < len(LARGE) for request in server.log] == [True] * 3 + [False]
    assert capfd.readouterr() == ("", "")


def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    with ZenodoServer({"large": LARGE, "small": b"small"}, 7) as server:
        connection = connect(server)
        connection.request("GET", file_path("large"), headers={"User-Agent": AGENT})
        server.wait_for_sent("large", 1)
        before = -1
        while before != (before := server.sent("large")):  # until all buffers are full
            time.sleep(0.1)
        assert 0 < before < len(LARGE)
        assert ask(server, file_path("small")).body == b"small"
        assert len(connection.getresponse().read()) == server.sent("large") == len(LARGE)
        connection.close()


def test_a_mistake_in_the_server_is_not_hidden(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        ZenodoServer({"gone": tmp_path / "gone"}, 7) as server,
        pytest.raises(http.client.RemoteDisconnected),
    ):
        ask(server, file_path("gone"))
    assert "FileNotFoundError" in capfd.readouterr().err


def test_a_client_killed_in_the_middle(capfd: pytest.CaptureFixture[str]) -> None:
    with ZenodoServer({"data.bin": DATA}, 7) as server:
        server.fail("data.bin", Fault(rate=100_000))
        url = server.url + file_path()
        script = (
            "from urllib.request import Request, urlopen; "
            f"urlopen(Request({url!r}, headers={{'User-Agent': {AGENT!r}}})).read()"
        )
        client = subprocess.Popen([sys.executable, "-c", script])
        server.wait_for_sent("data.bin", 20_000)
        client.kill()
        client.wait()
        assert 20_000 <= server.sent("data.bin") < len(DATA)
        assert ask(server).body == DATA
    assert capfd.readouterr() == ("", "")


def test_the_end_is_prompt_whatever_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    threads = set(threading.enumerate())
    with ZenodoServer({"large": LARGE, "small": b"small"}, 7) as server:
        connections = [connect(server) for _ in range(5)]
        connections[0].connect()  # says nothing
        assert talk(connections[1], file_path("small"), "GET", {}).status == 200  # idle
        for connection, fault in zip(
            connections[2:],
            [Fault(stall=10), Fault(rate=100), Fault()],  # the last is not read
            strict=True,
        ):
            server.fail("large", fault)
            connection.request("GET", file_path("large"), headers={"User-Agent": AGENT})
            assert connection.getresponse().status == 200
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert set(threading.enumerate()) == threads
    for connection in connections:
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server).connect()
    assert capfd.readouterr() == ("", "")


def test_servers_side_by_side() -> None:
    with ZenodoServer({"x": b"one"}, 7) as one, ZenodoServer({"x": b"two"}, 7) as two:
        assert one.url != two.url
        assert [ask(server, file_path("x")).body for server in (one, two)] == [b"one", b"two"]
