"""The rows of what `load_dataset` returned, map-style or streamed, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

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
        missing = [name for name in columns if name not in batch.column_names]
        if missing:
            raise CorpusError(
                f"cannot read {', '.join(missing)}",
                why=f"the data set has the columns {', '.join(batch.column_names)}",
                fix="responses are in configs of records, spectrograms in the config 'stimuli'",
            )
        yield batch


def flatten_matrices(
    column: pa.ChunkedArray,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """A column of nested lists, such as responses, as one array, with no Python lists on the way.

    Returns
    -------
    values : numpy.ndarray, (N,)
        All values, in order; NaN where they are null.
    lengths : numpy.ndarray of int64
        Of each inner list, such as a trial.
    counts : numpy.ndarray of int64
        Of each row, the number of its inner lists.

    Raises
    ------
    CorpusError
        If the column holds something else.
    """
    outer = column.combine_chunks()
    try:
        inner = outer.flatten()
        values = inner.flatten().to_numpy(zero_copy_only=False)
    except AttributeError as error:
        raise CorpusError(
            "cannot read nested lists of numbers", why=f"the column's type is {column.type}"
        ) from error
    counts, lengths = (
        pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        for lists in (outer, inner)
    )
    return values, lengths, counts


def is_list(value: Any) -> bool:
    """Is this a list, or an array of objects, rather than an array of numbers or a tensor?"""
    if isinstance(value, np.ndarray):
        return bool(value.dtype == object)
    return isinstance(value, list | tuple)


def pad_trials(response: Any) -> NDArray[Any]:
    """A response as one array; trials that end earlier than others have NaN after their end.

    Parameters
    ----------
    response : array_like
        (..., R, T), or a list of R trials that may differ in length.

    Raises
    ------
    TypeError or ValueError
        If it is something else.
    """
    if not (is_list(response) and depth(response) == 2):
        return np.asarray(response)
    trials = [np.asarray(trial, np.float64) for trial in response]
    padded = np.full((len(trials), max(map(len, trials))), np.nan)
    for row, trial in zip(padded, trials, strict=True):
        row[: len(trial)] = trial
    return padded


def depth(value: Any) -> int:
    """Number of axes of an array, a tensor, or of nested lists of them."""
    if hasattr(value, "ndim") and value.dtype != object:
        return int(value.ndim)
    if isinstance(value, list | tuple | np.ndarray):
        return 1 + (depth(value[0]) if len(value) else 0)
    return 0
