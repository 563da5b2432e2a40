"""Makes the rows of `stimuli` from a session's spectrograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

from builders.errors import spoiling
from builders.nems.archive import recording_error
from builders.nems.binning import Trials
from builders.nems.signal import Signal
from builders.shards.arrow import matrix_lists, stored, table
from builders.shards.spikes import AddNote, distinct, trial_notes


class StoredSpectrograms:
    """The spectrograms of a session, from one or more recordings.

    Parameters
    ----------
    stimuli : sequence of Signal
        The tiled or rasterized signals. Of a rasterized one, the spectrogram of a stimulus is what
        the raster holds while the stimulus is presented.

    joins : bool
        Whether presentations in several recordings count together; else those of the first count.

    Attributes
    ----------
    names : list of str
        The stimuli that have a spectrogram, sorted.
    """

    def __init__(self, stimuli: Sequence[Signal], joins: bool) -> None:
        self._signals, self._joins = stimuli, joins
        self._differing: dict[str, int] = {}
        self._rasters = [self._of_raster(each) for each in stimuli]
        self._held = [
            set(each.tile_names() if windows is None else windows)
            for each, windows in zip(stimuli, self._rasters, strict=True)
        ]
        self.names = sorted(set().union(*self._held))

    def missing(self) -> dict[str, str]:
        """The stimuli that were presented but have no spectrogram, sorted; why each has none."""
        shown = {stim for each in self._signals if each.table for stim in each.stimuli()}
        return {stim: self._why_missing(stim) for stim in sorted(shown.difference(self.names))}

    def _why_missing(self, stim: str) -> str:
        if n := self._differing.get(stim):
            return f"its {n} spectrograms in the raster differ: none is given"
        return "it was presented, but has no spectrogram"

    def tables(
        self,
        stimuli: list[str],
        stim_columns: Callable[[str], dict[str, str]],
        bands: int,
        features: Features,
        note: AddNote,
    ) -> Iterator[pa.Table]:
        """The rows of some stimuli, one table per stimulus.

        Parameters
        ----------
        stimuli : list of str
            Some of `names`, in the order of their rows.
        stim_columns, features, note
            As for `record_tables`.
        bands : int
            Number of frequency bands that every spectrogram must have.

        Raises
        ------
        CorpusError
            If a spectrogram has another number of bands, or differs between two recordings.
        """
        schema = stored(features)
        for stim in stimuli:
            numbers = [number for number, held in enumerate(self._held) if stim in held]
            holding = [self._signals[number] for number in numbers]
            columns = stim_columns(stim)
            signal, shown = holding[0], distinct(holding) if self._joins else holding[:1]
            with spoiling(columns["stim_id"]):
                copies = [self._copy(stim, number) for number in numbers]
                spectrogram = _one(stim, [*zip(holding, copies, strict=True)], bands)
                trials = [each.trials(stim) for each in shown if each.table and stim in each.epochs]
            if signal.table is None:
                note(stim, "how often it was presented is not known: there is no epochs file")
            elif not trials:
                note(stim, "no epoch presents it, so it has no records")
            for each in trials:
                for text in (*trial_notes(each), *_length_notes(each, spectrogram)):
                    note(stim, text)
            n_trials = None if signal.table is None else sum(map(len, trials))
            yield table(
                {
                    **{key: [value] for key, value in columns.items()},
                    "spectrogram": matrix_lists([spectrogram]),
                    "dt_ms": [1000 / signal.fs],
                    "n_trials": [n_trials],
                },
                schema,
            )

    def _copy(self, stim: str, number: int) -> NDArray[np.float32]:
        """A recording's spectrogram of a stimulus."""
        if (windows := self._rasters[number]) is not None:
            return windows[stim]
        ((_, values),) = self._signals[number].tiles([stim])
        return values

    def _of_raster(self, signal: Signal) -> dict[str, NDArray[np.float32]] | None:
        """The spectrogram of each stimulus in a rasterized signal; None if the signal is tiled.

        All presentations must agree, as far as each goes: the data may end within the last one,
        and an onset half-way between two bins may make one a bin longer.
        """
        if signal.kind != "RasterizedSignal":
            return None
        windows: dict[str, list[NDArray[np.float32]]] = {}
        told = [stim for stim, each in signal.all_trials.items() if isinstance(each, Trials)]
        for stim, values in signal.windows(told):
            if values.shape[1]:  # none if the data end before
                windows.setdefault(stim, []).append(values.astype(np.float32))
        found = {}
        for stim, of_stim in windows.items():
            longest = max(of_stim, key=lambda each: each.shape[1])
            if all(np.array_equal(longest[:, : each.shape[1]], each, True) for each in of_stim):
                found[stim] = longest
            else:
                self._differing[stim] = len(of_stim)
        return found


def _one(
    stim: str, copies: list[tuple[Signal, NDArray[np.float32]]], bands: int
) -> NDArray[np.float32]:
    """The spectrogram of a stimulus, of which all copies must be equal."""
    first, spectrogram = copies[0]
    for signal, values in copies:
        why = ""
        if values.ndim != 2 or len(values) != bands:
            why = f"{stim} has shape {values.shape}, expected ({bands}, T)"
        elif not np.array_equal(spectrogram, values, equal_nan=True):
            why = f"{stim} is not the spectrogram that it is in {first.archive}"
        if why:
            raise recording_error(signal.archive, signal.member, why)
    return spectrogram


def _length_notes(trials: Trials, spectrogram: NDArray[np.float32]) -> Iterator[str]:
    """A note if a spectrogram's and its trials' lengths differ by more than one bin.

    Neither is changed. For why one bin is allowed, see `trial_notes`.
    """
    n_bins = spectrogram.shape[1]
    if (abs(trials.n_bins - n_bins) > 1).any():
        lengths = " or ".join(map(str, sorted({*trials.n_bins.tolist()})))
        yield f"its spectrogram has {n_bins} bins, its trials {lengths}"
