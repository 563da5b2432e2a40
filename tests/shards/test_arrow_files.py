"""Arrow files of shards: shared, built beside Parquet files, and never data that is not right."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from builders.errors import CorpusError
from builders.repository import preparing
from builders.repository.contents import configs
from builders.shards import cache as shards_module
from builders.shards.wanted import Wanted
from builders.shards.writer import WHOLE, Form, Writer, mapped, n_rows
from tests.conftest import run_python
from tests.releases import copy_release
from wingert2026 import Wingert2026

POPULATION = "corpus://nat4/data/A1/*/est.parquet"
SITE = "corpus://wingert2026/data/A1/CLT027c/*.parquet"


@pytest.fixture
def release(own_home: Path, releases: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_release(releases("wingert2026"), own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


def load(config: str = "CLT027c", split: str = "est", **options: Any) -> Dataset:
    return load_dataset("./wingert2026", config, split=split, **options)


def stored(home: Path, pattern: str = "*.arrow") -> list[Path]:
    """Files in the cache of shards."""
    return sorted((home / "builders" / "shards").rglob(pattern))


def used(home: Path) -> list[Path]:
    """Arrow files of data sets."""
    return sorted((home / "hf").rglob("*.arrow"))


def inodes(files: list[Path]) -> set[int]:
    return {file.stat().st_ino for file in files}


def wanted(glob: str = SITE) -> list[Wanted]:
    filesystem: Any = fsspec.filesystem("corpus")
    return [filesystem.wanted(path) for path in filesystem.glob(glob)]


def whole(shard: Wanted) -> Form:
    return Form(WHOLE, shard.job.features)


def rows(data: Dataset) -> pa.Table:
    return data.with_format("arrow")[:].combine_chunks()


def rewrite(shard: Wanted, change: Callable[[bytes], bytes]) -> None:
    """Change the archive of a shard, which is a link to one that all tests share."""
    path = shard.job.archives()[0].path
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content))


def none_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, building is an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(shards_module.ShardCache, "_build", refuse)


def test_a_shard_takes_its_room_once(release: Path, own_home: Path) -> None:
    load()
    assert len(used(own_home)) == 2
    assert inodes(used(own_home)) == inodes(stored(own_home))
    assert not stored(own_home, "*.parquet")


def test_configs_share_their_files(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = rows(load("A1"))
    before = inodes(stored(own_home))
    none_built(monkeypatch)
    site = load()
    assert inodes(used(own_home)) == before == inodes(stored(own_home))
    sessions = pa.compute.equal(area["session"], "CLT027c")
    assert rows(site).equals(area.filter(sessions).combine_chunks())


def test_configs_with_the_same_filter_share_their_files(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [("electrode", "<=", 100)]
    load("A1", filters=kept)
    before = inodes(stored(own_home))
    load(filters=[("electrode", ">", 0)])
    others = inodes(stored(own_home)) - before
    assert len(others) == 2
    n_all = len(load())
    none_built(monkeypatch)
    assert 0 < len(load(filters=kept)) <= n_all
    assert inodes(used(own_home)) <= inodes(stored(own_home))
    with pytest.raises(AssertionError, match="built again"):
        load(filters=[("electrode", "<=", 99)])


def test_what_a_config_does_not_need_of_a_session_is_not_built(
    release: Path, own_home: Path
) -> None:
    """LMD037a has cells in two areas, and is a site of A1."""
    n_rows = len(load("A1"))
    assert {file.parent.parent.name for file in stored(own_home)} == {"A1"}
    assert not stored(own_home, "*.parquet")
    session = load("LMD037a")
    areas = set(session["area"])
    assert len(areas) == 2
    assert {f.parent.parent.name for f in stored(own_home) if f.parent.name == "LMD037a"} == areas
    assert len(load("A1")) == n_rows


def test_what_a_config_does_not_need_of_many_sessions_is_written_as_parquet(
    own_home: Path,
) -> None:
    """The population archive of an area takes long to read."""
    sites = [path.split("/")[2] for path in wanted(POPULATION)[0].job.paths]
    load_dataset("./nat4", sites[0], split="est")
    assert {file.parent.name for file in stored(own_home, "est*.arrow")} == {sites[0]}
    assert {file.parent.name for file in stored(own_home, "est*.parquet")} == {*sites[1:]}


def test_a_parquet_file_becomes_an_arrow_file_without_its_archive(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fsspec.open("corpus://wingert2026/data/A1/CLT027c/est.parquet") as file:
        expected = pq.read_table(file)
    none_built(monkeypatch)
    found = rows(load())
    assert found.equals(expected.cast(found.schema).combine_chunks())


def test_an_arrow_file_and_a_parquet_file_stand_side_by_side(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped_rows = list(load())
    assert list(load(streaming=True)) == mapped_rows
    assert len(stored(own_home)) == len(stored(own_home, "*.parquet")) == 2
    none_built(monkeypatch)
    shutil.rmtree(own_home / "hf")
    assert list(load()) == list(load(streaming=True)) == mapped_rows


def test_a_data_set_that_is_deleted_is_there_at_once_when_it_is_loaded_again(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(load())
    shutil.rmtree(own_home / "hf")
    none_built(monkeypatch)
    assert rows(load()).equals(expected)


def test_files_that_no_data_set_uses_go_after_a_day(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    unused = load("LMD037a")
    folder = Path(unused.cache_files[0]["filename"]).parent
    shutil.rmtree(folder)
    cache = wanted()[0].cache
    cache.drop_unused()
    assert len(stored(own_home)) == 6
    later = time.time() + shards_module.KEPT_UNUSED + 1
    monkeypatch.setattr(time, "time", lambda: later)
    load("SLJ032a")
    assert {file.parent.name for file in stored(own_home)} == {"CLT027c", "SLJ032a"}


def test_a_disk_without_links(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    expected = rows(load())
    shutil.rmtree(own_home / "hf")
    monkeypatch.setattr(os, "link", refuse)
    for file in stored(own_home):
        file.chmod(0o444)
        file.parent.chmod(0o555)
    assert rows(load()).equals(expected)
    assert inodes(stored(own_home)).isdisjoint(inodes(used(own_home)))
    for file in stored(own_home):
        file.parent.chmod(0o755)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_cache_may_be_deleted_while_it_is_linked(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, n_workers: int
) -> None:
    expected = rows(load("A1"))
    shutil.rmtree(own_home / "hf")
    plain = preparing.mapped
    calls = []

    def deleting(file: Path) -> pa.Table:
        table = plain(file)
        calls.append(file)
        if len(calls) < 4:
            file.unlink()
        return table

    monkeypatch.setattr(preparing, "mapped", deleting)
    assert rows(load("A1", num_proc=n_workers)).equals(expected)


@pytest.mark.parametrize("in_process", [True, False])
def test_a_spoilt_file_is_built_again(release: Path, own_home: Path, in_process: bool) -> None:
    """The data set of an earlier load has the same spoilt file; a new one has not."""
    expected = rows(load()).to_pylist()
    shutil.rmtree(own_home / "hf")
    (file,) = stored(own_home, "est*.arrow")
    content = file.read_bytes()
    file.write_bytes(content[:-2000] + b"\1" * 1000 + content[-1000:])
    if in_process:
        assert rows(load()).to_pylist() == expected
    else:
        found = run_python("""
            import json
            from datasets import load_dataset
            rows = load_dataset("./wingert2026", "CLT027c", split="est")
            print(json.dumps(rows["response"][:]))
        """)
        assert json.loads(found) == [row["response"] for row in expected]
    assert stored(own_home, "est*.arrow")[0].read_bytes() == content


def test_an_archive_that_changes_while_it_is_read_gives_no_data(
    release: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = wanted()[0]
    changes = [lambda content: content + b"\0"]

    class Changing(Writer):
        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            while changes:
                rewrite(shard, changes.pop())

    monkeypatch.setattr(shards_module, "Writer", Changing)
    with pytest.raises(CorpusError, match="changed"):
        shard.open(mapped, whole(shard), [shard.path])
    assert not stored(own_home)


def test_no_shard_is_linked_that_changed_after_it_was_listed(release: Path, own_home: Path) -> None:
    shard = replace(wanted()[0], etag=wanted()[0].cache.etag(wanted()[0].job))
    shard.open(mapped, whole(shard))
    rewrite(shard, lambda content: content + b"\0")
    with pytest.raises(CorpusError, match="changed since it was listed"):
        shard.open(partial(preparing._link, own_home / "linked.arrow"), whole(shard))


def test_a_damaged_archive_leaves_the_shards_of_the_others(release: Path, own_home: Path) -> None:
    shards = wanted("corpus://wingert2026/data/A1/*/est.parquet")
    rewrite(shards[1], lambda content: content[:-1000])
    with pytest.raises(CorpusError, match=shards[1].job.session):
        load("A1")
    assert shards[1].job.session not in {file.parent.name for file in stored(own_home)}
    assert shards[0].job.session in {file.parent.name for file in stored(own_home)}
    assert not used(own_home)
    assert not stored(own_home, "*.partial")


def test_other_formats_and_sizes_are_left_to_datasets(release: Path, own_home: Path) -> None:
    expected = rows(load())
    builder = Wingert2026("CLT027c")
    builder.download_and_prepare(str(own_home / "elsewhere"), file_format="parquet")
    (file,) = (own_home / "elsewhere").glob("*est*.parquet")
    assert pq.read_table(file).cast(expected.schema).combine_chunks().equals(expected)
    builder = Wingert2026("A1", cache_dir=str(own_home / "large"))
    builder.download_and_prepare(max_shard_size="1GB")
    assert len([*(own_home / "large").rglob("*est*.arrow")]) == 1
    assert rows(builder.as_dataset("est")).equals(rows(load("A1")))


def test_what_is_known_of_a_corpus_is_known_of_its_arrow_files(
    release: Path, own_home: Path
) -> None:
    counted = load_dataset("./wingert2026", "CLT027c").num_rows
    of_site = next(each for each in configs(Wingert2026) if each.name == "CLT027c")
    assert of_site.rows == counted
    shard = wanted()[0]
    cache, etag = shard.cache, shard.cache.etag(shard.job)
    assert cache.notes(shard.path, etag) is not None
    (file,) = stored(own_home, "est*.arrow")
    assert n_rows(file) == counted["est"]
    file.unlink()
    assert cache.notes(shard.path, etag) is None


def test_notes_stay_when_an_arrow_file_is_removed_that_was_copied(own_home: Path) -> None:
    load_dataset("./nat4", "A1")
    shards = wanted("corpus://nat4/data/A1/*/*.parquet")

    def noted() -> list[Any]:
        return [each.cache.notes(each.path, each.cache.etag(each.job)) for each in shards]

    before = noted()
    assert any(before)
    for file in stored(own_home):
        file.unlink()
    assert noted() == [notes or None for notes in before]


def test_files_of_others_stay(release: Path, own_home: Path) -> None:
    expected = rows(load())
    (file,) = stored(own_home, "est*.arrow")
    others = [file.with_name(name) for name in ("est.parquet", "est.odd.arrow", "est.")]
    for other in others:
        other.write_bytes(b"")
    shutil.rmtree(own_home / "hf")
    file.unlink()
    assert rows(load()).equals(expected)
    assert all(other.exists() for other in others)


def test_rows_that_a_form_does_not_have(tmp_path: Path, release: Path) -> None:
    shard = wanted()[0]
    none = Form("0", shard.job.features, rows=pa.compute.field("cell_id") == "")
    with Writer(tmp_path / "none.arrow", shard.job.features, none) as writer:
        for table in pq.ParquetFile(shard.open(Path)).iter_batches():
            writer.append(pa.Table.from_batches([table]))
    assert len(mapped(tmp_path / "none.arrow")) == 0
    assert mapped(tmp_path / "none.arrow").schema == shard.job.features.arrow_schema
    assert load("A1", filters=[("cell_id", "==", "")]).num_rows == 0
