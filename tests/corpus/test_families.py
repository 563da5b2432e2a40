"""What corpora of one format share: subsets by counts, sessions in several archives, rasters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.conventions import subsets_by_count
from builders.errors import CorpusError
from builders.families.nems import NemsCorpus
from builders.release.local import Release
from builders.shards.cache import ShardCache
from builders.validation import reference as slow
from builders.validation.sessions import sources
from tests.archives import (
    SESSION,
    Epochs,
    Files,
    epoch_csv,
    h5,
    header,
    pack,
    raster_csv,
    response,
    signal,
)
from tests.toy import counts


@pytest.mark.parametrize(
    ("counts", "val"),
    [
        ({"a": 1, "b": 20}, "b"),  # two counts: the larger
        ({"a": 3, "b": 4, "c": 3}, "b"),
        ({"a": 1, "b": 2, "c": 30}, "c"),  # more: above the mean of the counts
        ({"a": 1, "b": 20, "c": 30}, "bc"),
        ({"a": 10, "b": 15, "c": 20}, "c"),  # not the mean itself
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 9}, "g"),
        (dict.fromkeys("fedcba", 4), "f"),  # one: the last fifth of the sorted names
        (dict.fromkeys("abcd", 4), ""),
        ({"a": 0, "b": 2, "c": 7}, "c"),  # what was never presented decides nothing
        ({"a": 0, "b": 0}, ""),
        ({}, ""),
    ],
)
def test_the_most_repeated_stimuli_are_validation(counts: dict[str, int], val: str) -> None:
    found = subsets_by_count(counts)
    assert {stim for stim, subset in found.items() if subset == "val"} == {*val}
    assert found.keys() == counts.keys()


@given(st.dictionaries(st.text("abc", max_size=3), st.integers(0, 12)))
def test_two_ways_to_split_by_counts_agree(counts: dict[str, int]) -> None:
    found = subsets_by_count(counts)
    assert found == slow.subsets_by_count(counts)
    assert Counter(found.values()).total() == len(counts)


A, B, C = "STIM_a.wav", "STIM_b.wav", "STIM_c.wav"
ONE, TWO = f"{SESSION}-a1", f"{SESSION}_b2"
BOUNDS: Epochs = [(A, 0.0, 0.1), (B, 0.2, 0.3), (A, 0.4, 0.5)]


class Unlisted(NemsCorpus):
    """Archives without a cell list, whose ids have other forms; trials are joined."""

    corpus, source, published = "unlisted", "nowhere", {}
    bands: ClassVar = {"": 2}
    area = "A1"
    splits_by = "count"
    joins = True

    @classmethod
    def parse_cell_id(cls, cell_id: str) -> dict[str, Any]:
        parts = {"session": cell_id[: len(SESSION)], "animal": "TST", "probe": ""}
        return {**parts, "electrode": None, "unit": int(cell_id[-1])}


class Apart(Unlisted):
    """The same, but recordings of a cell must agree."""

    corpus = "apart"
    joins = False


def tiles(epochs: Epochs = BOUNDS) -> Files:
    values = {stim: np.full((2, 10), float(ord(stim[5]))) for stim in {row[0] for row in epochs}}
    return signal("stim", h5(values), header("TiledSignal"), epoch_csv(epochs))


def raster(values: dict[str, list[float]], epochs: Epochs = BOUNDS, **keys: object) -> Files:
    head = header("RasterizedSignal", **{"chans": list(values), **keys})
    content = raster_csv(np.array(list(values.values())))
    return signal("resp", content, head, epoch_csv(epochs), suffix="csv")


def put(folder: Path, files: Files, number: int = 1) -> None:
    pack(folder, files, f"{SESSION}_{number:040d}.tgz")


def rows(folder: Path, path: str, corpus: type[NemsCorpus] = Unlisted) -> list[dict[str, Any]]:
    """The rows of a shard, of which the slow reader must find the same."""
    release = Release(corpus.corpus, folder, "")
    (job,) = (job for job in corpus.jobs(release) if path in job.paths)
    found = pq.read_table(ShardCache(corpus.corpus, "code").shard(job, path)).to_pylist()
    own = [each for each in sources(corpus, release) if SESSION in each.name]
    shards = [shard for source in own for shard in source.read().shards]
    for shard in shards:
        if shard.path == path:
            expected = [shard.row(key) for key in shard.keys]
            assert repr([{k: row[k] for k in found[0]} for row in expected]) == repr(found)
    return found


def notes(
    folder: Path, path: str, corpus: type[NemsCorpus] = Unlisted
) -> list[tuple[str, str, str]]:
    """The notes on a shard: session, subject and text of each."""
    cache = ShardCache(corpus.corpus, "code")
    (job,) = (job for job in corpus.jobs(Release(corpus.corpus, folder, "")) if path in job.paths)
    cache.shard(job, path)
    found = cache.notes(path, cache.etag(job))
    assert found is not None
    return [(note.session, note.subject, note.text) for note in found]


def responses(folder: Path, subset: str, corpus: type[NemsCorpus] = Unlisted) -> Any:
    path = f"data/A1/{SESSION}/{subset}.parquet"
    return {(row["stim"], row["cell_id"]): row["response"] for row in rows(folder, path, corpus)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    return tmp_path / "release"


def test_cells_come_from_the_recordings_and_subsets_from_the_counts(folder: Path) -> None:
    put(folder, {**response({TWO: [0.01], ONE: [0.455]}, epochs=BOUNDS), **tiles()})
    assert responses(folder, "val") == {
        (A, ONE): [counts(), counts(5)],
        (A, TWO): [counts(1), counts()],
    }
    assert responses(folder, "est") == {(B, ONE): [counts()], (B, TWO): [counts()]}
    cells = rows(folder, "cells.parquet")
    assert [cell["cell_id"] for cell in cells] == [ONE, TWO]
    assert {(cell["site"], cell["area"], cell["electrode"]) for cell in cells} == {
        (SESSION, "A1", None)
    }
    stimuli = rows(folder, f"stimuli/{SESSION}/val-00000-of-00001.parquet")
    assert [(row["stim"], row["n_trials"]) for row in stimuli] == [(A, 2)]


def test_trials_in_several_archives_are_joined_archive_by_archive(folder: Path) -> None:
    put(folder, {**response({ONE: [0.01, 0.455], TWO: [0.02]}, epochs=BOUNDS), **tiles()})
    later: Epochs = [(A, 0.1, 0.2), (C, 0.3, 0.4)]
    put(folder, {**response({ONE: [0.13, 0.31]}, epochs=later), **tiles(later)}, 2)
    assert responses(folder, "val") == {
        (A, ONE): [counts(1), counts(5), counts(3)],
        (A, TWO): [counts(2), counts()],  # it is in the first alone
    }
    found = rows(folder, f"data/A1/{SESSION}/val.parquet")
    assert [row["onsets"] for row in found] == [[0.0, 0.4, 0.1], [0.0, 0.4]]
    assert responses(folder, "est") == {
        (B, ONE): [counts()],
        (B, TWO): [counts()],
        (C, ONE): [counts(1)],
    }
    path = f"stimuli/{SESSION}/val-00000-of-00001.parquet"
    for corpus, n_trials in ((Unlisted, 3), (Apart, 2)):
        assert [(row["stim"], row["n_trials"]) for row in rows(folder, path, corpus)] == [
            (A, n_trials)
        ]
    with pytest.raises(CorpusError, match="is not as it is in"):
        rows(folder, f"data/A1/{SESSION}/val.parquet", Apart)


def test_an_archive_that_is_there_twice_counts_once(folder: Path) -> None:
    files = {**response({ONE: [0.01]}, epochs=BOUNDS), **tiles()}
    put(folder, files)
    put(folder, files, 2)
    for corpus in (Unlisted, Apart):
        assert responses(folder, "val", corpus) == {(A, ONE): [counts(1), counts()]}


def test_counts_instead_of_spike_times(folder: Path) -> None:
    nan = float("nan")
    full = [0.0] * 50
    full[1], full[45], full[22] = 2.0, 1.0, 3.0
    partly = [*full]
    partly[0:10] = [nan] * 10  # the first trial of A
    partly[25] = nan
    put(folder, {**raster({ONE: full, TWO: partly}), **tiles()})
    found = responses(folder, "val")
    assert found[A, ONE] == [counts(1, 1), counts(5)]
    assert found[A, TWO] == [counts(5)]
    (b_one, b_two) = (responses(folder, "est")[B, cell] for cell in (ONE, TWO))
    assert b_one == [counts(2, 2, 2)]
    assert repr(b_two) == repr([[0.0, 0.0, 3.0, 0.0, 0.0, nan, 0.0, 0.0, 0.0, 0.0]])
    path = f"data/A1/{SESSION}/{{}}.parquet"
    assert notes(folder, path.format("val")) == [
        (SESSION, A, f"1 occurrence left out: without a value of {TWO}")
    ]
    assert notes(folder, path.format("est")) == [
        (SESSION, B, f"values of {TWO} are missing in 1 occurrence: they are NaN")
    ]


def test_a_cell_without_any_value_of_a_stimulus(folder: Path) -> None:
    absent = [float("nan") if 20 <= place < 30 else 0.0 for place in range(50)]
    put(folder, {**raster({ONE: [0.0] * 50, TWO: absent}), **tiles()})
    assert responses(folder, "est") == {(B, ONE): [counts()]}
    assert notes(folder, f"data/A1/{SESSION}/est.parquet") == [
        (SESSION, B, f"1 occurrence left out: without a value of {TWO}")
    ]


def test_counts_and_spike_times_of_a_cell_are_joined(folder: Path) -> None:
    put(folder, {**response({ONE: [0.013, 0.017]}, epochs=BOUNDS), **tiles()})
    later: Epochs = [(A, 0.1, 0.2)]
    put(folder, {**raster({ONE: [0.0] * 15}, later), **tiles(later)}, 2)
    first, second, third = responses(folder, "val")[A, ONE]
    assert (first, second) == (counts(1, 1), counts())
    assert third[:5] == [0.0] * 5
    assert np.isnan(third[5:]).tolist() == [True] * 5  # past the end of the counts


@pytest.mark.parametrize("below", [100, 10])  # up to 9, a raster is kept as bytes
def test_a_rasterized_spectrogram(folder: Path, below: int) -> None:
    values = np.arange(100.0).reshape(2, 50) % below
    values[:, 40:50] = values[:, 0:10]  # the second presentation
    stim = signal(
        "stim",
        raster_csv(values),
        header("RasterizedSignal", chans=["0", "1"]),
        epoch_csv(BOUNDS),
        suffix="csv",
    )
    put(folder, {**response({ONE: []}, epochs=BOUNDS), **stim})
    (row,) = rows(folder, f"stimuli/{SESSION}/val-00000-of-00001.parquet")
    assert np.array_equal(row["spectrogram"], values[:, :10])
    values[0, 41] += 1
    put(
        folder,
        {
            **response({ONE: []}, epochs=BOUNDS),
            **stim,
            **{name: raster_csv(values) for name in stim if name.endswith("stim.csv")},
        },
    )
    assert rows(folder, f"stimuli/{SESSION}/val-00000-of-00001.parquet") == []
    text = "its 2 spectrograms in the raster differ: none is given"
    assert notes(folder, f"stimuli/{SESSION}/val-00000-of-00001.parquet") == [(SESSION, A, text)]


@pytest.mark.parametrize("chans", [None, [ONE, ONE]])
def test_a_raster_whose_cells_have_no_names_is_refused(folder: Path, chans: Any) -> None:
    put(folder, {**raster({ONE: [0.0] * 50, TWO: [0.0] * 50}, chans=chans), **tiles()})
    with pytest.raises(CorpusError, match="its JSON names"):
        rows(folder, f"data/A1/{SESSION}/val.parquet")


def test_bins_of_another_width(folder: Path) -> None:
    class Wide(Unlisted):
        corpus = "wide"
        bin_ms = 20.0

    put(folder, {**response({ONE: [0.01, 0.015, 0.03]}, epochs=BOUNDS), **tiles()})
    assert responses(folder, "val", Wide)[A, ONE] == [[2.0, 1.0, 0.0, 0.0, 0.0], [0.0] * 5]


def test_an_archive_that_cannot_be_read_holds_back_no_other(folder: Path) -> None:
    put(folder, {**response({ONE: []}, epochs=BOUNDS), **tiles()})
    (folder / "recordings" / f"OTH001a_{'0' * 40}.tgz").write_bytes(b"no archive")
    assert [cell["cell_id"] for cell in rows(folder, "cells.parquet")] == [ONE]
    assert responses(folder, "est") == {(B, ONE): [counts()]}


def test_a_cell_whose_id_names_another_session(folder: Path) -> None:
    class Mixed(Unlisted):
        corpus = "mixed"

        @classmethod
        def parse_cell_id(cls, cell_id: str) -> dict[str, Any]:
            session = {"x": "OTH001a", "n": ""}.get(cell_id[0], SESSION)
            return {**super().parse_cell_id(cell_id), "session": session}

    put(folder, {**response({ONE: [], "n7": [], "x9": [0.21]}, epochs=BOUNDS), **tiles()})
    assert responses(folder, "est", Mixed) == {
        (B, "n7"): [counts()],
        (B, ONE): [counts()],
        (B, "x9"): [counts(1)],
    }
    text = f"its id names the session OTH001a, its archive is of {SESSION}"
    assert notes(folder, f"data/A1/{SESSION}/est.parquet", Mixed) == [(SESSION, "x9", text)]


@pytest.mark.parametrize("name", ["_0a.tgz", "two words_0a.tgz", "größe_0a.tgz", "-_0a.tgz"])
def test_an_archive_whose_name_gives_no_session(folder: Path, name: str) -> None:
    files = {**response({ONE: []}, epochs=BOUNDS), **tiles()}
    put(folder, files)
    pack(folder, files, name)
    assert responses(folder, "est") == {(B, ONE): [counts()]}
    assert [cell["cell_id"] for cell in rows(folder, "cells.parquet")] == [ONE]
    ((session, subject, text),) = notes(folder, "cells.parquet")
    assert (session, subject) == ("", name)
    assert "cannot be a folder: it is left out" in text
    assert Unlisted.describe(Release("unlisted", folder, "")) == {"sites": 1, "archives": 2}


def test_an_archive_without_a_hash_is_named_after_its_session(folder: Path) -> None:
    pack(folder, {**response({ONE: []}, epochs=BOUNDS), **tiles()}, f"{SESSION}.tgz")
    assert responses(folder, "est") == {(B, ONE): [counts()]}
