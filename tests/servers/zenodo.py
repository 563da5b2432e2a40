"""A Zenodo of one's own: what a downloader meets there, with faults on demand.

``/api/records/<id>`` describes a record. A file of it has two addresses, and each behaves as its
users report of the real one: ``/records/<id>/files/<key>`` sends ranges (RFC 9110, sections 13 and
14), ``/api/records/<id>/files/<key>/content`` the whole file, whatever is asked for. Who has the
name of an HTTP library, or none, is answered 403 by a web page. Guests have 133 requests a minute,
and each answer says how many are left. HTTP/1.1 with keep-alive.

    with ZenodoServer({"recordings.zip": path, "cell_list.csv": b"cellid"}, 18331549) as server:
        monkeypatch.setenv("ZENODO_ENDPOINT", server.url)
        server.fail("recordings.zip", Fault(cut=1000), Fault(status=503, retry_after=0))
        ...                                                 # two requests go wrong, the third works
        assert [request.status for request in server.log] == [200, 206, 503, 206]
"""

from __future__ import annotations

import hashlib
import json
import re
import select
import socket
import sys
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import formatdate
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from math import ceil
from pathlib import Path
from threading import Condition, Event, Thread
from time import time
from typing import Any, Literal
from urllib.parse import quote, unquote

BLOCK = 1 << 18
HTML = b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>\n"
REFERENCE = "5f0c2b7e91d84ab6"
BLOCKED = f"""<html>
<head><title>403 Forbidden</title><style>body {{ margin: 0 }}</style></head>
<body>
<h1>403 Forbidden</h1><hr>
<p>This resource is blocked, since there was unusual traffic from your network.</p>
<p>Write to <a href="mailto:support@zenodo.example">support@zenodo.example</a> with this:</p>
<p><strong>Reference:</strong> <code>{REFERENCE}</code><br>
<strong>Timestamp:</strong> <code>2026-01-20T15:18:05+01:00</code></p>
</body>
</html>
""".encode()
#: Whose names in the User-Agent are refused, as is none at all.
LIBRARIES = ("python-requests", "python-urllib", "python-httpx", "aiohttp", "curl", "wget", "aria2")


@dataclass(frozen=True)
class Request:
    """A request as it was answered.

    `key` is the file asked for, ``""`` where it was the record or nothing that exists; `range` the
    Range header; `sent` the number of bytes of the body that went into the socket so far (of which
    a client that went away has not read all); `agent`, `authorization` and `host` are headers.
    """

    method: str
    path: str
    key: str
    range: str | None
    status: int
    sent: int
    agent: str = field(default="", compare=False)
    authorization: str = field(default="", compare=False)
    host: str = field(default="", compare=False)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one response. What is set applies together; ``Fault()`` is no fault.

    Attributes
    ----------
    cut : int, optional
        Close the connection after so many bytes of the body, whatever Content-Length promised.
    stall : int, optional
        Hang after so many bytes of the body, for `seconds` (None: until the server stops).
    rate : float, optional
        Send so many bytes per second.
    status : int, optional
        Answer with this status, and a Retry-After of `retry_after` (seconds, or a date).
    html : bool
        Answer with an HTML page in place of the file, with status 200 unless `status` is set.
    whole : bool
        Answer any range with the whole file and 200, and do not offer ranges.
    size : int, optional
        Serve a file of this size: cut short, or with zeros at its end.
    flip : int, optional
        Invert the byte at this offset in the file; all headers are those of the true file.
    content : bytes or Path, optional
        From this request on, the file is another: `ZenodoServer.replace`.
    headers : mapping of str to str or tuple of str
        Headers in place of the true ones; one that stands several times has a tuple.
    endless : bool
        Send, in chunks, what is asked for and then zeros, until the client goes away.
    """

    cut: int | None = None
    stall: int | None = None
    seconds: float | None = None
    rate: float | None = None
    status: int | None = None
    retry_after: int | str | None = None
    html: bool = False
    whole: bool = False
    size: int | None = None
    flip: int | None = None
    content: bytes | Path | None = None
    headers: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    endless: bool = False


class Content:
    """The bytes of a file: in memory, or in a file that is not changed while it is served."""

    def __init__(self, source: bytes | Path) -> None:
        self.source = source
        self.created = time()

    @cached_property
    def size(self) -> int:
        source = self.source
        return len(source) if isinstance(source, bytes) else source.stat().st_size

    @cached_property
    def md5(self) -> str:
        blocks = (self.read(at, min(at + BLOCK, self.size)) for at in range(0, self.size, BLOCK))
        digest = hashlib.md5(usedforsecurity=False)
        for block in blocks:
            digest.update(block)
        return f"md5:{digest.hexdigest()}"

    @property
    def modified(self) -> str:
        source = self.source
        seconds = self.created if isinstance(source, bytes) else source.stat().st_mtime
        return formatdate(seconds, usegmt=True)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`; zeros past the end."""
        if isinstance(self.source, bytes):
            block = self.source[start:stop]
        else:
            with self.source.open("rb") as file:
                file.seek(start)
                block = file.read(stop - start)
        return block.ljust(stop - start, b"\0")


def route(path: str) -> tuple[int, str]:
    """The record (-1: none) and the key (``""``: the record itself) that a URL's path names."""
    path = path.partition("?")[0].removeprefix("/storage")
    match = re.fullmatch(r"/api/records/(\d+)(?:/files/(.+)/content)?", path) or re.fullmatch(
        r"/records/(\d+)/files/(.+)", path
    )
    return (int(match[1]), unquote(match[2] or "")) if match else (-1, "")


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and stop of the range asked for; None for a header that a server ignores.

    ``start >= stop`` where no byte of the range exists. A list of ranges is ignored, as a server
    may (RFC 9110, section 14.2).
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


class ZenodoServer(ThreadingHTTPServer):
    """Serves records on a free port of 127.0.0.1 for as long as its ``with`` lasts.

    Parameters
    ----------
    files : mapping of str to Path or bytes
        The files of the record by their keys.
    record : int
        The record's number.
    records : mapping of int to such mappings, optional
        Several records, in place of `files` and `record`. A key stands for the files of all of
        them that have it, in faults, replacements, overrides and sums.

    Attributes
    ----------
    url : str
        What to put into ``ZENODO_ENDPOINT``.
    checksums, sizes : dict
        By key, what the record says in place of the truth; a checksum with its prefix, ``md5:``.
    ranges : tuple of str
        How the paths begin whose files are sent in ranges.
    etags : str
        How they are sent: ``strong``, ``weak``, ``none``, or ``two``: others at each address.
    refuses : dict of str to int
        Statuses by how a path begins: 403 with `page`, others with JSON.
    page : bytes
        What tells those who are blocked that they are.
    redirect : str
        The name of the host that files are fetched from, of this machine; empty: no other.
    token : str
        The one that is valid; a request with another is answered 401.
    limit, token_limit : int
        Requests that guests, and who has the token, may make in a window.
    window : float
        Seconds.
    states_limit : bool
        Whether answers say how many requests are left.
    """

    daemon_threads = False  # server_close() waits for no others
    request_queue_size = 128

    def __init__(
        self,
        files: Mapping[str, Path | bytes] | None = None,
        record: int = 1,
        *,
        records: Mapping[int, Mapping[str, Path | bytes]] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.checksums: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.ranges: tuple[str, ...] = ("/records/",)
        self.etags: Literal["strong", "weak", "none", "two"] = "strong"
        self.refuses: dict[str, int] = {}
        self.page = BLOCKED
        self.redirect = ""
        self.token = ""
        self.limit, self.token_limit, self.window = 133, 1000, 60.0
        self.states_limit = True
        self._counts: defaultdict[tuple[bool, int], int] = defaultdict(int)
        self._records = {
            number: {key: Content(source) for key, source in sources.items()}
            for number, sources in (records or {record: files or {}}).items()
        }
        self._changed = Condition()  # guards the log, the faults, and the connections
        self._log: dict[int, Request] = {}
        self._numbers = count()
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._forever: dict[str, Fault] = {}
        self._connections: set[socket.socket] = set()
        self._stopping = Event()
        self._thread = Thread(target=self.serve_forever, args=(0.01,), name="zenodo")

    def __enter__(self) -> ZenodoServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Drop all connections, idle, busy or stalled, and wait for their threads to end."""
        self._stopping.set()
        self.shutdown()
        self._thread.join()
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    @property
    def log(self) -> list[Request]:
        """All requests, in the order in which their answers began."""
        with self._changed:
            return list(self._log.values())

    def sent(self, key: str | None = None) -> int:
        """Bytes of all bodies, or of those for one key (``""``: the record); errors' included."""
        return sum(request.sent for request in self.log if key in (None, request.key))

    def wait_for_sent(self, key: str, size: int, timeout: float = 30) -> None:
        """Wait until so many bytes of a file have been sent; TimeoutError if they never are."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.sent(key) >= size, timeout):
                raise TimeoutError(f"{self.sent(key)} of {size} bytes of {key!r} were sent")

    def clear(self) -> None:
        """Empty the log; a request that is still being answered does not come back into it."""
        with self._changed:
            self._log.clear()

    def fail(self, key: str, *faults: Fault, forever: bool = False) -> None:
        """Queue faults for a file (``""``: for the record); each request, HEAD too, takes the next.

        With `forever`, all requests after these get the last of them.
        """
        self._check(key)
        with self._changed:
            self._faults[key].extend(faults)
            if forever:
                self._forever[key] = faults[-1]

    def heal(self) -> None:
        """Forget the faults that have not happened yet."""
        with self._changed:
            self._faults.clear()
            self._forever.clear()

    def replace(self, key: str, content: bytes | Path) -> None:
        """Change a file, and so its ETag and what the record says of it, unless that is overridden.

        For the key ``""``, `content` is what is sent in place of the record's JSON.
        """
        self._check(key)
        for files in self._records.values():
            if key in files or not key:
                files[key] = Content(content)

    def _check(self, key: str) -> None:
        if key and not any(key in files for files in self._records.values()):
            raise KeyError(f"no record has a file {key!r}")

    def _describe(self, record: int) -> Content:
        files = [
            {
                "key": key,
                "size": self.sizes.get(key, content.size),
                "checksum": self.checksums.get(key, content.md5),
                "links": {
                    "self": f"{self.url}/api/records/{record}/files/{quote(key, safe='')}/content"
                },
            }
            for key, content in list(self._records[record].items())
        ]
        return Content(json.dumps({"id": record, "files": files}).encode())

    def _take(self, path: str) -> tuple[Content, Fault] | None:
        """What a URL's path leads to, and the fault that this request gets."""
        record, key = route(path)
        files = self._records.get(record)
        if files is None or (key and key not in files):
            return None
        with self._changed:
            queue = self._faults[key]
            fault = queue.popleft() if queue else self._forever.get(key, Fault())
        if fault.content is not None:
            self.replace(key, fault.content)
        return files.get(key) or self._describe(record), fault

    def _count(self, is_guest: bool) -> tuple[int, int, float]:
        """Count a request: how many are allowed, how many are left, and when all are again."""
        window = int(time() / self.window)
        limit = self.limit if is_guest else self.token_limit
        with self._changed:
            self._counts[is_guest, window] += 1
            return limit, limit - self._counts[is_guest, window], (window + 1) * self.window

    def _enter(self, request: Request) -> int:
        """Put a request into the log; its number there."""
        with self._changed:
            number = next(self._numbers)
            self._log[number] = request
        return number

    def _send(self, connection: socket.socket, block: memoryview, number: int) -> int:
        """Send what a non-blocking socket takes of a block, and count it.

        Both under the log's lock: who has received a byte and then looks, finds it counted.
        """
        select.select([], [connection], [])
        with self._changed:
            sent = connection.send(block)
            if number in self._log:
                request = self._log[number]
                self._log[number] = replace(request, sent=request.sent + sent)
            self._changed.notify_all()
        return sent

    def _pause(self, seconds: float | None) -> None:
        if self._stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, and note that it is open."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._changed:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; anything else is a mistake in here, and printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are written apart
    server: ZenodoServer
    path = ""  # of what is no request, as are the headers
    headers = Message()
    fault = Fault()
    limit, left, reset = 0, 0, 0.0

    def do_GET(self) -> None:
        """A record, or a file of it; GET and HEAD."""
        self.fault = Fault()
        if not self.admits():
            return
        if self.server.redirect and route(self.path)[1] and not self.path.startswith("/storage"):
            target = f"http://{self.server.redirect}:{self.server.server_port}/storage{self.path}"
            self.refuse(302, "it is there", {"Location": target})
            return
        taken = self.server._take(self.path)
        if taken is None:
            self.refuse(404, "no such record or file")
            return
        content, self.fault = taken
        after = self.fault.retry_after
        retry = {} if after is None else {"Retry-After": str(after)}
        if self.fault.html:
            headers = {"Content-Type": "text/html; charset=utf-8", **retry}
            self.answer(self.fault.status or 200, headers, Content(HTML), 0, len(HTML))
        elif self.fault.status is not None:
            self.refuse(self.fault.status, "a fault on demand", retry)
        else:
            self.serve(content)

    do_HEAD = do_GET

    def admits(self) -> bool:
        """Whether this client is served; it has its answer if not."""
        server, sent = self.server, self.headers.get("Authorization", "")
        is_guest = not sent.startswith("Bearer ")
        self.limit, left, self.reset = server._count(is_guest)
        self.left = max(left, 0)
        statuses = [
            status for start, status in server.refuses.items() if self.path.startswith(start)
        ]
        agent = self.headers.get("User-Agent", "").lower()
        if statuses and statuses[0] != 403:
            self.refuse(statuses[0], "refused on demand")
        elif statuses or not agent or any(library in agent for library in LIBRARIES):
            # The address of a file sends its page as if it were the file.
            media = "application/octet-stream" if route(self.path)[1] else "text/html"
            page = server.page
            self.answer(403, {"Content-Type": media}, Content(page), 0, len(page))
        elif left < 0:
            self.refuse(429, "too many requests", {"Retry-After": str(ceil(self.reset - time()))})
        elif not is_guest and sent != f"Bearer {server.token}":
            self.refuse(401, "the token is not valid")
        else:
            return True
        return False

    def etag(self, content: Content) -> str:
        """The ETag of a file at this address."""
        if self.server.etags == "none":
            return ""
        end = "-api" if self.server.etags == "two" and self.path.startswith("/api/") else ""
        return f'{"W/" if self.server.etags == "weak" else ""}"{content.md5}{end}"'

    def serve(self, content: Content) -> None:
        """Send a file, or the range that is asked for."""
        is_file = route(self.path)[1] != ""
        has_ranges = is_file and self.path.removeprefix("/storage").startswith(self.server.ranges)
        size = content.size if self.fault.size is None else self.fault.size
        etag = self.etag(content)
        tags = {tag.strip() for tag in self.headers.get("If-Match", "*").split(",")}
        if not tags & {etag, "*"}:
            self.refuse(412, f"the ETag is {etag}")
            return
        media = "application/octet-stream" if is_file else "application/json"
        headers: dict[str, str | tuple[str, ...]] = {
            "Content-Type": media,
            "Last-Modified": content.modified,
            **({"ETag": etag} if etag else {}),
        }
        asked = None
        if is_file and not self.fault.whole:
            headers["Accept-Ranges"] = ("none", "bytes") if has_ranges else "none"
            # RFC 9110, section 13.1.5: a weak ETag is none for this.
            same = self.headers.get("If-Range", etag) == etag and not etag.startswith("W/")
            if self.command == "GET" and has_ranges and (same or "If-Range" not in self.headers):
                asked = byte_range(self.headers.get("Range", ""), size)
        start, stop = asked or (0, size)
        if is_file and self.server.states_limit:  # no reason to wait
            headers["Retry-After"] = str(ceil(self.reset - time()))
        if asked is None:
            self.answer(200, headers, content, start, stop)
        elif start >= stop:
            self.refuse(416, "no byte of the range exists", {"Content-Range": f"bytes */{size}"})
        else:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self.answer(206, headers, content, start, stop)

    def refuse(self, status: int, message: str, headers: Mapping[str, str] = {}) -> None:
        """Answer with an error, in JSON as Zenodo does."""
        body = json.dumps({"status": status, "message": message}).encode()
        headers = {"Content-Type": "application/json", **headers}
        self.answer(status, headers, Content(body), 0, len(body))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself: other methods, and what is no request."""
        self.fault = Fault()
        self.refuse(code, message or "", {"Connection": "close"})

    def answer(
        self,
        status: int,
        headers: Mapping[str, str | tuple[str, ...]],
        content: Content,
        start: int,
        stop: int,
    ) -> None:
        """Send the bytes from `start` to `stop` of a content, as far as the fault lets them."""
        limits = {"Limit": self.limit, "Remaining": self.left, "Reset": int(self.reset)}
        length = (
            {"Transfer-Encoding": "chunked"}
            if self.fault.endless
            else {"Content-Length": str(stop - start)}
        )
        stated = {f"X-RateLimit-{name}": str(value) for name, value in limits.items()}
        if not self.server.states_limit or not self.limit:
            stated = {}
        self.send_response(status)
        for name, values in {**stated, **headers, **length, **self.fault.headers}.items():
            for value in (values,) if isinstance(values, str) else values:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault.endless:
            self.send_for_ever(content.read(start, stop))
        end = stop if self.fault.cut is None else min(start + self.fault.cut, stop)
        stall = end if self.fault.stall is None else min(start + self.fault.stall, end)
        self.connection.setblocking(False)
        self.send_body(content, start, stall)
        if stall < end:
            self.server._pause(self.fault.seconds)
            self.send_body(content, stall, end)
        self.connection.setblocking(True)
        if end < stop:
            self.close_connection = True

    def send_for_ever(self, block: bytes) -> None:
        """Send chunks until the client goes away, which is a ConnectionError, or the server."""
        while True:
            for at in range(0, len(block), BLOCK):
                piece = block[at : at + BLOCK]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.server._pause(0)
            block = bytes(BLOCK)

    def send_body(self, content: Content, start: int, stop: int) -> None:
        """Send the bytes from `start` to `stop`; twenty blocks a second where the rate is given."""
        rate, flip = self.fault.rate, self.fault.flip
        step = BLOCK if rate is None else max(1, int(rate / 20))
        for at in range(start, stop, step):
            block = bytearray(content.read(at, min(at + step, stop)))
            if rate is not None:
                self.server._pause(len(block) / rate)
            if flip is not None and at <= flip < at + len(block):
                block[flip - at] ^= 0xFF
            rest = memoryview(block)
            while rest:
                with suppress(BlockingIOError):
                    rest = rest[self.server._send(self.connection, rest, self.number) :]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Called with the status before anything is sent: what has an answer is in the log."""
        asked, key = self.headers.get("Range"), route(self.path)[1]
        self.number = self.server._enter(
            Request(
                self.command or "",
                self.path,
                key,
                asked,
                int(code),
                sent=0,
                agent=self.headers.get("User-Agent", ""),
                authorization=self.headers.get("Authorization", ""),
                host=self.headers.get("Host", "").partition(":")[0],
            )
        )
