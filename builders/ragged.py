"""Arrays whose rows differ in length, such as the trials of a response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builders.errors import CorpusError

#: An array of float64.
Floats = NDArray[np.float64]
#: Two nested axes: one array, or an array for each row where the rows differ in length.
Matrix = NDArray[Any] | list[NDArray[Any]]


def matrices(column: pa.Array) -> Iterator[Matrix]:
    """Yield each value of an array of nested lists as a matrix that shares the array's memory."""
    rows = column.values
    starts = column.offsets.to_numpy()
    bounds = rows.offsets.to_numpy()[starts[0] : starts[-1] + 1]
    counts, lengths = starts[1:] - starts[:-1], bounds[1:] - bounds[:-1]
    if (counts == counts[:1]).all() and (lengths == lengths[:1]).all():
        shape = len(column), int(counts[:1].sum()), int(lengths[:1].sum())
        yield from _floats(rows)[bounds[0] : bounds[-1]].reshape(shape)
    elif len(column) > 1:
        for index in range(len(column)):
            yield from matrices(column.slice(index, 1))
    else:
        values = _floats(rows)
        yield [values[start:end] for start, end in pairwise(bounds)]


def _floats(rows: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = rows.values.to_numpy(zero_copy_only=False)
    return values


def n_columns(matrix: Matrix) -> int:
    """The length of the longest row of a matrix."""
    if isinstance(matrix, np.ndarray):
        return int(matrix.shape[1])
    return max(map(len, matrix), default=0)


def place(matrix: Matrix, target: NDArray[Any]) -> None:
    """Copy a matrix into the first rows and columns of `target`."""
    if isinstance(matrix, np.ndarray):
        n_rows, n_bins = matrix.shape
        target[:n_rows, :n_bins] = matrix
    else:
        for index, row in enumerate(matrix):
            target[index, : len(row)] = row


def padded(items: Sequence[Matrix], n_bins: int, fill: float = 0) -> NDArray[np.float32]:
    """Put B matrices of at most R rows and `n_bins` columns into one array (B, R, n_bins).

    Memory is allocated by NumPy and not by torch: torch fills memory with one thread per core,
    which, on a machine with shared cores, takes longer than everything else here.
    """
    values = np.zeros((len(items), max(map(len, items)), n_bins), np.float32)
    if fill:  # new memory is zero already
        values.fill(fill)
    for item, into in zip(items, values, strict=True):
        place(item, into)
    return values


def flatten_matrices(
    column: pa.ChunkedArray,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Flatten a column of nested lists, such as responses, without making Python lists.

    Returns
    -------
    values : numpy.ndarray, (N,)
        All values, in order; NaN where they are null.
    lengths : numpy.ndarray of int64
        Length of each inner list, such as a trial.
    counts : numpy.ndarray of int64
        Number of inner lists of each row.

    Raises
    ------
    CorpusError
        If the column does not hold nested lists.
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
    """Whether this is a list or an array of objects, not an array of numbers or a tensor."""
    if isinstance(value, np.ndarray):
        return bool(value.dtype == object)
    return isinstance(value, list | tuple)


def pad_trials(response: Any) -> NDArray[Any]:
    """A response as one array; shorter trials are padded with NaN at their end.

    Parameters
    ----------
    response : array_like
        (..., R, T), or a list of R trials that may differ in length.

    Raises
    ------
    TypeError or ValueError
        If `response` is something else.
    """
    if not (is_list(response) and n_axes(response) == 2):
        return np.asarray(response)
    trials = [np.asarray(trial, np.float64) for trial in response]
    padded = np.full((len(trials), max(map(len, trials))), np.nan)
    for row, trial in zip(padded, trials, strict=True):
        row[: len(trial)] = trial
    return padded


def n_axes(value: Any) -> int:
    """Number of axes of an array, of a tensor, or of nested lists of these."""
    if hasattr(value, "ndim") and value.dtype != object:
        return int(value.ndim)
    if isinstance(value, list | tuple | np.ndarray):
        return 1 + (n_axes(value[0]) if len(value) else 0)
    return 0


def shapes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of rows and columns of each matrix in a column of nested lists; reads offsets only.

    The number of columns is the length of the longest row: trials may differ in length.
    """
    rows = np.array(pc.list_value_length(column), np.int64)
    inner = [pc.list_value_length(chunk.flatten()).to_numpy() for chunk in column.chunks]
    lengths = np.concatenate([*inner, [0]])  # a matrix without rows at the end has 0 columns
    first = np.cumsum(rows) - rows
    longest = np.maximum.reduceat(lengths, first)
    return rows, np.where(rows > 0, longest, 0).astype(np.int64)
