"""The readers that build shards, and the slow reference: of any release, both read the same.

Releases are odd in random ways. Of each shard both give the same rows, or both refuse it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.release.local import Release
from builders.shards.cache import ShardCache
from builders.shards.excluded import write_excluded
from tests import random_releases

Rows = list[dict[str, Any]]
PLACES = count()
RANDOM = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def new_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Folders for releases, each with caches of its own."""

    monkeypatch.setattr("wingert2026.builder.Wingert2026.parts", {"est": 2, "val": 1})

    def new() -> Path:
        place = tmp_path / f"{next(PLACES)}"
        monkeypatch.setenv("BUILDERS_HOME", str(place / "builders"))
        return place / "release"

    return new


def fast(corpus: str, release: Release) -> Iterator[tuple[str, Rows | None]]:
    """The rows of each shard of records or stimuli; None where it is refused."""
    cache = ShardCache(corpus, "code")
    for job in find_corpus(corpus).jobs(release):
        for path in job.paths:
            # Those of an area that is not there are many, and all alike.
            if path.startswith(("data/", "stimuli/")) and not job.name.endswith("-absent"):
                try:
                    with pq.ParquetFile(cache.shard(job, path)) as shard:
                        yield path, shard.read().to_pylist()
                except CorpusError:
                    yield path, None


def slow(corpus: str, release: Release) -> Iterator[tuple[str, Rows | None]]:
    """The same by the reference, which may name several shards by a glob."""
    for source in find_corpus(corpus).reference(release):
        try:
            shards = source.read().shards
        except Exception:  # its shards stay unnamed: they should all be refused
            continue
        for each in shards:
            try:
                yield each.path, [each.row(key) for key in each.keys]
            except Exception:
                yield each.path, None


def compare(corpus: str, folder: Path) -> Iterator[str]:
    """Compare all shards; how each of them was: read, empty or refused."""
    release = Release(corpus, folder, "nowhere")
    found, expected = dict(fast(corpus, release)), dict(slow(corpus, release))
    assert found
    parts: dict[str, list[Rows | None]] = {}
    for path, rows in found.items():
        of = next((each for each in expected if fnmatchcase(path, each)), "")
        parts.setdefault(of, []).append(rows)
    for path, shards in parts.items():
        if not path:
            assert shards == [None] * len(shards)
        elif (rows := expected[path]) is None or None in shards:
            assert rows is None, f"{path} is refused, and the reference reads {len(rows)} rows"
            assert None in shards, f"{path} is read, and the reference refuses"
        else:
            read = [row for shard in shards for row in shard or ()]
            assert len(read) == len(rows), path
            for one, other in zip(read, rows, strict=True):
                np.testing.assert_equal(_plain(one), _plain(other), path)
        read_as = "refused" if None in shards else "read" if any(shards) else "empty"
        yield read_as


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    if "spectrogram" in row:
        return {**row, "spectrogram": np.asarray(row["spectrogram"], np.float32)}
    return row


def test_both_readers_agree_on_sessions(new_place: Callable[[], Path]) -> None:
    """Of wingert2026: several sessions and archives, with all that may be odd in them."""
    seen: Counter[str] = Counter()

    @RANDOM
    @given(random_releases.sessions())
    def agree(drawn: random_releases.Drawn) -> None:
        place = new_place()
        drawn.write(place)
        seen.update(compare("wingert2026", place))

    agree()
    assert seen["read"] > seen["refused"] > 0  # what is drawn depends on the modules loaded


def test_both_readers_agree_on_populations(new_place: Callable[[], Path]) -> None:
    """Of nat4: a population and its sites, with all that may be odd in them."""
    seen: Counter[str] = Counter()

    @settings(RANDOM, max_examples=40)
    @given(random_releases.areas())
    def agree(drawn: tuple[random_releases.DrawnArea, dict[str, str]]) -> None:
        place = new_place()
        area, excluded = drawn
        area.write(place)
        write_excluded("nat4", excluded)
        seen.update(compare("nat4", place))

    agree()
    assert seen["read"] > seen["refused"] > 0  # what is drawn depends on the modules loaded
