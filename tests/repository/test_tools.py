"""What other tools than `datasets` do with ``corpus://``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fsspec.spec import AbstractFileSystem

import builders
from builders.errors import CorpusError, MissingError
from tests.releases import change_member, copy_release

SITE = "nat4/data/A1/TNC008a"
VAL = f"{SITE}/val.parquet"


@pytest.fixture
def filesystem(home: Path) -> AbstractFileSystem:
    return fsspec.filesystem("corpus")


def rows(split: str) -> Any:
    return load_dataset("./nat4", "TNC008a", split=split)


def test_duckdb_reads_files_and_globs(filesystem: AbstractFileSystem) -> None:
    connection = duckdb.connect()
    connection.register_filesystem(filesystem)
    query = f"select stim, cell_id, response from 'corpus://{VAL}'"
    expected = [(row["stim"], row["cell_id"], row["response"]) for row in rows("val")]
    assert connection.sql(query).fetchall() == expected
    counted = connection.sql("select count(*) from 'corpus://nat4/data/A1/*/val.parquet'")
    assert counted.fetchall() == [(len(load_dataset("./nat4", "A1", split="val")),)]


def test_pandas_pyarrow_and_polars_read_a_folder_or_a_file(filesystem: AbstractFileSystem) -> None:
    n_rows = len(rows("val")), len(rows("est"))
    assert len(pandas.read_parquet(f"corpus://{VAL}")) == n_rows[0]
    assert len(pandas.read_parquet(f"corpus://{SITE}/")) == sum(n_rows)
    data = pyarrow.dataset.dataset(SITE, filesystem=filesystem, format="parquet")
    assert data.count_rows() == sum(n_rows)
    with fsspec.open(f"corpus://{VAL}") as file:
        assert len(polars.read_parquet(file)) == n_rows[0]


@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_caches_of_fsspec_hold_a_shard(home: Path, tmp_path: Path, cache: str) -> None:
    url, options = f"{cache}::corpus://{VAL}", {cache: {"cache_storage": str(tmp_path)}}
    for _ in range(2):
        with fsspec.open(url, **options) as file:
            assert pq.read_table(file).num_rows == len(rows("val"))


def test_parts_of_a_file_are_counted_from_either_end(filesystem: AbstractFileSystem) -> None:
    for path in (VAL, "nat4/README.md"):
        content = filesystem.cat_file(path)
        assert filesystem.cat_file(path, -4) == content[-4:]
        assert filesystem.cat_file(path, 3, -5) == content[3:-5]
        assert filesystem.cat_file(path, 4, 9) == content[4:9]
        with filesystem.open(path) as file:
            assert file.size == len(content) == filesystem.size(path)


@pytest.mark.parametrize("path", ["nope", "nat4/nope", "nat4/data/A1/nope/val.parquet", f"{VAL}/x"])
def test_what_is_missing_is_a_file_that_is_not_found(
    filesystem: AbstractFileSystem, path: str
) -> None:
    for call in (filesystem.info, filesystem.open, filesystem.ls, filesystem.cat_file):
        with pytest.raises(FileNotFoundError, match="unknown") as caught:
            call(path)
        assert isinstance(caught.value, CorpusError)
    assert not filesystem.exists(path)
    with pytest.raises(FileNotFoundError, match=path):  # pyarrow tells the path alone
        pandas.read_parquet(f"corpus://{path}")
    with pytest.raises(CorpusError) as globbed:  # `datasets` would hide the message
        filesystem.glob(path)
    assert not isinstance(globbed.value, MissingError)


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.rm("nat4/README.md"),
        lambda files: files.rm("nat4", recursive=True),
        lambda files: files.mkdir("nat4/x"),
        lambda files: files.makedirs("nat4/x/y", exist_ok=True),
        lambda files: files.touch("nat4/x"),
        lambda files: files.pipe_file("nat4/x", b""),
        lambda files: files.mv("nat4/README.md", "nat4/x"),
        lambda files: files.open("nat4/x", "wb"),
    ],
)
def test_it_says_that_it_is_read_only(
    filesystem: AbstractFileSystem, change: Callable[[AbstractFileSystem], Any]
) -> None:
    with pytest.raises(CorpusError, match="read-only"):
        change(filesystem)


def test_the_date_of_a_file_follows_its_content(
    own_home: Path, mini_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = copy_release(mini_release, tmp_path / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(release))
    filesystem = fsspec.filesystem("corpus")
    paths = [f"wingert2026/data/A1/{site}/val.parquet" for site in ("CLT027c", "CLT028c")]
    before = [filesystem.modified(path) for path in paths]
    assert [filesystem.created(path) for path in paths] == before
    filesystem.cat_file(paths[0])  # built now
    assert [filesystem.modified(path) for path in paths] == before
    archive = next((release / "recordings").glob("CLT027c*"))
    change_member(archive, ".resp.json", lambda content: content + b" ")
    after = [filesystem.modified(path) for path in paths]
    assert after[0] != before[0]
    assert after[1] == before[1]
    with pytest.raises(CorpusError, match="it is a folder"):
        filesystem.modified("wingert2026/data")


def test_a_corpus_has_a_path_that_loads_from_anywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset(builders.path(corpus), split="val")) > 0
    with pytest.raises(CorpusError, match="did you mean nat4"):
        builders.path("nat")
