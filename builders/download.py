"""HTTP: parts of files and whole files, fetched so that an interrupted transfer is taken up again.

What is on its way lies in a hidden ``.part`` file beside its destination, and its ETag beside that;
it gets its name once it is complete and has been checked. Connections, 429 (with Retry-After) and
5xx are retried by `urllib3`, a body that ends early by asking for the rest.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import HTTPError

BLOCK = 1 << 18  # bytes
ATTEMPTS = 5
BACKOFF = 0.5  # s; doubles with each attempt
TIMEOUT = (10, 60)  # s to connect, and between two packets
LONGEST_WAIT = 120  # s that a server may ask us to wait

Advance = Callable[[int], object]


class Failed(Exception):
    """A transfer that did not succeed; nothing of it is ever taken for data."""

    def __init__(self, url: str, why: object) -> None:
        super().__init__(f"{url}: {why}")
        self.url, self.why = url, why


class Changed(Failed):
    """The file on the server is no longer the one of which a part was fetched."""


class NoRanges(Exception):
    """The server sends the whole file, whatever part of it is asked for."""


class _Retry(Retry):
    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        seconds = super().get_retry_after(response)
        if seconds and seconds > LONGEST_WAIT:
            raise Failed(str(response.geturl()), f"the server asks to wait for {seconds:.0f} s")
        return seconds


@lru_cache(maxsize=2)
def _session(process: int) -> requests.Session:
    """A process' connections; a forked one cannot share those of its parent."""
    retry = _Retry(
        ATTEMPTS,
        connect=2,
        backoff_factor=BACKOFF,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def get(url: str, headers: dict[str, str] | None = None) -> requests.Response:
    """The answer to a request, its body still unread.

    Raises
    ------
    Failed
        If there is no connection, the status is none of 200 and 206, or a web page comes.
    """
    headers = {"Accept-Encoding": "identity", **(headers or {})}
    try:
        response = _session(os.getpid()).get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise Failed(url, f"no connection: {_reason(error)}") from error
    why = ""
    if response.status_code not in (200, 206):
        why = f"the server answers {response.status_code} {response.reason}"
    elif "text/html" in response.headers.get("Content-Type", ""):
        why = "the server sent a web page in its place"
    if why:
        response.close()
        raise Failed(url, why)
    return response


def get_json(url: str) -> Any:
    """A JSON document; a ValueError if it is none, and `Failed` as for `get`."""
    for attempt in range(ATTEMPTS):
        try:
            with get(url) as response:
                return json.loads(response.content)
        except requests.RequestException as error:
            why = _reason(error)
            time.sleep(BACKOFF * 2**attempt)
    raise Failed(url, f"interrupted {ATTEMPTS} times: {why}")


def etag_of(path: Path) -> str:
    """The ETag that was noted beside what has been fetched; empty where there is none."""
    note = _note(path)
    return note.read_text() if note.exists() else ""


def forget(part: Path) -> None:
    """Remove what has been fetched, and the note beside it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def fetch(
    url: str, part: Path, start: int, stop: int, size: int, advance: Advance, etag: str = ""
) -> None:
    """Fetch bytes `start` to `stop` of a file into `part`, which may hold the first of them.

    Parameters
    ----------
    url : str
        The file.
    part : Path
        Where the bytes go; kept when the transfer fails, and taken up the next time.
    start, stop : int
        The first byte, and the one after the last.
    size : int
        The whole file's size.
    advance : callable
        Told of each block's number of bytes.
    etag : str
        Of the file, where another part of it has been fetched before.

    Raises
    ------
    NoRanges
        If a part was asked for, and the server does not know of parts.
    Failed
        If the server fails for good, or sends something else; `Changed` if the file changed.
    """
    if part.exists() and (not _note(part).exists() or part.stat().st_size > stop - start):
        forget(part)
    failures = 0
    while (have := _size(part)) < stop - start:
        wanted = _Wanted(start + have, stop, start, size, etag_of(part) if have else etag)
        why: object = "the connection was closed"
        try:
            _transfer(url, part, wanted, advance)
        except (requests.RequestException, HTTPError) as error:
            why = _reason(error)
        failures = 0 if _size(part) > have else failures + 1
        if failures == ATTEMPTS:
            raise Failed(url, f"interrupted {ATTEMPTS} times at byte {start + have}: {why}")
        if _size(part) < stop - start:
            time.sleep(BACKOFF * 2**failures)


@dataclass(frozen=True)
class _Wanted:
    """Bytes `first` to `stop`, of a part that begins at `start`, of a file of `size` bytes."""

    first: int
    stop: int
    start: int
    size: int
    etag: str


def _transfer(url: str, part: Path, wanted: _Wanted, advance: Advance) -> None:
    """One request for what is missing of a part."""
    headers, is_whole = {}, (wanted.start, wanted.stop) == (0, wanted.size)
    if not (is_whole and wanted.first == 0):
        headers["Range"] = f"bytes={wanted.first}-{wanted.stop - 1}"
        # A weak ETag is not allowed here; without one, the checksum at the end has to do.
        if wanted.etag and not wanted.etag.startswith("W/"):
            headers["If-Range"] = wanted.etag
    with get(url, headers) as response:
        etag = response.headers.get("ETag", "")
        changed = wanted.etag and etag and etag != wanted.etag
        if changed and not (is_whole and response.status_code == 200):
            forget(part)
            raise Changed(url, "it changed on the server while it was being read")
        first = wanted.first
        if response.status_code == 200:
            if not is_whole:
                raise NoRanges
            first = 0
        _check_length(url, response, first, wanted)
        part.parent.mkdir(parents=True, exist_ok=True)
        _note(part).write_text(etag)
        if first == 0:
            advance(-_size(part))
        with part.open("ab" if first else "wb") as file:
            # What has arrived is kept, however little: `read1` does not wait for a whole block.
            while block := response.raw.read1(BLOCK):
                file.write(block)
                advance(len(block))


def _check_length(url: str, response: requests.Response, first: int, wanted: _Wanted) -> None:
    """Refuse an answer that is not the wanted bytes of a file of the wanted size."""
    expected = wanted.stop - first
    length = int(response.headers.get("Content-Length", expected))
    place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    begins, size = (int(place[1]), place[2]) if place else (first, str(wanted.size))
    if length != expected or begins != first or size not in (str(wanted.size), "*"):
        raise Failed(
            url,
            f"expected {expected} bytes from byte {first} on, of {wanted.size}; "
            f"the server sends {length} from {begins} on, of {size}",
        )


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: BaseException) -> object:
    """What is behind an error: `requests` wraps those of `urllib3`."""
    return getattr(error.args[0] if error.args else None, "reason", None) or error
