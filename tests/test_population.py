"""Coverage, and populations: all cells' responses to a stimulus at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets, load_dataset
from torch.utils.data import DataLoader

from builders.errors import CorpusError
from builders.population import Coverage, Population, coverage
from builders.training import collate
from tests import unequal

CONFIGS = {"wingert2026": "CLT027c", "nat4": "A1", "espejo2019": "AMT003c"}

MATRIX = List(List(Value("float32")))

# Two stimuli were heard by one cell each and both by "y"; one trial of ("b", "y") is a bin short.
RECORDS = Dataset.from_dict(
    {
        "stim_id": ["b", "b", "a", "a"],
        "stim": ["B", "B", "A", "A"],
        "subset": ["val", "val", "est", "est"],
        "cell_id": ["y", "x", "y", "z"],
        "layer": ["44", "13", "44", None],
        "depth": [100.0, -20.0, 100.0, None],
        "narrow": [True, False, True, None],
        "response": [[[1, 2, 3], [4, 5]], [[6, 7, 8]], [[9, 10]], [[11, 12]]],
    },
    Features(
        {name: Value("string") for name in ("stim_id", "stim", "subset", "cell_id", "layer")}
        | {"depth": Value("float64"), "narrow": Value("bool"), "response": MATRIX}
    ),
)
STIMULI = Dataset.from_dict(
    {
        "stim_id": ["a", "b", "c"],
        "subset": ["est", "val", "est"],
        "n_trials": [1, 2, 1],
        "spectrogram": [[[1, 2]], [[3, 4, 5]], [[6]]],
    },
    Features(
        {"stim_id": Value("string"), "subset": Value("string"), "n_trials": Value("int32")}
        | {"spectrogram": MATRIX}
    ),
)
NAN = float("nan")


def both_subsets(corpus: str, config: str, streaming: bool = False) -> Any:
    found = load_dataset(f"./{corpus}", config, streaming=streaming)
    return concatenate_datasets([found["est"], found["val"]])


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))


def test_coverage_of_a_few_records() -> None:
    found = coverage(RECORDS)
    assert found.present.tolist() == [[True, True, False], [True, False, True]]
    assert found.stimuli.to_pydict() == {
        "stim_id": ["b", "a"],
        "stim": ["B", "A"],
        "subset": ["val", "est"],
    }
    assert found.cells.to_pydict() == {
        "cell_id": ["y", "x", "z"],
        "layer": ["44", "13", None],
        "depth": [100.0, -20.0, None],
        "narrow": [True, False, None],
    }


def test_two_sites_share_no_stimulus(home: Path) -> None:
    found = coverage(
        concatenate_datasets([both_subsets("wingert2026", site) for site in ("CLT027c", "CLT028c")])
    )
    assert found.present.shape == (117, 77)
    assert found.present.sum() == 6262
    assert (~found.present).sum() == 2747


@pytest.mark.parametrize("streaming", [False, True])
def test_coverage_is_that_of_the_records(home: Path, corpus: str, streaming: bool) -> None:
    rows = list(both_subsets(corpus, CONFIGS[corpus]).remove_columns(["response", "onsets"]))
    found = coverage(both_subsets(corpus, CONFIGS[corpus], streaming))
    stimuli = {row["stim_id"]: row for row in rows}
    cells = {row["cell_id"]: row for row in rows}
    assert found.stimuli["stim_id"].to_pylist() == list(stimuli)
    assert found.cells["cell_id"].to_pylist() == list(cells)
    pairs = {(row["stim_id"], row["cell_id"]) for row in rows}
    assert found.present.tolist() == [[(s, c) in pairs for c in cells] for s in stimuli]
    for column in ("area", "electrode", "probe"):
        assert found.cells[column].to_pylist() == [row[column] for row in cells.values()]


def test_coverage_needs_no_responses() -> None:
    ids = RECORDS.select_columns(["stim_id", "cell_id"])
    assert coverage(ids).present.tolist() == coverage(RECORDS).present.tolist()
    assert coverage(ids.to_iterable_dataset()).cells.to_pydict() == {"cell_id": ["y", "x", "z"]}
    nothing = coverage(ids.select([]))
    assert nothing.present.shape == (0, 0)


def test_an_item_is_one_stimulus_and_all_cells() -> None:
    population = Population(RECORDS, STIMULI)
    assert len(population) == 2
    assert population.stimuli.to_pydict() == {
        "stim_id": ["b", "a"],
        "subset": ["val", "est"],
        "n_trials": [2, 1],
    }
    assert population.cells.equals(coverage(RECORDS).cells)
    b, a = population
    assert [b["stim_id"], a["stim_id"]] == ["b", "a"]
    assert b["spectrogram"].tolist() == [[3, 4, 5]]
    none = [NAN] * 3
    expected = [[[1, 2, 3], [4, 5, NAN]], [[6, 7, 8], none], [none, none]]
    assert same(b["response"], torch.tensor(expected))
    assert torch.equal(b["mask"], ~b["response"].isnan())
    assert same(a["response"], torch.tensor([[[9.0, 10]], [[NAN] * 2], [[11, 12]]]))
    assert torch.equal(a["mask"], ~a["response"].isnan())
    assert same(population[-1]["response"], a["response"])
    with pytest.raises(IndexError):
        population[2]


def slow(stim_id: str, cells: list[str]) -> dict[str, Any]:
    """The item of a stimulus in `unequal`, value by value."""
    bands = unequal.SPECTROGRAMS[stim_id]
    trials = {cell: unequal.RESPONSES.get((stim_id, cell), []) for cell in cells}
    n_bins = max(len(row) for rows in (bands, *trials.values()) for row in rows)
    response = torch.full((len(cells), max(map(len, trials.values())), n_bins), NAN)
    spectrogram = torch.zeros(len(bands), n_bins)
    for band, values in enumerate(bands):
        for bin_, value in enumerate(values):
            spectrogram[band, bin_] = value
    for row, cell in enumerate(cells):
        for trial, values in enumerate(trials[cell]):
            for bin_, value in enumerate(values):
                if value != unequal.INF:
                    response[row, trial, bin_] = value
    heard = torch.tensor([bin_ < len(bands[0]) for bin_ in range(n_bins)])
    mask = ~response.isnan()
    return {
        "stim_id": stim_id,
        "spectrogram": spectrogram,
        "response": response,
        "mask": mask,
        "stimulus_mask": heard,
    }


@pytest.mark.parametrize("shuffled", [False, True])
def test_responses_and_spectrograms_may_differ_in_length(shuffled: bool) -> None:
    records = unequal.records().shuffle(seed=0) if shuffled else unequal.records()
    population = Population(records, unequal.stimuli())
    cells = population.cells["cell_id"].to_pylist()
    items = list(population)  # type: ignore[call-overload]
    assert [item["stim_id"] for item in items] == list(dict.fromkeys(records["stim_id"]))
    for item in items:
        expected = slow(item["stim_id"], cells)
        assert item.keys() == expected.keys()
        for name in set(item) - {"stim_id"}:
            assert same(item[name], expected[name]), (item["stim_id"], name)
    batch = Population.collate(items)
    assert batch["spectrogram"].shape == (6, 2, 6)
    assert batch["response"].shape == batch["mask"].shape == (6, 2, 2, 6)
    assert torch.equal(batch["mask"], ~batch["response"].isnan())
    for row, item in enumerate(items):
        n_bins = len(item["stimulus_mask"])
        n_trials = item["response"].shape[1]
        assert torch.equal(batch["stimulus_mask"][row, :n_bins], item["stimulus_mask"])
        assert not batch["stimulus_mask"][row, n_bins:].any()
        assert same(batch["response"][row, :, :n_trials, :n_bins], item["response"])
        assert torch.equal(batch["spectrogram"][row, :, :n_bins], item["spectrogram"])
        assert not batch["spectrogram"][row, :, n_bins:].any()
        assert batch["mask"][row].sum() == item["mask"].sum()


@pytest.mark.parametrize("shuffled", [False, True])
def test_items_are_those_of_the_records(home: Path, corpus: str, shuffled: bool) -> None:
    """Compared value by value with the records' Python lists."""
    records = load_dataset(f"./{corpus}", CONFIGS[corpus], split="val")
    if shuffled:
        records = records.shuffle(seed=0)
    tables = load_dataset(f"./{corpus}", "stimuli")
    spectrograms = {row["stim_id"]: row["spectrogram"] for row in tables["val"]}
    population = Population(records, tables)
    cells = population.cells["cell_id"].to_pylist()
    rows: dict[str, dict[str, Any]] = {}
    for row in records:
        rows.setdefault(row["stim_id"], {})[row["cell_id"]] = row["response"]
    assert population.stimuli["stim_id"].to_pylist() == list(rows)
    for item, (stim_id, responses) in zip(population, rows.items(), strict=True):
        assert item["stim_id"] == stim_id
        assert item["spectrogram"].dtype == torch.float32
        assert item["spectrogram"].tolist() == spectrograms[stim_id]
        n_trials = max(map(len, responses.values()))
        n_bins = len(spectrograms[stim_id][0])
        assert item["response"].shape == item["mask"].shape == (len(cells), n_trials, n_bins)
        assert item["response"].dtype == torch.float32
        for cell, response, mask in zip(cells, item["response"], item["mask"], strict=True):
            heard = responses.get(cell, [])
            assert mask.any(dim=1).tolist() == [trial < len(heard) for trial in range(n_trials)]
            assert response[: len(heard)].tolist() == heard
            assert torch.equal(mask, ~response.isnan())


def test_a_selection_is_the_population_of_the_records_left(home: Path) -> None:
    records = both_subsets("wingert2026", "CLT027c")
    stimuli = load_dataset("./wingert2026", "stimuli")
    found = Population(records, stimuli).select(
        cells={"layer": ["13", "44"], "narrow": False}, stimuli={"subset": "val"}
    )
    left = records.filter(
        lambda row: (
            row["layer"] in ("13", "44") and row["narrow"] is False and row["subset"] == "val"
        )
    )
    expected = Population(left, stimuli)
    assert 0 < len(expected.cells) < 20
    assert len(found) == len(expected) == 2
    assert found.cells.to_pylist() == expected.cells.to_pylist()
    assert found.stimuli.to_pylist() == expected.stimuli.to_pylist()
    assert found.present.tolist() == expected.present.tolist()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["spectrogram"], other["spectrogram"])
        assert same(one["response"], other["response"])


@pytest.mark.parametrize(
    ("selection", "cells", "stimuli"),
    [
        ({}, ["y", "x", "z"], ["b", "a"]),
        ({"cells": {"narrow": True}}, ["y"], ["b", "a"]),
        ({"cells": {"layer": None}}, ["z"], ["a"]),
        ({"cells": {"layer": ["13", None]}}, ["x", "z"], ["b", "a"]),
        ({"stimuli": {"subset": "val"}}, ["y", "x"], ["b"]),
        ({"stimuli": {"n_trials": 1}}, ["y", "z"], ["a"]),
        ({"cells": {"cell_id": {"x", "z"}}, "stimuli": {"stim_id": "a"}}, ["z"], ["a"]),
    ],
)
def test_what_a_selection_leaves(
    selection: dict[str, Any], cells: list[str], stimuli: list[str]
) -> None:
    part = Population(RECORDS, STIMULI).select(**selection)
    assert part.cells["cell_id"].to_pylist() == cells
    assert part.stimuli["stim_id"].to_pylist() == stimuli
    assert [item["stim_id"] for item in part] == stimuli
    assert all(item["response"].shape[0] == len(cells) for item in part)
    of_coverage: Coverage = coverage(RECORDS).select(cells=selection.get("cells"))
    again = Population(RECORDS, STIMULI).select(cells=selection.get("cells"))
    assert of_coverage.present.tolist() == again.present.tolist()


def test_a_selection_by_a_comparison_goes_by_way_of_the_table() -> None:
    population = Population(RECORDS, STIMULI)
    deep = population.cells.filter(pc.field("depth") > 0)
    part = population.select(cells={"cell_id": deep["cell_id"].to_pylist()})
    assert part.cells["cell_id"].to_pylist() == ["y"]
    assert len(population.cells) == 3


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"cells": {"layers": "44"}}, "unknown cell column 'layers'\n.*did you mean layer?"),
        ({"stimuli": {"layer": "44"}}, "unknown stimulus column 'layer'"),
        ({"cells": {"layer": 44}}, "cannot select by 'layer'\n.*\n.*'44', '13', None"),
        ({"cells": {"layer": "56"}}, "leaves nothing\n.*of 3 cells it names 0"),
        ({"cells": {"cell_id": "x"}, "stimuli": {"stim_id": "a"}}, "leaves nothing"),
    ],
)
def test_a_selection_of_nothing_is_refused(selection: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        Population(RECORDS, STIMULI).select(**selection)


def test_a_batch_is_padded_on_the_right() -> None:
    population = Population(RECORDS, STIMULI)
    batch = Population.collate([population[0], population[1]])
    assert batch["stim_id"] == ["b", "a"]
    assert batch["spectrogram"].tolist() == [[[3, 4, 5]], [[1, 2, 0]]]
    assert batch["response"].shape == (2, 3, 2, 3)
    assert same(batch["response"][0], population[0]["response"])
    none = [NAN] * 3
    expected = [[[9, 10, NAN], none], [none, none], [[11, 12, NAN], none]]
    assert same(batch["response"][1], torch.tensor(expected))
    assert torch.equal(batch["mask"], ~batch["response"].isnan())
    assert batch["stimulus_mask"].int().tolist() == [[1, 1, 1], [1, 1, 0]]
    part = population.select(cells={"cell_id": ["x", "y"]})
    with pytest.raises(CorpusError, match=r"\[\(2, 1\), \(3, 1\)\]"):
        Population.collate([population[0], part[0]])


def test_collate_knows_items() -> None:
    """Of whatever makes batches of records, too; and keys that a user has removed are no matter."""
    items = list(Population(RECORDS, STIMULI))  # type: ignore[call-overload]
    expected, found = Population.collate(items), collate(items)
    assert list(found) == list(expected)
    assert isinstance(next(iter(found.values())), torch.Tensor)
    for name, value in expected.items():
        assert found[name] == value if name == "stim_id" else same(found[name], value), name
    for kept in (["response"], ["response", "mask", "stim_id"], ["spectrogram", "response"]):
        batch = collate([{name: item[name] for name in kept} for item in items])
        assert set(batch) == set(kept)
        assert same(batch["response"], expected["response"])


def test_workers_read_the_same_items(home: Path) -> None:
    stimuli = load_dataset("./nat4", "stimuli")
    population = Population(load_dataset("./nat4", "A1", split="val"), stimuli)
    assert len(pickle.dumps(population)) < 200_000
    copied = pickle.loads(pickle.dumps(population))
    expected = [population.collate([population[i], population[i + 1]]) for i in range(0, 6, 2)]
    for data, options in (
        (population, {"num_workers": 2}),
        (copied, {}),
        (population, {"num_workers": 1, "multiprocessing_context": "spawn"}),
    ):
        loader = DataLoader(data, batch_size=2, collate_fn=Population.collate, **options)
        for batch, other in zip(loader, expected, strict=True):
            assert batch["stim_id"] == other["stim_id"]
            for name in ("spectrogram", "response", "mask", "stimulus_mask"):
                assert same(batch[name], other[name])


@pytest.mark.parametrize(
    ("records", "stimuli", "message"),
    [
        (
            RECORDS.to_iterable_dataset(),
            STIMULI,
            "cannot make a population of a stream(\n.*)*without stream",
        ),
        (DatasetDict(est=RECORDS), STIMULI, "not DatasetDict"),
        (RECORDS.remove_columns("response"), STIMULI, "no column response"),
        (RECORDS, STIMULI.select([1, 2]), "for 1 of these records' 2 stimuli\n.*lack 'a'"),
        (
            concatenate_datasets([RECORDS, RECORDS.select([1])]),
            STIMULI,
            "more than once\n.*row 4: stimulus b, cell x",
        ),
    ],
)
def test_what_makes_no_population_is_refused(records: Any, stimuli: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        Population(records, stimuli)
