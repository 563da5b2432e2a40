"""The slow, simple reader of a wingert2026 release; see `builders.validation.reference`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np

from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.excluded import read_excluded
from builders.validation import reference as slow
from builders.validation.files import Float32s, SlowSignal, flag, number, read_list, read_signals
from builders.validation.reference import Key, Reading, Row, Shards, Sound, Source

BANDS = 32


def sources(release: Release) -> Iterator[Source]:
    """Yield one pass over the responses and one over the stimuli of each listed session."""
    listed: dict[str, dict[str, dict[str, str]]] = {}
    for cell, row in read_list(release.file("cell_list.csv")).items():
        listed.setdefault(cell.split("-")[0], {})[cell] = row
    archives, excluded = release.archives("recordings"), read_excluded(release.corpus)
    for name, cells in listed.items():
        session = Session(archives, name, cells, listed, excluded)
        yield Source(f"responses of {name}", session.records)
        yield Source(f"stimuli of {name}", session.stimuli)


class Session:
    """One session: its listed cells, and the archives that may hold its recordings."""

    def __init__(
        self,
        archives: list[Archive],
        name: str,
        cells: dict[str, dict[str, str]],
        listed: Collection[str],
        excluded: Collection[str],
    ) -> None:
        self._archives, self._name, self._cells = archives, name, cells
        self._listed, self._excluded = listed, excluded

    def records(self) -> Reading:
        """The records: all trials of each listed cell that has spike times in a recording."""
        places = {(row.get("area"), row["siteid"]): None for row in self._cells.values()}
        paths = {
            (area, site, subset): f"data/{area or 'unlabeled'}/{site}/{subset}.parquet"
            for area, site in places
            for subset in ("est", "val")
        }
        signals = self._find(slow.look_for_responses)
        if not signals:
            return Reading([slow.without_rows(each, self._name) for each in paths.values()])
        kept = [cell for cell in self._cells if cell not in self._excluded]
        responses = slow.Responses(signals, {cell: cell for cell in kept})

        def keys(area: str | None, site: str, subset: str) -> list[Key]:
            here = [
                cell
                for cell in kept
                if (self._cells[cell].get("area"), self._cells[cell]["siteid"]) == (area, site)
            ]
            pairs = responses.keys(here, self._of_subset(responses.stimuli, subset))
            return [(f"{self._name}/{stim}", cell) for stim, cell in pairs]

        def record(key: Key) -> Row:
            stim, cell = key[0].partition("/")[2], str(key[1])
            row = self._cells[cell]
            return {
                **self._of_stim(stim),
                **slow.cell_columns(cell),
                "site": row["siteid"],
                **{name: row.get(name) for name in ("area", "layer", "celltype")},
                **{name: number(row.get(name)) for name in ("depth", "sw")},
                **{name: flag(row.get(name)) for name in ("narrow", "goodpred")},
                **responses.columns(stim, cell),
            }

        shards = [
            Shards(path, responses.archive, partial(keys, *of), record)
            for of, path in paths.items()
        ]
        return Reading(shards)

    def stimuli(self) -> Reading:
        """The spectrogram of each stimulus, as it is stored."""
        signals = self._find(_look_for_stimuli)
        for signal in signals:
            if signal.table:
                signal.epochs.stimuli()
        names = sorted({stim for each in signals for stim in each.keys})

        def keys(subset: str) -> list[Key]:
            return [(f"{self._name}/{stim}", None) for stim in self._of_subset(names, subset)]

        def stimulus(key: Key) -> Row:
            stim = key[0].partition("/")[2]
            first, *others = (each for each in signals if stim in each.keys)
            spectrogram = _spectrogram(first, stim)
            if len(spectrogram) != BANDS:
                raise ValueError(f"{stim} has {len(spectrogram)} bands")
            for other in others:
                np.testing.assert_array_equal(_spectrogram(other, stim), spectrogram)
            return {
                **self._of_stim(stim),
                "spectrogram": spectrogram,
                "dt_ms": 1000 / first.fs,
                "n_trials": len(first.epochs.trials(stim)) if first.table else None,
            }

        archive = " and ".join(each.archive.name for each in signals)
        shards = [
            Shards(f"stimuli/{self._name}/{each}-*.parquet", archive, partial(keys, each), stimulus)
            for each in ("est", "val")
        ]
        return Reading(shards, self._sounds(signals))

    def _sounds(self, signals: list[SlowSignal]) -> Iterator[Sound]:
        for signal in signals:
            for stim in self._of_subset(signal.keys, "est", "val"):
                with suppress(Exception):  # the comparison of its row reports the same error
                    yield Sound(signal.archive.name, stim, _spectrogram(signal, stim))

    def _find(self, look: slow.Look) -> list[SlowSignal]:
        if self._name in self._excluded:
            return []
        return slow.find_session(self._archives, self._name, self._listed, self._cells, look)

    def _of_subset(self, stimuli: Iterable[str], *subsets: str) -> list[str]:
        """The stimuli of these subsets that the user has not excluded."""
        return [
            stim
            for stim in stimuli
            if slow.subset(stim) in subsets and f"{self._name}/{stim}" not in self._excluded
        ]

    def _of_stim(self, stim: str) -> Row:
        ids = {"stim_id": f"{self._name}/{stim}", "stim": stim, "subset": slow.subset(stim)}
        return {**ids, "session": self._name}


def _look_for_stimuli(archive: Archive) -> tuple[SlowSignal, Iterable[str] | None]:
    (stim,) = read_signals(archive, "stim")
    try:
        (resp,) = read_signals(archive, "resp")
    except Exception:  # then only the archive's name tells its session
        return stim, None
    return stim, resp.chans or resp.keys


def _spectrogram(signal: SlowSignal, stim: str) -> Float32s:
    """The spectrogram of a stimulus, (F, T) float32."""
    values = signal.values(stim).astype(np.float32)
    if values.ndim != 2:
        raise ValueError(f"{stim} has the shape {values.shape}")
    return values
