"""How often a server is asked: less often than it allows, whoever in this process asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from threading import Lock

LONGEST_WAIT = 120  # s that a server may ask us to wait
#: Requests that may begin in a minute. Zenodo allows guests 133.
MOST, MINUTE = 120, 60.0
#: Requests that are left to others (or to our other processes) of those a server still allows.
SPARED = 8

Say = Callable[[str], object]


class Pace:
    """Keeps the requests of all threads below what the server allows.

    No more than `MOST` begin in a `MINUTE`. Where the server states how many are left
    (``X-RateLimit-Remaining``), the last `SPARED` of them are not used, and the next request waits
    for the moment at which it counts anew (``X-RateLimit-Reset``), but no longer than
    `LONGEST_WAIT`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun: deque[float] = deque()
        self._unanswered = 0
        self._left = float(MOST)
        self._window = -1.0  # as the server names it: the time of its reset
        self._reset = 0.0

    def begin(self, say: Say) -> None:
        """Wait until the next request may begin."""
        while (seconds := self._seconds_until_next()) > 0:
            pause(seconds, say)

    def _seconds_until_next(self) -> float:
        """How long the next request has to wait; 0 if it begins now."""
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
        """Take note of an answer's headers; of none, where no answer came."""
        with self._lock:
            self._unanswered -= 1
            try:
                limit, left, window = (
                    float(headers[f"X-RateLimit-{name}"])
                    for name in ("Limit", "Remaining", "Reset")
                )
            except (KeyError, ValueError):  # not stated
                return
            # The server may or may not have counted those that it has not answered.
            left -= min(SPARED, limit // 10) + self._unanswered
            self._left = min(self._left, left) if window == self._window else left
            self._window = window
            # By the server's clock, which drops fractions of a second.
            seconds = window - time_of(headers.get("Date", ""), time.time()) + 1
            self._reset = time.monotonic() + min(max(seconds, 0), LONGEST_WAIT)


def pause(seconds: float, say: Say) -> None:
    """Wait, and say so where it takes long enough to be wondered about."""
    if seconds >= 1:
        say(f"waiting {seconds:.0f} s for the server")
    time.sleep(seconds)
    if seconds >= 1:
        say("")


def time_of(text: str, otherwise: float) -> float:
    """The time that a header names, in seconds since 1970."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return otherwise
