"""The slow, simple reader of a release of recordings; see `builders.validation.reference`.

Its facts about a corpus are those that the corpus states: bands, bin width, columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.excluded import read_excluded
from builders.validation import reference as slow
from builders.validation.files import Float32s, SlowSignal, flag, number, read_list, read_signals
from builders.validation.reference import Key, Reading, Row, Shards, Sound, Source

if TYPE_CHECKING:
    from builders.families.nems import NemsCorpus


def sources(corpus: type[NemsCorpus], release: Release) -> Iterator[Source]:
    """Yield one pass over the responses and one over the stimuli of each session."""
    excluded = read_excluded(release.corpus)
    for name, directory in corpus.sets.items():
        archives = release.archives(directory)
        sessions = _listed(corpus, release) if corpus.cell_list else _named(corpus, archives)
        for each, cells in sessions.items():
            session = Session(corpus, name, archives, each, cells, sessions, excluded)
            yield Source(f"responses of {each}", session.records)
            yield Source(f"stimuli of {each}", session.stimuli)


def _listed(corpus: type[NemsCorpus], release: Release) -> dict[str, dict[str, dict[str, str]]]:
    """Session -> its cells -> their values in the cell list."""
    sessions: dict[str, dict[str, dict[str, str]]] = {}
    assert corpus.cell_list
    path = release.file(corpus.cell_list.file)
    for cell, row in read_list(path, corpus.cell_list.cell_id).items():
        session = corpus.parse_cell_id(cell)["session"]
        sessions.setdefault(session, {})[cell] = row
    return sessions


def _named(
    corpus: type[NemsCorpus], archives: list[Archive]
) -> dict[str, dict[str, dict[str, str]]]:
    """Session -> nothing yet: its cells are those in the archives that are named after it.

    A name that cannot be a folder is that of no session.
    """
    names = sorted({corpus.session_of(archive) for archive in archives})
    return {each: {} for each in names if re.fullmatch(r"(?a)[A-Za-z0-9][\w.+-]{0,99}", each)}


class Session:
    """One session: its listed cells, and the archives that may hold its recordings."""

    def __init__(
        self,
        corpus: type[NemsCorpus],
        set_name: str,
        archives: list[Archive],
        name: str,
        cells: dict[str, dict[str, str]],
        listed: Collection[str],
        excluded: Collection[str],
    ) -> None:
        self._corpus, self._set = corpus, set_name
        self._archives, self._name, self._cells = archives, name, cells
        self._listed, self._excluded = listed, excluded

    def records(self) -> Reading:
        """The records: all trials of each cell that has a response in a recording."""
        signals = self._find(slow.look_for_responses, "resp")
        if self._corpus.cell_list is None:
            held = {cell for each in signals for cell in (*each.chans, *each.cells)}
            self._cells = {cell: {} for cell in sorted(held)}
            places = {self._place(""): None}
        else:
            places = {self._place(cell): None for cell in self._cells}
        paths = {
            (folder, site, subset): f"data/{folder}/{site}/{subset}.parquet"
            for folder, site in places
            for subset in ("est", "val")
        }
        if not signals:
            return Reading([slow.without_rows(each, self._name) for each in paths.values()])
        kept = [cell for cell in self._cells if cell not in self._excluded]
        responses = slow.Responses(
            signals, {cell: cell for cell in kept}, self._corpus.bin_ms, self._corpus.joins
        )
        subsets = self._subsets(signals)

        def keys(folder: str, site: str, subset: str) -> list[Key]:
            here = [cell for cell in kept if self._place(cell) == (folder, site)]
            pairs = responses.keys(here, self._of_subset(responses.stimuli, subsets, subset))
            return [(f"{self._name}/{stim}", cell) for stim, cell in pairs]

        def record(key: Key) -> Row:
            stim, cell = key[0].partition("/")[2], str(key[1])
            return {
                **self._of_stim(stim, subsets),
                **self._of_cell(cell),
                **responses.columns(stim, cell),
            }

        shards = [
            Shards(path, responses.archive, partial(keys, *of), record)
            for of, path in paths.items()
        ]
        return Reading(shards)

    def stimuli(self) -> Reading:
        """The spectrogram of each stimulus, as it is stored."""
        signals = self._find(_look_for_stimuli, "stim")
        for signal in signals:
            if signal.table:
                signal.epochs.stimuli()
        held = [{stim for stim in each.stimuli if _has_one(each, stim)} for each in signals]
        names = sorted(set().union(*held))
        subsets = self._subsets(signals, names)

        def keys(subset: str) -> list[Key]:
            own = self._of_subset(names, subsets, subset)
            return [(f"{self._name}/{stim}", None) for stim in own]

        def stimulus(key: Key) -> Row:
            stim = key[0].partition("/")[2]
            first, *others = (
                each for each, names in zip(signals, held, strict=True) if stim in names
            )
            spectrogram = _spectrogram(first, stim)
            if len(spectrogram) != self._corpus.bands[self._set]:
                raise ValueError(f"{stim} has {len(spectrogram)} bands")
            for other in others:
                np.testing.assert_array_equal(_spectrogram(other, stim), spectrogram)
            return {
                **self._of_stim(stim, subsets),
                "spectrogram": spectrogram,
                "dt_ms": 1000 / first.fs,
                "n_trials": self._n_trials(stim, [first, *others]),
            }

        archive = " and ".join(each.archive.name for each in signals)
        below = f"{self._set}/{self._name}" if self._set else self._name
        shards = [
            Shards(f"stimuli/{below}/{each}-*.parquet", archive, partial(keys, each), stimulus)
            for each in ("est", "val")
        ]
        return Reading(shards, self._sounds(signals, subsets))

    def _n_trials(self, stim: str, holding: list[SlowSignal]) -> int | None:
        """How often a stimulus was presented: in the first archive, or in all that are joined."""
        if not holding[0].table:
            return None
        if not self._corpus.joins:
            return len(holding[0].epochs.trials(stim))
        distinct = {repr(slow.bins(each)): each for each in holding if each.table}
        return sum(len(each.epochs.trials(stim)) for each in distinct.values())

    def _sounds(self, signals: list[SlowSignal], subsets: dict[str, str]) -> Iterator[Sound]:
        for signal in signals:
            kept = [stim for stim in signal.stimuli if stim in subsets and _has_one(signal, stim)]
            for stim in self._of_subset(kept, subsets, "est", "val"):
                with suppress(Exception):  # the comparison of its row reports the same error
                    values = _spectrogram(signal, stim)
                    yield Sound(signal.archive.name, stim, subsets[stim], values)

    def _find(self, look: slow.Look, name: str) -> list[SlowSignal]:
        if self._name in self._excluded:
            return []
        if self._corpus.cell_list is None:
            own = [each for each in self._archives if self._corpus.session_of(each) == self._name]
            return [signal for each in own for signal in read_signals(each, name)]
        session_of = lambda cell: self._corpus.parse_cell_id(cell)["session"]  # noqa: E731
        return slow.find_session(
            self._archives, self._name, self._listed, self._cells, look, session_of
        )

    def _place(self, cell: str) -> tuple[str, str]:
        """The folders below ``data/`` that hold a cell's records; without a list, any cell's."""
        listing = self._corpus.cell_list
        if listing is None:
            return self._set or self._corpus.area or "unlabeled", self._name
        row = self._cells[cell]
        return row.get("area") or "unlabeled", row[listing.site]

    def _of_cell(self, cell: str) -> Row:
        """The columns that describe a cell."""
        ids = {"cell_id": cell, **self._corpus.parse_cell_id(cell)}
        if _is_inherited(self._corpus.parse_cell_id):
            ids = slow.cell_columns(cell)
        listing = self._corpus.cell_list
        if listing is None:
            return {**ids, "site": self._name, "session": self._name, "area": self._corpus.area}
        row = self._cells[cell]
        own = {
            name: _value(row.get(name), listing.columns[name].dtype) for name in listing.of_records
        }
        return {**ids, "site": row[listing.site], "area": row.get("area"), **own}

    def _subsets(self, signals: list[SlowSignal], names: Iterable[str] = ()) -> dict[str, str]:
        """The subset of each stimulus, by name or by the number of its presentations."""
        counts = dict.fromkeys(names, 0)
        seen: list[object] = []
        for signal in signals:
            if signal.table is None or (bins := slow.bins(signal)) in seen:
                continue
            seen.append(bins)
            for stim, trials in signal.all_trials.items():
                n = signal.epochs.n_rows(stim) if trials is None else len(trials)
                counts[stim] = counts.get(stim, 0) + n
        if not _is_inherited(self._corpus.subsets):
            return self._corpus.subsets(counts)
        if self._corpus.splits_by == "name":
            return {stim: slow.subset(stim) for stim in counts}
        return slow.subsets_by_count(counts)

    def _of_subset(
        self, stimuli: Iterable[str], subsets: dict[str, str], *wanted: str
    ) -> list[str]:
        """The stimuli of these subsets that the user has not excluded."""
        return [
            stim
            for stim in stimuli
            if subsets[stim] in wanted and f"{self._name}/{stim}" not in self._excluded
        ]

    def _of_stim(self, stim: str, subsets: dict[str, str]) -> Row:
        ids = {"stim_id": f"{self._name}/{stim}", "stim": stim, "subset": subsets[stim]}
        return {**ids, "session": self._name}


def _is_inherited(method: Callable[..., object]) -> bool:
    """Whether a corpus follows the laboratory's conventions, which this reader knows itself."""
    return method.__qualname__.startswith("NemsCorpus.")


def _value(text: str | None, dtype: str) -> object:
    """A value of the cell list, as its type says."""
    if dtype == "bool":
        return flag(text)
    if dtype == "string":
        return text
    value = number(text)
    return int(value) if value is not None and dtype.startswith("int") else value


def _look_for_stimuli(archive: Archive) -> tuple[SlowSignal, Iterable[str] | None]:
    (stim,) = read_signals(archive, "stim")
    try:
        (resp,) = read_signals(archive, "resp")
    except Exception:  # then only the archive's name tells its session
        return stim, None
    return stim, resp.chans or resp.cells


def _spectrogram(signal: SlowSignal, stim: str) -> Float32s:
    """The spectrogram of a stimulus, (F, T) float32; in a raster, the longest of its copies."""
    copies = signal.spectrograms(stim)
    values = copies[0]
    if values.ndim != 2:
        raise ValueError(f"{stim} has the shape {values.shape}")
    for copy in copies:
        if copy.shape[1] > values.shape[1]:
            values = copy
    return values


def _has_one(signal: SlowSignal, stim: str) -> bool:
    """Whether a recording's copies of a spectrogram agree, as far as each goes."""
    if not signal.is_raster:
        return True
    values = _spectrogram(signal, stim)
    copies = signal.spectrograms(stim)
    return all(repr(values[:, : each.shape[1]].tolist()) == repr(each.tolist()) for each in copies)
