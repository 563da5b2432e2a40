"""What is used of `datasets` and is not in its documentation: it may change without notice.

Each function has a test that fails where it did. What is replaced in `datasets` stands in
`builders.repository.pinning`.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset


def format_of_stream(stream: IterableDataset) -> str | None:
    """The format that a stream's rows have: ``arrow``, ``torch``, ...; None for Python objects."""
    return stream._formatting.format_type if stream._formatting else None


def rows_of(dataset: Dataset) -> pa.ChunkedArray | None:
    """Which rows of its table a data set has, in order; None where it has all of them."""
    return None if dataset._indices is None else dataset._indices.column(0)


def features_for_card(features: Features) -> list[dict[str, Any]]:
    """Features as a dataset card's YAML has them."""
    listed: list[dict[str, Any]] = features._to_yaml_list()
    return listed
