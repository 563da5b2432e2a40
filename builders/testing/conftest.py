"""The fixtures of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.corpus.registry import find_corpus, sound_corpora


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each corpus."""
    if "name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--corpus") or sound_corpora()[0]
        metafunc.parametrize("name", names, scope="module")


@pytest.fixture(scope="module")
def release(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus' synthetic release."""
    folder = tmp_path_factory.mktemp(name) / "release"
    find_corpus(name).synthesize(folder, "mini", 0)
    return folder


@pytest.fixture(scope="module")
def place(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for caches."""
    return tmp_path_factory.mktemp(f"{name}-home")


@pytest.fixture
def home(name: str, release: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a user who has the release and empty caches."""
    monkeypatch.setenv(f"{name.upper()}_DATA", str(release))
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    monkeypatch.setenv("BUILDERS_HOME", str(place / "builders"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", place / "datasets")
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", place / "downloads")
    return place
