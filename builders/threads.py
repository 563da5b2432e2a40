"""Threads and a cache for one process, which also work after the process is forked.

A forked process has a copy of all memory but runs only one thread. The work of the other threads
is never finished there and their locks are never released, so both are made anew.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from builders.errors import CorpusError

K = TypeVar("K")
T = TypeVar("T")


class Threads:
    """A pool of long-lived threads without a queue: `submit` waits until a thread is free.

    Each thread keeps its own malloc arena, so starting new threads again and again wastes memory.
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
            raise _no_thread(error) from error
        future.add_done_callback(lambda _: free.release())
        return future


def in_turn(
    calls: Iterable[Callable[[], T]], threads: Threads, ahead: int
) -> Generator[T, None, None]:
    """The results of some calls, in order; the next ones are made while one is used.

    Parameters
    ----------
    calls : iterable of callable
    threads : Threads
        Make the calls.
    ahead : int
        How many calls are begun before their results are asked for.
    """
    begun: deque[Future[T]] = deque()
    try:
        for call in calls:
            begun.append(threads.submit(call))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        wait(begun)


def made_ahead(items: Iterator[T], threads: Threads, most: int) -> Generator[T, None, None]:
    """The items of an iterator, which one thread iterates; at most `most` wait to be used.

    It is faster than `in_turn` for small items, since the thread does not wait for its next call.
    """
    room, waiting = threading.Semaphore(most), SimpleQueue[tuple[T] | None]()
    is_over = False

    def iterate() -> None:
        try:
            while room.acquire() and not is_over:
                waiting.put((next(items),))
        except StopIteration:
            pass
        finally:
            waiting.put(None)

    iterating = threads.submit(iterate)
    try:
        while item := waiting.get():
            yield item[0]
            room.release()
        iterating.result()
    finally:
        is_over = True
        room.release()
        wait([iterating])


def _no_thread(why: RuntimeError) -> CorpusError:
    return CorpusError(
        "no further thread can be started",
        why=why,
        fix="allow the process more memory and threads: `ulimit -v`, `ulimit -u`",
    )


class Once(Generic[K, T]):
    """A cache in which each value is made once, by the first thread that asks; others wait for it.

    No lock is held while a value is made: other values can be made, and a fork is safe.

    Parameters
    ----------
    most : int
        How many values are kept: the most recent ones.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._renew()
        renewed_in_children(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[K, Future[T]] = {}

    def get(self, key: K, make: Callable[[], T]) -> T:
        """The value of a key, made by `make` if needed; after a failure, the next call retries."""
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
    """Register a function to be called in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Context in which child processes are started that leave Ctrl-C to their parent.

    A terminal sends it to all processes at once, and each child would print a traceback of its own.
    The parent gets a Ctrl-C of meanwhile at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a new process is asked in its turn
        yield
        return
    # Children inherit what is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
