"""Writes tables to one file: Parquet, or Arrow as `datasets` maps it into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from datasets import Features
from datasets.table import table_cast

from builders.shards.arrow import ARRAYS, ROW_GROUP_BYTES, stored

#: The name of the form that has all rows and columns of a shard, as they are.
WHOLE = "whole"
#: Values that Arrow encodes at once. With its default of 1024, writing takes 1.5 times as long.
BATCH = 1 << 17
SPECTROGRAM = "spectrogram.list.element.list.element"


@dataclass(frozen=True)
class Form:
    """What an Arrow file has of a shard.

    Attributes
    ----------
    name : str
        A part of the file's name: differs between forms, and is `WHOLE` or made of hex digits.
    features : Features
        Columns and types.
    columns : sequence of str, optional
        The columns to take; all by default.
    rows : pyarrow.compute.Expression, optional
        Which rows to take; all by default.
    """

    name: str
    features: Features
    columns: Sequence[str] | None = None
    rows: Any = None

    @cached_property
    def schema(self) -> pa.Schema:
        """The schema of the file."""
        return self.features.arrow_schema

    def of(self, table: pa.Table) -> pa.Table:
        """What the file has of some rows of the shard."""
        if self.name == WHOLE:
            return table.cast(self.schema)
        if self.columns is not None or self.rows is not None:
            table = pa.dataset.dataset(table).to_table(self.columns, self.rows)
        # Not `pa.Table.cast`: this one can also make other types, as a user may ask for.
        return table_cast(table, self.schema)


class Writer:
    """Writes one file; collects small tables into row groups. Empty tables add none.

    Parameters
    ----------
    path : Path
    features : Features
        Of the tables.
    form : Form, optional
        Of the Arrow file; by default, a Parquet file is written.
    """

    def __init__(self, path: Path, features: Features, form: Form | None = None) -> None:
        self._form = form
        self._sink = pa.OSFile(str(path), "wb")
        self._file: Any = (
            pa.ipc.new_stream(self._sink, form.schema) if form else _parquet(self._sink, features)
        )
        self._pending: list[pa.Table] = []
        self._bytes = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._flush()
        finally:
            self._file.close()
            self._sink.close()

    def append(self, table: pa.Table) -> None:
        if len(table):
            self._pending.append(table)
            self._bytes += table.nbytes
        if self._bytes + table.nbytes > ROW_GROUP_BYTES:  # another table of this size would not fit
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            # Chunks stay apart: joined in one, writing takes twice as much of the system's time.
            whole = pa.concat_tables(self._pending)
            if self._form:
                whole = self._form.of(whole)
            if len(whole):  # a form may have none of the rows
                self._file.write_table(whole, len(whole))
        self._pending, self._bytes = [], 0


def _parquet(sink: pa.NativeFile, features: Features) -> pq.ParquetWriter:
    # A dictionary compresses repeated names well, but not spectrograms. For counts it compresses
    # 1.6 times better than zstd alone, but writing takes 1.5 times as long.
    # Statistics of arrays are left out: nobody needs the smallest value of an array.
    described = [name for name in features if name not in ARRAYS]
    return pq.ParquetWriter(
        sink,
        stored(features),
        compression="zstd",
        use_dictionary=described,
        column_encoding={SPECTROGRAM: "BYTE_STREAM_SPLIT"} if "spectrogram" in features else None,
        write_statistics=described,
        write_page_index=True,
        write_batch_size=BATCH,
    )


def n_rows(file: Path) -> int:
    """How many rows a file of a shard has, of whichever kind."""
    return len(mapped(file)) if file.suffix == ".arrow" else pq.read_metadata(file).num_rows


def mapped(file: Path) -> pa.Table:
    """The rows of an Arrow file, which stay in the file until they are used."""
    with pa.memory_map(str(file)) as memory:
        return pa.ipc.open_stream(memory).read_all()
