"""The tests of the contract. ``expected`` is what the corpus' reference reads."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml
from datasets import Dataset, DatasetDict, Features, load_dataset
from torch.utils.data import DataLoader

import builders
from builders.conventions import SUBSETS, parse_cell_id
from builders.corpus.registry import card_path, find_corpus
from builders.errors import CorpusError
from builders.export.folder import verify_folder
from builders.export.run import export
from builders.population import Population
from builders.release.local import Release
from builders.repository.card import local_card
from builders.schema import CELL_ID, RECORDS, STIMULI
from builders.stimuli import with_stimuli
from builders.training import collate
from builders.urls import repository_url
from builders.validation.compare import compare_release
from builders.validation.reference import Shards

Key = tuple[str, str | None]
Row = dict[str, Any]


@pytest.fixture
def shards(name: str, release: Path, home: Path) -> list[Shards]:
    """The shards that the reference makes of the release, sorted by path."""
    sources = find_corpus(name).reference(Release(name, release, ""))
    return sorted((each for source in sources for each in source.read().shards), key=_path)


def _path(shard: Shards) -> str:
    return shard.path


def rows_below(shards: list[Shards], folder: str) -> dict[Key, Row]:
    below = [shard for shard in shards if shard.path.startswith(folder)]
    return {key: shard.row(key) for shard in below for key in shard.keys}


@pytest.fixture
def expected(shards: list[Shards]) -> dict[Key, Row]:
    """Every record as the reference makes it."""
    return rows_below(shards, "data/")


@pytest.fixture
def records(name: str, home: Path) -> DatasetDict:
    return load_dataset(builders.path(name), "all")


@pytest.fixture
def stimuli(name: str, home: Path) -> DatasetDict:
    return load_dataset(builders.path(name), "stimuli")


def keys(rows: Dataset) -> list[Key]:
    return list(zip(rows["stim_id"], rows["cell_id"], strict=True))


def test_there_is_one_record_for_each_pair_with_data(
    records: DatasetDict, expected: dict[Key, Row]
) -> None:
    found = [key for split in records.values() for key in keys(split)]
    assert len(found) == len(set(found))
    assert set(found) == set(expected)


def test_every_value_of_every_record_equals_the_reference(
    records: DatasetDict, expected: dict[Key, Row]
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
    listed = load_dataset(builders.path(name), "cells", split="cells")["cell_id"]
    positions = {cell: position for position, cell in enumerate(listed)}
    for rows in records.values():
        shards: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for row in rows.remove_columns("response"):
            place = row["stim"], positions[row["cell_id"]]
            shards.setdefault((row["area"], row["site"]), []).append(place)
        assert all(rows_of == sorted(rows_of) for rows_of in shards.values())


def test_shards_are_ordered_by_path(records: DatasetDict, shards: list[Shards]) -> None:
    for subset, rows in records.items():
        of_subset = [each for each in shards if fnmatch(each.path, f"data/*/{subset}.parquet")]
        assert keys(rows) == [key for shard in of_subset for key in shard.keys]


def test_columns_and_types_are_those_of_the_design(
    records: DatasetDict, stimuli: DatasetDict, name: str
) -> None:
    for split in ("est", "val"):
        features = records[split].features
        assert {column: features[column] for column in RECORDS} == Features(RECORDS)
        assert stimuli[split].features == Features(STIMULI)
    cells = load_dataset(builders.path(name), "cells", split="cells")
    assert {column: cells.features[column] for column in CELL_ID} == Features(CELL_ID)


def test_the_parts_of_the_cell_id_are_those_of_the_id(name: str, records: DatasetDict) -> None:
    parse = getattr(find_corpus(name), "parse_cell_id", parse_cell_id)
    for row in records["val"].remove_columns("response"):
        for part, value in parse(row["cell_id"]).items():
            assert row[part] == value


def test_stimuli_are_as_released_and_once_per_session(
    stimuli: DatasetDict, shards: list[Shards]
) -> None:
    wanted = {row["stim_id"]: row for row in rows_below(shards, "stimuli/").values()}
    found: dict[str, int] = {}
    for subset, rows in stimuli.items():
        for row in rows.with_format("numpy"):
            found[row["stim_id"]] = found.get(row["stim_id"], 0) + 1
            of_reference = wanted[row["stim_id"]]
            assert row["subset"] == subset == of_reference["subset"]
            spectrogram = np.stack(list(row["spectrogram"]))
            assert spectrogram.dtype == np.float32
            assert np.array_equal(spectrogram, of_reference["spectrogram"])
            assert row["n_trials"] == of_reference["n_trials"]
            assert row["dt_ms"] == of_reference["dt_ms"]
    assert set(found) == set(wanted)
    assert set(found.values()) == {1}
    assert any(row["n_trials"] for row in wanted.values())


def test_the_cells_hold_every_cell_that_has_records(records: DatasetDict, name: str) -> None:
    cells = load_dataset(builders.path(name), "cells", split="cells")["cell_id"]
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
    assert complete
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


def test_a_stream_has_the_same_rows(name: str, records: DatasetDict) -> None:
    for subset in SUBSETS:
        stream = load_dataset(builders.path(name), "all", split=subset, streaming=True)
        found = [repr(row) for row in stream.take(50)]
        assert found == [repr(row) for row in records[subset].select(range(len(found)))]


def check_record(record: Row, response: Any, mask: Any) -> None:
    """A record's trials in padded arrays (R, T): padding and missing values are in no mask."""
    wanted = np.full(response.shape, np.nan, np.float32)
    for place, trial in zip(wanted, record["response"], strict=False):
        place[: len(trial)] = trial
    assert len(record["response"]) <= len(wanted)
    assert np.array_equal(mask, np.isfinite(wanted))
    assert np.array_equal(response[mask], wanted[mask])


def check_spectrogram(wanted: Any, spectrogram: Any, mask: Any) -> None:
    """A stimulus' spectrogram in a padded array (F, T)."""
    n_bins = len(wanted[0])
    assert np.array_equal(spectrogram[:, :n_bins], np.array(wanted, np.float32))
    assert np.array_equal(np.flatnonzero(mask), np.arange(n_bins))


def by_stimulus(stimuli: DatasetDict) -> dict[str, Any]:
    return dict(zip(stimuli["val"]["stim_id"], stimuli["val"]["spectrogram"], strict=True))


def test_rows_have_their_spectrograms_and_make_batches(
    records: DatasetDict, stimuli: DatasetDict
) -> None:
    some = records["val"].select(range(min(40, len(records["val"]))))
    spectrograms = by_stimulus(stimuli)
    joined: Any = with_stimuli(some, stimuli)
    loader: DataLoader[Any] = DataLoader(joined, batch_size=8, collate_fn=collate)
    names = ("response", "mask", "spectrogram", "stimulus_mask")
    made = [
        tuple(batch[name][i].numpy() for name in names)
        for batch in loader
        for i in range(len(batch["mask"]))
    ]
    for record, (response, mask, spectrogram, stimulus_mask) in zip(some, made, strict=True):
        check_record(record, response, mask)
        check_spectrogram(spectrograms[record["stim_id"]], spectrogram, stimulus_mask)


def test_a_population_has_all_cells_of_a_stimulus(
    records: DatasetDict, stimuli: DatasetDict
) -> None:
    population = Population(records["val"], stimuli)
    assert population.present.sum() == len(records["val"])
    place = {key: row for row, key in enumerate(keys(records["val"]))}
    cells = population.cells["cell_id"].to_pylist()
    item = population[0]
    check_spectrogram(
        by_stimulus(stimuli)[item["stim_id"]], item["spectrogram"].numpy(), item["stimulus_mask"]
    )
    for cell, response, mask in zip(cells, item["response"], item["mask"], strict=True):
        row = place.get((item["stim_id"], cell))
        record = {"response": []} if row is None else records["val"][row]
        check_record(record, response.numpy(), mask.numpy())


def test_the_deep_validation_finds_no_difference(name: str, home: Path) -> None:
    corpus = find_corpus(name)
    result = compare_release(corpus, corpus.release(), records=0, seed=0)
    assert [str(each) for each in result.differences] == []
    assert result.compared == result.rows > 0


def test_facts_have_sources_and_the_release_is_counted(name: str, home: Path) -> None:
    corpus = find_corpus(name)
    assert all(fact.source for fact in corpus.facts())
    assert corpus.describe(corpus.release())


def test_an_export_loads_without_this_package(name: str, home: Path, tmp_path: Path) -> None:
    corpus = find_corpus(name)
    done = export(corpus, ["val"], str(tmp_path / "out"))
    assert done.failures == []
    assert verify_folder(str(tmp_path / "out")) == []
    local = load_dataset(builders.path(name), "val", split="val")
    found = load_dataset(str(tmp_path / "out"), "val", split="val")
    assert found.features == local.features
    assert found["cell_id"] == local["cell_id"]
    assert found["stim_id"] == local["stim_id"]
