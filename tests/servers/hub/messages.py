"""What is asked of the Hub and what it answers, apart from how that travels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qs


@dataclass
class Request:
    """One request, logged when it arrives; the counts grow while its bodies travel.

    Attributes
    ----------
    path : str
        Unquoted, without the query.
    status : int
        0 until the request is answered, and for good where the connection is lost before.
    sent, received : int
        Bytes of the answer's and of the request's body.
    authorized : bool
        Whether the request has an ``Authorization`` header, whatever it says.
    host : str
        The ``Host`` header: which name of the server the client asked.
    """

    method: str
    path: str
    status: int = 0
    sent: int = 0
    received: int = 0
    authorized: bool = False
    host: str = ""


@dataclass
class Answer:
    """A status, a body (left out for HEAD, all but its length), and headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer other than the one asked for; `code` is the Hub's ``X-Error-Code``."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = as_json({"error": message}, status, headers)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    body = json.dumps(value).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


@dataclass
class Call:
    """What an endpoint gets to see of a request: `part` holds the parts of its path by name."""

    method: str
    part: dict[str, str]
    query: dict[str, str]
    headers: Message
    body: bytes

    def form(self) -> dict[str, Any]:
        """The body as JSON, or as a form (lists of texts)."""
        if "form-urlencoded" in self.headers.get("Content-Type", ""):
            return dict(parse_qs(self.body.decode()))
        form: dict[str, Any] = json.loads(self.body)
        return form
