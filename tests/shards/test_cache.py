"""The cache of shards: built once, rebuilt when and only when it must be, never seen half-done."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset

from builders.errors import CorpusError
from builders.files import replace_file
from builders.schema import RECORDS
from builders.shards.arrow import stored, table
from builders.shards.cache import ShardCache
from builders.shards.job import Job
from builders.shards.notes import Note, Notes
from builders.synthetic.recordings import write_archive
from tests.conftest import REPOSITORY, run_python
from tests.releases import keep_cells
from wingert2026 import Wingert2026
from wingert2026.synthetic.cells import write_cell_list
from wingert2026.synthetic.release import archives

EST, VAL = ("STIM_seq0001.wav", "STIM_seq0002.wav", "STIM_seq0003.wav"), "STIM_00seq1.wav"

# Stimulus and cell -> the bins of the spikes of each trial; a bin stands once for each spike.
Spikes = dict[tuple[str, str], list[list[int]]]


def truth(archive: Path) -> Spikes:
    """What an archive holds, read and binned in the plainest way."""
    with tarfile.open(archive) as tar:
        files = {member.name.partition("resp.")[2]: tar.extractfile(member) for member in tar}
        spikes, table = (files[name].read() for name in ("h5", "epoch.csv"))  # type: ignore[union-attr]
    rows = sorted(csv.DictReader(io.StringIO(table.decode())), key=lambda row: float(row["start"]))
    found: Spikes = {}
    with h5py.File(io.BytesIO(spikes)) as file:
        for cell in file:
            bins = np.sort(np.floor(file[cell][:] * 100)).astype(int)
            for row in rows:
                if row["name"].startswith("STIM_"):
                    start, end = (round(float(row[bound]) * 100) for bound in ("start", "end"))
                    inside = bins[(bins >= start) & (bins < end)] - start
                    found.setdefault((row["name"], cell), []).append(inside.tolist())
    return found


def load(config: str = "CLT027c", split: str | None = None, **options: Any) -> Spikes:
    """The same through `load_dataset`, both splits together."""
    found: Spikes = {}
    for each in [split] if split else ["est", "val"]:
        data = load_dataset("./wingert2026", config, split=each, **options)
        for row in data.with_format("numpy"):
            trials = [
                np.repeat(np.arange(len(trial)), trial.astype(int)) for trial in row["response"]
            ]
            found[str(row["stim"]), str(row["cell_id"])] = [bins.tolist() for bins in trials]
    return found


def shards(home: Path) -> list[Path]:
    """Every file in the shard cache but the locks."""
    root = home / "builders" / "shards"
    return sorted(path for path in root.rglob("*.*") if path.parent.name != "locks")


def open_all(filesystem: Any) -> dict[str, bytes]:
    """The content of every shard of the repository but the waveforms (wav.zip), by path."""
    found = filesystem.find("corpus://wingert2026")
    wanted = [path for path in found if path.endswith(".parquet") and "/waveforms/" not in path]
    return {path: filesystem.cat_file(path) for path in wanted}


@pytest.fixture
def release(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of one's own, with empty caches: one session of three cells, four stimuli."""
    folder = own_home / "release"
    small_release(folder, {VAL: 2, **dict.fromkeys(EST, 1)})
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


def small_release(folder: Path, repetitions: dict[str, int], seed: int = 0) -> Path:
    """Write CLT027c with three of its cells; the path of its archive. There is nothing to note."""
    (folder / "recordings").mkdir(parents=True)
    write_cell_list(folder / "cell_list.csv", {"CLT027c"}, seed)
    plan = next(plan for plan in archives("mini", seed) if plan.session == "CLT027c")
    small = replace(plan, cells=plan.cells[:3], repetitions=repetitions)
    keep_cells(folder / "cell_list.csv", small.cells)
    return write_archive(folder / "recordings", small, seed)


def archive_of(release: Path) -> Path:
    (archive,) = (release / "recordings").iterdir()
    return archive


# -- Two processes ---------------------------------------------------------------------------------

# What a child process opens, as its audit hook sees it: every `open` of the interpreter.
SPY = """
import json, os, sys
opened = []
def spy(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["WINGERT2026_DATA"]):
        opened.append(str(arguments[0]).rpartition("/")[2])
sys.addaudithook(spy)
"""


@pytest.mark.parametrize("apart", [False, True], ids=["one Arrow cache", "two Arrow caches"])
def test_two_processes_that_load_at_once_build_once(
    own_home: Path, mini_release: Path, apart: bool
) -> None:
    """Two Arrow caches: then `datasets` has no lock that keeps the processes apart."""
    code = SPY + textwrap.dedent("""
        import time
        from pathlib import Path
        from datasets import load_dataset
        own, cache = sys.argv[1:]
        Path(own).touch()
        while not Path(own).with_name("go").exists():
            time.sleep(0.001)
        data = load_dataset("./wingert2026", "CLT028c", split="val", cache_dir=cache)
        data = data.with_format("numpy")
        total = {f"{row['stim']} {row['cell_id']}": float(row["response"].sum()) for row in data}
        print(json.dumps([opened, total]))
    """)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, own_home / f"{i}", own_home / f"cache{i * apart}"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        deadline = time.monotonic() + 60
        while not all((own_home / f"{i}").exists() for i in range(2)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (own_home / "go").touch()
        found = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    finally:
        for child in children:
            child.kill()

    (archive,) = (mini_release / "recordings").glob("CLT028c_*")
    expected = {
        " ".join(key): sum(map(len, trials))
        for key, trials in truth(archive).items()
        if key[0].startswith("STIM_00")
    }
    assert [total for _, total in found] == [expected, expected]
    readers = [opened for opened, _ in found if archive.name in opened]
    assert len(readers) == 1
    assert [path.name.split(".")[0] for path in shards(own_home)] == ["est", "val"]


# -- A process that is killed ----------------------------------------------------------------------

KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from datasets import load_dataset

config, event, ending, count = *sys.argv[1:4], int(sys.argv[4])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def hook(name, arguments):
    global count
    if name == event and str(arguments[0]).endswith(ending):
        count -= 1
        if not count:
            die()

def watch():
    root = Path(os.environ["BUILDERS_HOME"]) / "shards"
    while not any(path.stat().st_size > 10_000 for path in root.rglob("*.partial")):
        time.sleep(0.001)
    die()

if event == "written":
    threading.Thread(target=watch, daemon=True).start()
else:
    sys.addaudithook(hook)
load_dataset("./wingert2026", config)
"""


def kill_while_building(config: str, event: str, ending: str = "", count: int = 1) -> None:
    """Load in a child process that is killed at the `count`-th such event."""
    command = [sys.executable, "-c", KILLED, config, event, ending, str(count)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(
    ("event", "ending", "count", "complete"),
    [
        pytest.param("open", ".tgz", 1, 0, id="before a byte was read"),
        pytest.param("open", ".tgz", 2, 0, id="when all was written"),
        pytest.param("os.rename", ".partial", 1, 0, id="before the renaming"),
        pytest.param("os.rename", ".partial", 2, 1, id="amid the renaming"),
    ],
)
def test_what_a_killed_process_leaves_is_not_taken_for_a_shard(
    own_home: Path, release: Path, event: str, ending: str, count: int, complete: int
) -> None:
    kill_while_building("CLT027c", event, ending, count)
    left = {path: path.read_bytes() for path in shards(own_home) if path.suffix == ".arrow"}
    assert len(left) == complete
    assert load() == truth(archive_of(release))
    assert [path.suffix for path in shards(own_home)] == [".arrow"] * 2
    assert all(path.read_bytes() == content for path, content in left.items())


def test_a_process_may_be_killed_while_it_writes_a_shard(
    own_home: Path, mini_release: Path
) -> None:
    kill_while_building("CLT028c", "written")
    assert any(path.stat().st_size for path in shards(own_home))
    assert {path.suffix for path in shards(own_home)} == {".partial"}
    (archive,) = (mini_release / "recordings").glob("CLT028c_*")
    expected = truth(archive)
    found = load("CLT028c", split="val")
    assert found == {key: expected[key] for key in expected if key[0].startswith("STIM_00")}
    assert len(load_dataset("./wingert2026", "CLT028c", split="est+val")) == len(expected)
    assert {path.suffix for path in shards(own_home)} == {".arrow"}


# -- A release that changes ------------------------------------------------------------------------


def pack(archive: Path, move: float = 0, level: int = 1) -> None:
    """Write an archive anew, with one spike of its first cell moved by `move` seconds.

    At level 0 nothing is compressed: then the size does not depend on where the spikes are.
    """
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with gzip.open(archive, "wb", level) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for member, content in members:
            if member.name.endswith(".resp.h5"):
                content = _move_spike(content, move, None if level == 0 else "gzip")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _move_spike(content: bytes, move: float, compression: str | None) -> bytes:
    written = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(written, "w") as new:
        for number, cell in enumerate(old):
            spikes = old[cell][:]
            if number == 0:
                spikes[len(spikes) // 2] += move
            new.create_dataset(cell, data=spikes, compression=compression)
    return written.getvalue()


def synthesize_anew(archive: Path) -> None:
    folder = archive.parent.parent / "other"
    small_release(folder, dict.fromkeys((*EST, VAL), 1), seed=1).replace(archive)
    shutil.rmtree(folder)


CHANGES: dict[str, Callable[[Path], None]] = {
    "another seed": synthesize_anew,
    "one spike moved": lambda archive: pack(archive, 0.1),
    "one spike moved, same size": lambda archive: pack(archive, 0.1, level=0),
}
changes = pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))


@changes
def test_a_changed_archive_is_built_again(
    own_home: Path, release: Path, change: Callable[[Path], None]
) -> None:
    archive = archive_of(release)
    pack(archive, level=0)
    size, before, old = archive.stat().st_size, load(streaming=True), shards(own_home)
    assert before == truth(archive)

    change(archive)
    assert (archive.stat().st_size == size) == (change is CHANGES["one spike moved, same size"])
    after = load(streaming=True)
    assert after == truth(archive)
    assert after != before
    new = shards(own_home)
    assert [path.name.split(".")[0] for path in new] == ["est", "val"]  # the old ones are gone
    assert not set(new) & set(old)


@changes
@pytest.mark.parametrize(
    "options", [{}, {"download_mode": "force_redownload"}], ids=["again", "forced"]
)
def test_load_dataset_shows_what_a_changed_archive_holds(
    own_home: Path, release: Path, change: Callable[[Path], None], options: dict[str, str]
) -> None:
    archive = archive_of(release)
    pack(archive, level=0)
    assert load() == truth(archive)
    change(archive)
    assert load(**options) == truth(archive)


def test_the_builder_class_shows_what_a_changed_archive_holds(
    own_home: Path, release: Path
) -> None:
    def n_spikes() -> float:
        builder = Wingert2026("CLT027c")
        builder.download_and_prepare()
        rows = builder.as_dataset(split="est+val").with_format("numpy")
        return float(sum(row["response"].sum() for row in rows))

    archive = archive_of(release)
    before = n_spikes()
    synthesize_anew(archive)
    after = n_spikes()
    assert after == sum(sum(map(len, trials)) for trials in truth(archive).values())
    assert after != before


def test_the_parquet_loader_shows_what_a_changed_archive_holds(
    own_home: Path, release: Path
) -> None:
    def onsets() -> list[list[float]]:
        files = "corpus://wingert2026/data/A1/CLT027c/est.parquet"
        return list(load_dataset("parquet", data_files=files, split="train")["onsets"])

    before = onsets()
    synthesize_anew(archive_of(release))
    assert onsets() == list(load_dataset("./wingert2026", "CLT027c", split="est")["onsets"])
    assert onsets() != before


def test_a_stream_ends_in_an_error_when_its_archive_changes(own_home: Path, release: Path) -> None:
    stream = load_dataset("./wingert2026", "CLT027c", split="est", streaming=True)
    touch(archive_of(release))
    assert len(list(stream)) == 3 * len(EST)
    touch(archive_of(release))
    assert len(list(stream)) == 3 * len(EST)
    synthesize_anew(archive_of(release))
    with pytest.raises(CorpusError, match="call load_dataset again"):
        list(stream)


def test_another_release_folder_is_another_release(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load() == truth(archive_of(release))
    other = small_release(own_home / "other", dict.fromkeys((*EST, VAL), 3), seed=1)
    monkeypatch.setenv("WINGERT2026_DATA", str(own_home / "other"))
    assert load(streaming=True) == truth(other)
    assert load() == truth(other)


def test_a_changed_cell_list_is_built_again(own_home: Path, release: Path) -> None:
    def types(config: str, split: str) -> set[str]:
        data = load_dataset("./wingert2026", config, split=split, streaming=True)
        return {row["celltype"] for row in data}

    assert types("CLT027c", "est") <= {"RS", "RD", "NS", "ND"}
    path = release / "cell_list.csv"
    text = path.read_text(encoding="utf-8")
    for known in ("RS", "RD", "NS", "ND"):
        text = text.replace(f",{known}\n", ",XX\n")
    path.write_text(text, encoding="utf-8")
    assert types("CLT027c", "est") == types("cells", "cells") == {"XX"}
    assert [path.name.split(".")[0] for path in shards(own_home)] == ["cells", "est", "val"]


def touch(file: Path) -> None:
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def copy_anew(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


@pytest.mark.parametrize("renew", [touch, copy_anew])
def test_a_touched_release_is_not_built_again(
    own_home: Path, release: Path, renew: Callable[[Path], None]
) -> None:
    def built() -> dict[str, tuple[int, int]]:
        load(streaming=True)
        cached = load_dataset("./wingert2026", "CLT027c", split="est+val").cache_files
        arrow = [Path(file["filename"]) for file in cached]
        files = [*arrow, *shards(own_home)]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = built()
    for _ in range(2):
        for file in (archive_of(release), release / "cell_list.csv"):
            renew(file)
        assert built() == before


def test_threads_that_replace_a_file_at_once_do_not_meet(tmp_path: Path) -> None:
    """`datasets` asks for ETags in 16 threads, each of which may record that a file was touched."""
    path, content = tmp_path / "record.json", b"x" * 100_000

    def write_and_read(_: int) -> bool:
        replace_file(path, content)
        return path.read_bytes() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(400)))
    assert list(tmp_path.iterdir()) == [path]


# -- What fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.5, -4], ids=["half of it", "all but its checksum's end"])
@pytest.mark.parametrize("options", [{}, {"num_proc": 2}], ids=["serial", "parallel"])
def test_a_truncated_archive_leaves_nothing_behind(
    own_home: Path, release: Path, kept: float, options: dict[str, int]
) -> None:
    archive = archive_of(release)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole)) if kept > 0 else int(kept)])
    with pytest.raises(CorpusError) as error:
        load_dataset("./wingert2026", "CLT027c", **options)
    assert f"in:   {archive}" in str(error.value)
    assert "damaged or incomplete" in str(error.value)
    assert shards(own_home) == []

    archive.write_bytes(whole)
    assert load() == truth(archive)


def test_a_failed_rebuild_does_not_serve_the_old_shard(own_home: Path, release: Path) -> None:
    archive = archive_of(release)
    load(streaming=True)
    archive.write_bytes(archive.read_bytes()[:-1000])
    for _ in range(2):
        with pytest.raises(CorpusError, match="damaged or incomplete"):
            load(streaming=True)
    assert not [path for path in shards(own_home) if path.suffix == ".partial"]


@pytest.mark.parametrize("config", ["cells", "CLT027c"])
def test_a_home_that_is_a_file_is_an_error_that_names_it(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    file = own_home / "file"
    file.touch()
    monkeypatch.setenv("BUILDERS_HOME", str(file))
    with pytest.raises(CorpusError, match="BUILDERS_HOME") as error:
        load_dataset("./wingert2026", config)
    assert str(file) in str(error.value)


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(own_home: Path, release: Path) -> None:
    """A limit on the size of files fails a write as a full disk does, for root too."""
    message = run_python("""
        import resource
        import fsspec
        from builders.errors import CorpusError
        shard = "corpus://wingert2026/stimuli/CLT027c/est-00003-of-00004.parquet"
        filesystem = fsspec.filesystem("corpus")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            filesystem.open(shard)
        except CorpusError as error:
            print(error)
    """)
    assert "cannot write a shard" in message
    assert str(own_home / "builders") in message
    assert shards(own_home) == []
    assert len(load_dataset("./wingert2026", "stimuli", split="est")) == len(EST)


# -- What is opened, and what is not ---------------------------------------------------------------


def spy(code: str) -> list[str]:
    """Names of the files of the release that a script opens."""
    report = 'print("\\n>>>" + json.dumps(opened))'
    out = run_python(SPY + textwrap.dedent(code) + report, USE_TORCH="0")
    found: list[str] = json.loads(out.rpartition(">>>")[2])
    return found


def test_listing_opens_no_archive(own_home: Path) -> None:
    assert set(
        spy("""
        import fsspec
        from datasets import get_dataset_config_names, load_dataset_builder
        filesystem = fsspec.filesystem("corpus")
        for path in filesystem.glob("corpus://wingert2026/**/*.parquet"):
            assert filesystem.info(path)["ETag"]
        assert len(filesystem.find("corpus://wingert2026")) > 50
        assert "A1" in get_dataset_config_names("./wingert2026")
        load_dataset_builder("./wingert2026", "all")
        """)
    ) == {"cell_list.csv", "wav.zip"}  # of the zip, its directory
    assert shards(own_home) == []


def test_cells_are_read_from_the_cell_list_alone(own_home: Path) -> None:
    assert set(
        spy("""
        from datasets import load_dataset
        assert len(load_dataset("./wingert2026", "cells", split="all")) == 655
        """)
    ) == {"cell_list.csv"}


def test_the_first_record_of_a_stream_opens_one_archive(own_home: Path) -> None:
    opened = spy("""
        from datasets import load_dataset
        stream = load_dataset("./wingert2026", "A1", split="est", streaming=True)
        assert next(iter(stream))["session"] == "CLT027c"
    """)
    assert {name.split("_")[0] for name in opened} == {"cell", "CLT027c"}


def test_the_release_is_never_written_to(own_home: Path, release: Path) -> None:
    def listing() -> dict[str, tuple[int, int, int]]:
        stats = {str(path): path.stat() for path in [release, *release.rglob("*")]}
        return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

    before = listing()
    for config in ("CLT027c", "A1", "cells", "stimuli"):
        load_dataset("./wingert2026", config)
    assert open_all(fsspec.filesystem("corpus"))
    assert listing() == before
    archive = archive_of(release)
    archive.write_bytes(archive.read_bytes()[:-1000])
    before = listing()
    with pytest.raises(CorpusError):
        load(streaming=True)
    assert listing() == before


# -- What a shard is like --------------------------------------------------------------------------


def test_the_same_release_gives_the_same_bytes(
    home: Path, mini_release: Path, tmp_path: Path
) -> None:
    """In another home, from a copy in another folder, in a process that hashes otherwise."""
    shutil.copytree(mini_release, tmp_path / "copy", copy_function=shutil.copyfile)
    out = run_python(
        """
        import hashlib, json
        import fsspec
        filesystem = fsspec.filesystem("corpus")
        paths = filesystem.glob("corpus://wingert2026/stimuli/PRN*/*.parquet")
        paths += filesystem.glob("corpus://wingert2026/data/*/*/*.parquet")
        paths += filesystem.glob("corpus://wingert2026/*.parquet")
        print(json.dumps({
            path: hashlib.sha256(filesystem.cat_file(path)).hexdigest() for path in reversed(paths)
        }))
        """,
        BUILDERS_HOME=str(tmp_path / "builders"),
        WINGERT2026_DATA=str(tmp_path / "copy"),
        PYTHONHASHSEED="1",
        TZ="Asia/Tokyo",
    )
    there = json.loads(out.splitlines()[-1])
    assert len(there) == 4 * 5 + 12 * 2 + 1  # of stimuli, of records, and the cells
    filesystem = fsspec.filesystem("corpus")
    here = {path: hashlib.sha256(filesystem.cat_file(path)).hexdigest() for path in there}
    assert there == here


def test_a_shard_that_cannot_be_made_is_an_error_when_the_others_are_done(own_home: Path) -> None:
    """Two are written at once; the others are there, and their notes."""
    features, paths = Features({"onsets": RECORDS["onsets"]}), ("a.parquet", "b.parquet")
    finished = []

    def recording_error() -> Iterator[pa.Table]:
        yield table({"onsets": [[1.0]]}, stored(features))
        raise CorpusError("a planted fault")

    def slow() -> Iterator[pa.Table]:
        time.sleep(0.3)
        yield table({"onsets": [[1.0]]}, stored(features))
        finished.append("slow")

    def tables(notes: Notes) -> dict[str, Iterator[pa.Table]]:
        for path in paths:
            notes.add(path, Note("", "x", "odd"))
        return {paths[0]: recording_error(), paths[1]: slow()}

    job, cache = Job("two", paths, features, list, str, tables), ShardCache("two", "code")
    for _ in range(2):
        with pytest.raises(CorpusError, match="a planted fault"):
            cache.shard(job, paths[0])
    assert finished == ["slow"]  # what is there is not built again
    assert len(pq.read_table(cache.shard(job, paths[1]))) == 1
    assert [cache.notes(path, cache.etag(job)) for path in paths] == [None, [Note("", "x", "odd")]]
    assert [path.suffix for path in shards(own_home)] == [".parquet", ".notes"]


def test_notes_are_those_of_the_shard_that_is_there(own_home: Path) -> None:
    """Of another version they go with it; what is left of them by a failing disk is not shown."""
    features, path = Features({"onsets": RECORDS["onsets"]}), "a.parquet"
    cache = ShardCache("one", "code")

    def build(*texts: str) -> list[str] | None:
        def tables(notes: Notes) -> dict[str, list[pa.Table]]:
            for text in texts:
                notes.add(path, Note("S", "x", text))
            return {path: [table({"onsets": [[1.0]]}, stored(features))]}

        job = Job("one", (path,), features, list, lambda: str(texts), tables)
        cache.shard(job, path)
        notes = cache.notes(path, cache.etag(job))
        return None if notes is None else [note.text for note in notes]

    assert build("second", "first", "first") == ["first", "second"]
    assert build() == []
    assert build("ä") == ["ä"]
    assert [file.suffix for file in shards(own_home)] == [".parquet", ".notes"]
    for content in (b"", b"{", b"\xff", b"[1]", b'[{"x": 1}]', b"null"):
        (file,) = (file for file in shards(own_home) if file.suffix == ".notes")
        file.write_bytes(content)
        assert build("ä") is None
    file.unlink()
    assert build("ä") == []


@pytest.mark.parametrize("array", [[[1.0, None]], [[1.0], [None]]])
def test_an_array_with_a_value_that_is_null_is_refused(array: list[list[float | None]]) -> None:
    features = Features({"response": RECORDS["response"]})
    with pytest.raises(ValueError, match="a value of response is null"):
        table({"response": [[[2.0]], array]}, stored(features))
    assert table({"response": [[[2.0]], None, []]}, stored(features))["response"].null_count == 1


def test_a_shard_is_zstd_and_declares_its_features(home: Path) -> None:
    for path, content in open_all(fsspec.filesystem("corpus")).items():
        file = pq.ParquetFile(io.BytesIO(content))
        declared = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        assert stored(Features.from_dict(declared)).equals(file.schema_arrow), path
        for group in range(file.num_row_groups):
            columns = file.metadata.row_group(group)
            used = {columns.column(i).compression for i in range(columns.num_columns)}
            assert used == {"ZSTD"}, path


def test_row_groups_have_8_to_16_megabytes_and_files_at_most_25(home: Path) -> None:
    most = 0
    for path, content in open_all(fsspec.filesystem("corpus")).items():
        assert len(content) <= 25e6, path
        file = pq.ParquetFile(io.BytesIO(content))
        sizes = [file.read_row_group(i).nbytes for i in range(file.num_row_groups)]
        assert all(size <= 16 << 20 for size in sizes), path
        assert all(size >= 8 << 20 for size in sizes[:-1]), path
        most = max(most, len(sizes))
        if "/stimuli/" in path:  # the largest session has 256 stimuli, in four parts
            assert sum(sizes) / file.metadata.num_rows * 64 <= 25e6, path
    assert most >= 3


def test_a_shard_without_rows_has_no_row_group(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stimulus to estimate with leaves three of the four parts empty."""
    small_release(own_home / "release", {VAL: 1, EST[0]: 1})
    monkeypatch.setenv("WINGERT2026_DATA", str(own_home / "release"))
    contents = open_all(fsspec.filesystem("corpus"))
    groups = {
        path.rpartition("/")[2][:9]: pq.ParquetFile(io.BytesIO(content)).num_row_groups
        for path, content in contents.items()
        if "/stimuli/" in path
    }
    assert groups == {
        "est-00000": 0,
        "est-00001": 0,
        "est-00002": 0,
        "est-00003": 1,
        "val-00000": 1,
    }
    for streaming in (False, True):
        data = load_dataset("./wingert2026", "stimuli", split="est", streaming=streaming)
        assert [row["stim"] for row in data] == [EST[0]]


#: Which files decide on the shards of wingert2026.
DECIDE = re.compile(
    r"builders/(families|nems|shards)/\w+\.py|builders/(conventions|schema|texts|threads)\.py|wingert2026/\w+\.py"
)
CODE_KEYS = """
from pathlib import Path
from builders.corpus.registry import code_key
from wingert2026 import Wingert2026

before = code_key(Wingert2026)
for name in ("builders", "espejo2019", "nat4", "wingert2026"):
    for path in Path(name).rglob("*.py"):
        content = path.read_bytes()
        path.write_bytes(content + b"# changed")
        print(path, code_key(Wingert2026) != before)
        path.write_bytes(content)
"""


def test_the_key_of_the_code_follows_what_decides_on_shards(tmp_path: Path) -> None:
    """Each file in turn is changed, in a copy."""
    for name in ("builders", "espejo2019", "nat4", "wingert2026"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", CODE_KEYS], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = dict(line.split() for line in done.stdout.splitlines())
    assert len(found) > 100
    assert found == {path: str(bool(DECIDE.fullmatch(path))) for path in found}


def one_shard(code: str, *subsets: str, path: str = "x/est.parquet") -> Path:
    """A shard of rows of these subsets, which a version of the code has written."""
    features = Features({"subset": RECORDS["subset"]})
    rows = [table({"subset": [each]}, stored(features)) for each in subsets]
    cache = ShardCache("one", code)
    return cache.shard(Job("one", (path,), features, list, str, lambda _: {path: rows}), path)


def test_two_versions_of_the_code_keep_their_shards_side_by_side(own_home: Path) -> None:
    old, new = one_shard("old", "est"), one_shard("new", "est")
    assert old != new
    assert (one_shard("old", "est"), one_shard("new", "est")) == (old, new)
    times = [path.stat().st_ino for path in (old, new)]
    old.write_bytes(b"spoilt")  # and so it is built again, and takes nothing else away
    assert one_shard("old", "est") == old
    assert new.stat().st_ino == times[1]


def test_shards_of_other_code_go_after_30_days(own_home: Path) -> None:
    old = one_shard("old", "est")
    month = time.time() - 31 * 24 * 3600
    os.utime(old, (month, month))
    new = one_shard("new", "est")
    assert [*new.parent.glob("*.parquet")] == [new]


@pytest.mark.parametrize("path", ["x/est.parquet", "stimuli/S/est-00000-of-00004.parquet"])
def test_no_row_of_another_subset_gets_into_a_shard(own_home: Path, path: str) -> None:
    assert len(pq.read_table(one_shard("code", "est", "est", path=path))) == 2
    with pytest.raises(CorpusError, match=r"rows of \{'val'\} were made for"):
        one_shard("other", "est", "val", path=path)
    assert no_partial(own_home)


def no_partial(own_home: Path) -> bool:
    return not [*(own_home / "builders").rglob("*.partial")]
