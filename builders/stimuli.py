"""Join spectrograms to records when a row is read, and place sounds in their stimulus window.

A spectrogram is far larger than the counts of one cell, and hundreds of cells share it: the
records of wingert2026 with a spectrogram in each would be 86 GB instead of 4. So a record refers to
its spectrogram by ``stim_id``, and nothing is copied until a row is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
import soundfile
from datasets import Dataset, DatasetDict, Features, IterableDataset, concatenate_datasets
from numpy.typing import ArrayLike, NDArray

from builders.conventions import SAMPLING_RATE
from builders.errors import CorpusError
from builders.internals import format_of_stream, rows_of
from builders.rows import require_columns

#: The formats that a joined row can have; `None` is plain Python.
FORMATS = (None, "arrow", "numpy", "torch", "jax", "tensorflow")

#: How many streamed records are joined at once. Nothing is copied, so the number matters little.
STREAMED_AT_ONCE = 100


class Spectrograms:
    """Look up the spectrograms of a stimuli table by ``stim_id``; they stay memory-mapped.

    Pickling this object for another process passes the paths of the mapped files and the index.

    Parameters
    ----------
    stimuli : Dataset or DatasetDict
        What ``load_dataset(corpus, "stimuli")`` returns, or a part of it. The splits of a
        `DatasetDict` are concatenated.

    Attributes
    ----------
    table : Dataset
        One row per stimulus, all columns except the spectrogram.
    matrices : Dataset
        The same rows, with the spectrogram only.
    """

    def __init__(self, stimuli: Dataset | DatasetDict) -> None:
        self._known = 'set(stimuli["stim_id"])'
        if isinstance(stimuli, DatasetDict):
            self._known = '{i for part in stimuli.values() for i in part["stim_id"]}'
            stimuli = concatenate_datasets(list(stimuli.values()))
        if not isinstance(stimuli, Dataset):
            raise CorpusError(
                "cannot look stimuli up",
                why=f"they are of type {type(stimuli).__name__}",
                fix="load the stimuli without streaming=True: only the records may be streamed",
            )
        require_columns(stimuli, "stim_id", "spectrogram")
        self.table = stimuli.remove_columns("spectrogram").with_format("arrow")
        self.matrices = stimuli.select_columns("spectrogram").with_format("arrow")
        ids = self.table[:]["stim_id"].to_pylist()
        self._rows = {stim_id: row for row, stim_id in enumerate(ids)}

    def rows(self, stim_ids: Sequence[str]) -> list[int]:
        """The row number of each of these stimuli in `table`.

        Raises
        ------
        CorpusError
            If the table lacks some of them; says how many, and how to leave their records out.
        """
        try:
            return [self._rows[stim_id] for stim_id in stim_ids]
        except KeyError:
            distinct = dict.fromkeys(stim_ids)
            missing = [stim_id for stim_id in distinct if stim_id not in self._rows]
            names = ", ".join(map(repr, missing[:3])) + ", ..." * (len(missing) > 3)
            raise CorpusError(
                f"no spectrogram for {len(missing)} of these records' {len(distinct)} stimuli",
                why=f"the {len(self._rows)} stimuli given lack {names}",
                # In the format "arrow" a filter's function would be given Arrow tables.
                fix='give the whole table, load_dataset(corpus, "stimuli"). A release may have no '
                "spectrogram of a stimulus; to leave its records out:\n"
                f"        known = {self._known}\n"
                "        records = records.with_format(None).filter("
                'lambda stim_id: stim_id in known, input_columns="stim_id")',
            ) from None

    def join(self, table: pa.Table) -> pa.Table:
        """Append a column of spectrograms, one chunk per row, that shares the mapped memory."""
        rows = self.rows(table["stim_id"].to_pylist())
        return table.append_column("spectrogram", self.matrices[rows]["spectrogram"])


class Rows(Sequence[Any]):
    """Some rows of joined records, in the format of these; each is made when it is asked for."""

    def __init__(self, joined: JoinedRecords, keys: list[int]) -> None:
        self._joined = joined
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:
        """A row, or a list of rows for a slice."""
        if isinstance(index, slice):
            return [self._joined[key] for key in self._keys[index]]
        return self._joined[self._keys[index]]

    @property
    def table(self) -> pa.Table:
        """All rows as an Arrow table."""
        return self._joined._in_arrow[self._keys]


class JoinedRecords:
    """Map-style records with a ``spectrogram`` (F, T) in each row; made by `with_stimuli`.

    It offers what a torch `DataLoader` needs: its length, rows, and batches of rows. A row, a slice
    or a list of rows has the records' format. For anything else that `datasets` can do (`filter`,
    `map`, `sort`, ...), apply it to the records before joining.
    """

    def __init__(self, records: Dataset, spectrograms: Spectrograms) -> None:
        if records.format["type"] not in FORMATS:
            raise CorpusError(
                f"cannot join records of format {records.format['type']!r} with stimuli",
                fix=f"use records.with_format(...) with one of {', '.join(map(str, FORMATS))}",
            )
        self.records = records
        self._spectrograms = spectrograms
        self._stim_ids = records.select_columns("stim_id").with_format("arrow")
        form = records.format
        self._matrices = spectrograms.matrices.with_format(form["type"], **form["format_kwargs"])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SupportsIndex | slice | Iterable[int]) -> Any:
        """A row or a batch of rows; as an Arrow table if the format is ``"arrow"``."""
        found = self.records[key]
        rows = self._spectrograms.rows(self._stim_ids[key]["stim_id"].to_pylist())
        if isinstance(found, pa.Table):
            return found.append_column("spectrogram", self._matrices[rows]["spectrogram"])
        # One by one: `datasets` would stack spectrograms of equal shape, which is one more copy.
        spectrograms = [self._matrices[row]["spectrogram"] for row in rows]
        is_batch = isinstance(key, slice | Iterable)
        return {**found, "spectrogram": spectrograms if is_batch else spectrograms[0]}

    def __getitems__(self, keys: list[int]) -> Any:
        """The rows of a `DataLoader`'s batch: one table if the format is ``"arrow"``, else a list.

        The list makes its rows when they are asked for. `builders.training.collate` asks for its
        ``table`` instead, and so is as fast in every format.
        """
        if self.records.format["type"] == "arrow":
            return self[keys]
        return Rows(self, keys)

    @cached_property
    def _in_arrow(self) -> JoinedRecords:
        return self.with_format("arrow", columns=self.records.format["columns"])

    def _with(self, records: Dataset) -> JoinedRecords:
        return JoinedRecords(records, self._spectrograms)

    def select(self, indices: Iterable[int]) -> JoinedRecords:
        """As `Dataset.select`."""
        return self._with(self.records.select(indices))

    def shuffle(self, seed: int | None = None) -> JoinedRecords:
        """As `Dataset.shuffle`."""
        return self._with(self.records.shuffle(seed=seed))

    def shard(self, num_shards: int, index: int, contiguous: bool = True) -> JoinedRecords:
        """As `Dataset.shard`: the part of one node."""
        return self._with(self.records.shard(num_shards, index, contiguous=contiguous))

    def with_format(self, type: str | None = None, **options: Any) -> JoinedRecords:
        """As `Dataset.with_format`, for one of `FORMATS`; the spectrogram is always included."""
        return self._with(self.records.with_format(type, **options))


def with_stimuli(
    records: Dataset | IterableDataset, stimuli: Dataset | DatasetDict
) -> JoinedRecords | IterableDataset:
    """Add a ``spectrogram`` (F, T) float32 to each record, looked up by its ``stim_id``.

    The spectrogram is looked up when a row is read, and equals the stimuli table's bit for bit.
    It may be longer or shorter than the response: both are returned as stored in the release, never
    cut or stretched. Both start at bin 0. `builders.training.collate` pads them to one length.
    With the format ``"arrow"``, spectrograms share the stimuli table's memory, and
    `builders.training` makes batches fastest.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any config and format, with a column ``stim_id``.
    stimuli : Dataset or DatasetDict
        The stimuli of these records; more are allowed: ``load_dataset(corpus, "stimuli")``.

    Returns
    -------
    JoinedRecords or IterableDataset
        Streamed records give an `IterableDataset` of the same format; set the format's options
        and a column selection again if you need them. Other records give `JoinedRecords`, which
        can be indexed, selected from, shuffled, sharded (also before joining, with
        `split_dataset_by_node`) and formatted.

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
    form = format_of_stream(records)
    features = Features({**records.features, **spectrograms.matrices.features})
    joined = records.with_format("arrow").map(
        spectrograms.join, batched=True, batch_size=STREAMED_AT_ONCE, features=features
    )
    return joined.with_format(form)


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
