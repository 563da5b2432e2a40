"""Run tasks in this process, in several local processes, or on an existing Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any, TypeVar

from datasets import disable_progress_bars

from builders.errors import CorpusError
from builders.threads import children_without_interrupts

T = TypeVar("T")
R = TypeVar("R")

#: How often Dask retries a task that failed with another error than a `CorpusError`, e.g. because
#: an object store did not answer. If a worker dies, Dask gives its task to another worker anyway.
RETRIES = 2


def run_tasks(
    function: Callable[[T], R],
    tasks: Mapping[str, T],
    workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[tuple[str, R | Exception]]:
    """Call a function for each task; a failed task does not stop the others.

    Parameters
    ----------
    function : callable
        Defined at the top level of a module, so that other processes can import it. Calling it
        twice for a task must be safe: this happens if a process dies.
    tasks : mapping
        Tasks by name; they must be picklable.
    workers : int
        Number of processes on this machine; 1 means this process.
    scheduler : str, optional
        Address of a Dask scheduler, e.g. ``tcp://10.0.0.1:8786``. Its workers need this package.

    Yields
    ------
    (str, object)
        Name of a task, and its result or error; in the order in which tasks finish.

    Raises
    ------
    CorpusError
        If there is no such scheduler, or Dask is not installed.
    """
    if scheduler:
        yield from _on_cluster(function, tasks, scheduler)
    elif workers > 1:
        # Not forked: a forked process copies locks, but not the threads that would release them.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_prepare)
        try:
            with children_without_interrupts():
                names = {pool.submit(function, task): name for name, task in tasks.items()}
            for future in as_completed(names):
                yield names[future], _outcome(future.result)
        finally:  # after an interrupt: finish running tasks, start no others
            pool.shutdown(cancel_futures=True)
    else:
        for name, task in tasks.items():
            yield name, _outcome(partial(function, task))


def _prepare() -> None:
    """A worker shows no progress, since its parent does, and ends when its parent ends."""
    disable_progress_bars()
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
        # pure=False: otherwise Dask derives a task's key from its arguments, and would not run it
        # again when the same data are exported a second time.
        names = {
            client.submit(_attempt, function, task, pure=False, retries=RETRIES): name
            for name, task in tasks.items()
        }
        for future in distributed.as_completed(names, loop=client.loop):
            yield names[future], _outcome(future.result)


def _attempt(function: Callable[[T], R], task: T) -> R | CorpusError:
    """Return a `CorpusError` instead of raising it: Dask must not retry errors of a release."""
    try:
        return function(task)
    except CorpusError as error:
        return error


def _outcome(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:
        return error
