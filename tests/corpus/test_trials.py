"""A corpus of any format with spike times, trial by trial: what one odd file holds back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from builders.errors import CorpusError
from builders.families.trials import TrialCorpus
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.cache import ShardCache
from builders.shards.excluded import write_excluded
from builders.shards.job import Job
from builders.shards.trials import Trials
from builders.validation.trials import sources

DATA, STIMULI = "data/A1/{}/est.parquet", "stimuli/{}/est.parquet"
ONE, TWO = "AAA001a", "AAA002a"


class Plain(TrialCorpus):
    """Spikes in JSON: ``[[cell, stimulus, [times of each trial]], ...]``; sounds are numbers."""

    corpus, source, published = "plain", "nowhere", {}
    files, sounds = ("spikes", ".json"), ("sounds", ".json")
    area = "A1"
    card: ClassVar[dict[str, Any]] = {}

    @classmethod
    def read(cls, archive: Archive) -> Iterator[Trials]:
        with archive.open() as file:
            for cell, stim, times in json.load(file):
                yield Trials(cell, stim, [np.array(each, np.float64) for each in times], 0.03)

    @classmethod
    def spectrogram(cls, sound: Archive) -> NDArray[np.float32]:
        with sound.open() as file:
            return np.array(json.load(file), np.float32)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Two sessions of two cells and two stimuli."""
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    folder = tmp_path / "release"
    for name in ("spikes", "sounds"):
        (folder / name).mkdir(parents=True)
    for session in (ONE, TWO):
        cells = [f"{session}-{number}-1" for number in (1, 2)]
        rows = [[cell, stim, [[0.0, 0.025], [0.01]]] for cell in cells for stim in "ab"]
        put(folder / "spikes" / f"{session}.json", rows)
    for stim in "ab":
        put(folder / "sounds" / f"{stim}.json", [[1, 2, 3], [4, 5, 6]])
    return Release("plain", folder, "nowhere")


def put(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def job_of(release: Release, path: str) -> Job:
    (job,) = (job for job in Plain.jobs(release) if path in job.paths)
    return job


def rows(release: Release, path: str) -> list[dict[str, Any]]:
    """The rows of a shard; the second reader must find as many."""
    found = pq.read_table(ShardCache("plain", "code").shard(job_of(release, path), path))
    own = [each for each in sources(Plain, release) if path.split("/")[-2:][0] in each.name]
    shards = [shard for source in own for shard in source.read().shards]
    assert [len(each.keys) for each in shards if each.path == path] in ([], [len(found)])
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def notes(release: Release, path: str) -> list[tuple[str, str, str]]:
    cache, job = ShardCache("plain", "code"), job_of(release, path)
    cache.shard(job, path)
    found = cache.notes(path, cache.etag(job))
    assert found is not None
    return [(note.session, note.subject, note.text) for note in found]


def test_records_and_stimuli(release: Release) -> None:
    found = rows(release, DATA.format(ONE))
    assert [(row["stim"], row["cell_id"]) for row in found] == [
        (stim, f"{ONE}-{number}-1") for stim in "ab" for number in (1, 2)
    ]
    assert [row["response"] for row in found] == [[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]] * 4
    assert [row["onsets"] for row in found] == [[]] * 4
    (first, _) = rows(release, STIMULI.format(TWO))
    assert (first["spectrogram"], first["n_trials"]) == ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], 2)


def test_a_file_that_cannot_be_read_holds_back_its_session_alone(release: Release) -> None:
    (release.folder / "spikes" / f"{ONE}.json").write_text("[[1, 2]]")
    with pytest.raises(CorpusError, match=f"builders exclude plain {ONE} --because") as caught:
        rows(release, DATA.format(ONE))
    assert "ValueError: not enough values" in str(caught.value)
    assert len(rows(release, DATA.format(TWO))) == 4
    assert len(rows(release, "cells.parquet")) == 2
    ((session, _, text),) = notes(release, "cells.parquet")
    assert session == ONE
    assert text.startswith("its cells are not known: ValueError")


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_spike_at_no_time_holds_back_its_cell_alone(release: Release, time: float) -> None:
    cell = f"{ONE}-1-1"
    put(release.folder / "spikes" / f"{ONE}.json", [[cell, "a", [[time]]], ["c", "a", [[0.0]]]])
    with pytest.raises(CorpusError, match=f"builders exclude plain {cell} --because"):
        rows(release, DATA.format(ONE))
    write_excluded("plain", {cell: "no time"})
    assert [row["cell_id"] for row in rows(release, DATA.format(ONE))] == ["c"]


@pytest.mark.parametrize("content", ["[1, 2]", "[[1], [2, 3]]", '{"a": 1}', "", '["x"]'])
def test_a_bad_sound_holds_back_its_stimulus_alone(release: Release, content: str) -> None:
    (release.folder / "sounds" / "a.json").write_text(content)
    assert len(rows(release, DATA.format(ONE))) == 4
    with pytest.raises(CorpusError, match=f"builders exclude plain {ONE}/a --because"):
        ShardCache("plain", "code").shard(job_of(release, STIMULI.format(ONE)), STIMULI.format(ONE))
    write_excluded("plain", {f"{ONE}/a": "no spectrogram"})
    assert [row["stim"] for row in rows(release, STIMULI.format(ONE))] == ["b"]


def test_records_need_no_sounds(release: Release) -> None:
    (release.folder / "sounds" / "b.json").unlink()
    assert [row["stim"] for row in rows(release, STIMULI.format(ONE))] == ["a"]
    text = "it was presented, but has no sound"
    assert notes(release, STIMULI.format(ONE)) == [(ONE, "b", text)]
    (release.folder / "sounds" / "a.json").unlink()
    (release.folder / "sounds").rmdir()
    assert len(rows(release, DATA.format(ONE))) == 4
    assert len(rows(release, "cells.parquet")) == 4
    with pytest.raises(CorpusError, match="sounds"):
        rows(release, STIMULI.format(ONE))


def test_a_file_whose_name_gives_no_session(release: Release) -> None:
    put(release.folder / "spikes" / "notes on the data.json", [])
    assert len(rows(release, DATA.format(ONE))) == 4
    assert len(rows(release, "cells.parquet")) == 4
    ((session, subject, text),) = notes(release, "cells.parquet")
    assert (session, subject) == ("", "notes on the data.json")
    assert "cannot be a folder: it is left out" in text


def test_a_number_of_onsets_that_is_not_that_of_the_trials(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    @classmethod  # type: ignore[misc]
    def read(cls: type[Plain], archive: Archive) -> Iterator[Trials]:
        yield Trials("c", "a", [np.zeros(1), np.zeros(1)], 0.03, [0.5])

    monkeypatch.setattr(Plain, "read", read)
    with pytest.raises(CorpusError, match="1 onsets of 2 trials"):
        rows(release, DATA.format(ONE))
