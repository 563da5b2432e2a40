"""Batches: what comes out, for every kind of row that goes in, mapped and streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, Features, concatenate_datasets, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from builders.errors import CorpusError
from builders.preprocess import BandScaler
from builders.schema import RECORDS as RECORD_COLUMNS
from builders.stimuli import with_stimuli
from builders.training import collate
from tests import unequal

CONFIGS = {"wingert2026": "CLT027c", "nat4": "A1", "espejo2019": "AMT003c"}

Rows = list[dict[str, Any]]

NAN, INF = unequal.NAN, unequal.INF


def test_a_batch_is_padded_on_the_right() -> None:
    batch = collate(
        [
            {
                "cell_id": "x",
                "spectrogram": [[1, 2, 3], [4, 5, 6]],
                "response": [[1, 2, 3], [4, 5]],
            },
            {"cell_id": "y", "spectrogram": [[7, 8], [9, 10]], "response": [[6]]},
        ]
    )
    assert list(batch) == ["response", "mask", "spectrogram", "stimulus_mask", "cell_id"]
    assert batch["cell_id"] == ["x", "y"]
    assert batch["spectrogram"].tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 0], [9, 10, 0]]]
    assert batch["response"].tolist() == [[[1, 2, 3], [4, 5, 0]], [[6, 0, 0], [0, 0, 0]]]
    assert batch["mask"].int().tolist() == [[[1, 1, 1], [1, 1, 0]], [[1, 0, 0], [0, 0, 0]]]
    assert batch["stimulus_mask"].int().tolist() == [[1, 1, 1], [1, 1, 0]]
    types = [batch[name].dtype for name in list(batch)[:4]]
    assert types == [torch.float32, torch.bool, torch.float32, torch.bool]


def test_a_response_and_its_spectrogram_may_differ_in_length() -> None:
    batch = collate(
        [
            {"spectrogram": [[1, 2, 3, 4]], "response": [[1, 2], [3]]},
            {"spectrogram": [[5]], "response": [[4, 5, 6]]},
            {"spectrogram": [[]], "response": [[7]]},
        ]
    )
    assert batch["spectrogram"].tolist() == [[[1, 2, 3, 4]], [[5, 0, 0, 0]], [[0, 0, 0, 0]]]
    assert batch["response"][:, 0].tolist() == [[1, 2, 0, 0], [4, 5, 6, 0], [7, 0, 0, 0]]
    assert batch["mask"][:, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch["stimulus_mask"].int().tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    counted = batch["mask"] & batch["stimulus_mask"][:, None]
    assert counted.int().tolist() == [
        [[1, 1, 0, 0], [1, 0, 0, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]


def test_bins_that_were_not_recorded_are_false_in_the_mask() -> None:
    """And zero in the response, so that a masked loss and its gradient are finite."""
    batch = collate([{"response": [[1, NAN, 3], [INF, 5]]}, {"response": [[NAN]]}])
    assert batch["response"].tolist() == [[[1, 0, 3], [0, 5, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert batch["mask"].int().tolist() == [[[1, 0, 1], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_collate_leaves_what_it_is_given_as_it_is() -> None:
    response = np.array([[1, NAN]], np.float32)
    collate([{"response": response}])
    assert np.isnan(response[0, 1])


def test_records_without_spectrograms_make_a_batch_without() -> None:
    assert list(collate([{"response": [[1.0]], "unit": 3}])) == ["response", "mask", "unit"]


def test_other_columns_are_lists_of_python_values() -> None:
    rows = [
        {"response": [[1.0]], "layer": "44", "depth": 0.5, "narrow": True, "onsets": [0.25, 1.5]},
        {"response": [[1.0]], "layer": None, "depth": None, "narrow": None, "onsets": None},
    ]
    data = Dataset.from_list(rows)
    expected = {name: [row[name] for row in rows] for name in rows[0] if name != "response"}
    for form in (None, "arrow", "torch"):
        batch = collate([data.with_format(form)[index] for index in range(2)])
        found = {name: batch[name] for name in expected}
        if form == "torch":  # which has made NaN of them
            assert np.isnan(found["depth"].pop())
            expected["depth"].pop()
        assert found == expected


def slow(rows: Rows) -> dict[str, Any]:
    """What `collate` must give, value by value."""
    matrices = [row[name] for row in rows for name in ("spectrogram", "response")]
    n_bins = max((len(values) for matrix in matrices for values in matrix), default=0)
    n_trials = max(len(row["response"]) for row in rows)
    n_bands = len(rows[0]["spectrogram"])
    spectrogram = torch.zeros(len(rows), n_bands, n_bins)
    response = torch.zeros(len(rows), n_trials, n_bins)
    mask = torch.zeros(len(rows), n_trials, n_bins, dtype=torch.bool)
    for record, row in enumerate(rows):
        for band, values in enumerate(row["spectrogram"]):
            for bin_, value in enumerate(values):
                spectrogram[record, band, bin_] = value
        for trial, values in enumerate(row["response"]):
            for bin_, value in enumerate(values):
                if math.isfinite(value):
                    response[record, trial, bin_] = value
                    mask[record, trial, bin_] = True
    return {
        **{name: [row[name] for row in rows] for name in rows[0] if name in ("stim_id", "cell_id")},
        "spectrogram": spectrogram,
        "response": response,
        "mask": mask,
        "stimulus_mask": torch.tensor(
            [[bin_ < len(row["spectrogram"][0]) for bin_ in range(n_bins)] for row in rows]
        ),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Do two batches have the same columns, shapes, types and values?"""
    assert one.keys() == other.keys()
    return all(
        value.dtype == other[name].dtype and torch.equal(value, other[name])
        if isinstance(value, torch.Tensor)
        else value == other[name]
        for name, value in one.items()
    )


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    """One to five records of two bands, whose trials differ in number and length, or do not."""
    values = st.floats(-4, 4, width=32)
    counts = st.one_of(values, st.just(NAN), st.just(INF))
    is_ragged = draw(st.booleans())
    rows = []
    for index in range(draw(st.integers(1, 5))):
        n_bins = draw(st.integers(0, 4)) if is_ragged else 3
        lengths = st.integers(1, 4) if is_ragged else st.just(3)
        trial = lengths.flatmap(lambda size: st.lists(counts, min_size=size, max_size=size))
        band = st.lists(values, min_size=n_bins, max_size=n_bins)
        rows.append(
            {
                "stim_id": f"s{index}",
                "spectrogram": [draw(band), draw(band)],
                "response": draw(st.lists(trial, min_size=1, max_size=3 if is_ragged else 1)),
            }
        )
    return rows


def each(rows: Rows, convert: Any) -> Rows:
    """The same rows, their matrices converted."""
    return [
        {name: value if name == "stim_id" else convert(value) for name, value in row.items()}
        for row in rows
    ]


def objects(matrix: list[list[float]]) -> np.ndarray[Any, Any]:
    found = np.empty(len(matrix), object)
    found[:] = [np.array(row, np.float32) for row in matrix]
    return found


def whole(matrix: list[list[float]], kind: Any) -> Any:
    """As one array or tensor where that can be, else as a list of them."""
    if len({len(row) for row in matrix}) == 1:
        return kind(matrix)
    return [kind(row) for row in matrix]


SCHEMA = pa.schema(
    {
        "stim_id": pa.string(),
        "spectrogram": pa.list_(pa.list_(pa.float32())),
        "response": pa.list_(pa.list_(pa.float32())),
    }
)


def kinds(rows: Rows) -> Iterator[tuple[str, Any]]:
    """The same records in every form in which a batch may come."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    around = pa.Table.from_pylist([rows[-1], *rows, rows[0]], SCHEMA).slice(1, len(rows))
    yield "lists", rows
    yield "arrays", each(rows, lambda matrix: whole(matrix, np.array))
    yield "float32 arrays", each(rows, lambda matrix: whole(matrix, np.float32))
    yield "object arrays", each(rows, objects)
    yield "tensors", each(rows, lambda matrix: whole(matrix, torch.tensor))
    yield "a table", table
    yield "a slice of a table", around
    yield "a record batch", around.to_batches()[0]
    yield "tables of a row each", [around.slice(index, 1) for index in range(len(rows))]
    yield "record batches", table.to_batches(max_chunksize=2)
    large = pa.large_list(pa.large_list(pa.float32()))
    yield (
        "large lists",
        table.cast(pa.schema({"stim_id": pa.string(), "spectrogram": large, "response": large})),
    )


@given(some_rows())
@settings(deadline=None)
def test_every_kind_of_row_makes_the_same_batch(rows: Rows) -> None:
    expected = slow(rows)
    for kind, batch in kinds(rows):
        assert same(collate(batch), expected), kind


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([], "there are 0"),
        (SCHEMA.empty_table(), "there are 0"),
        ([{"stim_id": "a"}], "there are 1, with the columns stim_id"),
        (
            [{"response": [[1]]}, {"response": [[1]], "unit": 1}],
            "there are 2, with the columns response or response, unit",
        ),
        (
            [{"response": [[1]], "spectrogram": [[1]] * bands} for bands in (18, 32)],
            "18 and 32 bands",
        ),
    ],
)
def test_what_makes_no_batch_is_refused(batch: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        collate(batch)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "arrow", "numpy", "torch"])
def test_unequal_lengths_in_every_format(form: str | None, streaming: bool) -> None:
    rows = [
        {
            "stim_id": stim_id,
            "cell_id": cell_id,
            "spectrogram": unequal.SPECTROGRAMS[stim_id],
            "response": response,
        }
        for (stim_id, cell_id), response in unequal.RESPONSES.items()
    ]
    records: Any = unequal.records()
    records = records.to_iterable_dataset(num_shards=2) if streaming else records
    joined = with_stimuli(records.with_format(form), unequal.stimuli())
    for size in (1, 2, len(rows)):
        found = batches(joined, batch_size=size)
        expected = [slow(rows[start : start + size]) for start in range(0, len(rows), size)]
        assert all(map(same, found, expected))
        assert len(found) == len(expected)
    assert found[0]["spectrogram"].shape == (9, 2, 6)


def batches(data: Any, **options: Any) -> list[dict[str, Any]]:
    options = {"batch_size": 16, **options}
    return list(DataLoader(data, collate_fn=collate, **options))


@pytest.mark.parametrize("subset", ["est", "val"])
def test_mapped_and_streamed_training_have_the_same_batches(
    home: Path, corpus: str, subset: str
) -> None:
    stimuli = load_dataset(f"./{corpus}", "stimuli")
    mapped, streamed = (
        load_dataset(f"./{corpus}", CONFIGS[corpus], split=subset, streaming=streaming)
        for streaming in (False, True)
    )
    expected = batches(with_stimuli(mapped.with_format("arrow"), stimuli))
    n_records = {
        "wingert2026": {"est": 180, "val": 40},
        "nat4": {"est": 1598, "val": 228},
        "espejo2019": {"est": 135, "val": 45},
    }
    assert sum(len(batch["stim_id"]) for batch in expected) == n_records[corpus][subset]
    assert expected[0].keys() == {*mapped.features, "spectrogram", "mask", "stimulus_mask"}
    found = batches(with_stimuli(streamed.with_format("arrow"), stimuli))
    assert all(map(same, found, expected))
    assert len(found) == len(expected)


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_the_format_does_not_matter(home: Path, corpus: str, form: str | None) -> None:
    stimuli = load_dataset(f"./{corpus}", "stimuli")
    columns = ["stim_id", "response"]
    for streaming in (False, True):
        data = load_dataset(f"./{corpus}", CONFIGS[corpus], split="val", streaming=streaming)
        data = data.select_columns(columns)
        data = data.take(40)
        expected = batches(with_stimuli(data.with_format("arrow"), stimuli))
        found = batches(with_stimuli(data.with_format(form), stimuli))
        assert all(map(same, found, expected))
        assert len(found) == len(expected) == 3


def test_workers_make_the_same_batches(home: Path) -> None:
    stimuli = load_dataset("./wingert2026", "stimuli")
    mapped, streamed = (
        with_stimuli(
            load_dataset("./wingert2026", "CLT027c", split="val", streaming=streaming).with_format(
                "arrow"
            ),
            stimuli,
        )
        for streaming in (False, True)
    )
    expected = batches(mapped)
    for data, options in (
        (mapped, {"num_workers": 2}),
        (mapped, {"num_workers": 1, "multiprocessing_context": "spawn"}),
        (streamed, {"num_workers": 1}),
    ):
        found = batches(data, **options)
        assert all(map(same, found, expected))
        assert len(found) == len(expected)


def test_a_shuffled_epoch_has_each_record_once(home: Path) -> None:
    stimuli = load_dataset("./nat4", "stimuli")
    records = load_dataset("./nat4", "A1", split="val").with_format("arrow")
    found = batches(with_stimuli(records, stimuli), shuffle=True)
    pairs = [pair for b in found for pair in zip(b["stim_id"], b["cell_id"], strict=True)]
    ids = records[:].select(["stim_id", "cell_id"]).to_pydict()
    in_order = list(zip(*ids.values(), strict=True))
    assert pairs != in_order
    assert sorted(pairs) == sorted(in_order)


def test_plain_records_in_batches_of_arrow_tables(home: Path) -> None:
    records = load_dataset("./nat4", "A1", split="val").with_format("arrow")
    sampler = BatchSampler(SequentialSampler(records), 16, drop_last=False)
    found = batches(records, sampler=sampler, batch_size=None)
    expected = batches(records.with_format("torch").remove_columns("onsets"))
    for batch, by_row in zip(found, expected, strict=True):
        assert torch.equal(batch["response"], by_row["response"])
        assert torch.equal(batch["mask"], by_row["mask"])
        assert batch["cell_id"] == by_row["cell_id"]
        assert "spectrogram" not in batch


def test_records_of_all_corpora_are_of_one_type(home: Path) -> None:
    some = {
        corpus: load_dataset(f"./{corpus}", config, split="est")
        .select_columns(list(RECORD_COLUMNS))
        .select(range(20))
        for corpus, config in CONFIGS.items()
    }
    every = concatenate_datasets([*some.values()])
    assert every.features == Features(RECORD_COLUMNS)
    stimuli = [load_dataset(f"./{corpus}", "stimuli", split="est") for corpus in CONFIGS]
    both = concatenate_datasets([some["nat4"], some["espejo2019"]])  # 18 bands each
    (batch,) = batches(with_stimuli(both, concatenate_datasets(stimuli)), batch_size=40)
    assert batch["spectrogram"].shape == (40, 18, 550)
    with pytest.raises(CorpusError, match="their spectrograms have 18 and 32 bands"):
        batches(with_stimuli(every, concatenate_datasets(stimuli)), batch_size=60)
    with pytest.raises(CorpusError, match="bands"):
        BandScaler.fit(concatenate_datasets(stimuli))
