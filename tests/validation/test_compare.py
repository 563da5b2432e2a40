"""`builders validate`: published facts, and shards compared with a second reading of the release.

Whether the comparison sees anything is asked of shards in which faults are planted.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from datasets import load_dataset

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.release.local import Release
from builders.shards.excluded import write_excluded
from builders.shards.job import Job
from builders.shards.notes import Notes
from builders.validation.compare import DIFFERENCES_LISTED, compare, compare_release
from builders.validation.differences import Comparison
from builders.validation.facts import check_facts, declare
from builders.validation.reference import Sound, Source
from builders.validation.sounds import SoundCopies
from nat4.synthetic.plan import plan
from nat4.synthetic.release import write_predictions
from nat4.validation.reference import name_in_site
from tests.conftest import REPOSITORY
from tests.releases import change_h5, change_member, copy_release
from tests.test_cli import builders
from wingert2026.synthetic.cells import published_cells, session_of, write_cell_list

# -- facts -----------------------------------------------------------------------------------------


def full_lists(corpus: str, folder: Path) -> Release:
    """A release of the published size that has the lists of cells, and nothing else."""
    if corpus == "wingert2026":
        sessions = {session_of(cell) for cell, _ in published_cells()}
        write_cell_list(folder / "cell_list.csv", sessions, 0)
    else:
        for area in ("A1", "PEG"):
            write_predictions(folder, plan(area, "full"), 0)
    return Release(corpus, folder, "the record")


@pytest.mark.parametrize(("corpus", "n_facts"), [("wingert2026", 30), ("nat4", 6)])
def test_facts_of_the_lists_hold_at_the_published_counts_and_need_no_archive(
    corpus: str, n_facts: int, tmp_path: Path
) -> None:
    release = full_lists(corpus, tmp_path)
    verdicts = check_facts(find_corpus(corpus).facts(), release)
    of_lists = [each for each in verdicts if each.fact.reads.endswith(".csv")]
    assert [each for each in of_lists if not each.holds] == []
    assert len(of_lists) == n_facts
    others = [each for each in verdicts if each not in of_lists]
    assert others
    for each in others:  # measuring them fails, and says why
        assert not each.holds
        if each.fact.reads.startswith("the list of "):  # a release may lack all sites
            assert (each.found, each.error) == (0, "")
        else:
            assert each.found is None
            assert f"the release of {corpus} " in each.error


def test_one_cell_too_few_is_a_mismatch_that_says_how_many(tmp_path: Path) -> None:
    release = full_lists("nat4", tmp_path)
    path = tmp_path / "PEG_pred_correlation.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.rstrip().endswith("True")))
    path.write_text("".join(lines))
    verdicts = check_facts(find_corpus("nat4").facts(), release)
    found = {each.fact.name: (each.found, each.holds) for each in verdicts}
    assert found["PEG auditory cells"] == (338, False)
    assert found["A1 auditory cells"] == (777, True)


def test_every_fact_has_a_source_and_stands_once(corpus: str) -> None:
    facts = find_corpus(corpus).facts()
    assert all("doi:10." in fact.source for fact in facts)
    assert len({fact.name for fact in facts}) == len(facts)


def test_facts_that_share_a_measure_are_measured_once_and_all_are_collected(tmp_path: Path) -> None:
    measured = []

    def measure(release: Release) -> dict[str, object]:
        measured.append(release)
        return {"one": 1, "two": 3}

    def fail(release: Release) -> dict[str, object]:
        raise CorpusError("no recordings", where=release.folder)

    facts = [
        *declare("a.tgz", fail, "x", {"zero": 0}),
        *declare("a.csv", measure, "x", {"one": 1, "two": 2, "three": 3}),
    ]
    zero, *others = check_facts(facts, Release("test", tmp_path, ""))
    assert (zero.holds, zero.found) == (False, None)
    assert zero.error == f"no recordings\n  in:   {tmp_path}"
    assert [(each.found, each.error) for each in others] == [(1, ""), (3, ""), (None, "")]
    assert [each.holds for each in others] == [True, False, False]
    assert len(measured) == 1


MINI: dict[str, dict[str, tuple[object, str]]] = {
    "wingert2026": {
        "cells": (655, "MISMATCH"),
        "cells in HC": (37, "holds"),
        "sessions without area": ("PRN010b", "MISMATCH"),
        "records of CLT027c": (220, "holds"),
        "presentations of CLT027c's val": ("1, 2", "holds"),
        "pairs of CLT027c and CLT028c that do not exist": (2747, "holds"),
        "stimuli of SLJ032a": (56, "holds"),
        "sites with 2200 bins": (3, "MISMATCH"),
    },
    "nat4": {
        "A1 auditory cells": (35, "MISMATCH"),
        "A1 cells": (40, "MISMATCH"),
        "A1 presentations of a validation sound": ("19, 20", "MISMATCH"),
        "PEG presentations of a validation sound": ("20", "holds"),
        "PEG site recordings": (3, "MISMATCH"),
    },
    "espejo2019": {
        "sites of NAT": (3, "MISMATCH"),
        "cells of NAT": (46, "MISMATCH"),
        "sites of VMN": (6, "MISMATCH"),
        "sites of VMN with counts instead of spike times": (
            "chn002h, eno023c, eno028f",
            "holds",
        ),
    },
}


def test_a_mini_release_is_not_what_was_published(home: Path, corpus: str) -> None:
    done = builders("validate", corpus, "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    found = {fact["name"]: (fact["found"], fact["verdict"]) for fact in report["facts"]}
    assert {name: found[name] for name in MINI[corpus]} == MINI[corpus]
    assert report["deep"] is None


def test_errors_are_collected_and_each_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    full_lists("wingert2026", tmp_path)
    monkeypatch.setenv("WINGERT2026_DATA", str(tmp_path))
    done = builders("validate", "wingert2026", "--deep")
    assert done.returncode == 1
    assert "30 of 45 facts hold" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stdout.count("error 1: the release of wingert2026 has no recordings") == 1
    assert "error 2" not in done.stdout
    assert "; 1 differences\n" in done.stdout


def test_the_table_says_what_was_expected_and_what_was_found(home: Path) -> None:
    done = builders("validate", "nat4", "--deep", "--records", "1", "--seed", "3")
    assert done.returncode == 1
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    assert ["A1 cells", "849", "40", "MISMATCH", "1", "all recordings of A1"] in rows
    assert "source 1: Pennington & David 2023, doi:10.1371/journal.pcbi.1011110" in done.stdout
    assert "3 of 17 facts hold" in done.stdout
    assert "value by value; 0 differences\n" in done.stdout


# -- the shards as they are ------------------------------------------------------------------------

# Responses and stimuli of nine sessions; two populations, their six sites, and the stimuli.
PASSES = {"wingert2026": 18, "nat4": 9, "espejo2019": 18}


def test_shards_of_a_release_say_what_its_archives_do(home: Path, corpus: str) -> None:
    builder = find_corpus(corpus)
    release = builder.release()
    result = compare_release(builder, release, records=3, seed=0)
    assert result.differences == []
    assert result.passes == PASSES[corpus]
    shards = [
        (shard.path, len(shard.keys))
        for source in builder.reference(release)
        for shard in source.read().shards
    ]
    assert result.shards == [path for path, _ in shards]
    assert result.rows == sum(n for _, n in shards)
    assert result.compared == sum(
        n if path.startswith("stimuli/") else min(n, 3) for path, n in shards
    )


def test_the_reference_shares_nothing_with_the_readers() -> None:
    places = ("builders", "nat4", "wingert2026")
    folders = [REPOSITORY / place / "validation" for place in places]
    files = [
        folder / name for folder in folders for name in ("reference.py", "files.py", "sessions.py")
    ]
    files = [file for file in files if file.exists()]
    assert len(files) == 4
    allowed = {
        *("builders", "builders.validation", "builders.validation.reference"),
        *("builders.validation.files", "builders.release.archive", "builders.release.local"),
        "builders.shards.excluded",
        "builders.families.nems",  # for types alone: what a corpus states about itself
    }
    for file in files:
        tree = ast.parse(file.read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {name for name in imported if name and name.split(".")[0] in places}
        assert ours <= allowed


@pytest.mark.parametrize(
    ("cells", "held", "name"),
    [
        (["TNC1-07-1"], ["TNC1-007-1", "TNC1-07-1"], "TNC1-07-1"),
        (["TNC1-07-1"], ["TNC1-007-1", "TNC1-07-2"], "TNC1-007-1"),
        (["TNC1-07-1"], ["TNC1-007-1", "TNC1-7-1"], None),
        (["TNC1-07-1", "TNC1-7-1"], ["TNC1-007-1"], None),
        (["TNC1-07-1"], ["TNC2-007-1"], None),
    ],
)
def test_the_reference_finds_a_cell_of_a_site_by_its_id_or_else_its_numbers(
    cells: list[str], held: list[str], name: str | None
) -> None:
    assert name_in_site(cells[0], cells, held) == name


# -- planted faults --------------------------------------------------------------------------------

Change = Callable[[pa.Table], pa.Table]

#: Of each corpus, shards of one archive in which faults are planted.
RECORDS = {
    "wingert2026": "data/A1/CLT027c/val.parquet",
    "nat4": "data/A1/TNC008a/val.parquet",
    "espejo2019": "data/NAT/AMT003c/val.parquet",
}
STIMULI = {
    "wingert2026": "stimuli/CLT027c/val-00000-of-00001.parquet",
    "nat4": "stimuli/val.parquet",
    "espejo2019": "stimuli/NAT/AMT003c/val-00000-of-00001.parquet",
}


def plant(monkeypatch: pytest.MonkeyPatch, corpus: str, path: str, change: Change) -> None:
    """Spoil the first rows of one shard while it is being built."""
    builder = find_corpus(corpus)
    original = builder.group

    def spoilt(job: Job) -> Job:
        def tables(notes: Notes) -> Mapping[str, Iterable[pa.Table]]:
            whole = job.tables(notes)
            of_shard = iter(whole[path])
            first = (change(table) for table in islice(of_shard, 1))
            return {**whole, path: chain(first, of_shard)}

        return dataclasses.replace(job, tables=tables)

    def group(release: Release, name: str) -> Sequence[Job]:
        return [spoilt(job) if path in job.paths else job for job in original(release, name)]

    monkeypatch.setattr(builder, "group", staticmethod(group))


def compare_with(corpus: str, path: str, records: int = 0) -> Comparison:
    """Compare the archives that give rise to a shard, all rows of it."""
    builder = find_corpus(corpus)
    *place, _ = path.split("/")
    kind = {"data": "responses", "stimuli": "stimuli"}[place[0]]
    name = place[-1]
    sources = [
        each
        for each in builder.reference(builder.release())
        if each.name.startswith(kind) and name in each.name
    ]
    assert len(sources) == 1
    return compare(corpus, sources, records, 0)


def replaced(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    field = table.schema.field(column)
    array = pa.array(values, field.type)
    return table.set_column(table.column_names.index(column), field, array)


def texts(result: Comparison) -> list[str]:
    return [each.what for each in result.differences]


def test_a_spike_one_bin_late_is_noticed(
    own_home: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {}

    def shift(table: pa.Table) -> pa.Table:
        responses = table["response"].to_pylist()
        row = next(i for i, trials in enumerate(responses) if i > 2 and any(trials[-1][:-1]))
        trial = responses[row][-1]
        bin_ = next(i for i, n in enumerate(trial[:-1]) if n)
        trial[bin_] -= 1
        trial[bin_ + 1] += 1
        planted["at"] = (
            f"{table['stim_id'][row]} of {table['cell_id'][row]}: response: "
            f"trial {len(responses[row]) - 1}, bin {bin_}: "
            f"the shard has {trial[bin_]:g}, the archive {trial[bin_] + 1:g}; "
            "2 bins of this trial differ"
        )
        return replaced(table, "response", responses)

    path = RECORDS[corpus]
    plant(monkeypatch, corpus, path, shift)
    result = compare_with(corpus, path)
    assert texts(result) == [planted["at"]]
    assert result.differences[0].shard == path
    assert path.split("/")[2] in result.differences[0].archive
    assert result.differences[0].archive.endswith(".tgz")


def test_two_cells_that_changed_places_are_noticed(
    own_home: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def swap(table: pa.Table) -> pa.Table:
        cells = table["cell_id"].to_pylist()
        stims, responses = table["stim_id"].to_pylist(), table["response"].to_pylist()
        other = next(i for i in range(1, len(cells)) if responses[i] != responses[0])
        assert stims[other] == stims[0]
        responses[0], responses[other] = responses[other], responses[0]
        names.extend(f"{stims[0]} of {cells[i]}: response: trial " for i in (0, other))
        return replaced(table, "response", responses)

    plant(monkeypatch, corpus, RECORDS[corpus], swap)
    found = texts(compare_with(corpus, RECORDS[corpus]))
    assert [text[: len(name)] for text, name in zip(found, names, strict=True)] == names


def test_two_rows_that_changed_places_are_noticed(
    own_home: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []

    def swap(table: pa.Table) -> pa.Table:
        keys.extend(f"{table['stim_id'][i]} of {table['cell_id'][i]}" for i in (0, 1))
        return table.take([1, 0, *range(2, len(table))])

    plant(monkeypatch, corpus, RECORDS[corpus], swap)
    result = compare_with(corpus, RECORDS[corpus])
    assert texts(result) == [f"{keys[1]}: stands where {keys[0]} should"]


def test_a_transposed_spectrogram_is_noticed(
    own_home: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def transpose(table: pa.Table) -> pa.Table:
        values = [np.array(each) for each in table["spectrogram"].to_pylist()]
        names.append(table["stim_id"][0].as_py())
        values[0] = values[0].T.reshape(values[0].shape)
        return replaced(table, "spectrogram", [each.tolist() for each in values])

    plant(monkeypatch, corpus, STIMULI[corpus], transpose)
    (found,) = texts(compare_with(corpus, STIMULI[corpus], records=1))
    assert found.startswith(f"{names[0]}: spectrogram: band 0, bin ")


def test_a_record_that_is_not_there_is_noticed(
    own_home: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = []

    def drop(table: pa.Table) -> pa.Table:
        gone.append(f"{table['stim_id'][1]} of {table['cell_id'][1]}")
        return table.take([0, *range(2, len(table))])

    plant(monkeypatch, corpus, RECORDS[corpus], drop)
    count, name = texts(compare_with(corpus, RECORDS[corpus], records=1))
    n = int(count.split()[0])
    assert count == f"{n} rows, the archive has {n + 1} pairs with data"
    assert name == f"{gone[0]}: the archive has it, the shard has not"


def test_a_record_that_stands_twice_is_noticed(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = RECORDS["nat4"]
    plant(monkeypatch, "nat4", path, lambda table: pa.concat_tables([table[:1], table]))
    found = texts(compare_with("nat4", path, records=1))
    assert found[-1].endswith(": the shard has it twice")


@pytest.mark.parametrize("column", ["onsets", "electrode", "goodpred", "area", "depth"])
def test_another_value_in_any_column_is_noticed(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        odd = {"onsets": [0.5], "electrode": 7777, "area": "PEG", "depth": None}
        values[0] = odd.get(column, not values[0])
        return replaced(table, column, values)

    path = RECORDS["wingert2026"]
    plant(monkeypatch, "wingert2026", path, change)
    (found,) = texts(compare_with("wingert2026", path))
    assert f": {column}: the shard has " in found


def test_more_differences_than_are_worth_reading_are_counted(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(table: pa.Table) -> pa.Table:
        onsets = [[0.0] for _ in range(len(table))]
        return replaced(table, "onsets", onsets)

    path = RECORDS["wingert2026"]
    plant(monkeypatch, "wingert2026", path, silence)
    found = texts(compare_with("wingert2026", path))
    assert len(found) == DIFFERENCES_LISTED + 1
    assert found[-1] == f"{40 - DIFFERENCES_LISTED} more differences"


# -- releases that are spoilt ----------------------------------------------------------------------


@pytest.fixture
def release(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    folder = copy_release(releases("wingert2026"), own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


def sources_of(*names: str) -> list[Source]:
    builder = find_corpus("wingert2026")
    sources = list(builder.reference(builder.release()))
    return [each for name in names for each in sources if name in each.name]


def test_an_archive_that_is_cut_off_is_a_difference_and_the_others_are_compared(
    release: Path,
) -> None:
    (archive,) = (release / "recordings").glob("CLT050c_*")
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: len(content) // 2])
    result = compare("wingert2026", sources_of("CLT050c", "CLT027c"), 1, 0)
    assert result.passes == 2
    assert {each.archive for each in result.differences} == {
        "responses of CLT050c",
        "stimuli of CLT050c",
    }
    for each in result.differences:
        assert each.what == "the reference cannot read it: EOFError: the gzip stream is cut off"


def test_a_session_without_archive_has_no_rows_in_both(release: Path) -> None:
    (archive,) = (release / "recordings").glob("CLT050c_*")
    archive.unlink()
    result = compare("wingert2026", sources_of("CLT050c"), 1, 0)
    assert (result.passes, result.rows, result.differences) == (2, 0, [])
    assert "stimuli/CLT050c/val-*.parquet" in result.shards


def test_cells_and_stimuli_that_are_left_out_are_so_in_both(release: Path) -> None:
    whole = compare("wingert2026", sources_of("CLT027c"), 0, 0)
    left_out = ["CLT027c/STIM_00seq1.wav", whole_cell(release), "CLT028c"]
    write_excluded("wingert2026", dict.fromkeys(left_out, "odd"))
    result = compare("wingert2026", sources_of("CLT027c", "CLT028c"), 0, 0)
    assert (result.passes, result.differences) == (4, [])
    assert 0 < result.rows < whole.rows - 1


def whole_cell(release: Path) -> str:
    """A cell of CLT027c."""
    text = (release / "cell_list.csv").read_text()
    return next(line.split(",")[0] for line in text.splitlines() if line.startswith("CLT027c-"))


def test_one_cell_that_cannot_be_read_is_a_difference_in_its_shards(release: Path) -> None:
    (archive,) = (release / "recordings").glob("CLT027c_*")
    cell = whole_cell(release)

    def spoil(h5: h5py.File) -> None:
        del h5[cell]
        h5[cell] = np.array([0.5, np.nan])

    change_member(archive, ".resp.h5", lambda data: change_h5(data, spoil))
    result = compare("wingert2026", sources_of("CLT027c"), 1, 0)
    assert result.passes == 2
    assert [each.what.split(":")[0] for each in result.differences] == [
        "the reference cannot read it"
    ] * 2
    assert {each.shard.split("/")[2] for each in result.differences} == {"CLT027c"}


def test_an_estimation_sound_that_is_a_validation_sound_is_noticed(release: Path) -> None:
    (archive,) = (release / "recordings").glob("CLT027c_*")

    def copy(h5: h5py.File) -> None:
        val, est = min(h5), max(h5)
        values = h5[val][:]
        del h5[est]
        h5[est] = values

    change_member(archive, ".stim.h5", lambda data: change_h5(data, copy))
    (difference,) = compare("wingert2026", sources_of("CLT027c"), 1, 0).differences
    assert difference.archive == archive.name
    assert ": an estimation sound, and the same as STIM_00seq1.wav in CLT027c" in difference.what


def test_validation_sounds_are_the_same_wherever_they_are_played_for_as_long() -> None:
    sounds = SoundCopies()
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    sounds.add(Sound("a.tgz", "STIM_00seq1.wav", "val", one))
    sounds.add(Sound("b.tgz", "STIM_00seq1.wav", "val", one.copy()))
    sounds.add(Sound("c.tgz", "STIM_00seq1.wav", "val", one[:, :2]))  # of the other cohort
    sounds.add(Sound("d.tgz", "STIM_00seq2.wav", "val", one + 1))
    sounds.add(Sound("a.tgz", "STIM_seq0001.wav", "est", one + 2))
    sounds.add(
        Sound("b.tgz", "STIM_seq0001.wav", "est", one + 3)
    )  # of estimation, nothing is asked
    assert list(sounds.differences()) == []
    sounds.add(Sound("e.tgz", "STIM_00seq1.wav", "val", one.T.reshape(2, 3)))
    (difference,) = sounds.differences()
    assert difference.archive == "e.tgz"
    assert difference.what == "STIM_00seq1.wav: not the 2 x 3 spectrogram that it is in a.tgz"


def test_a_stimulus_of_both_subsets_is_a_leak(home: Path) -> None:
    sounds = SoundCopies()
    one = np.zeros((2, 3), np.float32)
    sounds.add(Sound("a.tgz", "STIM_x", "est", one))
    sounds.add(Sound("b.tgz", "STIM_x", "val", one))
    sounds.add(Sound("b.tgz", "STIM_y", "est", one + 1))
    assert list(sounds.differences()) == []
    assert list(sounds.leaks()) == ["STIM_x is est in a.tgz and val in b.tgz"]
    sounds.add(Sound("c.tgz", "STIM_z", "val", one + 1))
    (difference,) = sounds.differences()
    assert "STIM_y: an estimation sound, and the same as STIM_z in c.tgz" in difference.what

    done = builders("validate", "espejo2019", "--deep")
    subsets: dict[str, set[str]] = {}
    for subset, rows in load_dataset("./espejo2019", "stimuli").items():
        for stim in rows["stim"]:
            subsets.setdefault(stim, set()).add(subset)
    leaks = [stim for stim, found in subsets.items() if len(found) > 1]
    assert leaks
    assert f"\n{len(leaks)} stimuli are in both subsets\n" in done.stdout
    assert "0 differences" in done.stdout
    assert all(f"leakage: {stim} is est in" in done.stdout for stim in leaks)


def test_shards_that_no_archive_gives_rise_to_are_noticed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = find_corpus("wingert2026")
    few = sources_of("SLJ032a")
    monkeypatch.setattr(builder, "reference", staticmethod(lambda release: iter(few)))
    result = compare_release(builder, builder.release(), 1, 0)
    shards = {each.shard for each in result.differences}
    assert "data/A1/CLT027c/est.parquet" in shards
    assert "stimuli/CLT027c/val-00000-of-00001.parquet" in shards
    assert not any("SLJ032a" in shard or shard == "cells.parquet" for shard in shards)
    assert {each.what for each in result.differences} == {"no archive gives rise to this shard"}


def test_the_seed_decides_which_records_are_compared(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(table: pa.Table) -> pa.Table:
        return replaced(table, "onsets", [[0.0] for _ in range(len(table))])

    path = RECORDS["wingert2026"]
    plant(monkeypatch, "wingert2026", path, late)
    sources = sources_of("CLT027c")
    found = {seed: texts(compare("wingert2026", sources, 2, seed)) for seed in (0, 1, 2, 3)}
    assert all(len(each) == 2 for each in found.values())
    assert texts(compare("wingert2026", sources, 2, 1)) == found[1]
    assert len(set(map(tuple, found.values()))) > 1
