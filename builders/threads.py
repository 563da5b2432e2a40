"""Threads that a process keeps, since each leaves the memory that it has freed to itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A few threads of a process, and no queue: who submits waits until one is free."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._renew()
        if hasattr(os, "register_at_fork"):  # a forked process has no copy of the threads
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._executor = ThreadPoolExecutor(self._count, thread_name_prefix="builders")
        self._free = threading.Semaphore(self._count)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        free = self._free
        free.acquire()
        try:
            future = self._executor.submit(function, *arguments)
        except RuntimeError:  # the interpreter is shutting down
            free.release()
            raise
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
