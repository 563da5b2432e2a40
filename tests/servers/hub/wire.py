"""HTTP on a socket of 127.0.0.1: bodies in and out, counted, slowed down and cut."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.hub.endpoints import ENDPOINTS
from tests.servers.hub.messages import Answer, Call, Refusal, Request, as_json

if TYPE_CHECKING:
    from tests.servers.hub.server import HubServer

#: What is read from or written to a socket at a time.
CHUNK = 1 << 16


class Server(ThreadingHTTPServer):
    """The listening socket; knows its connections, to end them when it stops."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
        self.hub = hub
        self.connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go away whenever it likes; nothing else is meant to get here."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.hub.errors.append(error)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: ClassVar[HubServer]

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.request_log = Request(
            self.command,
            unquote(url.path),
            authorized="Authorization" in self.headers,
            host=self.headers.get("Host", ""),
        )
        with self.hub.follow(self.request_log) as fault, suppress(ConnectionError):
            self.close_connection = True
            cut_after = fault.cut_after if fault else None
            body = self.receive(cut_after)
            if fault and cut_after is None:
                retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                answer = as_json({"error": "a fault was asked for"}, fault.status, retry)
            else:
                answer = self.call(url.path, url.query, body)
            if cut_after is None or not body:
                self.send(answer, cut_after)
                self.close_connection = cut_after is not None or (
                    self.headers.get("Connection", "").lower() == "close"
                )

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def receive(self, cut_after: int | None) -> bytes:
        """The request's body, or a `ConnectionError` where it ends before its time."""
        body, length = bytearray(), int(self.headers.get("Content-Length", 0))
        wanted = length if cut_after is None else min(length, cut_after)
        while len(body) < wanted:
            chunk = self.rfile.read1(min(CHUNK, wanted - len(body)))
            if not chunk:
                raise ConnectionError("the client went away")
            body += chunk
            self.request_log.received = len(body)
            if self.command == "PUT" and self.hub.upload_rate:
                time.sleep(len(chunk) / self.hub.upload_rate)
        if wanted < length:
            raise ConnectionError("cut on demand")
        return bytes(body)

    def call(self, path: str, query: str, body: bytes) -> Answer:
        """What the endpoint answers; an error of the server's own is kept for the test to see."""
        fields = {name: values[-1] for name, values in parse_qs(query).items()}
        for pattern, function in ENDPOINTS:
            if match := pattern.fullmatch(f"{self.command} {path}"):
                part = {name: unquote(text) for name, text in match.groupdict().items() if text}
                try:
                    return function(self.hub, Call(self.command, part, fields, self.headers, body))
                except Refusal as refusal:
                    return refusal.answer
                except Exception as error:
                    self.hub.errors.append(error)
                    return as_json({"error": f"the test's Hub is broken: {error!r}"}, 500)
        return Refusal(404, f"nothing here: {self.command} {path}").answer

    def send(self, answer: Answer, cut_after: int | None) -> None:
        self.request_log.status = answer.status
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text.encode("ascii", "replace").decode().replace("\n", " "))
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body = memoryview(b"" if self.command == "HEAD" else answer.body)[:cut_after]
        for first in range(0, len(body), CHUNK):
            self.request_log.sent += len(body[first : first + CHUNK])
            self.wfile.write(body[first : first + CHUNK])

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are in the hub's log."""
