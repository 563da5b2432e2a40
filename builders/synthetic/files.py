"""Helpers to write a synthetic release: its folder, parallel writers, random generators."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children
from pathlib import Path

import numpy as np

from builders.errors import CorpusError, unknown
from builders.threads import children_without_interrupts


def new_release(folder: Path, scale: str) -> Path:
    """Make the folder that a synthetic release is written into.

    Parameters
    ----------
    folder : Path
        An empty folder, or one that does not exist yet.
    scale : str
        ``mini`` or ``full``.

    Raises
    ------
    CorpusError
        If `scale` is unknown or `folder` is not an empty folder.
    """
    if scale not in ("mini", "full"):
        raise unknown("scale", scale, ("mini", "full"))
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CorpusError(
            "cannot write a synthetic release",
            where=folder,
            why="it is not an empty folder",
            fix="name a new folder, or remove what an interrupted run left in this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_writers(writers: Sequence[Callable[[], object]]) -> None:
    """Run functions that each write a file, several at a time; the longest should come first.

    Parameters
    ----------
    writers : sequence of callable
        Must be picklable, such as `functools.partial` of module-level functions.
    """
    from datasets.utils import tqdm  # silent where progress bars are disabled; slow to import

    others = set(active_children())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        try:
            with children_without_interrupts():
                jobs = [pool.submit(writer) for writer in writers]
            for job in tqdm(as_completed(jobs), "synthetic files", len(jobs)):
                job.result()
        except BaseException:
            # A large file takes a minute, and nobody needs a part of a release.
            for child in set(active_children()) - others:
                child.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends only on `seed` and `names`."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
