"""Builds the columns of records and stimuli as Arrow arrays and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

#: The columns that hold nested lists of numbers.
ARRAYS = ("response", "spectrogram")

#: Uncompressed bytes of a row group: with 8 to 16 MB, a stream reads little that it does not need.
ROW_GROUP_BYTES = 8 << 20
#: Bytes of the chunks of a row group's arrays. Arrow computes Parquet levels for a whole chunk at
#: once: small chunks take a fraction of the memory, and free it for the next chunk.
PIECE_BYTES = 1 << 20


def ragged(values: pa.Array, sizes: NDArray[np.integer[Any]]) -> pa.ListArray:
    """Cut `values` into lists of the given sizes, in order, without a copy."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    if offsets[-1] != len(values):
        raise ValueError(f"{len(values)} values do not make lists of {offsets[-1]} in all")
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def matrix_lists(arrays: list[NDArray[np.float32]]) -> pa.ListArray:
    """(F, T) arrays as lists of F lists of T values."""
    values = pa.array(np.concatenate([array.reshape(-1) for array in arrays]))
    lengths = np.repeat([array.shape[1] for array in arrays], [len(array) for array in arrays])
    return ragged(ragged(values, lengths), np.array([len(array) for array in arrays]))


def stored(features: Features) -> pa.Schema:
    """The schema of a shard: the features' types, with values in `ARRAYS` declared not null.

    Parquet reads columns without nulls in four fifths of the time.
    """
    schema = features.arrow_schema
    for column in set(ARRAYS).intersection(schema.names):
        values = pa.field("item", schema.field(column).type.value_type.value_type, nullable=False)
        field = pa.field(column, pa.list_(pa.list_(values)))
        schema = schema.set(schema.get_field_index(column), field)
    return schema


def table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with exactly the fields of a `stored` schema, in their order; has its metadata."""
    arrays = [
        column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, field.type)
        for column, field in ((columns[field.name], field) for field in schema)
    ]
    plain = pa.table(dict(zip(schema.names, arrays, strict=True)))
    for column in set(ARRAYS).intersection(schema.names):
        # Arrow would write an arbitrary value for a null.
        if any(lists.values.values.null_count for lists in plain[column].chunks):
            raise ValueError(f"a value of {column} is null")
    return plain.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)
