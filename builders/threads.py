"""What the threads of a process share, and what becomes of it where the process is forked.

A forked process has the memory of all threads, and runs one of them: the others neither finish
what they had begun, nor give back a lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from builders.errors import CorpusError

K = TypeVar("K")
T = TypeVar("T")


class Threads:
    """A few threads of a process, and no queue: who submits waits until one is free.

    They are kept: each thread leaves the memory that it has freed to itself.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._renew()
        renewed_in_children(self._renew)

    def _renew(self) -> None:
        self._executor = ThreadPoolExecutor(self._count, thread_name_prefix="builders")
        self._free = threading.Semaphore(self._count)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        free = self._free
        free.acquire()
        try:
            future = self._executor.submit(function, *arguments)
        except RuntimeError as error:  # `ulimit`, or the interpreter is shutting down
            free.release()
            raise CorpusError(
                "no further thread can be started",
                why=error,
                fix="allow the process more memory and threads: `ulimit -v`, `ulimit -u`",
            ) from error
        future.add_done_callback(lambda _: free.release())
        return future

    def map(self, function: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
        """What `function` makes of each of the arguments, in their order; by all threads."""
        calls = list(zip(*arguments, strict=True))

        def every_nth(first: int) -> list[T]:
            return [function(*call) for call in calls[first :: self._count]]

        made: list[Any] = [None] * len(calls)
        futures = [self.submit(every_nth, first) for first in range(self._count)]
        for first, future in enumerate(futures):
            made[first :: self._count] = future.result()
        return made


class Once(Generic[K, T]):
    """Values that are made once each, by the thread that asks first. Others wait for it.

    While a value is made nothing is locked: making others goes on, and so does a forked process.

    Parameters
    ----------
    most : int
        How many values are kept, those that were made last.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._renew()
        renewed_in_children(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[K, Future[T]] = {}

    def get(self, key: K, make: Callable[[], T]) -> T:
        """The value of a key. Where making it fails, the next who asks tries again."""
        with self._lock:
            future = self._made.get(key)
            is_first = future is None
            if future is None:
                future = self._made[key] = Future()
                for old in [*self._made][: -self._most]:
                    del self._made[old]
        if is_first:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._made.pop(key, None)
                future.set_exception(error)
        return future.result()


def renewed_in_children(renew: Callable[[], object]) -> None:
    """Call a function in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
