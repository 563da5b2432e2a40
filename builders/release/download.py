"""Fetches files and parts of files; an interrupted transfer is resumed.

Bytes are stored in a hidden ``.part`` file until the caller has checked them. Zenodo has two
addresses for each file. Which of them sends parts, and which refuses, is found out by trying, and
remembered. ETags are ignored: not every address sends one, the two addresses may send different
ones, and the checksum at the end makes them unnecessary.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from builders.release import http
from builders.release.http import ATTEMPTS, HTTP_BLOCK, Failed, Refused, reason

#: (host, whether a part is wanted) -> index of the address to ask first.
_WORKS: dict[tuple[str, bool], int] = {}


class Progress(Protocol):
    """The methods of a progress bar that are used here."""

    def update(self, n: int) -> object: ...

    def set_postfix_str(self, s: str) -> object: ...


class NoRanges(Exception):
    """No address sends a part of the file; the message says what each one did."""


@dataclass(frozen=True)
class _Wanted:
    """Bytes `first` to `stop` (exclusive) of a file of `size` bytes."""

    first: int
    stop: int
    size: int

    @property
    def is_part(self) -> bool:
        return (self.first, self.stop) != (0, self.size)


def forget(part: Path) -> None:
    """Remove a ``.part`` file, if it exists."""
    part.unlink(missing_ok=True)


def fetch(urls: Sequence[str], part: Path, start: int, stop: int, size: int, bar: Progress) -> bool:
    """Fetch bytes `start` to `stop` of a file into `part`, which may hold the first ones.

    Parameters
    ----------
    urls : sequence of str
        The file's addresses.
    part : Path
        Where the bytes go. It is kept if the transfer fails and can be resumed.
    start, stop : int
        The first byte, and the one after the last.
    size : int
        The whole file's size.
    bar : Progress
        Receives the number of bytes of each block, and a text while waiting.

    Returns
    -------
    bool
        Whether all bytes came in the answer to one request.

    Raises
    ------
    NoRanges
        If a part is wanted, and no address sends parts.
    Failed
        If the server keeps failing, or sends something else.
    """
    if _size(part) > stop - start:
        forget(part)
    bar.update(_size(part))
    in_one_piece = not _size(part)
    failures = furthest = 0
    while (have := _size(part)) < stop - start:
        why: object = "the connection was closed"
        in_one_piece = in_one_piece and not have
        try:
            _transfer(urls, part, _Wanted(start + have, stop, size), bar)
        except NoRanges as error:
            forget(part)
            if (start, stop) != (0, size):
                raise
            if not have:
                raise Failed(urls[0], error) from None
            bar.update(-have)  # start again from the first byte
            why = error
        except HTTPError as error:
            why = reason(error)
        failures = 0 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures == ATTEMPTS:
            raise Failed(urls[0], f"interrupted {ATTEMPTS} times, at byte {start + have}: {why}")
        if _size(part) < stop - start:
            time.sleep(http.BACKOFF * 2**failures)
    part.touch()  # an empty file must exist, too
    return in_one_piece


def _transfer(urls: Sequence[str], part: Path, wanted: _Wanted, bar: Progress) -> None:
    """Make one request for the missing bytes of a part, and append what arrives."""
    missing = wanted.stop - wanted.first
    part.parent.mkdir(parents=True, exist_ok=True)
    with _answer(urls, wanted, bar) as response, part.open("ab") as file:
        # Whatever arrives is kept at once: `read1` does not wait for a whole block.
        while missing >= 0 and (block := response.raw.read1(HTTP_BLOCK)):
            missing -= len(block)
            if missing >= 0:
                file.write(block)
                bar.update(len(block))
    if missing < 0:
        forget(part)
        raise Failed(response.url, f"it sends more than the {wanted.stop - wanted.first} bytes")


def _answer(urls: Sequence[str], wanted: _Wanted, bar: Progress) -> requests.Response:
    """The answer of the first address that sends the wanted bytes; its body is unread."""
    headers = {"Range": f"bytes={wanted.first}-{wanted.stop - 1}"} if wanted.is_part else {}
    kind = (urlsplit(urls[0]).netloc, wanted.is_part)
    refused: list[Refused] = []
    no_ranges: list[str] = []
    for number in sorted(range(len(urls)), key=lambda number: number != _WORKS.get(kind, 0)):
        try:
            response = http.get(urls[number], headers, bar.set_postfix_str)
        except Refused as error:
            refused.append(error)
            continue
        try:
            why = _why_no_range(response, wanted)
        except Failed:
            response.close()
            raise
        if not why:
            _WORKS[kind] = number
            return response
        response.close()
        no_ranges.append(why)
    if no_ranges:
        raise NoRanges("; ".join([*(str(each.why) for each in refused), *no_ranges]))
    # If one address blocks us and the other does not exist, the block is the better reason.
    raise next((each for each in refused if each.is_blocked), refused[0])


def _why_no_range(response: requests.Response, wanted: _Wanted) -> str:
    """Why an answer is not the requested range; empty if it is.

    Raises
    ------
    Failed
        If the answer is not from the wanted file.
    """
    length = response.headers.get("Content-Length", str(wanted.stop - wanted.first))
    place = re.fullmatch(
        r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)",
        response.headers.get("Content-Range", ""),
    )
    if wanted.is_part and response.status_code == 200:
        return "it sends the whole file, whatever part is asked for"
    size = place[3] if place else "*"
    if length != str(wanted.stop - wanted.first) or size not in ("*", str(wanted.size)):
        raise Failed(
            response.url,
            f"expected {wanted.stop - wanted.first} bytes from byte {wanted.first} on, of "
            f"{wanted.size}; the server sends {length}, of {size}",
        )
    sent = (int(place[1]), int(place[2]) + 1) if place else (0, 0)
    if response.status_code == 206 and sent != (wanted.first, wanted.stop):
        return (
            f"it sends another part than is asked for, or does not say which: {place and place[0]}"
        )
    return ""


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
