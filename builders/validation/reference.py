"""A second, slow, obvious implementation of what the catalogue promises.

It shares no line with the readers that build shards: `tarfile`, `csv` and `json`, one spike and
one bin at a time, plain Python numbers. Where the two differ, one of them misreads the release.
Each corpus has a reference of its own, which is made of these parts and yields a `Source` for
each pass over its raw files; `builders validate --deep` and the tests compare with it.

It has no error handling: whatever cannot be read makes it fail in any way it likes. It fails where
the readers refuse, so a shard is made when its keys are asked for, and a row when it is.
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
#: ``stim_id``, and ``cell_id`` (None where rows are stimuli).
Key = tuple[str, str | None]
#: From an archive to one of its signals, and the cells that the archive holds; None if that cannot
#: be told.
Look = Callable[[Archive], tuple[SlowSignal, Iterable[str] | None]]


@dataclass(frozen=True)
class Shards:
    """What a shard should hold, or all shards that a glob names, one after the other.

    Attributes
    ----------
    path : str
        The shard or the glob, relative to the repository.
    archive : str
        Where it comes from, for messages.
    find_keys : callable
        Gives `keys`.
    row : callable
        From a key to the row: all columns, as plain Python values; ``response`` (R, T) as nested
        lists of counts, ``spectrogram`` (F, T) as a float32 array.
    """

    path: str
    archive: str
    find_keys: Callable[[], list[Key]]
    row: Callable[[Key], Row]

    @cached_property
    def keys(self) -> list[Key]:
        """Of all rows, in order."""
        return self.find_keys()


def without_rows(path: str, archive: str) -> Shards:
    """A shard without rows: its session is left out, or no archive holds it."""
    return Shards(path, archive, list, lambda key: {})


@dataclass(frozen=True)
class Sound:
    """One copy of a stimulus: where it lies, its name, and its spectrogram (F, T) float32."""

    archive: str
    stim: str
    spectrogram: Float32s


@dataclass(frozen=True)
class Reading:
    """What one pass over raw files gives."""

    shards: list[Shards]
    sounds: Iterable[Sound] = ()


@dataclass(frozen=True)
class Source:
    """One pass over raw files: its name for messages, and what makes it."""

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
    """A signal of each archive that holds cells of a session.

    All archives that are named after the session are read. If there is none, those are looked into
    whose names are most alike, of those named after no listed session, and then all others until
    it is found. While cells are missing, those named after no session are looked into as well.

    Parameters
    ----------
    archives, session
    listed
        All sessions that are listed.
    cells
        Those that are listed of the session.
    look
        As `Look`.
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
        except Exception as error:  # whatever is wrong with an archive of another name
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
    """How many letters at the beginning are the same."""
    pairs = zip(name, session, strict=False)
    return len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def look_for_responses(archive: Archive) -> tuple[SlowSignal, Iterable[str] | None]:
    """The spike times of an archive, and its cells."""
    (resp,) = read_signals(archive, "resp")
    return resp, {*resp.chans, *resp.keys}


class Responses:
    """The records of a session, out of one or more recordings.

    Parameters
    ----------
    signals : list of SlowSignal
        The spike times in the recordings.
    names : mapping of str to str
        Cell -> its name in the recordings. Those that no recording holds have no records.
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
        """The pairs of stimulus and cell that have a trial."""
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
        """The bin of each spike, in order. All recordings that hold the cell must say the same."""
        if cell not in self._spikes:
            first, *others = (
                (each.spikes(self._names[cell]), _bins(each)) for each in self._holding[cell]
            )
            if any(each != first for each in others):
                raise ValueError(f"{cell} is in two recordings, and not the same")
            self._spikes[cell] = sorted(first[0])
        return self._spikes[cell]


def _bins(signal: SlowSignal) -> dict[str, list[tuple[int, int]] | None]:
    """The bins of all trials."""
    return {
        stim: None if trials is None else [(first, stop) for _, first, stop in trials]
        for stim, trials in signal.all_trials.items()
    }


# -- Columns ---------------------------------------------------------------------------------------


def subset(stim: str) -> str:
    """``val`` or ``est``."""
    return "val" if stim.startswith("STIM_00") else "est"


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
