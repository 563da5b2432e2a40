"""Read the rows of a dataset, map-style or streamed, as Arrow tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, IterableDataset

from builders.errors import CorpusError

#: Rows per batch: 18 MB of the largest spectrograms.
BATCH_ROWS = 64


def arrow_batches(data: Any, columns: list[str], subset: str | None = None) -> Iterator[pa.Table]:
    """Yield some columns of a dataset as Arrow tables, `BATCH_ROWS` rows or fewer at a time.

    Parameters
    ----------
    data : Dataset, IterableDataset, DatasetDict or IterableDatasetDict
        What `load_dataset` returns, in any format (torch, ...), but without a transform.
    columns : list of str
        Columns that every row must have.
    subset : str or None
        ``est`` or ``val``: in a dict of splits, only the split of this name is read; if there is
        a column ``subset``, only rows of this subset are read. None: all splits and rows.

    Yields
    ------
    pyarrow.Table
        At least one table; none is empty. They may have more columns than `columns`.

    Raises
    ------
    CorpusError
        If `data` is something else, lacks the split or a column, or has no matching row.
    """
    splits = data if isinstance(data, dict) else {"": data}
    if subset is not None and isinstance(data, dict):
        if subset not in data:
            raise CorpusError(
                f"cannot read the split {subset!r}",
                why=f"the data set has the splits {', '.join(map(repr, data))}",
                fix="give one of them itself, as in data['est'], or another subset=",
            )
        splits = {subset: data[subset]}
    empty = True
    for split in splits.values():
        for batch in _tables(split, columns):
            if subset is not None and "subset" in batch.column_names:
                batch = batch.filter(pc.equal(batch["subset"], subset))
            if batch.num_rows:
                empty = False
                yield batch
    if empty:
        raise CorpusError(
            f"cannot read {', '.join(columns)}",
            why="the data set has no rows" + (f" of the subset {subset!r}" if subset else ""),
            fix="load another split, or give another subset= (None: all rows)",
        )


def _tables(data: Any, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the rows of one split, with only the columns that are needed.

    A stream that was mapped does not know its columns. It is read row by row: the types are guessed
    per row and differ where values are null, so that rows cannot be put into one table.
    """
    if not isinstance(data, Dataset | IterableDataset):
        raise CorpusError(
            f"cannot read {', '.join(columns)}",
            why=f"a {type(data).__name__} is not a data set",
            fix="give what load_dataset returns",
        )
    known = data.column_names or []
    if set(columns) <= set(known):
        data = data.select_columns([*columns, *({"subset"} & set(known))])
    for batch in in_arrow(data).iter(BATCH_ROWS if known else 1):
        check_columns(
            columns,
            batch.column_names,
            "responses are in configs of records, spectrograms in the config 'stimuli'",
        )
        yield batch


def in_arrow(data: Any) -> Any:
    """A data set as one that gives its rows as Arrow tables, with the values that it stores.

    Raises
    ------
    CorpusError
        If it has a transform: its rows have other values than those that it stores.
    """
    if isinstance(data, Dataset) and data.format["type"] == "custom":
        raise CorpusError(
            "cannot read a data set that has a transform",
            why="the values would be those that are stored, and not those that the transform makes",
            fix="use data.map(...) in place of data.with_transform(...); or call "
            "data.with_format(None), if the stored values are meant",
        )
    return data.with_format("arrow")


#: What `load_dataset` returns, with and without ``split=``.
Data: TypeAlias = Dataset | DatasetDict


def column_names(data: Data) -> list[str]:
    """Names of the columns, of the first split where there are several."""
    split = next(iter(data.values())) if isinstance(data, DatasetDict) else data
    names: list[str] = split.column_names
    return names


def read_table(data: Data, columns: Sequence[str]) -> pa.Table:
    """Some columns of all splits, one split after the other, as one table without a copy."""
    check_columns(
        columns,
        column_names(data),
        "load a config that has it; depth needs a corpus that states depths, and record, coverage, "
        "cells and sessions work with every corpus",
    )
    splits = data.values() if isinstance(data, DatasetDict) else [data]
    return pa.concat_tables([in_arrow(split.select_columns(list(columns)))[:] for split in splits])


def require_columns(dataset: Any, *names: str) -> None:
    """Check that `dataset` is a dataset and has these columns.

    Raises
    ------
    CorpusError
        If it is not a dataset, its columns are unknown, or one of these columns is missing.
    """
    if not isinstance(dataset, Dataset | IterableDataset):
        raise CorpusError(
            f"expected a Dataset or an IterableDataset, not {type(dataset).__name__}",
            fix='choose a split: load_dataset(..., split="est"), or take one from the dictionary',
        )
    if dataset.features is None:
        raise CorpusError(
            "the columns of a stream are not known",
            why="it was mapped by a function, and `map` was not told what comes out",
            fix="use records.map(..., features=...), or map after joining",
        )
    check_columns(names, dataset.features, "load it with this column")


def check_columns(wanted: Iterable[str], found: Collection[str], fix: str) -> None:
    """Raise a `CorpusError` if a wanted column is missing; it names the missing and found ones."""
    if missing := [name for name in wanted if name not in found]:
        raise CorpusError(
            f"the data have no column {', '.join(missing)}",
            why=f"their columns are {', '.join(found)}",
            fix=fix,
        )
