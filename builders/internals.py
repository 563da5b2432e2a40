"""All uses of undocumented parts of `datasets`, which may change without notice.

Each function has a test that fails if `datasets` has changed. Functions of `datasets` that are
replaced are in `builders.repository.pinning`.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset


def format_of_stream(stream: IterableDataset) -> str | None:
    """The format of a stream's rows: ``arrow``, ``torch``, ...; None for Python objects."""
    return stream._formatting.format_type if stream._formatting else None


def rows_of(dataset: Dataset) -> pa.ChunkedArray | None:
    """The rows of its table that a dataset selects, in order; None if it has all rows."""
    return None if dataset._indices is None else dataset._indices.column(0)


def features_for_card(features: Features) -> list[dict[str, Any]]:
    """Features in the form that a dataset card's YAML uses."""
    listed: list[dict[str, Any]] = features._to_yaml_list()
    return listed
