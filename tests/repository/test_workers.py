"""Workers of `datasets`, which share the work of a first load."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from builders.errors import CorpusError
from builders.shards.cache import ShardCache
from builders.shards.job import Job
from tests.releases import copy_release

#: How long jobs wait for each other, in seconds; a test that gets there fails.
PATIENCE = 20

Hold = Callable[[str, Collection[str]], None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Which process built which job, in this order."""
    return tmp_path / "log"


@pytest.fixture
def hold(log: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Lets a job wait until some others are built, which wait until it has begun."""
    build, begun = ShardCache._build, log.with_name("begun")

    def hold(held: str, until: Collection[str]) -> None:
        def logged(self: ShardCache, job: Job, *args: Any) -> Path:
            if job.name == held:
                begun.touch()
                wait(lambda: set(until) <= set(processes(log)))
            else:
                wait(begun.exists)
            file = build(self, job, *args)
            with log.open("a") as lines:
                lines.write(f"{job.name} {os.getpid()}\n")
            return file

        monkeypatch.setattr(ShardCache, "_build", logged)

    return hold


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)


def processes(log: Path) -> dict[str, str]:
    """The process that built each job, in the order in which they were done; none may be twice."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    found = dict(lines)
    assert len(found) == len(lines)
    return found


def test_a_worker_that_is_done_builds_what_another_has_not_begun(
    own_home: Path, log: Path, hold: Hold
) -> None:
    """The first worker's part are CLT027c, CLT028c and LMD037a."""
    others = [f"{each}-records" for each in ("PRN015a", "PRN018a", "LMD037a", "CLT028c")]
    hold("CLT027c-records", others)
    load_dataset("./wingert2026", "A1", num_proc=2)
    found = processes(log)
    assert [*found] == [*others, "CLT027c-records"]
    assert [*found.values()] == [found["PRN015a-records"]] * 4 + [found["CLT027c-records"]]
    assert len(set(found.values())) == 2


def test_a_worker_whose_job_another_one_builds_does_something_else(
    own_home: Path, log: Path, hold: Hold
) -> None:
    """One job makes the `est` shards of all sites, so that all workers begin with it."""
    sites = [f"A1-{site}-val" for site in ("ARM029a", "DRX006b", "TNC008a", "TNC012a")]
    hold("A1-est", sites)
    load_dataset("./nat4", "A1", num_proc=2)
    found = processes(log)
    assert sorted(found) == sorted([*sites, "A1-est"])
    assert [*found][-1] == "A1-est"
    assert found["A1-est"] not in [found[site] for site in sites]


def test_the_rows_are_those_of_one_process(own_home: Path, hold: Hold) -> None:
    expected = load_dataset("./wingert2026", "A1", cache_dir=str(own_home / "other"))
    shutil.rmtree(own_home / "builders")
    hold("CLT027c-records", ["CLT028c-records"])
    found = load_dataset("./wingert2026", "A1", num_proc=3)
    for split, rows in expected.items():
        assert found[split][:] == rows[:]


def test_an_error_of_a_job_is_raised_by_the_worker_whose_job_it_is(
    own_home: Path,
    log: Path,
    hold: Hold,
    releases: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy_release(releases("wingert2026"), own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    (archive,) = (folder / "recordings").glob("LMD037a_*")
    content = archive.read_bytes()[:-1000]
    archive.unlink()  # a link to the release of all tests
    archive.write_bytes(content)
    hold("CLT027c-records", ["CLT028c-records"])
    with pytest.raises(CorpusError, match=r"LMD037a_.*\n.*damaged or incomplete"):
        load_dataset("./wingert2026", "A1", num_proc=2)
    assert processes(log)["CLT028c-records"] == processes(log)["PRN015a-records"]
