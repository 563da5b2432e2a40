"""A population made of a stream: the same records as in `Population`, each once in a pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import load_dataset

from builders.population import Population
from builders.streamed import StreamedPopulation
from tests import unequal


@pytest.mark.parametrize("most_waiting", [1, 300_000, 1 << 30])
def test_items_are_those_of_the_population(home: Any, most_waiting: int) -> None:
    """Of several sites whose cells were presented the same stimuli."""
    stimuli = load_dataset("./nat4", "stimuli")
    mapped = Population(load_dataset("./nat4", "A1", split="val"), stimuli)
    stream = load_dataset("./nat4", "A1", split="val", streaming=True)
    streamed = StreamedPopulation(stream, stimuli, most_waiting)
    assert streamed.cells.equals(mapped.cells)
    merged: dict[str, torch.Tensor] = {}
    n_items = n_records = 0
    for item in streamed:
        n_items += 1
        n_records += int(item["mask"].any(-1).any(-1).sum())
        assert torch.equal(torch.isnan(item["response"]), ~item["mask"])
        padded = torch.full((len(mapped.cells), 20, 150), torch.nan)
        padded[:, : item["response"].shape[1]] = item["response"]
        known = merged.setdefault(item["stim_id"], torch.full_like(padded, torch.nan))
        merged[item["stim_id"]] = torch.where(torch.isnan(known), padded, known)
    assert n_items == {1: 4 * len(mapped), 1 << 30: len(mapped)}.get(most_waiting, n_items)
    assert len(mapped) <= n_items <= 4 * len(mapped)
    assert n_records == mapped.present.sum()
    for expected in mapped:  # type: ignore[attr-defined]
        assert torch.equal(
            merged[expected["stim_id"]].nan_to_num(-1), expected["response"].nan_to_num(-1)
        )


def test_each_pass_has_another_order_and_each_seed(home: Any) -> None:
    stimuli = load_dataset("./nat4", "stimuli")
    stream = load_dataset("./nat4", "A1", split="val", streaming=True)

    def orders(seed: int) -> list[list[str]]:
        streamed = StreamedPopulation(stream, stimuli, seed=seed)
        return [[item["stim_id"] for item in streamed] for _ in range(2)]

    (first, second), again, (other, _) = orders(0), orders(0), orders(1)
    assert [first, second] == again
    assert first != second
    assert first != other
    assert sorted(first) == sorted(second) == sorted(other)


def test_items_of_unequal_length() -> None:
    stimuli = unequal.stimuli()
    expected = {
        item["stim_id"]: item
        for item in Population(unequal.records(), stimuli)  # type: ignore[attr-defined]
    }
    streamed = StreamedPopulation(unequal.records().to_iterable_dataset(), stimuli)
    assert streamed.cells["cell_id"].to_pylist() == ["x", "y"]
    items = {item["stim_id"]: item for item in streamed}
    assert items.keys() == expected.keys()
    for stim_id, item in items.items():
        other = expected[stim_id]
        assert item.keys() == other.keys()
        for name in set(item) - {"stim_id"}:
            assert torch.equal(item[name].nan_to_num(-1), other[name].nan_to_num(-1)), name


def test_batches_are_those_of_population_items(home: Any) -> None:
    stimuli = load_dataset("./nat4", "stimuli")
    stream = load_dataset("./nat4", "A1", split="est", streaming=True)
    streamed = StreamedPopulation(stream, stimuli)
    loader = torch.utils.data.DataLoader(streamed, 4, collate_fn=Population.collate)
    batch = next(iter(loader))
    assert batch["spectrogram"].shape == (4, 18, 150)
    assert batch["response"].shape == batch["mask"].shape == (4, len(streamed.cells), 1, 150)


def test_workers_read_each_record_once_in_another_order_each_pass(home: Any) -> None:
    stimuli = load_dataset("./nat4", "stimuli")
    present = Population(load_dataset("./nat4", "A1", split="val"), stimuli).present
    stream = load_dataset("./nat4", "A1", split="val", streaming=True)
    loader = torch.utils.data.DataLoader(
        StreamedPopulation(stream, stimuli), 2, num_workers=2, collate_fn=Population.collate
    )
    torch.manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(loader)
        n_records = sum(int(batch["mask"].any(-1).any(-1).sum()) for batch in batches)
        assert n_records == present.sum()
        orders.append([stim_id for batch in batches for stim_id in batch["stim_id"]])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
