"""Whether `datasets` still has what is used of it beyond its documentation."""

from __future__ import annotations

import pytest
import yaml
from datasets import Dataset, Features, Value

from builders.internals import features_for_card, format_of_stream, rows_of

DATA = Dataset.from_dict({"x": [5, 6, 7]})


@pytest.mark.parametrize("form", [None, "arrow", "numpy", "torch"])
def test_a_stream_knows_its_format(form: str | None) -> None:
    assert format_of_stream(DATA.to_iterable_dataset().with_format(form)) == form


def test_a_data_set_knows_its_rows() -> None:
    assert rows_of(DATA) is None
    rows = rows_of(DATA.select([2, 0]))
    assert rows is not None
    assert rows.to_pylist() == [2, 0]
    assert DATA.data.column("x").take(rows).to_pylist() == DATA.select([2, 0])["x"][:]


def test_features_are_read_back_from_the_yaml_of_a_card() -> None:
    features = Features({"x": Value("int8"), "y": [{"z": Value("string")}]})
    written = yaml.safe_load(yaml.safe_dump(features_for_card(features)))
    assert Features._from_yaml_list(written) == features
