"""Spectrograms joined to records when these are read."""

from __future__ import annotations

import json
import pickle
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDataset, concatenate_datasets, load_dataset
from datasets.distributed import split_dataset_by_node
from torch import Tensor, equal

from builders.errors import CorpusError
from builders.joined import STREAMED_AT_ONCE
from builders.stimuli import JoinedRecords, with_stimuli
from builders.training import collate
from tests import unequal

SHAPES = {"wingert2026": (32, 2200), "nat4": (18, 150), "espejo2019": (18, 550)}
CONFIGS = {"wingert2026": "CLT027c", "nat4": "A1", "espejo2019": "AMT003c"}

STIMULI = Dataset.from_dict(
    {
        "stim_id": ["a", "b", "c"],
        "spectrogram": [[[1.0, 2.0], [3.0, 4.0]], [[5.0], [6.0]], [[7.0, 8.0, 9.0]] * 2],
    }
)
RECORDS = Dataset.from_dict(
    {
        "stim_id": ["c", "a", "a", "b"],
        "cell_id": ["x", "x", "y", "y"],
        "response": [[[0.0, 1.0, 0.0]], [[1.0, 1.0]], [[2.0, 0.0]], [[3.0], [4.0]]],
    }
)


def keys(rows: Any) -> list[tuple[str, str, float]]:
    """Of each row: its stimulus, its cell, the first value of its spectrogram."""
    return [(r["stim_id"], r["cell_id"], float(r["spectrogram"][0][0])) for r in rows]


KEYS = [("c", "x", 7.0), ("a", "x", 1.0), ("a", "y", 1.0), ("b", "y", 5.0)]


@cache
def released(corpus: str) -> dict[str, np.ndarray[Any, Any]]:
    """The spectrograms of a corpus by stimulus, by way of Python lists."""
    found = load_dataset(f"./{corpus}", "stimuli")
    return {
        row["stim_id"]: np.array(row["spectrogram"], np.float32)
        for split in found.values()
        for row in split
    }


def as_array(spectrogram: Any) -> np.ndarray[Any, Any]:
    if isinstance(spectrogram, pa.ChunkedArray):
        (spectrogram,) = spectrogram.to_pylist()
    if not isinstance(spectrogram, list):  # of Python floats, which have no type
        assert spectrogram.dtype in (np.float32, Tensor([0.0]).dtype)
    return np.asarray(spectrogram, np.float32)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow"])
def test_every_row_has_the_spectrogram_of_its_stimulus(
    home: Path, corpus: str, form: str | None, streaming: bool
) -> None:
    config = CONFIGS[corpus]
    records = load_dataset(f"./{corpus}", config, split="val", streaming=streaming)
    joined = with_stimuli(records.with_format(form), load_dataset(f"./{corpus}", "stimuli"))
    assert isinstance(joined, IterableDataset if streaming else JoinedRecords)
    n_rows = 0
    for row, plain in zip(joined, records.remove_columns("onsets"), strict=True):
        stim_id = row["stim_id"][0].as_py() if form == "arrow" else row["stim_id"]
        assert stim_id == plain["stim_id"]
        assert as_array(row["response"]).tolist() == plain["response"]
        spectrogram = as_array(row["spectrogram"])
        assert spectrogram.shape == SHAPES[corpus]
        assert np.array_equal(spectrogram, released(corpus)[stim_id])
        n_rows += 1
    assert n_rows == {"wingert2026": 40, "nat4": 228, "espejo2019": 45}[corpus]


def test_the_stimuli_of_one_session_are_enough_for_its_records(home: Path) -> None:
    files = "corpus://wingert2026/stimuli/CLT027c/*.parquet"
    stimuli = load_dataset("parquet", data_files=files, split="train")
    assert len(stimuli) == 11
    joined = with_stimuli(load_dataset("./wingert2026", "CLT027c", split="est"), stimuli)
    assert joined[-1]["spectrogram"] == released("wingert2026")[joined[-1]["stim_id"]].tolist()


def test_nothing_is_copied_or_written(home: Path) -> None:
    stimuli = load_dataset("./wingert2026", "stimuli", split="est")
    records = load_dataset("./wingert2026", "CLT027c", split="est").with_format("arrow")
    before = sorted(home.rglob("*"))
    joined = with_stimuli(records, stimuli)
    table = joined[list(range(len(joined)))]

    def addresses(column: pa.ChunkedArray) -> set[int]:
        return {chunk.values.values.buffers()[1].address for chunk in column.chunks}

    assert len(table) == 180
    assert addresses(table["spectrogram"]) <= addresses(stimuli.data.column("spectrogram"))
    assert sorted(home.rglob("*")) == before
    assert len(pickle.dumps(joined)) < 100_000  # a spectrogram has 281,600 bytes
    copied = pickle.loads(pickle.dumps(joined))
    assert copied[[7, 3]].equals(joined[[7, 3]])


def test_a_stream_opens_no_shard_before_it_gets_there(own_home: Path) -> None:
    shards = own_home / "builders" / "shards"
    stimuli = load_dataset("./wingert2026", "stimuli", split="est")
    before = set(shards.rglob("*.parquet"))
    joined = with_stimuli(load_dataset("./wingert2026", "A1", split="est", streaming=True), stimuli)
    assert keys([next(iter(joined))])[0][1] == "CLT027c-009-1"
    built = set(shards.rglob("*.parquet")) - before
    assert {path.parent.name for path in built} == {"CLT027c"}


def test_rows_slices_and_lists_of_rows() -> None:
    joined = with_stimuli(RECORDS, STIMULI)
    assert len(joined) == 4
    assert keys(joined) == KEYS
    assert keys([joined[-1], joined[np.int64(0)]]) == [KEYS[3], KEYS[0]]
    for batch in (joined[1:3], joined[[1, 2]], joined[range(1, 3)]):
        assert batch == {
            "stim_id": ["a", "a"],
            "cell_id": ["x", "y"],
            "response": [[[1.0, 1.0]], [[2.0, 0.0]]],
            "spectrogram": [[[1.0, 2.0], [3.0, 4.0]]] * 2,
        }
    with pytest.raises(IndexError):
        joined[4]


def test_a_batch_of_a_loader_is_rows_or_a_table() -> None:
    joined = with_stimuli(RECORDS, STIMULI)
    assert keys(joined.__getitems__([3, 0])) == [KEYS[3], KEYS[0]]
    table = joined.with_format("arrow").__getitems__([3, 0])
    assert keys(table.to_pylist()) == [KEYS[3], KEYS[0]]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "numpy", "torch"])
@pytest.mark.parametrize("columns", [None, ["cell_id", "response"]])
def test_a_batch_is_collated_from_arrow_in_every_format(
    form: str | None, columns: list[str] | None, streaming: bool
) -> None:
    """Python lists of all values would take fifty times as long."""
    if streaming:
        records = RECORDS.select_columns([*columns, "stim_id"] if columns else RECORDS.column_names)
        rows = list(with_stimuli(records.to_iterable_dataset().with_format(form), STIMULI))
    else:
        records = RECORDS.with_format(form, columns=columns)
        rows = with_stimuli(records, STIMULI).__getitems__([3, 0, 1])
    assert all(isinstance(row.table, pa.Table) for row in rows)
    found = collate(rows)
    assert all(isinstance(row.table, pa.Table) for row in rows)
    expected = collate([dict(row) for row in rows])
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, Tensor):
            assert equal(found[name], value), name
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_what_is_changed_in_a_row_is_collated(form: str | None, streaming: bool) -> None:
    records: Any = RECORDS.to_iterable_dataset() if streaming else RECORDS
    joined = with_stimuli(records.with_format(form), STIMULI)

    def rows() -> Any:
        return list(joined) if streaming else joined.__getitems__([0, 1, 2, 3])

    plain = collate(rows())["response"]
    changed = rows()
    for row in changed:
        row["response"] = [[2 * float(value) for value in trial] for trial in row["response"]]
    assert equal(collate(changed)["response"], 2 * plain)
    if form is not None:
        in_place = rows()
        for row in in_place:
            for trial in row["response"]:
                trial *= 3
        assert equal(collate(in_place)["response"], 3 * plain)


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_a_row_of_a_stream_is_that_of_a_data_set(form: str | None) -> None:
    """In types, too: `str`, `int`, arrays or tensors."""
    records = RECORDS.add_column("unit", [1, 2, 3, 4])
    mapped = with_stimuli(records.with_format(form), STIMULI)
    streamed = with_stimuli(records.to_iterable_dataset().with_format(form), STIMULI)
    of_datasets = streamed.map(lambda row: row).with_format(form)
    for row, lazy, same in zip(mapped, streamed, of_datasets, strict=True):
        assert isinstance(lazy, dict)
        for found in (lazy, dict(lazy), {**lazy}, lazy.copy(), copy(lazy), lazy | {}):
            assert sorted(found) == sorted(row) == sorted(same)
            for name, value in row.items():
                assert type(found[name]) is type(value) is type(same[name]), name
                assert str(found[name]) == str(value) == str(same[name]), name


def test_a_row_is_a_dictionary() -> None:
    def row() -> Any:
        return next(iter(with_stimuli(RECORDS.to_iterable_dataset(), STIMULI)))

    whole = {
        "stim_id": "c",
        "cell_id": "x",
        "response": [[0.0, 1.0, 0.0]],
        "spectrogram": [[7.0, 8.0, 9.0]] * 2,
    }
    assert row() == whole == dict(row())
    assert list(row()) == list(whole)
    assert len(row()) == 4
    assert list(row().values()) == list(whole.values())
    assert json.loads(json.dumps(row())) == whole
    assert str(row()) == str(whole)
    assert row() | {"x": 1} == whole | {"x": 1} == {"x": 1} | row()
    restored = pickle.loads(pickle.dumps(row()))
    assert type(restored) is dict
    assert restored == whole
    assert Dataset.from_list([row()])[0] == whole
    assert pandas.DataFrame([row()]).to_dict("records") == [whole]
    popped = row()
    assert popped.pop("spectrogram") == whole["spectrogram"]
    assert collate([popped])["response"].tolist() == [whole["response"]]
    with pytest.raises(pa.ArrowInvalid):  # C code that reads the dictionary itself
        pa.array([row()])


def test_select_shuffle_shard_and_format() -> None:
    joined = with_stimuli(RECORDS, STIMULI)
    assert keys(joined.select([2, 0])) == [KEYS[2], KEYS[0]]
    assert keys(joined.shard(2, 1)) == KEYS[2:]
    assert keys(joined.shard(2, 1, contiguous=False)) == KEYS[1::2]
    shuffled = joined.shuffle(seed=2)
    assert keys(shuffled) == keys(with_stimuli(RECORDS.shuffle(seed=2), STIMULI)) != KEYS
    assert sorted(keys(shuffled)) == sorted(KEYS)
    row = shuffled.with_format("torch", columns=["response"])[0]
    assert sorted(row) == ["response", "spectrogram"]
    assert isinstance(row["spectrogram"], Tensor)


def test_it_does_what_the_records_do() -> None:
    joined = with_stimuli(RECORDS, STIMULI)
    assert list(joined.features) == joined.column_names == [*RECORDS.column_names, "spectrogram"]
    assert joined.features["spectrogram"] == STIMULI.features["spectrogram"]
    assert joined.format["columns"] == joined.column_names
    assert keys(joined.filter(lambda row: row["cell_id"] == "y")) == KEYS[2:]
    assert keys(joined.filter(lambda cell: cell == "x", input_columns="cell_id")) == KEYS[:2]
    mapped = joined.map(lambda row: {"n_trials": len(row["response"])})
    assert keys(mapped) == KEYS
    assert [row["n_trials"] for row in mapped] == [1, 1, 1, 2]
    parts = joined.train_test_split(test_size=1, seed=0)
    assert sorted(keys(parts["train"]) + keys(parts["test"])) == sorted(KEYS)
    assert keys(joined.sort("stim_id")) == [KEYS[1], KEYS[2], KEYS[3], KEYS[0]]
    assert keys(joined.take(2).repeat(2)) == KEYS[:2] * 2
    assert keys(joined.skip(3)) == KEYS[3:]
    assert keys(joined.to_iterable_dataset()) == KEYS
    assert joined["cell_id"][:] == RECORDS["cell_id"][:]
    assert joined["spectrogram"][3] == joined[3]["spectrogram"]
    assert [len(batch["stim_id"]) for batch in joined.iter(3)] == [3, 1]
    assert [len(batch["stim_id"]) for batch in joined.iter(3, drop_last_batch=True)] == [3]
    assert {"filter", "train_test_split"} <= set(dir(joined))
    with pytest.raises(AttributeError, match=r"no 'push_to_hub'; \.records"):
        joined.push_to_hub()
    with pytest.raises(CorpusError, match="no column stim_id"):
        joined.remove_columns("stim_id")


@pytest.mark.parametrize("name", ["map", "filter"])
def test_a_function_that_needs_the_spectrogram_is_told_where_it_is(name: str) -> None:
    with pytest.raises(CorpusError, match=f"{name} sees have no spectrogram"):
        getattr(with_stimuli(RECORDS, STIMULI), name)(lambda row: {"x": row["spectrogram"]})


def test_a_stream_does_what_streams_do() -> None:
    joined = with_stimuli(RECORDS.to_iterable_dataset(num_shards=2), STIMULI)
    assert list(joined.features) == [*RECORDS.column_names, "spectrogram"]
    assert keys(joined.filter(lambda row: row["spectrogram"][0][0] == 1)) == KEYS[1:3]
    sums = joined.map(lambda row: {"sum": sum(map(sum, row["spectrogram"]))})
    assert [row["sum"] for row in sums] == [48, 10, 10, 11]
    assert keys(joined.take(3)) == KEYS[:3]
    assert keys(joined.skip(3)) == KEYS[3:]
    assert keys(joined.with_format("torch")) == KEYS
    assert keys(pickle.loads(pickle.dumps(joined))) == KEYS


def test_a_shuffled_stream_is_shuffled_before_it_is_joined() -> None:
    """So the buffer holds no spectrograms; and every epoch has its own order."""
    records = RECORDS.select([0, 1, 2, 3] * 20).to_iterable_dataset(num_shards=4)
    joined = with_stimuli(records, STIMULI).shuffle(seed=3, buffer_size=20)
    orders = []
    for epoch in range(3):
        joined.set_epoch(epoch)
        orders.append(keys(joined))
        assert sorted(orders[-1]) == sorted(KEYS * 20)
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] == keys(with_stimuli(joined.records, STIMULI))
    assert keys(joined.with_format("torch")) == orders[0]


@pytest.mark.parametrize("form", [None, "torch", "arrow"])
def test_a_stream_goes_on_where_it_stopped(form: str | None) -> None:
    records = RECORDS.select([0, 1, 2, 3] * 20).to_iterable_dataset(num_shards=4)
    joined = with_stimuli(records.with_format(form), STIMULI)
    every = [collate([row])["response"].tolist() for row in joined]
    rows = iter(joined)
    begun = [collate([next(rows)])["response"].tolist() for _ in range(33)]
    state = joined.state_dict()
    again = with_stimuli(records.with_format(form), STIMULI)
    again.load_state_dict(state)
    assert begun + [collate([row])["response"].tolist() for row in again] == every


def test_nodes_share_the_joined_records_out() -> None:
    nodes = [
        keys(with_stimuli(split_dataset_by_node(RECORDS, rank, 2), STIMULI)) for rank in range(2)
    ]
    assert nodes == [KEYS[:2], KEYS[2:]]
    stream = with_stimuli(RECORDS.to_iterable_dataset(num_shards=2), STIMULI)
    nodes = [keys(split_dataset_by_node(stream, rank, 2)) for rank in range(2)]
    assert nodes == [KEYS[:2], KEYS[2:]]
    assert sorted(keys(stream.shuffle(seed=0, buffer_size=4))) == sorted(KEYS)


def test_stimuli_may_be_filtered_and_in_any_format() -> None:
    stimuli = STIMULI.shuffle(seed=0).filter(lambda row: row["stim_id"] != "b").with_format("torch")
    joined = with_stimuli(RECORDS.select(range(3)), stimuli)
    assert keys(joined) == KEYS[:3]
    both = DatasetDict(est=STIMULI.select([0]), val=STIMULI.select([1, 2]))
    assert keys(with_stimuli(RECORDS, both)) == KEYS


def plain(matrix: Any) -> list[list[float]]:
    """A matrix of any format as lists; trials may differ in length."""
    if isinstance(matrix, pa.ChunkedArray):
        (matrix,) = matrix.to_pylist()
    return [[float(value) for value in row] for row in matrix]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "arrow", "numpy", "torch"])
def test_both_come_as_stored_where_they_differ_in_length(form: str | None, streaming: bool) -> None:
    records: Any = unequal.records()
    records = records.to_iterable_dataset(num_shards=2) if streaming else records
    rows = list(with_stimuli(records.with_format(form), unequal.stimuli()))
    assert len(rows) == len(unequal.RESPONSES)
    for row, ((stim_id, _), response) in zip(rows, unequal.RESPONSES.items(), strict=True):
        assert plain(row["spectrogram"]) == unequal.SPECTROGRAMS[stim_id]
        assert str(plain(row["response"])) == str([[float(v) for v in trial] for trial in response])


LACKING = STIMULI.select([0, 2])


@pytest.mark.parametrize(
    ("records", "count"),
    [
        (RECORDS, "1 of these records' 3 stimuli"),
        (RECORDS.with_format("torch"), "1 of these records' 3 stimuli"),
        (RECORDS.shuffle(seed=0), "1 of these records' 3 stimuli"),
        (RECORDS.select([3, 3]), "1 of these records' 1 stimuli"),
        (RECORDS.shard(2, 1, contiguous=False), "1 of these records' 2 stimuli"),
    ],
)
def test_a_missing_spectrogram_is_known_when_joining(records: Dataset, count: str) -> None:
    with pytest.raises(
        CorpusError, match=f"no spectrogram for {count}\n.*the 2 stimuli given lack 'b'"
    ):
        with_stimuli(records, LACKING)


def test_a_missing_spectrogram_that_no_record_needs_is_no_error() -> None:
    assert keys(with_stimuli(RECORDS.select(range(3)), LACKING)) == KEYS[:3]
    others = RECORDS.filter(lambda stim_id: stim_id != "b", input_columns="stim_id")
    assert keys(with_stimuli(others.shuffle(seed=1), LACKING)) != []


def test_a_missing_spectrogram_of_a_stream_is_known_when_it_comes_up() -> None:
    rows = [0] * STREAMED_AT_ONCE + [1, 2, 3]
    joined = iter(with_stimuli(RECORDS.select(rows).to_iterable_dataset(), LACKING))
    assert keys([next(joined) for _ in range(STREAMED_AT_ONCE)]) == KEYS[:1] * STREAMED_AT_ONCE
    with pytest.raises(CorpusError, match="no spectrogram for 1 of these records' 2 stimuli"):
        next(joined)


def test_of_many_missing_spectrograms_three_are_named() -> None:
    with pytest.raises(CorpusError) as error:
        with_stimuli(unequal.records(), unequal.stimuli("shorter", "none", "equal", "longer"))
    assert "no spectrogram for 4 of these records' 6 stimuli\n" in str(error.value)
    assert "the 2 stimuli given lack 'longer', 'shorter', 'none', ...\n" in str(error.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", [None, "arrow", "numpy", "torch"])
@pytest.mark.parametrize("splits", [False, True])
def test_the_error_says_how_to_leave_records_without_a_spectrogram_out(
    form: str | None, streaming: bool, splits: bool
) -> None:
    stimuli = DatasetDict(est=STIMULI.select([0]), val=STIMULI.select([2])) if splits else LACKING
    records: Any = RECORDS.to_iterable_dataset() if streaming else RECORDS
    records = records.with_format(form)
    with pytest.raises(CorpusError) as error:
        list(with_stimuli(records, stimuli))
    lines = str(error.value).splitlines()
    known, filtered = lines[-2:]
    names = {"records": records, "stimuli": stimuli}
    exec(f"{known.strip()}\n{filtered.strip()}", names)
    assert keys(with_stimuli(names["records"], stimuli)) == KEYS[:3]


@pytest.mark.parametrize(
    ("records", "stimuli", "message"),
    [
        (RECORDS, STIMULI.to_iterable_dataset(), "cannot look stimuli up"),
        (DatasetDict(est=RECORDS), STIMULI, "not DatasetDict"),
        (RECORDS.remove_columns("stim_id"), STIMULI, "no column stim_id"),
        (RECORDS, STIMULI.remove_columns("spectrogram"), "no column spectrogram"),
        (RECORDS.with_format("pandas"), STIMULI, "records of format 'pandas'"),
        (RECORDS.to_iterable_dataset().map(dict), STIMULI, "columns of a stream are not known"),
    ],
)
def test_what_cannot_be_joined_is_refused(records: Any, stimuli: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        with_stimuli(records, stimuli)


def test_the_join_without_this_package(home: Path, corpus: str) -> None:
    """The four lines of the README."""
    records = load_dataset(f"./{corpus}", CONFIGS[corpus], split="val")
    tables = load_dataset(f"./{corpus}", "stimuli")

    stimuli = concatenate_datasets([*tables.values()]).with_format("numpy")
    row_of = {stim_id: row for row, stim_id in enumerate(stimuli["stim_id"])}

    def spectrograms(batch: Any) -> Any:
        return batch | {
            "spectrogram": [stimuli[row_of[stim]]["spectrogram"] for stim in batch["stim_id"]]
        }

    joined = records.with_transform(spectrograms)
    streamed = records.to_iterable_dataset().map(spectrograms, batched=True, batch_size=10)

    assert set(records.unique("stim_id")) <= set(released(corpus))
    for found in (joined.select(range(0, len(joined), 10)), streamed.take(11)):
        for row in found:
            assert row["spectrogram"].dtype == np.float32
            assert np.array_equal(row["spectrogram"], released(corpus)[row["stim_id"]])
