"""The Hub itself: whose repositories it keeps, what it was asked, what is to go wrong."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

from tests.servers.hub.messages import Call, Refusal, Request
from tests.servers.hub.repository import Repository
from tests.servers.hub.wire import Server


@dataclass
class Fault:
    """What befalls the next `left` requests that match."""

    pattern: re.Pattern[str]
    left: int
    status: int
    cut_after: int | None
    retry_after: int | None


class HubServer:
    """A Hub on loopback; a context manager.

    Parameters
    ----------
    folder : Path
        Where the repositories are; whoever serves the same folder later finds them again.
    tokens : dict
        The users by their tokens. A user owns the namespace of that name and can neither write to
        others nor see what is private there.

    Attributes
    ----------
    endpoint : str
        For ``HF_ENDPOINT``; `environment` sets it.
    log : list of Request
        In the order of arrival.
    upload_rate : float or None
        Bytes per second at which each upload of an LFS object is taken in; None for no limit.
    page_size : int
        Entries on a page of a file listing.

    Raises
    ------
    Exception
        On exit, what went wrong in the server itself, if anything did.
    """

    def __init__(self, folder: Path, tokens: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self.tokens = dict(tokens or {"hf_owner": "me", "hf_stranger": "stranger"})
        self.log: list[Request] = []
        self.errors: list[BaseException] = []
        self.upload_rate: float | None = None
        self.page_size = 1000
        self.writing = threading.Lock()
        self._faults: list[Fault] = []
        self._key = secrets.token_bytes()
        self._lock = threading.Lock()
        self._under_way = 0
        self._server = Server(self)
        port = self._server.server_address[1]
        self.endpoint, self.storage = f"http://127.0.0.1:{port}", f"http://localhost:{port}"

    def __enter__(self) -> HubServer:
        serve = {"target": self._server.serve_forever, "kwargs": {"poll_interval": 0.02}}
        threading.Thread(**serve, daemon=True).start()  # type: ignore[arg-type]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()
        self.wait_idle()
        if self.errors and error is None:
            raise self.errors[0]

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The variables with which a child process uses this Hub, its caches below `home`."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(Path(home) / "hub"),
            "HF_DATASETS_CACHE": str(Path(home) / "datasets"),
            "HF_TOKEN": token,
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def repository(self, name: str) -> Repository:
        """A repository as it lies in the folder, for a test to look into or to create."""
        return Repository(self.folder, name)

    def payload_sent(self) -> int:
        """Bytes of repository files that were sent."""
        return sum(
            request.sent
            for request in self.log
            if request.status in (200, 206)
            and re.match("/storage/|/datasets/[^/]+/[^/]+/resolve/", request.path)
        )

    def uploaded(self) -> int:
        """Bytes of LFS objects that were received, stored in the end or not."""
        return sum(request.received for request in self.log if request.method == "PUT")

    def clear(self) -> None:
        """Empty the log, forget faults and upload rate, once no request is under way any more."""
        self.wait_idle()
        self.log, self._faults, self.upload_rate = [], [], None

    def fail(
        self,
        pattern: str,
        status: int = 503,
        times: int = 2,
        cut_after: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Let the next requests fail whose ``METHOD path`` matches a regular expression.

        Parameters
        ----------
        status : int
            What they are answered, their bodies read and dropped.
        cut_after : int, optional
            Instead of that, cut the connection after so many bytes of the body: of the request's,
            if it has one, else of the answer's. A request with a shorter body is carried out, and
            its answer lost.
        retry_after : int, optional
            Seconds, for the header ``Retry-After``.
        """
        with self._lock:
            self._faults.append(Fault(re.compile(pattern), times, status, cut_after, retry_after))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something is so; a `TimeoutError` if that takes longer."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"in vain for {seconds} s; the requests so far: {self.log}")
            time.sleep(0.01)

    def wait_idle(self) -> None:
        """Wait until no request is under way: a client that is gone may have left some."""
        self.wait_for(lambda: not self._under_way)

    def answered(self, pattern: str) -> int:
        """How many requests whose ``METHOD path`` matches have been answered with success."""
        return sum(
            bool(re.search(pattern, f"{request.method} {request.path}"))
            for request in list(self.log)
            if 0 < request.status < 400
        )

    @contextmanager
    def follow(self, request: Request) -> Iterator[Fault | None]:
        """Log a request, and say what is to befall it."""
        with self._lock:
            self.log.append(request)
            self._under_way += 1
            name = f"{request.method} {request.path}"
            matching = (
                fault for fault in self._faults if fault.left and fault.pattern.search(name)
            )
            if (fault := next(matching, None)) is not None:
                fault.left -= 1
        try:
            yield fault
        finally:
            with self._lock:
                self._under_way -= 1

    def href(self, method: str, name: str, sha256: str) -> str:
        """Where a large file is put to or got from by whoever knows the address."""
        path = f"/storage/{name}/{sha256}"
        return f"{self.storage}{path}?" + urlencode({"signature": self.signature(method, path)})

    def signature(self, method: str, path: str) -> str:
        return hmac.new(self._key, f"{method} {path}".encode(), hashlib.sha256).hexdigest()

    def user(self, call: Call) -> str | None:
        """Who asks; None without a token."""
        token = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.tokens.get(token)

    def readable(self, call: Call) -> Repository:
        """The repository of a path. One that is private looks to others as if it did not exist."""
        repository, user = self.repository(call.part["name"]), self.user(call)
        if not repository.exists() or (repository.private and user != repository.owner):
            raise Refusal(401, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, call: Call) -> Repository:
        """The repository of a path, for its owner."""
        repository = self.readable(call)
        self.authorize(call, repository.owner)
        return repository

    def authorize(self, call: Call, owner: str) -> None:
        """Refuse whoever is not the owner of a namespace."""
        user = self.user(call)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user != owner:
            raise Refusal(403, f"{user} has no write access to the namespace {owner}")
