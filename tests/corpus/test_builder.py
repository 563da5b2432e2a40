"""The contract that every corpus keeps, run over each of them on its mini release."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml
from datasets import Dataset, DatasetDict, Features, load_dataset

from builders.conventions import parse_cell_id
from builders.corpus.registry import card_path, corpora, find_corpus
from builders.errors import CorpusError
from builders.release.local import Release
from builders.repository.card import local_card
from builders.schema import CELL_ID, RECORDS, STIMULI
from builders.urls import repository_url
from tests.conftest import run_python

Key = tuple[str, str | None]


@pytest.fixture(scope="module", params=sorted(corpora()))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(name: str, releases: Callable[[str], Path]) -> dict[Key, dict[str, Any]]:
    """Every record as the reference makes it of the release."""
    return reference_rows(name, releases(name), "data/")


def reference_rows(name: str, release: Path, under: str) -> dict[Key, dict[str, Any]]:
    shards = [
        shard
        for source in find_corpus(name).reference(Release(name, release, ""))
        for shard in source.read().shards
        if shard.path.startswith(under)
    ]
    return {key: shard.row(key) for shard in shards for key in shard.keys}


@pytest.fixture
def records(name: str, home: Path) -> DatasetDict:
    return load_dataset(f"./{name}", "all")


@pytest.fixture
def stimuli(name: str, home: Path) -> DatasetDict:
    return load_dataset(f"./{name}", "stimuli")


def keys(rows: Dataset) -> list[Key]:
    return list(zip(rows["stim_id"], rows["cell_id"], strict=True))


def test_there_is_one_record_for_each_pair_with_data(
    records: DatasetDict, expected: dict[Key, dict[str, Any]]
) -> None:
    found = [key for split in records.values() for key in keys(split)]
    assert len(found) == len(set(found))
    assert set(found) == set(expected)


def test_every_value_of_every_record_equals_the_reference(
    records: DatasetDict, expected: dict[Key, dict[str, Any]]
) -> None:
    for subset, rows in records.items():
        columns = rows.with_format("arrow")[:]
        names = [column for column in rows.column_names if column != "response"]
        values = {column: columns[column].to_pylist() for column in names}
        responses = columns["response"]
        for i, key in enumerate(keys(rows)):
            wanted = expected[key]
            assert wanted["subset"] == subset
            for column, of_column in values.items():
                assert of_column[i] == wanted[column], (key, column)
            trials = responses[i].values
            assert [len(trial) for trial in trials] == [len(t) for t in wanted["response"]], key
            flat = np.concatenate([np.asarray(trial) for trial in wanted["response"]])
            found = trials.flatten().to_numpy()
            assert found.dtype == np.float32
            assert np.array_equal(found, flat.astype(np.float32), equal_nan=True), key


def test_rows_are_ordered_by_stimulus_and_then_as_the_cell_list(
    name: str, records: DatasetDict
) -> None:
    listed = load_dataset(f"./{name}", "cells", split="cells")["cell_id"]
    positions = {cell: position for position, cell in enumerate(listed)}
    for rows in records.values():
        shards: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for row in rows.remove_columns("response"):
            place = row["stim"], positions[row["cell_id"]]
            shards.setdefault((row["area"], row["site"]), []).append(place)
        assert list(shards) == sorted(shards, key=lambda key: f"{key[0] or 'unlabeled'}/{key[1]}/")
        assert all(rows_of == sorted(rows_of) for rows_of in shards.values())


def test_columns_and_types_are_those_of_the_design(
    records: DatasetDict, stimuli: DatasetDict, name: str
) -> None:
    for split in ("est", "val"):
        features = records[split].features
        assert {column: features[column] for column in RECORDS} == Features(RECORDS)
        assert stimuli[split].features == Features(STIMULI)
    cells = load_dataset(f"./{name}", "cells", split="cells")
    assert {column: cells.features[column] for column in CELL_ID} == Features(CELL_ID)


def test_the_parts_of_the_cell_id_are_those_of_the_id(name: str, records: DatasetDict) -> None:
    parse = getattr(find_corpus(name), "parse_cell_id", parse_cell_id)
    for row in records["val"].remove_columns("response"):
        for part, value in parse(row["cell_id"]).items():
            assert row[part] == value


def test_stimuli_are_as_released_and_once_per_session(
    name: str, stimuli: DatasetDict, releases: Callable[[str], Path]
) -> None:
    rows_of = reference_rows(name, releases(name), "stimuli/")
    wanted = {row["stim_id"]: row for row in rows_of.values()}
    found: dict[str, int] = {}
    for subset, rows in stimuli.items():
        for row in rows.with_format("numpy"):
            found[row["stim_id"]] = found.get(row["stim_id"], 0) + 1
            of_reference = wanted[row["stim_id"]]
            assert row["subset"] == subset == of_reference["subset"]
            spectrogram = np.stack(list(row["spectrogram"]))
            assert spectrogram.dtype == np.float32
            assert np.array_equal(spectrogram, of_reference["spectrogram"])
            assert row["n_trials"] == of_reference["n_trials"] > 0
            assert row["dt_ms"] == 10.0
    assert set(found) == set(wanted)
    assert set(found.values()) == {1}


def test_the_cells_hold_every_cell_that_has_records(records: DatasetDict, name: str) -> None:
    cells = load_dataset(f"./{name}", "cells", split="cells")["cell_id"]
    assert {cell for rows in records.values() for cell in rows.unique("cell_id")} <= set(cells)


def test_every_config_has_shards_or_names_what_the_release_lacks(name: str, home: Path) -> None:
    filesystem = fsspec.filesystem("corpus")
    complete: list[bool] = []
    errors: list[str] = []
    for config in find_corpus(name).BUILDER_CONFIGS:
        globs = [repository_url(name) + glob for globs in config.globs.values() for glob in globs]
        try:
            complete.append(all(filesystem.glob(glob) for glob in globs))
        except CorpusError as caught:
            errors.append(str(caught))
    assert len(complete) >= 10
    assert all(complete)
    assert all("valid names" in error for error in errors)


def test_the_card_is_the_one_that_follows_from_the_builder(name: str) -> None:
    corpus = find_corpus(name)
    assert card_path(corpus).read_text(encoding="utf-8") == local_card(corpus)


def test_the_card_declares_what_the_builder_declares(name: str) -> None:
    corpus = find_corpus(name)
    header = yaml.safe_load(card_path(corpus).read_text(encoding="utf-8").split("---\n")[1])
    assert [config["config_name"] for config in header["configs"]] == list(corpus.builder_configs)
    defaults = [each["config_name"] for each in header["configs"] if each.get("default")]
    assert defaults == [corpus.DEFAULT_CONFIG_NAME]


INCOMPLETE = """
from builders.corpus.builder import CorpusBuilder

class Incomplete(CorpusBuilder):
    corpus, source, record, published = "incomplete", "", 1, {}

    @classmethod
    def jobs(cls, release):
        return []
"""


def test_a_corpus_that_is_not_complete_is_refused_by_name(tmp_path: Path) -> None:
    installed = tmp_path / "incomplete-1.dist-info"
    installed.mkdir()
    (tmp_path / "incomplete.py").write_text(INCOMPLETE)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: incomplete\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[builders.corpora]\nincomplete = incomplete:Incomplete\n"
    )
    code = """
    from builders.corpus.registry import corpora, find_corpus
    from builders.errors import CorpusError
    try:
        find_corpus("incomplete")
    except CorpusError as error:
        print(error)
    """
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    said = run_python(code, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    assert "the corpus incomplete is not complete" in said
    assert "Incomplete lacks describe, facts, reference, synthesize, card" in said
