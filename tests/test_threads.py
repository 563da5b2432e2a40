"""What threads share, and what a forked process does with it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import pytest
from datasets.utils import tqdm

import builders.shards.cache  # noqa: F401 - keeps a child's collections from what it shares
from builders.threads import Once, Threads, in_turn, made_ahead
from tests.conftest import REPOSITORY, run_python

LONGEST = 20  # s that a forked process may take


def in_child(function: Callable[[], object]) -> bool:
    """Whether a forked process ends well, and in time."""
    child = os.fork()
    if not child:
        signal.alarm(LONGEST)
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_collects_none_of_its_parents_objects() -> None:
    def collect() -> None:
        assert gc.get_freeze_count() > 0
        assert len(gc.get_objects()) < gc.get_freeze_count()

    assert gc.get_freeze_count() == 0
    assert in_child(collect)
    assert gc.get_freeze_count() == 0


def test_a_value_is_made_once_by_whoever_asks_first() -> None:
    once: Once[str, int] = Once(2)
    made: list[int] = []

    def make() -> int:
        time.sleep(0.05)
        made.append(len(made))
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: once.get("a", make), range(8))) == {0}
    assert once.get("b", make) == 1
    assert once.get("a", make) == 0
    assert once.get("c", make) == 2
    assert once.get("a", make) == 3  # of three, two are kept


def test_what_fails_is_tried_again_and_others_go_on() -> None:
    once: Once[str, int] = Once(2)
    with pytest.raises(ZeroDivisionError):
        once.get("a", lambda: 1 // 0)
    assert once.get("a", lambda: once.get("b", lambda: 5) + 1) == 6


def test_a_child_makes_what_its_parent_was_making() -> None:
    once: Once[str, int] = Once(2)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        go_on.wait()
        return 1

    thread = threading.Thread(target=once.get, args=("a", slow))
    thread.start()
    begun.wait()
    assert in_child(lambda: once.get("a", lambda: 2))
    go_on.set()
    thread.join()
    assert once.get("a", lambda: 3) == 1


def test_a_child_has_threads_of_its_own() -> None:
    threads = Threads(1)
    go_on = threading.Event()
    future = threads.submit(go_on.wait)
    assert in_child(lambda: threads.submit(int).result())
    go_on.set()
    assert future.result()


AHEAD: list[Callable[[Iterator[int], int], Generator[int, None, None]]] = [
    lambda items, most: in_turn((partial(lambda n: n, n) for n in items), Threads(2), most),
    lambda items, most: made_ahead(items, Threads(1), most),
]


def counted(seen: list[int], error_at: int = 1000) -> Iterator[int]:
    for n in range(50):
        seen.append(n)
        if n == error_at:
            raise ValueError("at", n)
        yield n


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize("ahead", AHEAD)
def test_what_is_made_ahead_comes_in_order_and_not_too_early(
    ahead: Callable[[Iterator[int], int], Iterator[int]], most: int
) -> None:
    seen: list[int] = []
    for expected, n in enumerate(ahead(counted(seen), most)):
        assert n == expected
        time.sleep(0.001)
        assert len(seen) <= n + most + 2
    assert seen == list(range(50))
    assert list(ahead(iter([]), most)) == []


@pytest.mark.parametrize("ahead", AHEAD)
def test_an_error_of_what_is_made_ahead_comes_in_its_place(
    ahead: Callable[[Iterator[int], int], Iterator[int]],
) -> None:
    found: list[int] = []
    with pytest.raises(ValueError, match="20"):
        found.extend(ahead(counted([], error_at=20), 1))
    # `extend` keeps what came before the error.
    assert found == list(range(20))[: len(found)]
    assert len(found) >= 18


@pytest.mark.parametrize("ahead", AHEAD)
def test_nothing_is_made_after_the_reader_has_left(
    ahead: Callable[[Iterator[int], int], Generator[int, None, None]],
) -> None:
    seen: list[int] = []
    items = ahead(counted(seen), 3)
    next(items)
    items.close()
    left = len(seen)
    time.sleep(0.05)
    assert len(seen) == left < 10


def test_a_child_draws_its_own_bars() -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with tqdm.get_lock():
            held.set()
            go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_child(lambda: tqdm([]).close())
    go_on.set()
    thread.join()


def test_children_of_a_process_that_lists_a_repository_list_it_too(
    own_home: Path, tmp_path: Path
) -> None:
    """Its list of cells is read anew each time, while others are forked."""
    is_over = False

    def look() -> None:
        assert fsspec.filesystem("corpus").find("wingert2026/data/A1")

    def look_all_the_time() -> None:
        while not is_over:
            os.utime(os.environ["WINGERT2026_DATA"])
            look()

    look()  # Python itself does not renew the lock of a module that another thread is importing
    thread = threading.Thread(target=look_all_the_time)
    thread.start()
    try:
        assert all(in_child(look) for _ in range(12))
    finally:
        is_over = True
        thread.join()


LIMITED = """
import resource
from pathlib import Path

from builders.errors import CorpusError
from builders.threads import Threads

threads = Threads(1)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (taken + (2 << 20), hard))  # a thread's stack has 8 MB
try:
    threads.submit(print, "made")
except CorpusError as error:
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    print(error)
threads.submit(int).result()  # the thread that could not be started is not waited for
"""


def test_a_process_that_may_start_no_more_threads_is_told_so() -> None:
    assert "no further thread can be started" in run_python(LIMITED)


INTERRUPTED = """
import multiprocessing, os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from builders.threads import children_without_interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1]))
    try:
        with children_without_interrupts():
            child = pool.submit(os.getpid).result()
            for process in (child, os.getpid()):
                os.kill(process, signal.SIGINT)
            time.sleep(0.2)
            print("not yet")
        print("never")
    except KeyboardInterrupt:
        print("now", pool.submit(os.getpid).result() == child)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_interrupt_while_children_are_started_reaches_the_parent_alone(
    tmp_path: Path, method: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["not yet", "now True"], done.stderr
