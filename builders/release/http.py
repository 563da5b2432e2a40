"""Makes requests to Zenodo: address, credentials, retries, and the meaning of the answer.

Environment variables: ``ZENODO_ENDPOINT`` is the address of a server to use instead of zenodo.org;
``ZENODO_TOKEN`` is a personal access token.
"""

from __future__ import annotations

import html
import json
import os
import re
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError

from builders import NAME, URL, __version__
from builders.errors import CorpusError
from builders.release.pace import LONGEST_WAIT, Pace, Say, pause, time_of
from builders.texts import redacted

HTTP_BLOCK = 1 << 18  # bytes
ATTEMPTS = 5
CONNECTS = 3  # attempts if there is no connection at all
BACKOFF = 0.5  # s; doubles with each attempt
TIMEOUT = (10, 60)  # s: to connect; between two packets
#: Limits in bytes for a JSON document, and for a page that explains an error.
LARGEST_JSON, LARGEST_PAGE = 16 << 20, 16 << 10
LONGEST_REASON = 300  # characters of a server's text that a message quotes

RETRIED = (429, 500, 502, 503, 504)
#: Zenodo refuses the default user agents of HTTP libraries, and asks for this form.
AGENT = f"{NAME}/{__version__} ({URL})"


class Failed(Exception):
    """A transfer failed; nothing that it sent is used as data."""

    def __init__(self, url: str, why: object) -> None:
        self.url, self.why = redacted(url), redacted(_plain(str(why)))
        super().__init__(f"{self.url}: {self.why}")


class Refused(Failed):
    """This address refuses the file; another address may send it.

    Attributes
    ----------
    status : int
        HTTP status of the answer; 200 if a web page came instead of a file.
    """

    def __init__(self, url: str, why: object, status: int) -> None:
        super().__init__(url, why)
        self.status = status

    @property
    def is_blocked(self) -> bool:
        """Whether the server refuses us, rather than lacks the file."""
        return self.status in (401, 403)


def endpoint() -> str:
    """Address of the Zenodo server to ask, without a slash at its end.

    Raises
    ------
    CorpusError
        If ``ZENODO_ENDPOINT`` is not an address. Its value is not shown: it may hold a password.
    """
    given = os.environ.get("ZENODO_ENDPOINT", "").strip().rstrip("/") or "https://zenodo.org"
    with suppress(ValueError):  # invalid brackets or port
        parts = urlsplit(given)
        is_web = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_web and not re.search(r"\s", given):
            return given
    raise CorpusError(
        "cannot tell which Zenodo to ask",
        where="ZENODO_ENDPOINT",
        why="its value is no address that begins with https:// or http://",
        fix="correct it, or unset it: then zenodo.org is asked",
    )


def _token() -> str:
    token = os.environ.get("ZENODO_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):  # not valid in a header, and an error would quote it
        raise CorpusError(
            "cannot use the token for Zenodo",
            where="ZENODO_TOKEN",
            why="it has characters in it that no token has",
            fix="copy it again from your account on Zenodo, or unset it",
        )
    return token


class _Credentials(AuthBase):
    """The token for Zenodo, or else the credentials in the address; never those of ``~/.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = get_auth_from_url(str(request.url))
        is_zenodo = urlsplit(str(request.url))[:2] == urlsplit(endpoint())[:2]
        if is_zenodo and (token := _token()):
            request.headers["Authorization"] = f"Bearer {token}"
        elif user or password:
            HTTPBasicAuth(user, password)(request)
        return request


class _Session(requests.Session):
    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Drop the credentials if a redirect leads to another host, and add none."""
        before, after = (str(each.url) for each in (response.request, prepared_request))
        if urlsplit(before)[:2] != urlsplit(after)[:2]:
            prepared_request.headers.pop("Authorization", None)


class _Client:
    """A process' connections to one host, and the `Pace` of its requests."""

    def __init__(self) -> None:
        self.session = _Session()
        self.session.headers["User-Agent"] = AGENT
        self.session.headers["Accept-Encoding"] = "identity"
        self.session.max_redirects = 5
        self.pace = Pace()

    def get(self, url: str, headers: Mapping[str, str], say: Say) -> requests.Response:
        self.pace.begin(say)
        answered: Mapping[str, str] = {}
        try:
            response = self.session.get(
                url, headers=headers, auth=_Credentials(), stream=True, timeout=TIMEOUT
            )
            # After a redirect, the first server is the one that counts requests.
            answered = (response.history or [response])[0].headers
            return response
        finally:
            self.pace.end(answered)


@lru_cache(maxsize=16)
def _client(process: int, host: str) -> _Client:
    """The client of a process: a forked one cannot share its parent's connections or locks."""
    return _Client()


def get(
    url: str, headers: Mapping[str, str] | None = None, say: Say = lambda _: None
) -> requests.Response:
    """Send a GET request; returns the answer with its body unread.

    Failed connections, 429 and 5xx are tried again, after the time that ``Retry-After`` states.

    Parameters
    ----------
    url : str
        Where to ask.
    headers : mapping of str to str, optional
        Headers of the request.
    say : callable
        Called with a text while waiting, and with an empty text when the wait is over.

    Raises
    ------
    Refused
        If the server refuses the request, or sends a web page.
    Failed
        If there is no connection, or no usable answer.
    """
    client = _client(os.getpid(), urlsplit(url).netloc)
    failures = 0
    while True:
        attempts, wait = ATTEMPTS, 0.0
        try:
            response = client.get(url, headers or {}, say)
        except (requests.ConnectionError, requests.Timeout) as error:
            failed = Failed(url, f"no connection: {reason(error)}")
            attempts = CONNECTS
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise Failed(url, f"no usable answer: {error}") from None
        else:
            if response.status_code not in RETRIED:
                _check(url, response)
                return response
            response.close()
            failed = Failed(url, _status(response))
            wait = _retry_after(response)
            if wait > LONGEST_WAIT:
                raise Failed(url, f"{failed.why}, and asks to wait for {wait:.0f} s")
        failures += 1
        if failures >= attempts:
            raise failed
        pause(max(wait, BACKOFF * 2**failures), say)


def get_json(url: str) -> Any:
    """Fetch a JSON document.

    Raises
    ------
    ValueError, RecursionError
        If it is not valid JSON, has more than `LARGEST_JSON` bytes, or is nested too deeply.
    Failed
        As for `get`.
    """
    for attempt in range(ATTEMPTS):
        try:
            with get(url) as response:
                content = _read(response, LARGEST_JSON + 1)
        except HTTPError as error:
            why = reason(error)
            time.sleep(BACKOFF * 2**attempt)
            continue
        if len(content) > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON} bytes")
        return json.loads(content)
    raise Failed(url, f"interrupted {ATTEMPTS} times: {why}")


def reason(error: BaseException) -> object:
    """The cause of an error: `requests` wraps the errors of `urllib3`."""
    return getattr(error.args[0] if error.args else None, "reason", None) or error


def _check(url: str, response: requests.Response) -> None:
    """Raise if an answer is neither a file nor a part of one."""
    status = response.status_code
    is_page = "text/html" in response.headers.get("Content-Type", "")
    if status in (200, 206) and not is_page:
        return
    with response:
        if status in (200, 206):
            raise Refused(url, "the server sent a web page in its place", status)
        said = _explanation(response)
    why = f"{_status(response)}{': ' if said else ''}{said}"
    if status == 416:  # the bytes do not exist, at no address
        raise Failed(url, why)
    raise Refused(url, why, status)


def _status(response: requests.Response) -> str:
    return f"the server answers {response.status_code} {response.reason or ''}".rstrip()


def _explanation(response: requests.Response) -> str:
    """The text and the reference number in a page or JSON document about an error."""
    try:
        content = _read(response, LARGEST_PAGE)
    except HTTPError:
        return ""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        return str(json.loads(content)["message"])
    page = re.sub(
        rb"<(head|script|style)\b.*?</\1>|<[^<>]*>", b" ", content, flags=re.DOTALL | re.IGNORECASE
    )
    text = " ".join(html.unescape(page.decode("utf-8", "replace")).split())
    found = re.search(r"\breference\W+((?=\S*\d)[\w-]{6,})", text, re.IGNORECASE)
    said = text[: found.start()] if found else text
    return textwrap.shorten(said, LONGEST_REASON - 100) + (
        f" (reference {found[1]})" if found else ""
    )


def _read(response: requests.Response, most: int) -> bytes:
    """The first `most` bytes of the body, as sent: nothing is decompressed."""
    blocks, size = [], 0
    while size < most and (block := response.raw.read1(min(HTTP_BLOCK, most - size))):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _retry_after(response: requests.Response) -> float:
    """How many seconds the server asks to wait; 0 if it does not ask."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text)
    now = time_of(response.headers.get("Date", ""), time.time())
    return max(0.0, time_of(text, now) - now)


def _plain(text: str) -> str:
    """A server's text in one line, without terminal control characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.shorten(printable, 2 * LONGEST_REASON, placeholder=" ...")
