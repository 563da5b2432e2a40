"""Limits how often this process sends requests to a server, over all its threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from threading import Lock

LONGEST_WAIT = 120  # s; a server may not ask us to wait longer
#: Limit for requests that begin in a minute. Zenodo allows guests 133.
MOST, MINUTE = 120, 60.0
#: Of the requests that a server still allows, how many to leave to our other processes and others.
SPARED = 8

Say = Callable[[str], object]


class Pace:
    """Keeps the requests of all threads below what the server allows.

    At most `MOST` requests begin in a `MINUTE`. If the server states how many are left
    (``X-RateLimit-Remaining``), the last `SPARED` of them are not used: the next request waits
    until the server starts a new count (``X-RateLimit-Reset``), but at most `LONGEST_WAIT`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun: deque[float] = deque()
        self._unanswered = 0
        self._left = float(MOST)
        self._window = -1.0  # the server's current count, identified by its reset time
        self._reset = 0.0

    def begin(self, say: Say) -> None:
        """Wait until the next request may begin."""
        while (seconds := self._seconds_until_next()) > 0:
            pause(seconds, say)

    def _seconds_until_next(self) -> float:
        """Seconds until the next request may begin; if 0, it is counted as begun."""
        with self._lock:
            now = time.monotonic()
            if self._left < 1 and now < self._reset:
                return self._reset - now
            while self._begun and self._begun[0] <= now - MINUTE:
                self._begun.popleft()
            if len(self._begun) >= MOST:
                return self._begun[0] + MINUTE - now
            self._begun.append(now)
            self._unanswered += 1
            self._left -= 1
            return 0.0

    def end(self, headers: Mapping[str, str]) -> None:
        """Update the limits from an answer's headers; they are empty if no answer came."""
        with self._lock:
            self._unanswered -= 1
            try:
                limit, left, window = (
                    float(headers[f"X-RateLimit-{name}"])
                    for name in ("Limit", "Remaining", "Reset")
                )
            except (KeyError, ValueError):  # not stated
                return
            # The server may or may not have counted the requests that it has not answered yet.
            left -= min(SPARED, limit // 10) + self._unanswered
            self._left = min(self._left, left) if window == self._window else left
            self._window = window
            # By the server's clock, which drops fractions of a second.
            seconds = window - time_of(headers.get("Date", ""), time.time()) + 1
            self._reset = time.monotonic() + min(max(seconds, 0), LONGEST_WAIT)


def pause(seconds: float, say: Say) -> None:
    """Wait; `say` so if it takes a second or more."""
    if seconds >= 1:
        say(f"waiting {seconds:.0f} s for the server")
    time.sleep(seconds)
    if seconds >= 1:
        say("")


def time_of(text: str, otherwise: float) -> float:
    """The time in a header, in seconds since 1970; `otherwise` if it is not a time."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return otherwise
