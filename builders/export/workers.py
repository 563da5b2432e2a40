"""The same tasks in this process, in several of this machine, or on an existing Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any, TypeVar

from builders.errors import CorpusError

T = TypeVar("T")
R = TypeVar("R")

#: How often Dask tries a task again that failed for another reason than a `CorpusError`, such as
#: an object store that did not answer. A task whose worker died it hands to another one anyway.
RETRIES = 2


def run_tasks(
    function: Callable[[T], R],
    tasks: Mapping[str, T],
    workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[tuple[str, R | Exception]]:
    """Call a function for each task; one that fails does not keep the others from being done.

    Parameters
    ----------
    function : callable
        At the top of a module, so that other processes find it. It must not matter whether it is
        called once for a task or, after a process died on the way, twice.
    tasks : mapping
        By name; what can be pickled.
    workers : int
        Processes of this machine; with 1, it is this process.
    scheduler : str, optional
        Address of a Dask scheduler, e.g. ``tcp://10.0.0.1:8786``. Its workers have this package.

    Yields
    ------
    (str, object)
        Name, and result or error, in the order in which they are done.

    Raises
    ------
    CorpusError
        If there is no such scheduler, or Dask is not installed.
    """
    if scheduler:
        yield from _on_cluster(function, tasks, scheduler)
    elif workers > 1:
        # Not forked: a forked process has locks, and lacks the threads that would open them.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_end_with_parent)
        try:
            names = {pool.submit(function, task): name for name, task in tasks.items()}
            for future in as_completed(names):
                yield names[future], _outcome(future.result)
        finally:  # where it is interrupted, what has begun is finished, and nothing else begun
            pool.shutdown(cancel_futures=True)
    else:
        for name, task in tasks.items():
            yield name, _outcome(partial(function, task))


def _end_with_parent() -> None:
    """End this worker when the process that started it does, in whatever way that ended."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _on_cluster(
    function: Callable[[T], R], tasks: Mapping[str, T], scheduler: str
) -> Iterator[tuple[str, R | Exception]]:
    try:
        import distributed
    except ImportError as error:
        raise CorpusError(
            f"cannot use the scheduler {scheduler}",
            why=error,
            fix="pip install 'auditory-builders[dask]', here and where the workers are",
        ) from error
    try:
        client = distributed.Client(scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"cannot reach the scheduler {scheduler}",
            why=error,
            fix="give the address that dask-scheduler printed when it was started",
        ) from error
    with client:
        # What has no key of its own gets one from its arguments, and is then not done again when
        # the same data are exported a second time.
        names = {
            client.submit(_attempt, function, task, pure=False, retries=RETRIES): name
            for name, task in tasks.items()
        }
        for future in distributed.as_completed(names, loop=client.loop):
            yield names[future], _outcome(future.result)


def _attempt(function: Callable[[T], R], task: T) -> R | CorpusError:
    """What is wrong with a release stays wrong: it is handed back, and not tried again."""
    try:
        return function(task)
    except CorpusError as error:
        return error


def _outcome(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:
        return error
