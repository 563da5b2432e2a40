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


GOOD = """
from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import CorpusConfig

class Good(CorpusBuilder):
    corpus, source, published, card = "mine", "https://example.org", {}, {}
    BUILDER_CONFIGS = [CorpusConfig("cells", globs={"cells": ("cells.parquet",)})]
    DEFAULT_CONFIG_NAME = "cells"

    @classmethod
    def jobs(cls, release): return []
    @classmethod
    def describe(cls, release): return {}
    @classmethod
    def facts(cls): return []
    @classmethod
    def reference(cls, release): return iter(())
    @classmethod
    def synthesize(cls, folder, scale, seed, driven=False): pass
"""


def install(folder: Path, code: str, name: str = "mine", package: str = "theirs") -> None:
    """A package of a third party with one corpus, in a folder on the path."""
    installed = folder / f"{package}-1.dist-info"
    installed.mkdir(parents=True)
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(code)
    (folder / package / "README.md").write_text("# Mine\n")
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[builders.corpora]\n{name} = {package}:Good\n")


def run_with(folder: Path, code: str) -> str:
    paths = [str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return run_python(code, PYTHONPATH=os.pathsep.join(filter(None, paths)))


FIND = """
    from builders.corpus.registry import find_corpus
    from builders.errors import CorpusError
    try:
        print(find_corpus("mine").corpus)
    except CorpusError as error:
        print(error)
    """
LISTED = """
    import warnings, fsspec
    from typer.testing import CliRunner
    from builders.cli import app
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(fsspec.filesystem("corpus").ls("", detail=False))
    print("WARNED", *(each.message for each in caught))
    print("STATUS", CliRunner().invoke(app, ["status"]).output)
    """


def test_a_corpus_of_a_third_party_is_found(home: Path, tmp_path: Path) -> None:
    install(tmp_path, GOOD)
    assert run_with(tmp_path, FIND) == "mine\n"
    listed, said = run_with(tmp_path, LISTED).split("WARNED")
    assert "'mine'" in listed
    assert "skipped" not in said
    # It is not on Zenodo, and whoever asks for it is told how to name the files.
    assert "no release of mine" in said
    assert "set MINE_DATA to their folder" in said


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("from builders", "import no_such_package\nfrom builders", "No module named 'no_such"),
        ("class Good", "raise SystemError('boom')\nclass Good", "SystemError: boom"),
        ("class Good(CorpusBuilder)", "class Good", "is no CorpusBuilder"),
        ("def describe", "def other", "Good lacks describe"),
        ("published, card =", "published, other =", "Good lacks card"),
        ('"mine"', '"others"', "its attribute corpus is 'others', its entry point 'mine'"),
        ('NAME = "cells"', 'NAME = "all"', "DEFAULT_CONFIG_NAME is 'all', which is no config"),
        ('{"cells": (', '{"train": (', "the config cells has a split 'train'"),
        ("[CorpusConfig", "2 * [CorpusConfig", "two configs are called cells"),
    ],
)
def test_a_broken_corpus_is_named_and_skipped(
    home: Path, tmp_path: Path, old: str, new: str, why: str
) -> None:
    assert old in GOOD
    install(tmp_path, GOOD.replace(old, new, 1))
    said = run_with(tmp_path, FIND)
    assert "the corpus mine" in said
    assert "theirs:Good of the package theirs" in said
    assert why in said
    listed, said = run_with(tmp_path, LISTED).split("WARNED")
    assert "wingert2026" in listed
    assert "mine" not in listed
    assert said.count(why) == 2  # the warning, and the status
    assert "wingert2026\n" in said.split("STATUS")[1]


def test_two_packages_with_one_corpus_and_a_corpus_without_a_card(
    home: Path, tmp_path: Path
) -> None:
    install(tmp_path, GOOD)
    install(tmp_path, GOOD, package="others")
    assert "2 packages have a corpus of this name: others:Good, theirs:Good" in run_with(
        tmp_path, FIND
    )
    install(tmp_path / "bare", GOOD)
    (tmp_path / "bare" / "theirs" / "README.md").unlink()
    assert "there is no card" in run_with(tmp_path / "bare", FIND)
    install(tmp_path / "odd", GOOD.replace('"mine"', '"My-Data"'), name="My-Data")
    find = FIND.replace('"mine"', '"My-Data"')
    assert "no name of lower-case letters" in run_with(tmp_path / "odd", find)
