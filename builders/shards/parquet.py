"""Writes tables to one Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from builders.shards.arrow import ARRAYS, ROW_GROUP_BYTES, stored
from builders.shards.feed import Feed

#: Values that Arrow encodes at once. With its default of 1024, writing takes 1.5 times as long.
BATCH = 1 << 17
SPECTROGRAM = "spectrogram.list.element.list.element"


class Writer:
    """Writes one Parquet file; collects small tables into row groups. Empty tables add none.

    Parameters
    ----------
    path : Path
    features : Features
    feed : Feed, optional
        Gets each row group after it is written.
    """

    def __init__(self, path: Path, features: Features, feed: Feed | None = None) -> None:
        # A dictionary compresses repeated names well, but not spectrograms. For counts it
        # compresses 1.6 times better than zstd alone, but writing takes 1.5 times as long.
        # Statistics of arrays are left out: nobody needs the smallest value of an array.
        described = [name for name in features if name not in ARRAYS]
        self._writer = pq.ParquetWriter(
            path,
            stored(features),
            compression="zstd",
            use_dictionary=described,
            column_encoding={SPECTROGRAM: "BYTE_STREAM_SPLIT"}
            if "spectrogram" in features
            else None,
            write_statistics=described,
            write_page_index=True,
            write_batch_size=BATCH,
        )
        self._pending: list[pa.Table] = []
        self._bytes = 0
        self._feed = feed

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()
        if self._feed and not error:
            self._feed.end()

    def append(self, table: pa.Table) -> None:
        if len(table):
            self._pending.append(table)
            self._bytes += table.nbytes
        if self._bytes + table.nbytes > ROW_GROUP_BYTES:  # another table of this size would not fit
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            whole = pa.concat_tables(self._pending)
            self._writer.write_table(whole, len(whole))
            if self._feed:
                self._feed.put(whole)
        self._pending, self._bytes = [], 0
