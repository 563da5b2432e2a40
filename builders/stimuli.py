"""Join spectrograms to records, and place sounds in their stimulus window."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from numpy.typing import ArrayLike, NDArray

from builders.conventions import SAMPLING_RATE
from builders.errors import CorpusError
from builders.internals import rows_of
from builders.joined import JoinedRecords, JoinedStream, Spectrograms
from builders.rows import require_columns

__all__ = ["JoinedRecords", "JoinedStream", "align_waveform", "read_waveform", "with_stimuli"]


def with_stimuli(
    records: Dataset | IterableDataset, stimuli: Dataset | DatasetDict
) -> JoinedRecords | JoinedStream:
    """Add a ``spectrogram`` (F, T) float32 to each record, looked up by its ``stim_id``.

    The spectrogram is looked up when a row is read, and equals the stimuli table's bit for bit.
    It may be longer or shorter than the response: both are returned as stored in the release, never
    cut or stretched. Both start at bin 0. `builders.training.collate` pads them to one length.

    Shuffle what this returns, not the records: the records are shuffled first, and joined last.
    `builders.training.collate` is fast in every format. To make batches of your own, use the
    format ``"arrow"``: its spectrograms share the stimuli table's memory.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any config and format, with a column ``stim_id``.
    stimuli : Dataset or DatasetDict
        The stimuli of these records; more are allowed: ``load_dataset(corpus, "stimuli")``.

    Returns
    -------
    JoinedRecords or JoinedStream
        It behaves like the records that it was made of, and has their format. Of a stream, set the
        format's options and a column selection again if you need them.

    Raises
    ------
    CorpusError
        If a table lacks a column or has another type, or if `stimuli` lacks a stimulus of the
        records: some epochs of a release have no spectrogram. The message says how to leave out
        their records. For a stream, this error is raised only when such a record is read.
    """
    spectrograms = Spectrograms(stimuli)
    require_columns(records, "stim_id")
    if isinstance(records, Dataset):
        joined = JoinedRecords(records, spectrograms)
        spectrograms.rows(_distinct_ids(records))
        return joined
    return JoinedStream(records, spectrograms)


def load_stimuli(corpus: str, stim_ids: Iterable[str]) -> Dataset:
    """The stimuli of a corpus among which some ``stim_id`` are, and no other session's.

    ``load_dataset(corpus, "stimuli")`` has those of all sessions. Where each session has stimuli of
    its own, that would fetch all archives.

    Parameters
    ----------
    corpus : str
        Its name, such as ``nat4``.
    stim_ids : iterable of str

    Returns
    -------
    Dataset
        est and val together; a stimulus without a spectrogram is not in it.
    """
    folders = sorted({stim_id.rpartition("/")[0] for stim_id in stim_ids})
    paths = [f"corpus://{corpus}/{PurePosixPath('stimuli', each)}/*.parquet" for each in folders]
    return load_dataset("parquet", data_files=paths, split="train")


def _distinct_ids(records: Dataset) -> list[str]:
    """The distinct ``stim_id`` of these records; reads no other column.

    `datasets` itself gathers the rows of shuffled or filtered records one by one: 330,000 rows take
    3 s that way, and 0.1 s here.
    """
    ids = records.data.column("stim_id")
    if (rows := rows_of(records)) is not None:
        ids = ids.take(rows)
    distinct: list[str] = ids.unique().to_pylist()
    return distinct


def read_waveform(audio: Mapping[str, Any]) -> tuple[NDArray[np.float32], int]:
    """Decode the ``audio`` of a row of the config ``waveforms``; torchcodec is not needed.

    Parameters
    ----------
    audio : mapping
        ``bytes`` of a sound file, and its name, ``path``, as returned by ``Audio(decode=False)``.

    Returns
    -------
    samples : (n,) array of float32, or (n, channels)
        From -1 to 1: int16 divided by 2**15.
    sampling_rate : int
        Samples per second.

    Raises
    ------
    CorpusError
        If there are no bytes, or they are not a sound file.
    """
    try:
        samples, sampling_rate = soundfile.read(io.BytesIO(audio["bytes"]), dtype="float32")
    except (TypeError, KeyError, soundfile.SoundFileError) as error:
        raise CorpusError(
            "cannot read a sound",
            why=error,
            fix="give row['audio'] of the config waveforms, cast to Audio(decode=False)",
        ) from error
    return samples, int(sampling_rate)


def align_waveform(
    audio: ArrayLike,
    onset_ms: float,
    n_bins: int,
    sampling_rate: int = SAMPLING_RATE,
    dt_ms: float = 10,
) -> NDArray[np.float32]:
    """Place a sound in its stimulus window, so that each bin is a whole number of samples.

    The onset is rounded to the nearest sample. Sound outside the window is cut; the rest of the
    window is zero. The window starts where the response and the spectrogram start, at bin 0.

    Parameters
    ----------
    audio : (samples,) array of floats
        One channel.
    onset_ms : float
        When the sound starts within the window, in milliseconds.
    n_bins : int
        T, the number of bins of the window. If a response and its spectrogram differ in length:
        use the number of bins of the array that the sound is compared with, or the larger number
        to match the output of `builders.training.collate`.
    sampling_rate : int
        Samples per second.
    dt_ms : float
        Width of a bin in milliseconds.

    Returns
    -------
    (n_bins * hop,) array of float32
        Sample ``i`` belongs to bin ``i // hop``, where ``hop = sampling_rate * dt_ms / 1000``, 441
        for 10 ms at 44.1 kHz.

    Raises
    ------
    CorpusError
        If a bin is not a whole number of samples, the audio has more than one channel or does not
        hold floats, the onset is not finite, or the number of bins is negative.

    Examples
    --------
    >>> align_waveform([0.5, 0.25, 0.125], onset_ms=20, n_bins=4, sampling_rate=100)
    array([0.  , 0.  , 0.5 , 0.25], dtype=float32)
    """
    sound = np.asarray(audio)
    hop = round(sampling_rate * dt_ms / 1000)
    if hop < 1 or not math.isclose(hop, sampling_rate * dt_ms / 1000):
        raise CorpusError(
            "cannot align a sound with the bins",
            why=f"{dt_ms} ms at {sampling_rate} Hz are {sampling_rate * dt_ms / 1000} samples",
            fix="resample it to a rate that gives a whole number of samples a bin, as 44100 Hz",
        )
    if sound.ndim != 1 or not np.issubdtype(sound.dtype, np.floating):
        raise CorpusError(
            "cannot align a sound with the bins",
            why=f"it is an array of shape {sound.shape} and type {sound.dtype}",
            fix="give one channel of floating-point samples",
        )
    if n_bins < 0 or not math.isfinite(onset_ms):
        raise CorpusError(
            "cannot align a sound with the bins",
            why=f"a sound at {onset_ms} ms in a window of {n_bins} bins",
            fix="give a finite onset, and the number of bins of the response or the spectrogram",
        )
    window = np.zeros(n_bins * hop, np.float32)
    start = round(onset_ms * sampling_rate / 1000)
    inside = sound[max(-start, 0) : max(len(window) - start, 0)]
    window[max(start, 0) :][: len(inside)] = inside
    return window
