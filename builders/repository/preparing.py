"""Lets `datasets` copy a corpus to Arrow while its shards are built.

`datasets` would first download all shards, which builds them, and then copy one after the other.
With this patch, it reads a shard where it is, and the next ones are built meanwhile; see
`builders.shards.ahead`. Its other steps, streams, and data sets that have other files stay as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.parquet.parquet import Parquet
from fsspec.core import url_to_fs

from builders.errors import CorpusError
from builders.shards.ahead import read_ahead
from builders.urls import SCHEME

try:
    from datasets.builder import Key
except ImportError:  # `datasets` 4.0 to 4.4
    Key = None

_split_generators = Parquet._split_generators
_generate_tables = Parquet._generate_tables


class _Refused(DatasetGenerationError):
    """A `CorpusError` on its way through `datasets`, which would hide all but its own errors."""


@contextmanager
def refusals() -> Iterator[None]:
    """Context of `Parquet._download_and_prepare`: raises the `CorpusError` of whatever process."""
    try:
        yield
    except _Refused as error:
        raise error.args[0] from error


def _splits_in_place(self: Parquet, manager: Any) -> Any:
    """Replaces `Parquet._split_generators`, which downloads the files with a manager."""
    listed = self.config.data_files or {}
    urls = [url for files in listed.values() for url in files]
    self._in_place = None
    if urls and not manager.is_streaming and all(url.startswith(SCHEME) for url in urls):
        # A worker that is not forked imports this module to get this function.
        self._in_place = _tables_in_place
        # Versions of `datasets` differ in which of these they call.
        same = {name: lambda files: files for name in ("download", "download_and_extract")}
        manager = SimpleNamespace(
            download_config=SimpleNamespace(), iter_files=lambda file: [file], **same
        )
    return _split_generators(self, manager)


def _tables(self: Parquet, files: Any, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
    """Replaces `Parquet._generate_tables`, which reads Parquet files."""
    if read := getattr(self, "_in_place", None):
        yield from read(self, files)
    else:
        yield from _generate_tables(self, files, *args, **kwargs)


# Streams are pickled with it, by this name.
_tables.__name__ = _generate_tables.__name__


def _tables_in_place(self: Parquet, files: Sequence[Any]) -> Iterator[tuple[Any, pa.Table]]:
    """The rows of some shards, each table with the key that `datasets` gives it."""
    urls = [file if isinstance(file, str) else file[0] for file in files]
    select = _selection(self.config)
    numbers: dict[int, int] = {}  # of the shards with rows: `datasets` 4.4 to 4.8 takes no others
    try:
        filesystem, _ = url_to_fs(urls[0])
        wanted = [filesystem.wanted(url) for url in urls]
        for batch, (shard, table) in enumerate(read_ahead(wanted)):
            for part in select(table):
                number = numbers.setdefault(shard, len(numbers))
                yield Key(number, batch) if Key else f"{number}_{batch}", self._cast_table(part)
    except CorpusError as error:
        raise _Refused(error) from error


def _selection(config: Any) -> Callable[[pa.Table], Iterator[pa.Table]]:
    """The columns and rows of a table that a config asks for; no table without rows."""
    wanted = config.filters
    if isinstance(wanted, list):
        wanted = pq.filters_to_expression(wanted)

    def select(table: pa.Table) -> Iterator[pa.Table]:
        if config.columns is not None or wanted is not None:
            table = pa.dataset.dataset(table).to_table(config.columns, wanted)
        size = config.batch_size or len(table)
        yield from (table[start : start + size] for start in range(0, len(table), size or 1))

    return select


def install() -> None:
    """Patch `datasets` in this process; calling it again changes nothing."""
    Parquet._split_generators = _splits_in_place
    Parquet._generate_tables = _tables
