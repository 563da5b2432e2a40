"""A second, slow and simple reader of releases, used to check the shards.

It shares no code with the readers that build shards: it uses `tarfile`, `csv` and `json`, and plain
Python numbers, one spike and one bin at a time. If the two differ, one of them misreads the
release. Each corpus has its own reference, made of these parts, which yields a `Source` for each
pass over its raw files. `builders validate --deep` and the tests compare shards with it.

It has no error handling: unreadable files raise any exception. It must fail only where the other
readers fail too; so the keys of a shard, and each row, are computed only when needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from builders.release.archive import Archive
from builders.validation.files import Float32s, SlowSignal, Trial, read_signals

Row = dict[str, Any]
#: ``stim_id`` and ``cell_id`` of a row; ``cell_id`` is None if rows are stimuli.
Key = tuple[str, str | None]
#: A function that reads an archive and returns one of its signals and the ids of its cells, or None
#: for the cells if they are unknown.
Look = Callable[[Archive], tuple[SlowSignal, Iterable[str] | None]]


@dataclass(frozen=True)
class Shards:
    """The expected content of one shard, or of all shards that match a glob, in order.

    Attributes
    ----------
    path : str
        The shard or the glob, relative to the repository.
    archive : str
        Name of the archive that it comes from, for messages.
    find_keys : callable
        Returns `keys`.
    row : callable
        Returns the row of a key: all columns, as plain Python values; ``response`` (R, T) as nested
        lists of counts, ``spectrogram`` (F, T) as a float32 array.
    """

    path: str
    archive: str
    find_keys: Callable[[], list[Key]]
    row: Callable[[Key], Row]

    @cached_property
    def keys(self) -> list[Key]:
        """The keys of all rows, in order."""
        return self.find_keys()


def without_rows(path: str, archive: str) -> Shards:
    """A shard without rows: its session is excluded, or no archive holds it."""
    return Shards(path, archive, list, lambda key: {})


@dataclass(frozen=True)
class Sound:
    """One copy of a stimulus: its archive, its name, and its spectrogram (F, T) float32."""

    archive: str
    stim: str
    spectrogram: Float32s


@dataclass(frozen=True)
class Reading:
    """The result of one pass over raw files: expected shards, and copies of sounds."""

    shards: list[Shards]
    sounds: Iterable[Sound] = ()


@dataclass(frozen=True)
class Source:
    """One pass over raw files: its name for messages, and the function that does it."""

    name: str
    read: Callable[[], Reading]


# -- Sessions --------------------------------------------------------------------------------------


def find_session(
    archives: Sequence[Archive],
    session: str,
    listed: Collection[str],
    cells: Collection[str],
    look: Look,
) -> list[SlowSignal]:
    """One signal from each archive that holds cells of a session.

    All archives that are named after the session are read. If there are none: first the archives
    that are named after no listed session and share the longest prefix with it, then all others
    until one holds the session. While cells are missing, archives named after no session are also
    read: all local ones, and of the others only names that equal it but for the last letter.

    Parameters
    ----------
    archives, session
    listed
        All sessions in the cell list.
    cells
        The cells of the session in the cell list.
    look
        Reads an archive; see `Look`.
    """
    names = {each.name: each.name.removesuffix(".tgz").split("_")[-2:][0] for each in archives}
    named = [each for each in archives if names[each.name] == session]
    strangers = [each for each in archives if names[each.name] not in (session, *listed)]
    common = {each.name: _alike(names[each.name], session) for each in strangers}
    alike = [each for each in strangers if common[each.name] == max(common.values())]
    others = [each for each in archives if each not in named and each not in alike]
    found: list[SlowSignal] = []
    held: set[str] = set()
    errors: list[Exception] = []
    for archive in [*named, *alike, *others]:
        is_first = archive in (named or alike)
        is_near = archive in strangers and (
            archive.fetch is None or common[archive.name] >= len(session) - 1
        )
        if not (is_first or not found or (is_near and not held.issuperset(cells))):
            continue
        try:
            signal, inside = look(archive)
        except Exception as error:  # any error in an archive with another name
            if archive in named:
                raise
            errors.append(error)
            continue
        own = {cell for cell in inside or () if cell.split("-")[0] == session}
        if own or (inside is None and archive in named):
            found.append(signal)
        held |= own
    if errors and not found:
        raise errors[0]
    return found


def _alike(name: str, session: str) -> int:
    """The length of the common prefix of two texts."""
    pairs = zip(name, session, strict=False)
    return len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def look_for_responses(archive: Archive) -> tuple[SlowSignal, Iterable[str] | None]:
    """The spike times of an archive, and the ids of its cells."""
    (resp,) = read_signals(archive, "resp")
    return resp, {*resp.chans, *resp.keys}


class Responses:
    """The records of a session, from one or more recordings.

    Parameters
    ----------
    signals : list of SlowSignal
        The spike times in the recordings.
    names : mapping of str to str
        The name of each cell in the recordings. Cells that no recording holds have no records.
    """

    def __init__(self, signals: list[SlowSignal], names: Mapping[str, str]) -> None:
        self.archive = " and ".join(each.archive.name for each in signals)
        self._names = names
        self._holding = {
            cell: [each for each in signals if name in each.keys] for cell, name in names.items()
        }
        self._spikes: dict[str, list[int]] = {}
        (self._width,) = {each.fs / 100 for each in signals}
        if not self._width.is_integer():
            raise ValueError("no whole number of bins makes 10 ms")
        self.stimuli = sorted({stim for each in signals for stim in each.epochs.stimuli()})

    def keys(self, cells: Iterable[str], stimuli: Iterable[str]) -> list[tuple[str, str]]:
        """The pairs of stimulus and cell that have at least one trial."""
        held = [cell for cell in cells if self._holding[cell]]
        for cell in held:
            self._sorted_spikes(cell)
        return [(stim, cell) for stim in stimuli for cell in held if self._trials(stim, cell)]

    def columns(self, stim: str, cell: str) -> Row:
        """The columns of a record that hold data."""
        spikes, width, trials = (
            self._sorted_spikes(cell),
            int(self._width),
            self._trials(stim, cell),
        )
        response = []
        for _, first, stop in trials:
            counts = [0] * round((stop - first) / width)
            start, end = (bisect_left(spikes, at) for at in (first, first + width * len(counts)))
            for bin_ in spikes[start:end]:
                counts[(bin_ - first) // width] += 1
            response.append(counts)
        return {"response": response, "onsets": [onset for onset, _, _ in trials]}

    def _trials(self, stim: str, cell: str) -> list[Trial]:
        trials = self._holding[cell][0].all_trials.get(stim, [])
        if trials is None:
            raise ValueError(f"the trials of {stim} cannot be told")
        return trials

    def _sorted_spikes(self, cell: str) -> list[int]:
        """The bin of each spike, sorted. All recordings of the cell must have the same spikes."""
        if cell not in self._spikes:
            first, *others = (
                (each.spikes(self._names[cell]), _bins(each)) for each in self._holding[cell]
            )
            if any(each != first for each in others):
                raise ValueError(f"{cell} is in two recordings, and not the same")
            self._spikes[cell] = sorted(first[0])
        return self._spikes[cell]


def _bins(signal: SlowSignal) -> dict[str, list[tuple[int, int]] | None]:
    """First and stop bin of each trial of each stimulus; None where trials are unreadable."""
    return {
        stim: None if trials is None else [(first, stop) for _, first, stop in trials]
        for stim, trials in signal.all_trials.items()
    }


# -- Columns ---------------------------------------------------------------------------------------


def subset(stim: str) -> str:
    """The subset of a stimulus: ``val`` or ``est``."""
    return "val" if stim.startswith("STIM_00") else "est"


def cell_columns(cell: str) -> Row:
    """The columns parsed from a cell id, ``<session>[-<probe>]-<electrode>-<unit>``."""
    session, *parts = cell.split("-")
    probe = parts.pop(0) if len(parts) == 3 else ""
    numbers = len(parts) == 2 and all(part.isdigit() for part in parts)
    letters = [character.isalpha() for character in session]
    return {
        "cell_id": cell,
        "session": session,
        "animal": session[: [*letters, False].index(False)],
        "probe": probe if numbers else "",
        "electrode": int(parts[0]) if numbers else None,
        "unit": int(parts[1]) if numbers else None,
    }
