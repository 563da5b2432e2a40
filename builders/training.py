"""Batches for training: records of any size, padded into one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from builders.errors import CorpusError
from builders.ragged import Matrix, matrices, n_columns, padded

#: The columns that become tensors.
TENSORS = ("spectrogram", "response")


def collate(batch: Any) -> dict[str, Any]:
    """Make one batch of records, padded on the right: ``DataLoader(..., collate_fn=collate)``.

    The batch has B records. R is the largest number of trials among them, T the largest number of
    bins of their responses and spectrograms, F the number of bands. Trials of a record may differ
    in length, and so may a response and its spectrogram: both start at bin 0, and nothing is cut.
    Padding is zero, and false in the masks.

    A loss should count only the bins that have both, ``mask & stimulus_mask[:, None]``. This leaves
    out the sound after the end of the response, and the response after the end of the spectrogram:
    the sound there is unknown, and the zeros there are padding, not silence.

    Arrow input is fastest, because no Python lists are made: records joined by
    `builders.stimuli.with_stimuli` with the format ``"arrow"``, map-style or streamed. (A plain
    `Dataset` cannot return Arrow tables to a `DataLoader` that makes the batches: to train without
    spectrograms, give that loader ``sampler=BatchSampler(...)`` and ``batch_size=None``.)

    Parameters
    ----------
    batch : sequence of mappings, or Arrow table or record batch, or sequence of these
        The records, with a ``response`` (R, T) and optionally a ``spectrogram`` (F, T): lists,
        arrays (also of objects), or tensors. Or items of a `builders.population.Population`; see
        its `collate`.

    Returns
    -------
    dict
        The tensors come first: ``response`` (B, R, T) float32; ``mask`` (B, R, T) bool, true where
        the response is data; ``spectrogram`` (B, F, T) float32; ``stimulus_mask`` (B, T) bool, true
        up to the end of the spectrogram. The last two are absent if the records have no
        spectrogram. All other columns are lists of B Python values. Bins where a response is NaN or
        infinite hold no data: they become zero, and false in the mask.

    Raises
    ------
    CorpusError
        If the batch is empty, its records have no response or differ in their columns, or their
        spectrograms differ in the number of bands.

    Examples
    --------
    >>> batch = collate([{"response": [[1, 2]]}, {"response": [[3], [4]]}])
    >>> batch["response"].tolist()
    [[[1.0, 2.0], [0.0, 0.0]], [[3.0, 0.0], [4.0, 0.0]]]
    """
    if _are_items(batch):
        return collate_items(batch)
    columns = _columns(batch)
    bands = sorted({len(matrix) for matrix in columns.get("spectrogram", [])})
    if len(bands) > 1:
        raise CorpusError(
            "cannot make a batch of these records",
            why=f"their spectrograms have {' and '.join(map(str, bands))} bands",
            fix="make batches of one corpus, or of one set of its recordings",
        )
    found = [name for name in TENSORS if name in columns]
    n_bins = max(n_columns(matrix) for name in found for matrix in columns[name])
    response = padded(columns["response"], n_bins, np.nan)
    mask = np.isfinite(response)
    response[~mask] = 0
    tensors = {"response": torch.from_numpy(response), "mask": torch.from_numpy(mask)}
    if "spectrogram" in columns:
        spectrograms = columns["spectrogram"]
        tensors["spectrogram"] = torch.from_numpy(padded(spectrograms, n_bins))
        tensors["stimulus_mask"] = first_bins(list(map(n_columns, spectrograms)), n_bins)
    # Trainer and accelerate take the length of the first value for the size of the batch.
    return tensors | {name: column for name, column in columns.items() if name not in tensors}


#: The tensors of a population's items, and what each is padded with.
ITEM_PADDING = {"spectrogram": 0, "response": np.nan, "mask": False, "stimulus_mask": False}


def _are_items(batch: Any) -> bool:
    """Whether these are items of a `builders.population.Population`: responses (N, R, T)."""
    return bool(isinstance(batch, list) and batch) and all(
        type(item) is dict and getattr(item.get("response"), "ndim", 0) == 3 for item in batch
    )


def collate_items(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Make one batch of items of a population; see `builders.population.Population.collate`."""
    found = [name for name in ITEM_PADDING if all(name in item for item in items)]
    sized = [name for name in ("response", "spectrogram") if name in found]
    axes = {tuple(len(item[name]) for name in sized) for item in items}
    if len(axes) != 1:
        raise CorpusError(
            "cannot make a batch of these items",
            why=f"their numbers of cells and bands are {sorted(axes)}",
            fix="make batches of one population only",
        )
    batch: dict[str, Any] = {}
    for name in found:
        arrays = [item[name].numpy() for item in items]
        shape = tuple(map(max, zip(*(array.shape for array in arrays), strict=True)))
        target = np.full((len(arrays), *shape), ITEM_PADDING[name], arrays[0].dtype)
        for array, part in zip(arrays, target, strict=True):
            part[tuple(map(slice, array.shape))] = array
        batch[name] = torch.from_numpy(target)
    return batch | {name: [item[name] for item in items] for name in items[0] if name not in batch}


def _columns(batch: Any) -> dict[str, list[Any]]:
    """The columns of a batch: the ones in `TENSORS` as matrices, the others as Python values."""
    rows = [batch] if isinstance(batch, pa.Table | pa.RecordBatch) else list(batch)
    tables = [getattr(row, "table", row) for row in rows]  # of joined rows, in whatever format
    is_arrow = all(isinstance(table, pa.Table | pa.RecordBatch) for table in tables)
    rows = tables if is_arrow else rows
    names = [row.schema.names if is_arrow else list(row) for row in rows if _is_record(row)]
    listed = sorted({", ".join(sorted(each)) for each in names})
    n_records = sum(row.num_rows for row in rows) if is_arrow else len(rows)
    if n_records == 0 or len(names) < len(rows) or len(listed) > 1 or "response" not in names[0]:
        raise CorpusError(
            "cannot make a batch of these records",
            why=f"there are {n_records}, with the columns {' or '.join(listed)}",
            fix="give one record or more, all with a response and with the same columns. A Trainer "
            "of transformers takes columns away, unless it is told remove_unused_columns=False",
        )
    if is_arrow:
        return _arrow_columns(rows)
    return {
        name: [_matrix(row[name]) if name in TENSORS else _python(row[name]) for row in rows]
        for name in rows[0]
    }


def _is_record(row: Any) -> bool:
    return isinstance(row, Mapping | pa.Table | pa.RecordBatch)


def _arrow_columns(tables: list[pa.Table | pa.RecordBatch]) -> dict[str, list[Any]]:
    whole = pa.concat_tables(
        pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        for table in tables
    )
    found = [name for name in TENSORS if name in whole.column_names]
    # Each row that was gathered alone is its own chunk. Small columns are faster to convert after
    # combining the chunks; spectrograms are large and must not be copied.
    others: dict[str, list[Any]] = whole.drop_columns(found).combine_chunks().to_pydict()
    return others | {
        name: [matrix for chunk in whole[name].chunks for matrix in matrices(chunk)]
        for name in found
    }


def _python(value: Any) -> Any:
    """Convert a tensor, array or NumPy scalar to Python values; return others unchanged."""
    return value.tolist() if hasattr(value, "tolist") else value


def _matrix(value: Any) -> Matrix:
    """Convert a tensor, an array or nested lists to a `Matrix`; arrays are not copied."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    return [np.asarray(row, np.float32) for row in value]


def first_bins(lengths: Any, n_bins: int) -> torch.Tensor:
    """A bool tensor (..., n_bins) for lengths (...): true for the first ``lengths[i]`` bins."""
    return torch.from_numpy(np.arange(n_bins) < np.asarray(lengths)[..., None])
