"""Faults while shards are built and read: after each, the next load gives right data."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import fsspec
import h5py
import pytest
from datasets import load_dataset

from builders.errors import CorpusError
from builders.shards import named
from tests.conftest import run_python
from tests.releases import change_h5, change_member
from tests.shards.test_cache import (
    EST,
    VAL,
    archive_of,
    load,
    pack,
    shards,
    small_release,
    synthesize_anew,
    touch,
    truth,
)

SHARD = "corpus://wingert2026/data/A1/CLT027c/est.parquet"
REPETITIONS = {VAL: 2, **dict.fromkeys(EST, 1)}


@pytest.fixture
def release(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of one's own, with empty caches: one session of three cells, four stimuli."""
    folder = own_home / "release"
    small_release(folder, REPETITIONS)
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


# -- A process that is killed ----------------------------------------------------------------------

# Processes are forked from one that has imported everything, so that a hundred take no minute.
KILLED = """
import hashlib, json, os, random, shutil, signal, sys, time
from pathlib import Path
import fsspec
import pyarrow.parquet
from builders.corpus.registry import find_corpus

find_corpus("wingert2026")
rounds, seed = {rounds}, {seed}
chance = random.Random(seed)
root = Path(os.environ["BUILDERS_HOME"]) / "shards"

def build():
    filesystem = fsspec.filesystem("corpus")
    paths = filesystem.glob("corpus://wingert2026/data/A1/CLT027c/*")
    paths += filesystem.glob("corpus://wingert2026/stimuli/CLT027c/*")
    chance.shuffle(paths)
    return {{path: hashlib.sha256(filesystem.cat_file(path)).hexdigest() for path in paths}}

def forked(kill_after=None):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, json.dumps(build()).encode())
        finally:
            os._exit(0)
    os.close(write)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found

for _ in range(2):  # the first build takes longer than those that are killed
    shutil.rmtree(root, ignore_errors=True)
    start = time.perf_counter()
    expected = json.loads(forked())
    longest = time.perf_counter() - start
assert len(expected) == 7
killed = amid = 0
for number in range(rounds):
    if chance.random() < 0.5:
        shutil.rmtree(root)
    else:
        for path in root.rglob("*.parquet"):
            if chance.random() < 0.7:
                path.unlink()
    killed += not forked(chance.uniform(0, longest))
    amid += any(root.rglob("*.partial"))
    assert json.loads(forked()) == expected, (seed, number)
    assert {{path.suffix for path in root.rglob("*.*")}} == {{".parquet", ".lock"}}, (seed, number)
print(json.dumps([killed, amid]))
"""


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_may_be_killed_at_any_moment(own_home: Path, release: Path, rounds: int) -> None:
    seed = time.time_ns()  # in the message of a failure
    code = KILLED.format(rounds=rounds, seed=seed)
    killed, amid = json.loads(run_python(code).splitlines()[-1])
    assert killed >= rounds / 4, f"seed {seed}"
    assert amid or rounds < 50, f"seed {seed}"
    assert load() == truth(archive_of(release))


# -- A full disk -----------------------------------------------------------------------------------


def test_a_disk_may_be_full_at_any_byte(own_home: Path, release: Path) -> None:
    """A limit on the size of files fails a write as a full disk does, for root too."""
    sizes = [0, 1, 50, 200, 1000, 4000, 8000]
    code = f"""
        import json, os, resource
        from pathlib import Path
        import fsspec
        from builders.errors import CorpusError
        import pyarrow.parquet

        filesystem = fsspec.filesystem("corpus")
        found = []
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        for size in {sizes}:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            try:
                filesystem.open({SHARD!r}).close()
                message = ""
            except CorpusError as error:
                message = str(error)
            root = Path(os.environ["BUILDERS_HOME"])
            left = [path.name for path in (root / "shards").rglob("*.p*")]
            found.append([message, left])
        print(json.dumps(found))
    """
    for message, left in json.loads(run_python(code).splitlines()[-1]):
        assert "cannot write a shard" in message
        assert str(own_home / "builders") in message
        assert left == []
    assert load() == truth(archive_of(release))


# -- A cache that cannot be written ----------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can look into, as pytest's own cannot."""
    folder = Path(tempfile.mkdtemp(prefix="builders-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


# Read once with another cache, the process has imported all that it needs.
AS_ANYONE = """
import os
import fsspec
from builders.errors import CorpusError
home = os.environ["BUILDERS_HOME"]
os.environ["BUILDERS_HOME"] = {warm!r}
fsspec.filesystem("corpus").cat_file({path!r})
os.environ["BUILDERS_HOME"] = home
if os.geteuid() == 0:  # to whom no folder is read-only
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print(len(fsspec.filesystem("corpus").cat_file({path!r})))
except CorpusError as error:
    print(error)
"""


def make_read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_read_only_cache_is_an_error_that_names_it(
    own_home: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_release(open_folder / "release", REPETITIONS)
    (open_folder / "home").mkdir()
    make_read_only(open_folder)
    monkeypatch.setenv("WINGERT2026_DATA", str(open_folder / "release"))
    message = run_python(
        AS_ANYONE.format(path=SHARD, warm=str(own_home / "warm")),
        BUILDERS_HOME=str(open_folder / "home"),
    )
    assert "cannot write a shard" in message
    assert str(open_folder / "home") in message
    assert "BUILDERS_HOME" in message
    assert load() == truth(archive_of(open_folder / "release"))


def test_a_read_only_cache_that_is_complete_is_read(
    own_home: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else has built it, for all."""
    archive = small_release(open_folder / "release", REPETITIONS)
    monkeypatch.setenv("WINGERT2026_DATA", str(open_folder / "release"))
    monkeypatch.setenv("BUILDERS_HOME", str(open_folder / "home"))
    assert load() == truth(archive)
    size = len(fsspec.filesystem("corpus").cat_file(SHARD))
    make_read_only(open_folder)
    assert (
        int(run_python(AS_ANYONE.format(path=SHARD, warm=str(own_home / "warm"))).splitlines()[-1])
        == size
    )


@pytest.mark.parametrize("home", ["/proc/builders", "/dev/null/builders", "/sys/builders"])
def test_a_cache_where_none_can_be_is_an_error_that_names_it(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("BUILDERS_HOME", home)
    with pytest.raises(CorpusError, match="BUILDERS_HOME") as caught:
        load()
    assert home in str(caught.value)
    monkeypatch.setenv("BUILDERS_HOME", str(own_home / "builders"))
    assert load() == truth(archive_of(release))


# -- A cache that is deleted -----------------------------------------------------------------------


def test_the_cache_may_be_deleted_under_a_running_stream(own_home: Path, release: Path) -> None:
    expected = load()
    stream = load_dataset("./wingert2026", "CLT027c", streaming=True)
    found = {}
    for split in stream.values():
        for row in split:
            shutil.rmtree(own_home / "builders", ignore_errors=True)
            key = row["stim"], row["cell_id"]
            found[key] = [
                [i for i, count in enumerate(trial) for _ in range(int(count))]
                for trial in row["response"]
            ]
    assert found == expected == truth(archive_of(release))
    assert load(streaming=True) == expected


def test_the_cache_may_be_deleted_again_and_again(own_home: Path, release: Path) -> None:
    """Whoever reads meanwhile gets the right bytes, or an error that is ours."""
    filesystem = fsspec.filesystem("corpus")
    expected = filesystem.cat_file(SHARD)
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            shutil.rmtree(own_home / "builders", ignore_errors=True)
            time.sleep(0.003)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        outcomes = []
        for _ in range(25):
            with suppress(CorpusError):
                outcomes.append(filesystem.cat_file(SHARD))
    finally:
        done.set()
        deleting.join()
    assert set(outcomes) <= {expected}
    assert filesystem.cat_file(SHARD) == expected


def test_what_was_noted_down_about_a_release_may_be_spoilt(own_home: Path, release: Path) -> None:
    expected = load()
    notes = [path for path in (own_home / "builders" / "releases").rglob("*") if path.is_file()]
    assert notes
    for content in (b"", b"\xff\xfe", b"{}", b"[" * 100, b"null"):
        for path in notes:
            path.write_bytes(content)
        touch(archive_of(release))
        assert load(streaming=True) == expected


def test_where_a_session_was_found_may_be_spoilt(own_home: Path, release: Path) -> None:
    """Its archive carries the name of another session of the list: the finding is noted down."""
    archive = archive_of(release)
    archive = archive.rename(archive.with_name("PRN015b_0.tgz"))
    decoy = small_release(own_home / "other", REPETITIONS, seed=1)
    decoy = decoy.rename(archive.with_name("CLT027c_0.tgz"))

    def rename(h5: h5py.File) -> None:
        for cell in list(h5):
            h5.move(cell, cell.replace("CLT027c", "CLT999c"))

    change_member(decoy, "resp.json", lambda content: content.replace(b"CLT027c-", b"CLT999c-"))
    change_member(decoy, "resp.h5", lambda content: change_h5(content, rename))
    expected = truth(archive)
    assert load(streaming=True) == expected
    (memo,) = (own_home / "builders" / "releases" / "found").rglob("CLT027c")
    for content in (b"", b"\xff\xfe", b"../../x", b"nowhere.tgz"):
        memo.write_bytes(content)
        assert load(streaming=True) == expected


# -- A shard that is spoilt ------------------------------------------------------------------------


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "a bit": flip,
    "its end": lambda content: content[:-1],
    "half of it": lambda content: content[: len(content) // 2],
    "everything": lambda content: b"",
    "zeros": lambda content: b"\0" * len(content),
    "another file": lambda content: b"PAR1 and so on",
    "more": lambda content: content + b"\0",
}
spoilt = pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))


@spoilt
def test_a_spoilt_shard_is_built_again(
    own_home: Path, release: Path, spoil: Callable[[bytes], bytes]
) -> None:
    expected = load(streaming=True)
    before = {path: path.read_bytes() for path in shards(own_home)}
    assert len(before) == 2
    for path, content in before.items():
        path.write_bytes(spoil(content))
    assert load(streaming=True) == expected == truth(archive_of(release))
    assert {path: path.read_bytes() for path in shards(own_home)} == before
    shutil.rmtree(own_home / "hf", ignore_errors=True)
    assert load() == expected


def test_a_shard_that_another_process_finds_spoilt_need_not_look_new(
    own_home: Path, release: Path
) -> None:
    """A failing disk changes no time; it is read once by each process."""
    expected = fsspec.filesystem("corpus").cat_file(SHARD)
    (path,) = (path for path in shards(own_home) if path.name.startswith("est."))
    stat = path.stat()
    path.write_bytes(flip(expected))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    out = run_python(f"""
        import fsspec
        print(fsspec.filesystem("corpus").cat_file({SHARD!r}).hex())
    """)
    assert bytes.fromhex(out.splitlines()[-1]) == expected
    assert path.read_bytes() == expected


def test_a_sound_shard_is_read_once_by_a_process(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    digest = named.digest

    def count(path: Path, algorithm: str) -> str:
        read.append(path.suffix)
        return digest(path, algorithm)

    monkeypatch.setattr(named, "digest", count)
    filesystem = fsspec.filesystem("corpus")
    filesystem.cat_file(SHARD)
    assert set(read) == {".partial"}
    named._CHECKED.clear()  # as in another process
    for _ in range(3):
        filesystem.cat_file(SHARD)
    assert read.count(".parquet") == 1


def test_a_spoilt_shard_whose_archive_is_gone_is_an_error(own_home: Path, release: Path) -> None:
    load(streaming=True)
    for path in shards(own_home):
        path.write_bytes(flip(path.read_bytes()))
    archive = archive_of(release)
    archive.rename(own_home / archive.name)
    with pytest.raises(CorpusError):
        load(streaming=True)
    (own_home / archive.name).rename(archive)
    assert load(streaming=True) == truth(archive)


# -- A clock that jumps ----------------------------------------------------------------------------

YEARS = {"1970": 0, "1980": 315_532_800, "2100": 4_102_444_800}


def set_times(folder: Path, seconds: int) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("seconds", YEARS.values(), ids=list(YEARS))
def test_times_may_lie_in_the_past_or_the_future(
    own_home: Path, release: Path, seconds: int
) -> None:
    archive = archive_of(release)
    set_times(release, seconds)
    assert load(streaming=True) == truth(archive)
    set_times(own_home, seconds)
    assert load(streaming=True) == truth(archive)


@pytest.mark.parametrize("seconds", YEARS.values(), ids=list(YEARS))
def test_a_changed_archive_may_be_older_than_its_shards(
    own_home: Path, release: Path, seconds: int
) -> None:
    archive = archive_of(release)
    pack(archive, level=0)
    size, before = archive.stat().st_size, load(streaming=True)
    for change in (lambda: pack(archive, 0.1, level=0), lambda: synthesize_anew(archive)):
        change()
        os.utime(archive, (seconds, seconds))
        seconds += 1
        after = load(streaming=True)
        assert after == truth(archive)
        assert after != before
        before = after
    assert size > 0


def test_the_clock_may_jump_while_a_shard_is_built(
    own_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    jumps = cycle([now, now - 1e8, now + 1e8, 0.0, 4e9])
    lock = threading.Lock()

    def jump() -> float:
        with lock:
            return next(jumps)

    with monkeypatch.context() as patched:
        patched.setattr(time, "time", jump)
        patched.setattr(time, "time_ns", lambda: int(jump() * 1e9))
        found = load(streaming=True)
    assert found == truth(archive_of(release))
    assert load() == found
