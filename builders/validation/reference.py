"""A second, slow and simple reader of releases, used to check the shards.

It shares no code with the readers that build shards: it uses `tarfile`, `csv` and `json`, and plain
Python numbers, one spike and one bin at a time. If the two differ, one of them misreads the
release. Each corpus has its own reference, made of these parts, which yields a `Source` for each
pass over its raw files. `builders validate --deep` and the tests compare shards with it.

It has no error handling: unreadable files raise any exception. It must fail only where the other
readers fail too; so the keys of a shard, and each row, are computed only when needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from typing import Any

from builders.release.archive import Archive
from builders.validation.files import Float32s, SlowSignal, read_signals

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
    """One copy of a stimulus: archive, name, subset there, and spectrogram (F, T) float32."""

    archive: str
    stim: str
    subset: str
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
    session_of: Callable[[str], str] = lambda cell: cell.split("-")[0],
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
    session_of
        Maps a cell id to its session.
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
        own = {cell for cell in inside or () if session_of(cell) == session}
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
    return resp, {*resp.chans, *resp.cells}


class Responses:
    """The records of a session, from one or more recordings.

    Parameters
    ----------
    signals : list of SlowSignal
        The responses in the recordings.
    names : mapping of str to str
        The name of each cell in the recordings. Cells that no recording holds have no records.
    bin_ms : float
        The corpus' bin width.
    joins : bool
        Whether a cell's trials in several recordings are joined; else all must be the same.
    """

    def __init__(
        self,
        signals: list[SlowSignal],
        names: Mapping[str, str],
        bin_ms: float = 10.0,
        joins: bool = False,
    ) -> None:
        self.archive = " and ".join(each.archive.name for each in signals)
        self._names, self._joins = names, joins
        self._holding = {
            cell: [each for each in signals if name in each.cells] for cell, name in names.items()
        }
        self._distinct: dict[str, list[SlowSignal]] = {}
        (self._width,) = {each.fs / (1000 / bin_ms) for each in signals}
        if not self._width.is_integer():
            raise ValueError(f"no whole number of bins makes {bin_ms} ms")
        self.stimuli = sorted({stim for each in signals for stim in each.epochs.stimuli()})

    def keys(self, cells: Iterable[str], stimuli: Iterable[str]) -> list[tuple[str, str]]:
        """The pairs of stimulus and cell that have at least one trial."""
        held = [cell for cell in cells if self._holding[cell]]
        for cell in held:
            self._recordings(cell)
        return [(stim, cell) for stim in stimuli for cell in held if self._trials(stim, cell)]

    def columns(self, stim: str, cell: str) -> Row:
        """The columns of a record that hold data."""
        trials = self._trials(stim, cell)
        counts = [response for _, response in trials]
        return {"response": counts, "onsets": [onset for onset, _ in trials]}

    def _trials(self, stim: str, cell: str) -> list[tuple[float, list[float]]]:
        """Onset and counts of each trial; trials without any value are none."""
        found, width = [], int(self._width)
        for signal in self._recordings(cell):
            trials = signal.all_trials.get(stim, [])
            if trials is None:
                raise ValueError(f"the trials of {stim} cannot be told")
            for onset, first, stop in trials:
                n_bins = round((stop - first) / width)
                counts = signal.counts(self._names[cell], first, n_bins, width)
                if not all(map(math.isnan, counts)):
                    found.append((onset, counts))
        return found

    def _recordings(self, cell: str) -> list[SlowSignal]:
        """The recordings of a cell, without copies of one before."""
        if cell not in self._distinct:
            found: dict[str, SlowSignal] = {}
            for signal in self._holding[cell]:
                content = repr((signal.content(self._names[cell], int(self._width)), bins(signal)))
                found.setdefault(content, signal)
            if len(found) > 1 and not self._joins:
                raise ValueError(f"{cell} is in two recordings, and not the same")
            self._distinct[cell] = list(found.values())
        return self._distinct[cell]


def bins(signal: SlowSignal) -> dict[str, list[tuple[int, int]] | None]:
    """First and stop bin of each trial of each stimulus; None where trials are unreadable."""
    return {
        stim: None if trials is None else [(first, stop) for _, first, stop in trials]
        for stim, trials in signal.all_trials.items()
    }


# -- Columns ---------------------------------------------------------------------------------------


def subset(stim: str) -> str:
    """The subset of a stimulus: ``val`` or ``est``."""
    return "val" if stim.startswith("STIM_00") else "est"


def subsets_by_count(counts: Mapping[str, int]) -> dict[str, str]:
    """Subsets by how often stimuli were presented: more often than the mean count is ``val``.

    If all were presented equally often, the last fifth of the names is.
    """
    shown = sorted(stim for stim in counts if counts[stim])
    kinds = sorted({counts[stim] for stim in shown})
    found = dict.fromkeys(counts, "est")
    for place, stim in enumerate(shown):
        is_last = len(kinds) == 1 and place >= len(shown) - len(shown) // 5
        if is_last or counts[stim] > Fraction(sum(kinds), len(kinds)):
            found[stim] = "val"
    return found


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
