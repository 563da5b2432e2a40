"""A split without rows loads with 0 rows: of a site, of a filter, however it is asked for.

`make test` runs these with the oldest supported `datasets`, too. `builders.repository.pinning`
replaces a method of it: whatever moves there must turn a test red here.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import (
    Dataset,
    DatasetBuilder,
    IterableDataset,
    ReadInstruction,
    concatenate_datasets,
    load_dataset,
)
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.parquet.parquet import Parquet

from builders.repository import pinning
from tests.releases import change_cells, copy_release, small_sites
from tests.repository.test_load import plain
from wingert2026 import Wingert2026

SITE, EST, VAL = "CLT027c", "STIM_seq0001.wav", "STIM_00seq1.wav"
NOTHING = [("cell_id", "==", "no such cell")]


@pytest.fixture(scope="module")
def val_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of three cells each, recorded with one validation stimulus and no other."""
    return small_sites(tmp_path_factory.mktemp("val_alone") / "release", {VAL: 2})


@pytest.fixture
def release(val_alone: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, with empty caches."""
    folder = copy_release(val_alone, own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


def load(config: str | None = SITE, **options: Any) -> Any:
    return load_dataset("./wingert2026", config, **options)


def is_empty_like(empty: Dataset, other: Dataset) -> None:
    """It has no rows, and all else as the other."""
    assert len(empty) == 0
    assert list(empty) == []
    assert empty.features == other.features
    assert empty.data.schema.equals(other.data.schema, check_metadata=True)
    assert empty.info.builder_name == other.info.builder_name


# -- a site with validation stimuli alone ------------------------------------------------------


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(("config", "rows"), [(None, 6), (SITE, 3), ("A1", 3), ("all", 6)])
def test_both_splits_are_there(config: str | None, rows: int) -> None:
    data = load(config)
    assert data.num_rows == {"est": 0, "val": rows}
    is_empty_like(data["est"], data["val"])
    assert data["est"].features == Wingert2026.records_features()
    assert [str(data[split].split) for split in data] == ["est", "val"]
    assert {row["stim"] for row in data["val"]} == {VAL}


@pytest.mark.usefixtures("release")
def test_a_config_of_the_empty_split_alone_loads() -> None:
    assert load("est").num_rows == {"est": 0}
    is_empty_like(load("est", split="est"), load("val", split="val"))


def test_stimuli_load_with_an_empty_split(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimation stimuli alone: here val is the split without rows."""
    small_sites(own_home / "release", {EST: 1})
    monkeypatch.setenv("WINGERT2026_DATA", str(own_home / "release"))
    for config, rows in (("stimuli", 2), (SITE, 3)):
        data = load(config)
        assert data.num_rows == {"est": rows, "val": 0}
        is_empty_like(data["val"], data["est"])


@pytest.mark.usefixtures("release")
def test_a_split_a_part_or_a_sum_loads() -> None:
    rows = {
        "est": 0,
        "est[:10%]": 0,
        "est[5:]": 0,
        "est+est": 0,
        "val[:0]": 0,
        "est+val": 3,
        "val+est[:10%]": 3,
        "val[1:]": 2,
    }
    loaded = {split: load(split=split) for split in rows}
    assert {split: len(data) for split, data in loaded.items()} == rows
    for split, data in loaded.items():
        assert data.features == Wingert2026.records_features()
        assert str(data.split) == split
    assert len(load(split=ReadInstruction("est", to=10, unit="%"))) == 0
    assert len(load(split="all")) == 3


@pytest.mark.usefixtures("release")
def test_several_splits_load_at_once() -> None:
    assert [len(data) for data in load(split=["val", "est"])] == [3, 0]


@pytest.mark.usefixtures("release")
def test_an_unknown_split_is_the_error_of_datasets() -> None:
    with pytest.raises(ValueError, match=r'Unknown split "test"\. Should be one of'):
        load(split="test")


@pytest.mark.usefixtures("release")
def test_a_second_load_reads_the_arrow_tables(own_home: Path) -> None:
    first = load()
    shutil.rmtree(own_home / "builders" / "shards")
    second = load()
    assert second["est"].features == first["est"].features
    rows, features, part = plain(f"""
        data = load_dataset("./wingert2026", "{SITE}")
        part = load_dataset("./wingert2026", "{SITE}", split="est[:10%]")
        emit([data.num_rows, repr(data["est"].features), len(part)])
    """)
    assert rows == second.num_rows == first.num_rows == {"est": 0, "val": 3}
    assert features == repr(first["val"].features)
    assert part == 0
    assert not list((own_home / "builders").rglob("*.parquet"))


def test_estimation_stimuli_that_come_later_are_loaded(release: Path) -> None:
    assert load().num_rows == {"est": 0, "val": 3}
    shutil.rmtree(release)
    small_sites(release, {VAL: 2, EST: 1})
    assert load().num_rows == {"est": 3, "val": 3}


@pytest.mark.usefixtures("release")
def test_columns_are_those_of_the_other_split() -> None:
    data = load(columns=["cell_id", "response"])
    is_empty_like(data["est"], data["val"])
    assert data["est"].column_names == ["cell_id", "response"]


@pytest.mark.usefixtures("release")
def test_it_streams_as_nothing() -> None:
    for options in ({}, {"columns": ["cell_id", "response"]}):
        stream, data = load(streaming=True, **options), load(**options)
        for split, rows in data.num_rows.items():
            assert isinstance(stream[split], IterableDataset)
            assert stream[split].features == data[split].features
            for each in (stream[split], stream[split].shuffle(seed=0), stream[split].take(5)):
                assert len(list(each)) == rows
            assert sum(map(len, stream[split].with_format("arrow").iter(2))) == rows
    assert list(load(streaming=True, split="est")) == []


@pytest.mark.usefixtures("release")
def test_torch_gets_nothing() -> None:
    from torch.utils.data import DataLoader

    for data in (load(split="est"), load(split="est", streaming=True)):
        for workers in (0, 1):
            rows = DataLoader(data.with_format("torch"), batch_size=None, num_workers=workers)
            assert list(rows) == []
    both = load(split="est+val").with_format("torch")
    assert [list(row["response"].shape) for row in both] == [[2, 2200]] * 3


@pytest.mark.usefixtures("release")
def test_what_follows_a_load_works() -> None:
    data = load()
    assert data.filter(lambda row: row["goodpred"]).num_rows["est"] == 0
    assert len(data["est"].map(lambda row: {"n": 1})) == 0
    assert len(data["est"].sort("cell_id").shuffle(seed=0).to_pandas()) == 0
    both = concatenate_datasets([data["est"], data["val"]])
    assert both[:] == data["val"][:]
    assert load(keep_in_memory=True).num_rows == data.num_rows


@pytest.mark.usefixtures("release")
def test_the_builder_class_gives_the_same() -> None:
    builder = Wingert2026(SITE)
    builder.download_and_prepare()
    data = builder.as_dataset()
    assert data.num_rows == {"est": 0, "val": 3}
    is_empty_like(data["est"], data["val"])
    is_empty_like(builder.as_dataset("est[:10%]"), data["val"])
    streams = Wingert2026(SITE).as_streaming_dataset()
    assert {split: len(list(stream)) for split, stream in streams.items()} == data.num_rows


@pytest.mark.usefixtures("release")
def test_its_shard_loads_by_its_address() -> None:
    shard = f"corpus://wingert2026/data/A1/{SITE}/est.parquet"
    data = load_dataset("parquet", data_files=shard, split="train")
    is_empty_like(data, load(split="val"))
    assert len(Dataset.from_parquet(shard)) == 0
    files = {"est": shard, "val": shard.replace("est.", "val.")}
    assert load_dataset("parquet", data_files=files).num_rows == {"est": 0, "val": 3}


# -- filters -----------------------------------------------------------------------------------


def test_a_filter_may_leave_one_split_without_rows(home: Path) -> None:
    for subset, other in (("est", "val"), ("val", "est")):
        filters = [("subset", "==", subset)]
        data = load(filters=filters)
        assert len(data[subset]) == len(load(split=subset)) > 0
        is_empty_like(data[other], data[subset])
        assert len(load(filters=filters, split="est+val")) == len(data[subset])
        streams = load(filters=filters, streaming=True)
        assert [len(list(streams[split])) for split in (subset, other)] == [len(data[subset]), 0]


def test_a_filter_may_leave_no_split_with_rows(home: Path) -> None:
    whole = load()
    for _ in range(2):  # the second time from the Arrow tables
        data = load(filters=NOTHING)
        for split in whole:
            is_empty_like(data[split], whole[split])
    some = load(filters=NOTHING, columns=["cell_id"])
    assert some.num_rows == {"est": 0, "val": 0}
    assert some.column_names == {"est": ["cell_id"], "val": ["cell_id"]}
    streams = load(filters=NOTHING, streaming=True)
    assert [list(stream) for stream in streams.values()] == [[], []]
    assert streams["est"].features == whole["est"].features


def test_two_processes_load_no_rows(own_home: Path) -> None:
    """LMD037a has a shard in each of two areas: one for each process."""
    for filters, rows in (([("subset", "==", "val")], 248 * 2), (NOTHING, 0)):
        data = load("LMD037a", filters=filters, num_proc=2)
        assert data.num_rows == {"est": 0, "val": rows}
        assert data["est"].features == data["val"].features == Wingert2026.records_features()
        assert load("LMD037a", filters=filters).num_rows == data.num_rows


@pytest.mark.parametrize(("good", "rows"), [("True", 6), ("False", 0)])
def test_goodpred_may_have_no_rows(release: Path, good: str, rows: int) -> None:
    change_cells(release / "cell_list.csv", goodpred=good)
    data = load("goodpred")
    assert data.num_rows == {"est": 0, "val": rows}
    is_empty_like(data["est"], load(split="val"))
    assert len(list(load("goodpred", split="val", streaming=True))) == rows


def test_auditory_cells_may_have_no_validation_records(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of A1's cells only one is auditory, which its site's recording lacks; of PEG's none is."""
    folder = copy_release(releases("nat4"), own_home / "nat4")
    monkeypatch.setenv("NAT4_DATA", str(folder))
    cells = load_dataset("./nat4", "cells", split="cells").filter(lambda row: row["auditory"])
    (cell,) = cells.filter(lambda row: not row["has_val"])["cell_id"]
    for area in ("A1", "PEG"):
        change_cells(folder / f"{area}_pred_correlation.csv", sig_auditory="False")
    a1 = folder / "A1_pred_correlation.csv"
    lines = a1.read_text().splitlines()
    changed = [line.replace("False", "True") if line.startswith(cell) else line for line in lines]
    a1.write_text("\n".join(changed))
    a1_auditory, peg_auditory = (
        load_dataset("./nat4", f"{area}-auditory") for area in ("A1", "PEG")
    )
    assert set(a1_auditory["est"]["cell_id"]) == {cell}
    is_empty_like(a1_auditory["val"], a1_auditory["est"])
    assert peg_auditory.num_rows == {"est": 0, "val": 0}


# -- `datasets` itself -------------------------------------------------------------------------


@pytest.mark.usefixtures("release")
def test_others_get_the_error_of_datasets(own_home: Path) -> None:
    """If this fails, `datasets` loads empty splits by itself: then `pinning` need not."""
    load()
    none, some = own_home / "none.parquet", own_home / "some.parquet"
    table = pa.table({"x": [1, 2]})
    pq.write_table(table, some)
    pq.ParquetWriter(none, table.schema).close()
    error = r'Instruction "{}" corresponds to no data!'
    files = {"train": str(some), "test": str(none)}
    for split, instruction in ((None, "test"), ("test", "test"), ("test[:1]", r"test\[:1\]")):
        with pytest.raises(ValueError, match=error.format(instruction)):
            load_dataset("parquet", data_files=files, split=split)
    with pytest.raises(ValueError, match=error.format("train")):
        load_dataset("parquet", data_files=str(some), filters=[("x", ">", 5)])
    with pytest.raises(ValueError, match=error.format("test")):
        Dataset.from_parquet(str(none), split="test")
    assert len(load_dataset("parquet", data_files=files, split="train+test")) == 2


def test_three_methods_of_the_parquet_builder_are_replaced(home: Path) -> None:
    """`DatasetBuilder` says of it that it is there to be overwritten; others keep theirs."""
    load("cells")
    pinning.install()
    assert Parquet._as_dataset is pinning._as_split_or_empty
    assert Parquet.as_dataset is pinning._as_dataset_with_notes
    assert Parquet.as_streaming_dataset is pinning._as_stream_with_notes
    assert DatasetBuilder._as_dataset is Csv._as_dataset is pinning._as_split
    assert DatasetBuilder.as_dataset is Csv.as_dataset is pinning._as_dataset
    ours, theirs = map(inspect.signature, (Parquet._as_dataset, DatasetBuilder._as_dataset))
    assert list(ours.parameters) == list(theirs.parameters) == ["self", "split", "in_memory"]
    assert ours.parameters["in_memory"].default is theirs.parameters["in_memory"].default is False
