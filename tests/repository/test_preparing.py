"""Loads read shards where they are, while others are built: the rows that Parquet would give."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Value, load_dataset
from datasets.packaged_modules.parquet.parquet import Parquet

OPTIONS: dict[str, dict[str, Any]] = {
    "all": {},
    "columns": {"columns": ["response", "cell_id"]},
    "rows": {"filters": [("electrode", ">", 100), ("narrow", "==", False)]},
    "both": {"columns": ["stim_id", "cell_id"], "filters": [("goodpred", "==", True)]},
    "small batches": {"batch_size": 7},
    "two processes": {"num_proc": 2},
}


@pytest.fixture
def files(home: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The shards of A1 as files elsewhere, by split."""
    filesystem: Any = fsspec.filesystem("corpus")
    found: dict[str, list[str]] = {"est": [], "val": []}
    for split, of_split in found.items():
        for path in filesystem.glob(f"corpus://wingert2026/data/A1/*/{split}.parquet"):
            target = tmp_path / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get(path, str(target))
            of_split.append(str(target))
    return found


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_rows_are_those_of_the_files(
    files: dict[str, list[str]], own_home: Path, options: dict[str, Any]
) -> None:
    """Three times: while the shards are built, when they are there, and from the Arrow tables."""
    only = {name: options[name] for name in ("columns", "filters") if name in options}
    for repeat in range(3):
        loaded = load_dataset("./wingert2026", "A1", **options)
        assert list(loaded) == ["est", "val"]
        for split, rows in loaded.items():
            expected = pa.concat_tables([pq.read_table(file, **only) for file in files[split]])
            found = rows.with_format("arrow")[:]
            assert found.num_rows == expected.num_rows > 0
            expected = expected.select(found.column_names)
            assert found.combine_chunks().equals(expected.cast(found.schema).combine_chunks())
        if repeat == 0:
            shutil.rmtree(own_home / "hf")


def test_nothing_is_copied_but_to_arrow(own_home: Path) -> None:
    load_dataset("./wingert2026", "CLT027c")
    assert list((own_home / "builders").rglob("*.arrow"))
    assert not list((own_home / "hf").rglob("*.parquet"))
    assert not [
        path for path in (own_home / "hf").rglob("downloads/*") if path.stat().st_size > 999
    ]


def test_other_types_may_be_asked_for(own_home: Path) -> None:
    types = Features({"cell_id": Value("large_string"), "electrode": Value("int64")})
    rows = load_dataset(
        "./wingert2026", "CLT027c", split="val", columns=list(types), features=types
    )
    assert rows.features == types
    assert {int(cell.split("-")[1]) for cell in rows["cell_id"]} == set(rows["electrode"])


def test_files_of_others_beside_those_of_a_corpus(
    files: dict[str, list[str]], own_home: Path
) -> None:
    """Not read in place, but loaded as before."""
    both = {"est": "corpus://wingert2026/data/A1/CLT027c/est.parquet", "val": files["val"][:1]}
    loaded = load_dataset("parquet", data_files=both)
    assert loaded.num_rows == {
        split: pq.read_metadata(next(each for each in files[split] if "CLT027c" in each)).num_rows
        for split in both
    }


def test_a_data_set_of_others_is_left_alone(own_home: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="At least one data file must be specified"):
        Parquet().download_and_prepare()
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    loaded = load_dataset("parquet", data_files=str(tmp_path / "a.parquet"), split="train")
    assert loaded["a"][:] == [1, 2]


def test_a_builder_can_be_streamed_after_it_was_prepared(own_home: Path) -> None:
    from wingert2026 import Wingert2026

    builder = Wingert2026("CLT027c")
    builder.download_and_prepare()
    mapped, stream = builder.as_dataset("val"), builder.as_streaming_dataset("val")
    assert list(stream) == list(mapped)
