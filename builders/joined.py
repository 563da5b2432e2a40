"""Records with a spectrogram in each, joined when a row is read.

A spectrogram is far larger than the counts of one cell, and hundreds of cells share it: the
records of wingert2026 with a spectrogram in each would be 86 GB instead of 4. So a record refers to
its spectrogram by ``stim_id``, and nothing is copied until a row is read.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, IterableDataset, concatenate_datasets

from builders.errors import CorpusError
from builders.internals import Row, format_of_stream, formatter_of, tables_of_stream
from builders.rows import in_arrow, require_columns

#: The formats that a joined row can have; `None` is plain Python.
FORMATS = (None, "arrow", "numpy", "torch", "jax", "tensorflow")

#: How many streamed records are joined at once. Nothing is copied, so the number matters little.
STREAMED_AT_ONCE = 100

#: What a `Dataset` does that `JoinedRecords` do, too: to the records, which are joined again.
REJOINED = (
    "add_column", "filter", "flatten_indices", "map", "remove_columns", "rename_column", "repeat",
    "select", "select_columns", "shard", "shuffle", "skip", "sort", "take", "to_iterable_dataset",
    "train_test_split", "with_format",
)  # fmt: skip


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
            stimuli = concatenate_datasets([in_arrow(part) for part in stimuli.values()])
        if not isinstance(stimuli, Dataset):
            raise CorpusError(
                "cannot look stimuli up",
                why=f"they are of type {type(stimuli).__name__}",
                fix="load the stimuli without streaming=True: only the records may be streamed",
            )
        require_columns(stimuli, "stim_id", "spectrogram")
        stimuli = in_arrow(stimuli)
        self.table = stimuli.remove_columns("spectrogram")
        self.matrices = stimuli.select_columns("spectrogram")
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

    def join(self, table: pa.Table, rows: list[int] | None = None) -> pa.Table:
        """Append a column of spectrograms, one chunk per row, that shares the mapped memory.

        `rows` are those of the table's ``stim_id``, if they are known.
        """
        if rows is None:
            rows = self.rows(table["stim_id"].to_pylist())
        return table.append_column("spectrogram", self.matrices[rows]["spectrogram"])


class JoinedRecords:
    """Map-style records with a ``spectrogram`` (F, T) in each row; made by `with_stimuli`.

    It has the length, rows, columns, features and format of a `Dataset`, and the methods in
    `REJOINED`. These act on the records, before the join: a function given to `filter` or `map`
    sees rows without a spectrogram. What depends on the stimulus alone is faster computed on the
    stimuli, once for all cells.

    A row, a slice or a list of rows has the records' format. The rows that a torch `DataLoader`
    asks for are `builders.internals.Row`: dictionaries whose values are made when they are used.
    """

    def __init__(self, records: Dataset, spectrograms: Spectrograms) -> None:
        stored = in_arrow(records)
        if records.format["type"] not in FORMATS:
            raise CorpusError(
                f"cannot join records of format {records.format['type']!r} with stimuli",
                fix=f"use records.with_format(...) with one of {', '.join(map(str, FORMATS))}",
            )
        require_columns(records, "stim_id")
        self.records = records
        self._spectrograms = spectrograms
        self._stim_ids = stored.select_columns("stim_id")
        form = records.format
        self._matrices = spectrograms.matrices.with_format(form["type"], **form["format_kwargs"])
        self._arrow = records.with_format("arrow", columns=form["columns"])

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        names = ", ".join(self.column_names)
        return f"JoinedRecords({len(self)} rows, {names})"

    @property
    def features(self) -> Features:
        """Those of the records and the spectrogram's."""
        return Features({**self.records.features, **self._matrices.features})

    @property
    def column_names(self) -> list[str]:
        """The records' columns and ``spectrogram``."""
        return list(self.features)

    @property
    def format(self) -> dict[str, Any]:
        """As `Dataset.format`: that of the records."""
        form: dict[str, Any] = self.records.format
        return {**form, "columns": [*form["columns"], "spectrogram"]}

    def __getitem__(self, key: SupportsIndex | slice | Iterable[int] | str) -> Any:
        """A row, a batch of rows, or a column; an Arrow table if the format is ``"arrow"``."""
        if isinstance(key, str):
            if key != "spectrogram":
                return self.records[key]
            return self._matrices[self._rows(slice(None))][key]
        found = self.records[key]
        rows = self._rows(key)
        if isinstance(found, pa.Table):
            return self._spectrograms.join(found, rows)
        # One by one: `datasets` would stack spectrograms of equal shape, which is one more copy.
        spectrograms = [self._matrices[row]["spectrogram"] for row in rows]
        is_batch = isinstance(key, slice | Iterable)
        return {**found, "spectrogram": spectrograms if is_batch else spectrograms[0]}

    def _rows(self, key: Any) -> list[int]:
        return self._spectrograms.rows(self._stim_ids[key]["stim_id"].to_pylist())

    def __getitems__(self, keys: list[int]) -> Any:
        """The rows of a `DataLoader`'s batch: one table if the format is ``"arrow"``, else a list.

        Whatever the format, `builders.training.collate` reads the rows' Arrow tables.
        """
        table = self._spectrograms.join(self._arrow[keys], self._rows(keys))
        if self.records.format["type"] == "arrow":
            return table
        return [Row(table.slice(row, 1), self._formatter) for row in range(len(table))]

    @cached_property
    def _formatter(self) -> Any:
        form = self.records.format
        return formatter_of(form["type"], self.features, form["format_kwargs"])

    def __iter__(self) -> Iterator[Any]:
        for row in range(len(self)):
            yield self[row]

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        """As `Dataset.iter`."""
        for start in range(0, len(self), batch_size):
            if start + batch_size <= len(self) or not drop_last_batch:
                yield self[start : start + batch_size]

    def __getattr__(self, name: str) -> Any:
        """A method in `REJOINED`."""
        if name not in REJOINED:
            raise AttributeError(
                f"JoinedRecords have no {name!r}; .records, the records before the join, may have"
            )
        method = getattr(self.records, name)

        @functools.wraps(method)
        def rejoined(*args: Any, **kwargs: Any) -> Any:
            try:
                result = method(*args, **kwargs)
            except KeyError as error:
                if error.args != ("spectrogram",):
                    raise
                raise CorpusError(
                    f"the rows that {name} sees have no spectrogram",
                    why="the spectrogram is joined when a row is read",
                    fix="map the stimuli, and join these; or compute it in the training loop",
                ) from error
            if isinstance(result, dict):
                return {
                    key: JoinedRecords(part, self._spectrograms) for key, part in result.items()
                }
            joined = JoinedStream if isinstance(result, IterableDataset) else JoinedRecords
            return joined(result, self._spectrograms)

        return rejoined

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *REJOINED]


class JoinedStream(IterableDataset):
    """Streamed records with a ``spectrogram`` (F, T) in each; made by `with_stimuli`.

    Rows are `builders.internals.Row`, or Arrow tables if the format is ``"arrow"``. A stream that
    a method other than `shuffle` and `with_format` makes of this one is a plain `IterableDataset`.
    """

    def __init__(self, records: IterableDataset, spectrograms: Spectrograms) -> None:
        features = Features({**records.features, **spectrograms.matrices.features})
        joined = records.with_format("arrow").map(
            spectrograms.join, batched=True, batch_size=STREAMED_AT_ONCE, features=features
        )
        self.__dict__.update(vars(joined.with_format(format_of_stream(records))))
        self.records = records
        self._spectrograms = spectrograms

    def __iter__(self) -> Iterator[Any]:
        form = format_of_stream(self)
        if form not in FORMATS or form == "arrow":
            yield from super().__iter__()
            return
        formatter = formatter_of(form, self.features, {})
        for table in tables_of_stream(self):
            yield Row(table, formatter)

    def shuffle(
        self,
        seed: int | None = None,
        generator: np.random.Generator | None = None,
        buffer_size: int = 1000,
        **options: Any,
    ) -> JoinedStream:
        """As `IterableDataset.shuffle`; the records are shuffled before they are joined.

        So the buffer holds no spectrogram. The shards are read one after the other, in random
        order, unless ``max_buffer_input_shards`` says otherwise: `datasets` opens 10 at a time, and
        waits 5 s for their threads at the end of each pass.
        """
        if "max_buffer_input_shards" in inspect.signature(IterableDataset.shuffle).parameters:
            options.setdefault("max_buffer_input_shards", 1)
        shuffled = self.records.shuffle(seed, generator, buffer_size, **options)
        return JoinedStream(shuffled, self._spectrograms)

    def with_format(self, type: str | None = None) -> JoinedStream:
        """As `IterableDataset.with_format`."""
        return JoinedStream(self.records.with_format(type), self._spectrograms)
