"""The rows of what `load_dataset` returned, map-style or streamed, as Arrow tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, IterableDataset

from builders.errors import CorpusError

#: Rows read at once: 18 MB of the largest spectrograms.
BATCH_ROWS = 64


def arrow_batches(data: Any, columns: list[str], subset: str | None = None) -> Iterator[pa.Table]:
    """The wanted columns of a data set, some rows at a time, as Arrow tables.

    Parameters
    ----------
    data : Dataset, IterableDataset, DatasetDict or IterableDatasetDict
        What `load_dataset` returns. Its format (torch, a transform, ...) does not matter.
    columns : list of str
        Columns that every row must have.
    subset : str or None
        ``est`` or ``val``: of a dict of splits only the split of this name is read, and where rows
        have a column ``subset`` only those of this subset. None: all splits and rows.

    Yields
    ------
    pyarrow.Table
        At least one, none of them empty; `columns` may be followed by others.

    Raises
    ------
    CorpusError
        If `data` is something else, or if it lacks the split, a column, or any such row.
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
    """The rows of one split, with no more columns than needed.

    A stream that has been mapped does not know its columns; their types are then guessed per row
    and differ where values are null, so that rows cannot be put together.
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
    for batch in data.with_format("arrow").iter(BATCH_ROWS if known else 1):
        check_columns(
            columns,
            batch.column_names,
            "responses are in configs of records, spectrograms in the config 'stimuli'",
        )
        yield batch


#: What `load_dataset` returns, with and without ``split=``.
Data: TypeAlias = Dataset | DatasetDict


def column_names(data: Data) -> list[str]:
    """Names of the columns, of the first split where there are several."""
    split = next(iter(data.values())) if isinstance(data, DatasetDict) else data
    names: list[str] = split.column_names
    return names


def read_table(data: Data, columns: Sequence[str]) -> pa.Table:
    """These columns, all splits one after the other; nothing is copied."""
    check_columns(
        columns,
        column_names(data),
        "load a config that has it; depth needs a corpus that states depths, and record, coverage, "
        "cells and sessions work with every corpus",
    )
    splits = data.values() if isinstance(data, DatasetDict) else [data]
    return pa.concat_tables(
        [split.select_columns(list(columns)).with_format("arrow")[:] for split in splits]
    )


def require_columns(dataset: Any, *names: str) -> None:
    """Refuse what is not a dataset, or lacks one of these columns.

    Raises
    ------
    CorpusError
        Naming the type, or the column.
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
    """Raise a `CorpusError` that names the wanted columns which are not found, and those found."""
    if missing := [name for name in wanted if name not in found]:
        raise CorpusError(
            f"the data have no column {', '.join(missing)}",
            why=f"their columns are {', '.join(found)}",
            fix=fix,
        )
