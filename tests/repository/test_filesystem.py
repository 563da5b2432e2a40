"""``corpus://``: a file system like any other to fsspec, pandas and Dask."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe
import fsspec
import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import load_dataset
from fsspec.spec import AbstractFileSystem

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.repository.card import local_card
from tests.conftest import run_python
from tests.releases import small_sites
from wingert2026 import Wingert2026

EST = "wingert2026/data/A1/CLT027c/est.parquet"
SITES = {
    "A1": ["CLT027c", "CLT028c", "LMD037a", "PRN015a", "PRN018a"],
    "AC": ["LMD037a", "PRN045b"],
    "HC": ["PRN045b"],
    "PEG": ["CLT050c", "SLJ032a", "SLJ032a-B"],
    "unlabeled": ["PRN010b"],
}
FOLDERS = [
    "",
    "wingert2026",
    "wingert2026/data",
    "wingert2026/data/A1",
    "wingert2026/data/A1/CLT027c",
    "wingert2026/stimuli/CLT027c",
]
FILES = [
    EST,
    "wingert2026/README.md",
    "wingert2026/cells.parquet",
    "wingert2026/stimuli/CLT027c/val-00000-of-00001.parquet",
]
# A wrong path, the part of it that is wrong, and what might have stood there instead.
WRONG = {
    "wingert2027": ("wingert2027", ["wingert2026"]),
    "wingert2027/data/A1": ("wingert2027", ["wingert2026"]),
    "wingert2026/dat": ("dat", ["README.md", "cells.parquet", "data", "stimuli", "waveforms"]),
    "wingert2026/data/A2": ("A2", ["A1", "AC", "HC", "PEG", "unlabeled"]),
    "wingert2026/data/A2/CLT027c/est.parquet": ("A2", ["A1", "AC", "HC", "PEG", "unlabeled"]),
    "wingert2026/data/PEG/CLT027c": ("CLT027c", ["CLT050c", "SLJ032a", "SLJ032a-B"]),
    "wingert2026/data/A1/CLT027c/test.parquet": ("test.parquet", ["est.parquet", "val.parquet"]),
}


@pytest.fixture
def filesystem(home: Path) -> Any:
    return fsspec.filesystem("corpus")


def test_fsspec_finds_it_by_its_entry_point(home: Path) -> None:
    assert (
        run_python("""
        import sys
        import fsspec
        assert "builders" not in sys.modules
        with fsspec.open("corpus://wingert2026/cells.parquet") as file:
            print(type(fsspec.filesystem("corpus")).__module__, file.read(4).decode())
        """)
        == "builders.repository.filesystem PAR1\n"
    )


def test_a_process_does_not_end_while_a_thread_still_reads_a_shard(home: Path) -> None:
    """As Arrow's threads do for a moment after a stream; a daemon thread would just be stopped."""
    code = """
        import threading, time
        import fsspec
        def read(files):
            time.sleep({seconds})
            file = files.pop()
            file.close()
            print("closed", flush=True)
        files = [fsspec.filesystem("corpus").open("corpus://wingert2026/cells.parquet")]
        threading.Thread(target=read, args=[files], daemon=True).start()
    """
    assert run_python(code.format(seconds=0.4)) == "closed\n"
    assert run_python(code.format(seconds=60)) == ""  # but it does end


def test_a_folder_lists_what_is_in_it(filesystem: Any) -> None:
    def names(path: str) -> list[str]:
        found: list[str] = filesystem.ls(path, detail=False)
        assert [entry["name"] for entry in filesystem.ls(path)] == found
        return found

    assert "wingert2026" in names("corpus://")
    assert names("corpus://wingert2026/") == [
        "wingert2026/README.md",
        "wingert2026/cells.parquet",
        "wingert2026/data",
        "wingert2026/stimuli",
        "wingert2026/waveforms",
    ]
    assert names("wingert2026/data") == [f"wingert2026/data/{area}" for area in SITES]
    for area, sites in SITES.items():
        folder = f"wingert2026/data/{area}"
        assert names(folder) == [f"{folder}/{site}" for site in sites]
    assert names("wingert2026/data/A1/CLT027c") == [EST, EST.replace("est", "val")]
    assert names(EST) == [EST]


def test_entries_are_files_or_directories(filesystem: Any) -> None:
    entries = {entry["name"]: entry["type"] for entry in filesystem.ls("wingert2026")}
    assert sorted(entries.values()) == ["directory"] * 3 + ["file"] * 2
    for path in FOLDERS:
        assert filesystem.isdir(path)
        assert not filesystem.isfile(path)
        assert filesystem.exists(f"corpus://{path}")
        assert filesystem.info(path)["type"] == "directory"
    for path in FILES:
        assert filesystem.isfile(path)
        assert not filesystem.isdir(path)
        assert filesystem.exists(f"corpus://{path}")
        assert filesystem.info(f"corpus://{path}")["type"] == "file"
        assert filesystem.info(f"corpus://{path}")["name"] == path


def test_walk_and_find_go_through_the_whole_tree(filesystem: Any) -> None:
    walked = {
        f"{folder}/{file}" for folder, _, files in filesystem.walk("wingert2026") for file in files
    }
    records = {
        f"wingert2026/data/{area}/{site}/{subset}.parquet"
        for area, sites in SITES.items()
        for site in sites
        for subset in ("est", "val")
    }
    sessions = {site.split("-")[0] for sites in SITES.values() for site in sites}
    stimuli = {
        f"wingert2026/stimuli/{session}/{name}.parquet"
        for session in sessions
        for name in ("val-00000-of-00001", *(f"est-0000{part}-of-00004" for part in range(4)))
    }
    waveforms = {f"wingert2026/waveforms/{part:05d}-of-00192.parquet" for part in range(192)}
    others = {"wingert2026/README.md", "wingert2026/cells.parquet"}
    assert walked == records | stimuli | waveforms | others
    assert filesystem.find("corpus://wingert2026") == sorted(walked)
    assert set(filesystem.find("wingert2026/data")) == records
    assert filesystem.find(EST) == [EST]


@pytest.mark.parametrize("withdirs", [False, True])
@pytest.mark.parametrize("maxdepth", [None, 1, 2, 3])
@pytest.mark.parametrize(
    "path", ["", "wingert2026", "wingert2026/data", "wingert2026/data/A1/", EST]
)
def test_find_is_that_of_any_file_system(
    filesystem: Any, path: str, maxdepth: int | None, withdirs: bool
) -> None:
    """`AbstractFileSystem` finds the same by listing folder after folder."""
    slow = AbstractFileSystem.find(filesystem, path, maxdepth, withdirs, detail=True)
    found = filesystem.find(path, maxdepth, withdirs, detail=True)
    assert list(found) == filesystem.find(path, maxdepth, withdirs) == list(slow)
    if path != EST:  # of a lone file it tells nothing but the name
        assert found == slow


def test_globs_are_those_of_any_file_system(filesystem: Any) -> None:
    a1 = [f"wingert2026/data/A1/{site}/est.parquet" for site in SITES["A1"]]
    assert filesystem.glob("corpus://wingert2026/data/A1/*/est.parquet") == a1
    assert filesystem.glob("wingert2026/data/A1/CLT*/est.parquet") == a1[:2]
    assert filesystem.glob("wingert2026/data/*/LMD037a/val.parquet") == [
        "wingert2026/data/A1/LMD037a/val.parquet",
        "wingert2026/data/AC/LMD037a/val.parquet",
    ]
    assert len(filesystem.glob("wingert2026/**/est.parquet")) == 12
    assert filesystem.glob(EST) == [EST]
    detail = filesystem.glob("wingert2026/data/A1/*/est.parquet", detail=True)
    assert {entry["type"] for entry in detail.values()} == {"file"}


ways = pytest.mark.parametrize(
    "way",
    [
        lambda filesystem, path: filesystem.ls(path),
        lambda filesystem, path: list(filesystem.walk(path)),
        lambda filesystem, path: filesystem.find(path),
        lambda filesystem, path: filesystem.glob(path),
        lambda filesystem, path: filesystem.glob(f"{path}/*"),
        lambda filesystem, path: filesystem.info(path),
        lambda filesystem, path: filesystem.isdir(path),
        lambda filesystem, path: filesystem.open(path),
        lambda filesystem, path: filesystem.cat(path),
    ],
    ids=["ls", "walk", "find", "glob", "glob below", "info", "isdir", "open", "cat"],
)


@ways
def test_a_wrong_path_is_an_error_that_names_the_right_ones(
    filesystem: Any, way: Callable[[Any, str], Any]
) -> None:
    for path, (wrong, names) in WRONG.items():
        with pytest.raises(CorpusError) as error:
            way(filesystem, f"corpus://{path}")
        message, _, valid = str(error.value).partition("valid names: ")
        assert repr(wrong) in message
        assert set(names) <= set(valid.split(", ")), path
        assert path.startswith("wingert2027") or valid.split(", ") == names


def test_a_wrong_part_of_a_glob_is_named(filesystem: Any) -> None:
    with pytest.raises(CorpusError, match="'CLT033c'") as error:
        filesystem.glob("corpus://wingert2026/data/*/CLT033c/est.parquet")
    assert "did you mean CLT050c or CLT028c or CLT027c?" in str(error.value)
    with pytest.raises(CorpusError, match="'XYZ"):
        filesystem.glob("corpus://wingert2026/data/A1/XYZ*/est.parquet")


def test_a_wrong_path_does_not_exist(filesystem: Any) -> None:
    for path in WRONG:
        assert not filesystem.exists(f"corpus://{path}")
        assert not filesystem.isfile(f"corpus://{path}")


def test_a_folder_cannot_be_opened(filesystem: Any) -> None:
    for path in FOLDERS[1:]:
        with pytest.raises(CorpusError, match=f"corpus://{path}\n.*it is a folder"):
            filesystem.open(f"corpus://{path}")


def test_nothing_can_be_written_or_removed(filesystem: Any, tmp_path: Path) -> None:
    before = filesystem.find("wingert2026"), filesystem.cat(EST)
    (tmp_path / "file").write_bytes(b"other")
    for path in (EST, "wingert2026/README.md", "wingert2026/data/A1/new.parquet"):
        for mode in ("wb", "ab", "xb", "r+b", "w"):
            with pytest.raises(CorpusError, match="read-only"):
                filesystem.open(path, mode)
        for write in (filesystem.touch, lambda path: filesystem.pipe(path, b"other")):
            with pytest.raises(CorpusError, match="read-only"):
                write(path)
        with pytest.raises(CorpusError):
            filesystem.put(str(tmp_path / "file"), path)
    for remove in (filesystem.rm, filesystem.rm_file):
        with pytest.raises((CorpusError, NotImplementedError)):
            remove(EST)
    with pytest.raises((CorpusError, NotImplementedError)):
        filesystem.mv(EST, "wingert2026/new.parquet")
    assert (filesystem.find("wingert2026"), filesystem.cat(EST)) == before


def test_info_learns_the_size_when_a_shard_is_built(own_home: Path) -> None:
    filesystem = fsspec.filesystem("corpus")
    before = {path: filesystem.info(path) for path in FILES}
    assert all(info["ETag"] for info in before.values())
    assert len({info["ETag"] for info in before.values()}) == len(FILES)
    unknown = {path for path, info in before.items() if info["size"] == -1}
    assert unknown == set(FILES) - {"wingert2026/README.md"}
    for path, info in before.items():
        content = filesystem.cat_file(path)
        assert filesystem.info(path) == {**info, "size": len(content)}
    val = EST.replace("est", "val")  # its shard came with that of `est`
    assert filesystem.info(val)["size"] == len(filesystem.cat_file(val))


def test_a_part_of_a_file_is_that_part(filesystem: Any, tmp_path: Path) -> None:
    whole = filesystem.cat_file(EST)
    assert whole[:4] == whole[-4:] == b"PAR1"
    assert filesystem.cat_file(EST, 100, 200) == whole[100:200]
    assert filesystem.tail(EST, 8) == whole[-8:]
    with filesystem.open(EST) as file:
        file.seek(-4, 2)
        assert file.read() == b"PAR1"
    filesystem.get(EST, str(tmp_path / "copy.parquet"))
    assert (tmp_path / "copy.parquet").read_bytes() == whole


def same(found: pd.DataFrame, expected: pd.DataFrame) -> bool:
    """Equal in every column, nested ones included."""
    assert list(found) == list(expected)
    return found.to_json(orient="records") == expected.to_json(orient="records")


def test_pandas_reads_what_load_dataset_loads(home: Path) -> None:
    loaded = load_dataset("./wingert2026", "CLT050c", split="val").to_pandas()
    found = pd.read_parquet("corpus://wingert2026/data/PEG/CLT050c/val.parquet")
    assert same(found, loaded)
    assert np.stack(found["response"][0]).dtype == np.float32
    cells = load_dataset("./wingert2026", "cells", split="all").to_pandas()
    assert same(pd.read_parquet("corpus://wingert2026/cells.parquet"), cells)


def test_pandas_reads_some_columns_of_some_rows(home: Path) -> None:
    found = pd.read_parquet(
        "corpus://wingert2026/data/A1/CLT028c/val.parquet",
        columns=["stim", "cell_id"],
        filters=[("layer", "==", "44")],
    )
    loaded = load_dataset(
        "./wingert2026",
        "CLT028c",
        split="val",
        columns=["stim", "cell_id"],
        filters=[("layer", "==", "44")],
    ).to_pandas()
    assert len(found) > 0
    assert same(found, loaded)


def test_dask_reads_what_load_dataset_loads(home: Path) -> None:
    columns = ["stim_id", "cell_id", "area", "layer", "depth", "goodpred", "onsets"]
    frame = dask.dataframe.read_parquet(
        "corpus://wingert2026/data/A1/*/est.parquet", columns=columns
    )
    assert frame.npartitions >= len(SITES["A1"])
    loaded = load_dataset("./wingert2026", "A1", split="est", columns=columns).to_pandas()
    found = frame.compute().reset_index(drop=True)
    assert len(found) == 6736
    assert same(found[columns], loaded[columns])


def test_a_shard_without_rows_is_an_empty_table(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site with validation stimuli alone: its est shard has a schema and no row group."""
    small_sites(own_home / "release", {"STIM_00seq1.wav": 2})
    monkeypatch.setenv("WINGERT2026_DATA", str(own_home / "release"))
    folder, names = "corpus://wingert2026/data/A1/CLT027c", list(Wingert2026.records_features())
    empty, some = [("layer", "==", "44")], ["cell_id", "response"]
    for options, columns in (({}, names), ({"columns": some}, some), ({"filters": empty}, names)):
        frame = pd.read_parquet(f"{folder}/est.parquet", **options)
        assert (len(frame), list(frame)) == (0, columns)
        lazy = dask.dataframe.read_parquet(f"{folder}/est.parquet", **options)
        assert (len(lazy), list(lazy.compute())) == (0, columns)
    both = dask.dataframe.read_parquet(f"{folder}/*.parquet").compute()
    assert list(both["subset"]) == ["val"] * 3


def test_the_card_in_the_tree_has_paths_relative_to_it(filesystem: Any) -> None:
    card = filesystem.cat_file("wingert2026/README.md").decode()
    _, header, body = card.split("---\n", 2)
    assert "corpus://" not in header
    local = local_card(Wingert2026).split("---\n", 2)
    assert header == local[1].replace("corpus://wingert2026/", "")
    assert body == local[2]
    for config in yaml.safe_load(header)["configs"]:
        for files in config["data_files"]:
            globs = files["path"] if isinstance(files["path"], list) else [files["path"]]
            for glob in globs:
                if config["config_name"] in ("A1+PEG", "A1", "est", "cells", "stimuli", "CLT027c"):
                    assert filesystem.glob(f"corpus://wingert2026/{glob}")


def test_the_cards_size_and_etag_are_those_of_its_content(filesystem: Any) -> None:
    card, info = (
        filesystem.cat_file("wingert2026/README.md"),
        filesystem.info("wingert2026/README.md"),
    )
    assert info["size"] == len(card)
    assert info["ETag"] == hashlib.sha256(card).hexdigest()


# What Windows allows in no name, and the names of its devices, which no file may have.
NOT_PORTABLE = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.I)


def test_names_of_shards_suit_every_system(filesystem: Any, corpus: str) -> None:
    """Windows and macOS take names that differ in case alone for the same; Windows forbids some."""
    named = {
        part
        for config in find_corpus(corpus).BUILDER_CONFIGS
        for globs in config.globs.values()
        for glob in globs
        for part in glob.split("/")
        if "*" not in part
    }
    paths = filesystem.find(f"corpus://{corpus}")
    found = named | {part for path in paths for part in path.split("/")}
    assert len(paths) > 10 < len(found)
    assert not [name for name in found if NOT_PORTABLE.search(name)]
    assert len({name.casefold() for name in found}) == len(found)
