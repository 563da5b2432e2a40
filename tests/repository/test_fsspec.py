"""The tests that fsspec ships for its file systems: those that need not write.

Of `fsspec.tests.abstract`, copying into, moving, piping and putting write; the one test of opening
does, too. Getting is left, all of it: from trees of these names, which stand for shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from datasets import Features, Value
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from builders.corpus.builder import CorpusBuilder
from builders.release.local import Release
from builders.repository import filesystem
from builders.repository.filesystem import CorpusFileSystem, Repository
from builders.shards.arrow import stored, table
from builders.shards.cache import ShardCache
from builders.shards.job import Job

FEATURES = Features({"x": Value("int64")})
NESTED = ["subfile1", "subfile2", "nesteddir/nestedfile"]
#: The trees of `AbstractFixtures`.
TREES = {
    "bulk": ["file1", "file2", *(f"subdir/{name}" for name in NESTED)],
    "glob": ["file1", "file2", *(f"subdir{i}/{name}" for i in (0, 1) for name in NESTED)],
    "prefix": ["subdir.txt", "subdir/subfile.txt"],
    "hashed": [f"{md5(str(i).encode()).hexdigest()}.txt" for i in range(10)],
}


def repository(corpus: str) -> Repository:
    def tables(_: Any) -> dict[str, Iterator[pa.Table]]:
        return {path: iter([table({"x": [len(path)]}, stored(FEATURES))]) for path in paths}

    paths = (*(f"source/{path}" for path in TREES[corpus]), "src/file")
    job = Job(corpus, paths, FEATURES, list, str, tables)

    class Files(CorpusBuilder):
        @classmethod
        def jobs(cls, release: Release) -> list[Job]:
            return [job]

    release = Release(corpus, Path(), "")
    return Repository(Files, release, corpus, ShardCache(corpus, "code"))


class Written(CorpusFileSystem):
    """What one of the tests would write is there already."""

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        assert path == "bulk/src"

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        assert path == "bulk/src/file"


class TestGet(AbstractGetTests, AbstractFixtures):
    @pytest.fixture(autouse=True)
    def trees(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filesystem, "_repository", repository)
        monkeypatch.setattr(filesystem, "find_corpus", lambda name: SimpleNamespace(corpus=name))

    @pytest.fixture
    def fs(self) -> CorpusFileSystem:
        return Written()

    @pytest.fixture
    def fs_path(self) -> str:
        return "bulk"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return "bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return "glob/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return "prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return "hashed/source"

    def test_get_with_source_and_destination_as_list(self) -> None:
        """Stands for fsspec's, which compares what it wrote itself."""
