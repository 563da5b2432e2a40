"""Exports by many processes, on a cluster, into an object store: the bytes of the serial one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import dask.dataframe
import distributed
import pytest
import s3fs
from datasets import load_dataset
from datasets.utils import are_progress_bars_disabled
from moto.server import ThreadedMotoServer

from builders.corpus.registry import code_key, find_corpus
from builders.errors import CorpusError
from builders.export.folder import Folder, verify_folder
from builders.export.run import export
from builders.export.task import Task, user_folder, write_job
from builders.export.workers import run_tasks
from tests.conftest import REPOSITORY
from tests.export.test_run import Exports, archive_of, contents, exports, own_release, stranger

__all__ = ["exports", "own_release"]  # fixtures


@dataclass
class Cluster:
    """A scheduler and its workers, each a process and with a cache of its own."""

    address: str
    workers: dict[Path, subprocess.Popen[bytes]]


def start(
    module: str, *arguments: object, log: Path, **environment: str
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--no-dashboard"],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stderr=file,
            stdout=file,
        )


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def cluster(own_home: Path) -> Iterator[Cluster]:
    note = own_home / "scheduler.json"
    with ExitStack() as stack:

        def started(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
            process = start(*arguments, **environment)  # type: ignore[arg-type]
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        common = ["--scheduler-file", note]
        started("dask_scheduler", *common, "--port", 0, log=own_home / "scheduler.log")
        workers = {}
        for name in ("first", "second"):
            arguments = [*common, "--nthreads", 1, "--no-nanny", "--local-directory", own_home]
            workers[own_home / name] = started(
                "dask_worker",
                *arguments,
                log=own_home / f"{name}.log",
                BUILDERS_HOME=str(own_home / name),
            )
        wait_for(note.exists)
        with distributed.Client(scheduler_file=str(note), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        yield Cluster(address, workers)


def test_what_fails_keeps_no_other_task_from_being_done() -> None:
    for workers in (1, 2):
        done = dict(run_tasks(math.log, {"zero": 0.0, "one": 1.0, "below": -1.0}, workers))
        assert {name: type(outcome) for name, outcome in done.items()} == {
            "zero": ValueError,
            "one": float,
            "below": ValueError,
        }


def test_a_process_that_dies_fails_its_task_and_hangs_nothing() -> None:
    done = dict(run_tasks(os._exit, {"deadly": 1}, workers=2))
    assert "terminated abruptly" in str(done["deadly"])


SLEEPERS = """
import os, signal, sys, time
from builders.export.workers import run_tasks
def sleep(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(600)
if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored below nohup
    list(run_tasks(sleep, {path: path for path in sys.argv[1:]}, workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, how: int) -> None:
    script, notes = tmp_path / "sleepers.py", [tmp_path / "one", tmp_path / "two"]
    script.write_text(SLEEPERS)
    parent = subprocess.Popen(
        [sys.executable, script, *notes],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: all(each.exists() and each.read_text() for each in notes))
    parent.send_signal(how)
    parent.wait(timeout=20)
    workers = [Path("/proc", each.read_text()) for each in notes]
    wait_for(lambda: not any(_is_alive(worker) for worker in workers), 20)


INTERRUPTED = """
import sys, time
from pathlib import Path
from builders.export.workers import run_tasks
def begin(path):
    Path(path).touch()
    time.sleep(1)
if __name__ == "__main__":
    list(run_tasks(begin, {path: path for path in sys.argv[1:]}, workers=2))
"""


def test_an_interrupted_run_begins_no_further_task(tmp_path: Path) -> None:
    script, notes = tmp_path / "interrupted.py", [tmp_path / str(n) for n in range(40)]
    script.write_text(INTERRUPTED)
    parent = subprocess.Popen(
        [sys.executable, script, *notes],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: any(map(Path.exists, notes)))
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=15) != 0  # all of them take 20 s
    assert sum(map(Path.exists, notes)) < 10


def _is_alive(process: Path) -> bool:
    """Whether a process is there, and not only its entry, until somebody asks how it ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_scheduler_that_is_not_there_is_an_error_that_says_so() -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(CorpusError, match=r"cannot reach the scheduler tcp://127\.0\.0\.1:9"),
    ):
        list(run_tasks(math.log, {"two": 2.0}, scheduler="tcp://127.0.0.1:9"))


def test_a_worker_says_what_it_lacks(home: Path, tmp_path: Path) -> None:
    corpus = find_corpus("nat4")
    task = Task(
        "nat4", "cells", user_folder(corpus), "other", str(tmp_path), {"cells.parquet": None}
    )
    with pytest.raises(CorpusError, match="another version of this package"):
        write_job(task)
    with pytest.raises(CorpusError, match="no release of nat4 on this machine"):
        write_job(replace(task, code=code_key(corpus), release="/no/such/folder"))


def test_processes_write_what_one_does_and_list_what_is_damaged(
    own_release: Path, exports: Exports
) -> None:
    archive, out = archive_of(own_release, "CLT027c"), own_release.parent / "out"
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[:-100])
    done = export(find_corpus("wingert2026"), ["A1", "cells"], str(out), workers=2)
    assert [message.split(":")[0] for message in done.failures] == ["CLT027c-records"]
    whole = contents(exports("wingert2026"))
    wanted = [path for path in whole if path.startswith(("data/A1/", "cells"))]
    found = {path: each for path, each in contents(out).items() if path.endswith(".parquet")}
    assert found == {path: whole[path] for path in wanted if "CLT027c" not in path}
    assert len(wanted) - len(found) == 2


def shows_progress(_: object) -> bool:
    return not are_progress_bars_disabled()


def test_workers_show_no_progress_bars_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_DATASETS_DISABLE_PROGRESS_BARS", raising=False)
    assert dict(run_tasks(shows_progress, {"a": 1}, workers=2)) == {"a": False}


def test_workers_must_write_to_where_all_see_it(own_home: Path) -> None:
    """Each process has a memory of its own, as each machine has a disk of its own."""
    done = export(find_corpus("nat4"), ["cells"], "memory://apart", workers=2)
    assert [message.split(":")[0] for message in done.failures] == ["cells.parquet"]
    assert "do all workers see the same place?" in done.failures[0]
    assert done.manifest.shards == {}


def test_a_cluster_writes_what_one_process_does_even_if_a_worker_is_killed(
    cluster: Cluster, own_home: Path, exports: Exports
) -> None:
    """It is killed while it builds a shard; the other one takes its task over."""
    out = own_home / "out"
    command = [sys.executable, "-m", "builders", "export", "wingert2026", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--scheduler", cluster.address],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as exporting:
        home, worker = next(iter(cluster.workers.items()))
        wait_for(lambda: list(home.glob("shards/**/*.partial")))
        worker.send_signal(signal.SIGKILL)
        assert len(list(out.rglob("*.parquet"))) < 60
        output, errors = exporting.communicate(timeout=120)
    assert exporting.returncode == 0, errors
    assert "70 shards" in output
    assert "100%" in errors
    assert worker.wait() == -signal.SIGKILL
    assert contents(out) == contents(exports("wingert2026"))

    failing = run_tasks(math.log, {"zero": 0.0, "one": 1.0}, scheduler=cluster.address)
    assert {name: type(outcome) for name, outcome in failing} == {"zero": ValueError, "one": float}
    bad = Task("nat4", "cells", "/no/such/folder", code_key(find_corpus("nat4")), str(out), {})
    ((_, error),) = run_tasks(write_job, {"bad": bad}, scheduler=cluster.address)
    assert isinstance(error, CorpusError)

    with distributed.Client(cluster.address):
        url = "corpus://wingert2026/data/A1/*/est.parquet"
        frame = dask.dataframe.read_parquet(url, columns=["stim_id", "cell_id"])
        found = frame.compute()
    local = load_dataset("./wingert2026", "A1", split="est")
    assert found["cell_id"].tolist() == local["cell_id"][:]
    assert found["stim_id"].tolist() == local["stim_id"][:]


@pytest.fixture
def bucket(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on an S3-compatible server, known from the environment as any other is."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"neurons-{port}"  # the servers of one process share their buckets
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_an_object_store_holds_and_gives_the_same(
    bucket: str, exports: Exports, tmp_path: Path
) -> None:
    out, whole, corpus = f"{bucket}/shared/nat4", contents(exports("nat4")), find_corpus("nat4")
    done = export(corpus, [], out, workers=2)
    assert done.failures == []
    folder = Folder(out)
    assert {path: folder.read(path) for path in folder.sizes()} == whole
    assert verify_folder(out) == []
    assert export(corpus, [], out).written == []
    folder.write("cells.parquet", b"spoilt")
    folder.write("data/extra.parquet", b"")
    assert [problem.split(":")[0] for problem in verify_folder(out)] == [
        "cells.parquet",
        "data/extra.parquet",
    ]
    assert export(corpus, [], out).written == ["cells.parquet"]
    assert folder.read("cells.parquet") == whole["cells.parquet"]

    found = stranger(
        f"""
        import os
        options = {{
            "endpoint_url": os.environ.pop("AWS_ENDPOINT_URL"), "key": "key", "secret": "secret"
        }}
        files = {{
            split: f"{out}/data/A1/*/{{split}}.parquet" for split in ("est", "val")
        }}
        found = []
        for streaming in (False, True):
            data = load_dataset(
                "parquet", data_files=files, storage_options=options, streaming=streaming
            )
            found.append({{
                split: [[row["stim_id"], row["cell_id"], sum(map(sum, row["response"]))]
                        for row in data[split]]
                for split in data
            }})
        print(json.dumps(found))
        """,
        HF_HOME=str(tmp_path / "hf"),
    )
    local = load_dataset("./nat4", "A1")
    expected = {
        split: [
            [row["stim_id"], row["cell_id"], sum(map(sum, row["response"]))] for row in local[split]
        ]
        for split in local
    }
    assert found == [expected, expected]


def test_an_object_store_that_is_not_there_is_an_error_that_says_so(bucket: str) -> None:
    with pytest.raises(CorpusError, match="cannot use a folder") as error:
        export(find_corpus("nat4"), ["cells"], "s3://no-such-bucket/nat4")
    assert "s3://no-such-bucket/nat4" in str(error.value)
    assert "bucket does not exist" in str(error.value)
