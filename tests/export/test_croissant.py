"""The Croissant metadata of an export, read by the format's own library."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest
from datasets import load_dataset

from builders.corpus.registry import find_corpus
from builders.export.croissant import CROISSANT
from builders.export.manifest import MANIFEST, Manifest
from builders.export.run import export
from tests.export.test_run import Exports, exports

__all__ = ["exports"]  # a fixture

#: What the format recommends and no release states.
NOT_STATED = {"datePublished", "version"}

#: How many rows of a config are compared: mlcroissant is slow.
AT_MOST = 40


def read(folder: Path) -> mlcroissant.Dataset:
    """The metadata, without an error and without a warning but for what no release states."""
    data = mlcroissant.Dataset(jsonld=folder / CROISSANT)
    assert not data.metadata.issues.errors
    warned = {each.split('"')[1].split("/")[-1] for each in data.metadata.issues.warnings}
    assert warned == NOT_STATED
    return data


def plain(value: Any) -> Any:
    """A value as Python object, whichever of the two libraries gave it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def test_its_records_are_those_that_datasets_loads(corpus: str, exports: Exports) -> None:
    folder = exports(corpus)
    data = read(folder)
    for records in data.metadata.record_sets:
        config, split = records.uuid.split("/")
        if config not in ("cells", "stimuli", "val"):
            continue
        expected = load_dataset(str(folder), config, split=split)
        # Shards may come in another order, so rows are found by what identifies them.
        keys = [key for key in ("stim_id", "cell_id") if key in expected.features]
        values = [expected[key] for key in keys]
        numbers = {tuple(key): row for row, key in enumerate(zip(*values, strict=True))}
        rows = list(islice(data.records(records.uuid), AT_MOST))
        assert len(rows) == min(len(expected), AT_MOST)
        for row in rows:
            there = {name.rpartition("/")[2]: plain(value) for name, value in row.items()}
            assert there == expected[numbers[tuple(there[key] for key in keys)]]


def test_it_describes_the_configs_that_the_card_describes(corpus: str, exports: Exports) -> None:
    content = json.loads((exports(corpus) / CROISSANT).read_text())
    configs = {config.name: config for config in find_corpus(corpus).BUILDER_CONFIGS}
    named = [records["@id"] for records in content["recordSet"]]
    assert len(set(named)) == len(named)
    assert not [name for name in named if configs[name.partition("/")[0]].filters]
    assert not [name for name in named if "waveforms" in name]
    default = find_corpus(corpus).DEFAULT_CONFIG_NAME
    assert {f"{default}/est", f"{default}/val"} <= set(named)
    for field in (field for records in content["recordSet"] for field in records["field"]):
        if field["@id"].endswith("/response"):
            assert (field["dataType"], field["arrayShape"]) == ("cr:Float32", "-1,-1")
        if field["@id"].endswith("/onsets"):
            assert (field["dataType"], field["arrayShape"]) == ("cr:Float64", "-1")


@pytest.mark.parametrize("license", [None, "cc0-1.0"])
def test_a_site_and_the_sounds(
    license: str | None, home: Path, releases: Callable[[str], Path], tmp_path: Path
) -> None:
    metadata = {"license": license} if license else {}
    export(find_corpus("nat4"), ["ARM029a", "waveforms"], str(tmp_path), metadata=metadata)
    data = read(tmp_path)
    named = {records.uuid for records in data.metadata.record_sets}
    assert named == {"ARM029a/est", "ARM029a/val", "waveforms/waveforms"}
    assert data.metadata.license == [license or "cc-by-4.0"]
    assert CROISSANT in Manifest.from_json((tmp_path / MANIFEST).read_bytes()).files
