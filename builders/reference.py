"""A second, slow, obvious implementation of what the catalogue promises.

It shares no line with the readers that build shards: `tarfile`, `csv` and `json`, one spike and
one bin at a time, plain Python numbers. Where the two differ, one of them misreads the release.
Each corpus has a reference of its own, which is made of these parts and yields a `Source` for
each pass over its raw files; `builders validate --deep` and the tests compare with it.

It checks nothing: a release that is not as published makes it fail in any way it likes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from builders.release import Archive

Row = dict[str, Any]
Floats = NDArray[np.float32]
#: ``stim_id``, and ``cell_id`` (None where rows are stimuli).
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Shards:
    """What a shard should hold, or all shards that a glob names, one after the other.

    Attributes
    ----------
    path : str
        The shard or the glob, relative to the repository.
    archive : str
        Where it comes from, for messages.
    keys : list of Key
        Of all rows, in order.
    row : callable
        From a key to the row: all columns, as plain Python values; ``response`` (R, T) as nested
        lists of counts, ``spectrogram`` (F, T) as a float32 array.
    """

    path: str
    archive: str
    keys: list[Key]
    row: Callable[[Key], Row]


@dataclass(frozen=True)
class Sound:
    """One copy of a stimulus: where it lies, its name, and its spectrogram (F, T) float32."""

    archive: str
    stim: str
    spectrogram: Floats


@dataclass(frozen=True)
class Reading:
    """What one pass over raw files gives."""

    shards: list[Shards]
    sounds: list[Sound]


@dataclass(frozen=True)
class Source:
    """One pass over raw files: its name for messages, and what makes it."""

    name: str
    read: Callable[[], Reading]


def missing() -> Reading:
    """What reading an archive comes to that is not there."""
    raise LookupError("no archive of the release holds its cells")


def members(archive: Archive, wanted: Collection[str] = ()) -> dict[str, bytes]:
    """Name without the recording's -> content; of all files of an archive, or those wanted."""
    found: dict[str, bytes] = {}
    with _files(archive) as files:
        for name, file in files:
            if not wanted or name in wanted:
                found[name] = file.read()
            if len(found) == len(wanted) > 0:
                break
    return found


def raster(archive: Archive, name: str) -> Floats:
    """A rasterized signal, (T, C): one line per bin, one number per channel."""
    values, n_bins = array("f"), 0
    with _files(archive) as files:
        content = next(file for each, file in files if each == name)
        for line in content:
            values.extend(map(float, line.split(b",")))
            n_bins += 1
    return np.frombuffer(values, np.float32).reshape(n_bins, -1)


@contextmanager
def _files(archive: Archive) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Name without the recording's, and content, of each file that is not a later view."""
    if archive.path.is_dir():
        opened = {path.name: path.open("rb") for path in archive.files()}
        try:
            yield _named(opened.items())
        finally:
            for file in opened.values():
                file.close()
    else:
        with archive.open() as packed, tarfile.open(fileobj=packed, mode="r|gz") as tar:
            every = ((info.name.split("/")[-1], tar.extractfile(info)) for info in tar)
            yield _named((name, file) for name, file in every if file is not None)


def _named(files: Iterable[tuple[str, IO[bytes]]]) -> Iterator[tuple[str, IO[bytes]]]:
    for name, file in files:
        if not (name[:2].isdigit() and name[2:3] == "."):
            yield name.split(".", 1)[1], file


def cell_ids(archive: Archive) -> list[str]:
    """The cells of a recording."""
    chans: list[str] = json.loads(members(archive, ["resp.json"])["resp.json"])["chans"]
    return chans


def sessions(archives: Iterable[Archive]) -> dict[str, list[Archive]]:
    """Session -> the archives whose cells are of it."""
    holding: dict[str, list[Archive]] = {}
    for archive in archives:
        try:
            session = cell_ids(archive)[0].split("-")[0]
        except Exception:  # taken at its name's word; whoever reads it learns what is wrong
            session = archive.name.split("_")[-2]
        holding.setdefault(session, []).append(archive)
    return holding


def trials(epochs: bytes, name: str, fs: float) -> list[tuple[float, int, int]]:
    """Onset, first bin and stop bin of each trial, in time order, overlapping ones dropped."""
    of_name = (row for row in _rows(epochs) if row["name"] == name)
    bounds = sorted((float(row["start"]), float(row["end"])) for row in of_name)
    kept: list[tuple[float, int, int]] = []
    for start, end in bounds:
        first, stop = round(start * fs), round(end * fs)
        if not kept or first >= kept[-1][2]:
            kept.append((start, first, stop))
    return kept


def stimuli(epochs: bytes) -> list[str]:
    """The names of the stimuli that were presented, sorted."""
    return sorted({row["name"] for row in _rows(epochs) if row["name"].startswith("STIM_")})


@lru_cache(maxsize=4)
def _rows(epochs: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(epochs.decode())))


def subset(stim: str) -> str:
    """``val`` or ``est``."""
    return "val" if stim.startswith("STIM_00") else "est"


def count(times: Iterable[float], header: dict[str, Any]) -> Counter[int]:
    """Bin -> number of spikes, up to the end of the recording that the header states."""
    bins = Counter(math.floor(time * header["fs"]) for time in times)
    end = header["segments"][-1][-1] if header.get("segments") else math.inf
    return Counter({bin_: n for bin_, n in bins.items() if bin_ < end})


def cell_columns(cell: str) -> Row:
    """What the cell's id says: ``<session>[-<probe>]-<electrode>-<unit>``."""
    session, *parts = cell.split("-")
    probe = parts.pop(0) if len(parts) == 3 else None
    numbers = len(parts) == 2 and all(part.isdigit() for part in parts)
    letters = [character.isalpha() for character in session]
    return {
        "cell_id": cell,
        "session": session,
        "animal": session[: [*letters, False].index(False)],
        "probe": probe if numbers else None,
        "electrode": int(parts[0]) if numbers else None,
        "unit": int(parts[1]) if numbers else None,
    }
