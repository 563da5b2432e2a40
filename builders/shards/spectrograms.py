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
from builders.shards.arrow import matrix_lists, table
from builders.shards.spikes import AddNote, all_trials, trial_notes


class StoredSpectrograms:
    """The spectrograms of a session, from one or more recordings.

    Parameters
    ----------
    stimuli : sequence of Signal
        The tiled or rasterized signals. Of a rasterized one, the spectrogram of a stimulus is what
        the raster holds while the stimulus is presented.

    Attributes
    ----------
    names : list of str
        The stimuli that have a spectrogram, sorted.
    """

    def __init__(self, stimuli: Sequence[Signal]) -> None:
        self._signals = stimuli
        self._rasters = [_windows(each) for each in stimuli]
        self._held = [
            set(each.tile_names() if windows is None else windows)
            for each, windows in zip(stimuli, self._rasters, strict=True)
        ]
        self.names = sorted(set().union(*self._held))

    def missing(self) -> list[str]:
        """The stimuli that were presented but have no spectrogram, sorted."""
        shown = {stim for each in self._signals if each.table for stim in each.stimuli()}
        return sorted(shown.difference(self.names))

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
        for stim in stimuli:
            numbers = [number for number, held in enumerate(self._held) if stim in held]
            holding = [self._signals[number] for number in numbers]
            columns = stim_columns(stim)
            has_epoch = holding[0].table is not None and stim in holding[0].epochs
            with spoiling(columns["stim_id"]):
                copies = [copy for number in numbers for copy in self._copies(stim, number)]
                signal, spectrogram = holding[0], _one(stim, copies, bands)
                trials = signal.trials(stim) if has_epoch else None
            if signal.table is None:
                note(stim, "how often it was presented is not known: there is no epochs file")
            elif trials is None:
                note(stim, "no epoch presents it, so it has no records")
            else:
                for text in (*trial_notes(trials), *_length_notes(trials, spectrogram)):
                    note(stim, text)
            n_trials = None if signal.table is None else len(trials or ())
            yield table(
                {
                    **{key: [value] for key, value in columns.items()},
                    "spectrogram": matrix_lists([spectrogram]),
                    "dt_ms": [1000 / signal.fs],
                    "n_trials": [n_trials],
                },
                features,
            )

    def _copies(self, stim: str, number: int) -> Iterator[tuple[Signal, NDArray[np.float32]]]:
        """A recording's spectrograms of a stimulus, each with its signal; several in a raster."""
        signal, windows = self._signals[number], self._rasters[number]
        values = [each for _, each in signal.tiles([stim])] if windows is None else windows[stim]
        yield from ((signal, each) for each in values)


def _windows(signal: Signal) -> dict[str, list[NDArray[np.float32]]] | None:
    """The spectrograms of each stimulus in a rasterized signal; None if the signal is tiled."""
    if signal.kind != "RasterizedSignal":
        return None
    found: dict[str, list[NDArray[np.float32]]] = {}
    told = [stim for stim, each in all_trials(signal).items() if isinstance(each, Trials)]
    for stim, values in signal.windows(told):
        if values.shape[1]:  # none if the data end before
            found.setdefault(stim, []).append(values)
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
