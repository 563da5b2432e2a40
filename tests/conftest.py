"""Synthetic releases, caches of one's own, and child processes that know nothing of ours."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builders.corpus.registry import find_corpus

REPOSITORY = Path(__file__).parent.parent
#: The corpora of this repository; a third party's, if installed, change nothing here.
OURS = sorted(each.name for each in REPOSITORY.iterdir() if (each / "sites.csv").exists())
MEMORY = 1 << 30  # bytes that a test with limited memory may take


@pytest.fixture(scope="session", params=OURS)
def corpus(request: pytest.FixtureRequest) -> str:
    """Each corpus in turn: what is asked of one is asked of all."""
    return str(request.param)


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The mini release of a corpus, synthesized once. Tests do not write into it."""
    root = tmp_path_factory.mktemp("releases")

    def release(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            find_corpus(name).synthesize(folder, "mini", 0)
        return folder

    return release


@pytest.fixture(scope="session")
def mini_release(releases: Callable[[str], Path]) -> Path:
    """The mini release of wingert2026."""
    return releases("wingert2026")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Caches that all tests share which do not ask for their own: shards are built once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(
    shared_home: Path, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The environment of a user who has the mini release of every corpus."""
    for name in OURS:
        monkeypatch.setenv(f"{name.upper()}_DATA", str(releases(name)))
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")  # whoever wants a server brings one
    monkeypatch.setenv("BUILDERS_HOME", str(shared_home / "builders"))
    monkeypatch.setenv("HF_HOME", str(shared_home / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", shared_home / "hf" / "datasets")
    monkeypatch.setattr(
        "datasets.config.DOWNLOADED_DATASETS_PATH", shared_home / "hf" / "downloads"
    )
    # How long `datasets` (not yet 4.0) waits for Arrow's threads after each shuffled stream: s.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)
    monkeypatch.chdir(REPOSITORY)
    return shared_home


@pytest.fixture
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with empty caches."""
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", tmp_path / "hf" / "downloads")
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on cores that others use take minutes for seconds."""
    import torch  # some environments have none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Whoever takes more than `MEMORY` gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):  # a system that has no such limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run_python(code: str, **environment: str) -> str:
    """Run a script in a child process from the repository's folder; what it prints.

    A script that fails fails the test, with what it wrote to standard error.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
