"""All uses of undocumented parts of `datasets`, which may change without notice.

Each function has a test that fails if `datasets` has changed. Functions of `datasets` that are
replaced are in `builders.repository.pinning` and `preparing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset
from datasets.formatting import get_formatter
from datasets.formatting.formatting import LazyRow


def format_of_stream(stream: IterableDataset) -> str | None:
    """The format of a stream's rows: ``arrow``, ``torch``, ...; None for Python objects."""
    return stream._formatting.format_type if stream._formatting else None


def tables_of_stream(stream: IterableDataset) -> Iterator[pa.Table]:
    """The rows of a stream as Arrow tables, whatever its format; it keeps its epoch and state."""
    in_arrow = IterableDataset.with_format(stream, "arrow")
    in_arrow._epoch = stream._epoch
    in_arrow._starting_state_dict = stream._starting_state_dict
    for table in in_arrow:
        stream._state_dict = in_arrow._state_dict
        yield table


def formatter_of(form: str | None, features: Features, options: Mapping[str, Any]) -> Any:
    """What makes values of a format (``torch``, ...; None: Python objects) from Arrow tables."""
    return get_formatter(form, features=features, **options)


class Row(LazyRow, dict):  # type: ignore[type-arg]
    """A row whose values are made from Arrow when they are used, and kept.

    It equals the row that `datasets` would give, and is a `dict` for those who ask for one. Its
    copy is a plain `dict`. Code in C that reads a `dict` without its methods finds `NotImplemented`
    for each value: it fails, and does not take the row for an empty one.

    Parameters
    ----------
    table : pyarrow.Table
        One row.
    formatter : Formatter
        From `formatter_of`.
    """

    def __init__(self, table: pa.Table, formatter: Any) -> None:
        dict.__init__(self, dict.fromkeys(table.column_names, NotImplemented))
        LazyRow.__init__(self, table, formatter)

    @property
    def table(self) -> pa.Table | None:
        """The row as Arrow table, if no value was read, and so none can have been changed."""
        untouched = len(self.keys_to_format) == len(self.data) == self.pa_table.num_columns
        return self.pa_table if untouched else None

    def copy(self) -> dict[str, Any]:
        return dict(self)

    __copy__ = copy

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return dict(self) | dict(other)

    def __ror__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return dict(other) | dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def rows_of(dataset: Dataset) -> pa.ChunkedArray | None:
    """The rows of its table that a dataset selects, in order; None if it has all rows."""
    return None if dataset._indices is None else dataset._indices.column(0)


def features_for_card(features: Features) -> list[dict[str, Any]]:
    """Features in the form that a dataset card's YAML uses."""
    listed: list[dict[str, Any]] = features._to_yaml_list()
    return listed
