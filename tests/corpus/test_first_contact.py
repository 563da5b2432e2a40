"""Recordings as a laboratory may really have written them: read, read and noted, or refused.

`tests/data/README.md` says where the releases and the expected values come from.
"""

from __future__ import annotations

import csv
import io
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import DatasetDict, load_dataset
from numpy.typing import NDArray

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError, CorpusWarning
from builders.repository import findings
from builders.shards.notes import Note
from tests.conftest import REPOSITORY

PACKED = REPOSITORY / "tests" / "data" / "first_contact.tar.xz"

Values = dict[tuple[Any, ...], NDArray[np.float32]]


def _cases() -> dict[str, dict[str, str]]:
    with tarfile.open(PACKED) as packed:
        content = packed.extractfile("cases.csv")
        assert content is not None
        rows = csv.DictReader(io.TextIOWrapper(content, "utf-8"))
        return {row["id"]: row for row in rows}


CASES = _cases()
#: What must come of them is in a test of its own.
OTHERS = ("n-24", "n-28", "n-35", "nl-39", "wl-38")


@pytest.fixture(scope="session")
def contacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The releases and what the format's own reader reads of them, unpacked."""
    folder = tmp_path_factory.mktemp("first_contact")
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture
def contact(
    contacts: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Give a user one of the releases, and empty caches."""

    def use(case: str) -> Path:
        folder = contacts / "releases" / case
        monkeypatch.setenv(f"{CASES[case]['corpus'].upper()}_DATA", str(folder))
        return folder

    return use


def load(corpus: str, config: str) -> tuple[DatasetDict, list[str]]:
    """A config, and the warnings of the load."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load_dataset(f"./{corpus}", config)
    return loaded, [str(each.message) for each in caught if each.category is CorpusWarning]


def responses(loaded: DatasetDict) -> Values:
    """(cell, stimulus, trial) -> counts."""
    return {
        (row["cell_id"], row["stim"], trial): np.array(counts, np.float32)
        for split in loaded.values()
        for row in split
        for trial, counts in enumerate(row["response"])
    }


def spectrograms(loaded: DatasetDict) -> Values:
    """(stimulus,) -> spectrogram."""
    return {
        (row["stim"],): np.array(row["spectrogram"], np.float32)
        for split in loaded.values()
        for row in split
    }


def expected(contacts: Path, case: str, areas: tuple[str, ...] = ("A1",)) -> tuple[Values, Values]:
    """What the format's own reader reads of a release, as our records and stimuli should have it.

    Of nat4: the estimation sounds of the population, and the validation sounds of the sites.
    """
    counts: Values = {}
    stimuli: Values = {}
    with np.load(contacts / "expected" / f"{case}.npz") as found:
        for key, values in found.items():
            kind, archive, *rest = key.split("|")
            area = archive.partition("_")[0]
            if CASES[case]["corpus"] == "nat4" and area not in areas:
                continue
            if kind == "stim":
                stimuli[(rest[0],)] = values.astype(np.float32)
                continue
            cell, stim, trial = rest
            is_val = stim.startswith("STIM_00")
            if CASES[case]["corpus"] == "nat4":
                is_site = "NAT4" not in archive
                if is_site != is_val or not np.isfinite(values).any():
                    continue
                values = values.reshape(-1, 10).sum(axis=1) if is_site else values
            counts[cell, stim, int(trial)] = values.astype(np.float32)
    return counts, stimuli


def assert_equal(found: Values, wanted: Values) -> None:
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_array_equal(found[key], values, err_msg=str(key))


def notes_of(corpus: str) -> list[Note]:
    return findings.find(find_corpus(corpus)).notes


@pytest.mark.parametrize(
    "case", [case for case, row in CASES.items() if "same values" in row["must"]]
)
def test_values_are_those_of_the_formats_own_reader(
    contacts: Path, contact: Callable[[str], Path], case: str
) -> None:
    contact(case)
    row = CASES[case]
    warned = []
    for config in row["configs"].split():
        loaded, warnings_ = load(row["corpus"], config)
        assert len(warnings_) <= 1
        warned += warnings_
        if (contacts / "expected" / f"{case}.npz").exists() and config != "cells":
            wanted, stimuli = expected(contacts, case)
            if config == "stimuli":
                assert_equal(spectrograms(loaded), stimuli)
            elif config in ("A1", "CLT027c"):
                assert_equal(responses(loaded), wanted)
    is_noted = "noted" in row["must"] or "left out" in row["must"]
    assert bool(notes_of(row["corpus"])) == is_noted
    assert bool(warned) == is_noted


def test_every_case_has_a_test() -> None:
    same = [case for case, row in CASES.items() if "same values" in row["must"]]
    lists = ["wl-06", "wl-15", "wl-24", "nl-30", "nl-37"]
    assert sorted([*same, *lists, *OTHERS]) == sorted(CASES)


FLAGS = {"wl-06": [False, True, True], "wl-15": [None, True, True]}


@pytest.mark.parametrize("case", FLAGS)
def test_flags_are_read_however_they_are_spelled(contact: Callable[[str], Path], case: str) -> None:
    contact(case)
    cells, _ = load("wingert2026", "cells")
    assert cells["cells"]["goodpred"] == FLAGS[case]
    records, _ = load("wingert2026", "CLT027c")
    of_cell = dict(zip(cells["cells"]["cell_id"], FLAGS[case], strict=True))
    for split in records.values():
        assert split["goodpred"] == [of_cell[cell] for cell in split["cell_id"]]
    assert notes_of("wingert2026") == []


def test_columns_that_nothing_needs_may_be_missing(contact: Callable[[str], Path]) -> None:
    contact("wl-24")
    records, warned = load("wingert2026", "CLT027c")
    assert records.num_rows == {"est": 9, "val": 3}
    assert warned == []
    cells, (warning,) = load("wingert2026", "cells")
    assert warning.startswith("3 notes on wingert2026")
    for name in ("LN32", "iso", "mwf"):
        assert cells["cells"][name] == [None] * 3
    assert [note.text for note in notes_of("wingert2026")] == [
        f"no column {name}: it is null in all rows" for name in ("LN32", "iso", "mwf")
    ]


def test_an_area_that_is_missing_is_null(contact: Callable[[str], Path]) -> None:
    contact("wl-38")
    cells, _ = load("wingert2026", "cells")
    assert cells["cells"]["area"] == [None, "A1", "A1"]
    unlabeled, _ = load("wingert2026", "unlabeled")
    assert set(unlabeled["est"]["cell_id"]) == {"CLT027c-045-2"}
    records, _ = load("wingert2026", "CLT027c")
    assert records.num_rows == {"est": 9, "val": 3}


@pytest.mark.parametrize("case", ["nl-30", "nl-37"])
def test_auditory_is_found_however_ids_and_flags_are_spelled(
    contact: Callable[[str], Path], case: str
) -> None:
    contact(case)
    loaded, warned = load("nat4", "A1-auditory")
    for split in loaded.values():
        assert set(split["cell_id"]) == {"ARM029a-01-1", "ARM030a-01-1"}
        assert set(split["auditory"]) == {True}
    texts = [note.text for note in notes_of("nat4")]
    if case == "nl-37":
        assert len(texts) == len(warned) == 1
        assert "matched by number" in texts[0]
        assert "2 of 4 cells" in texts[0]
    else:
        assert texts == warned == []


def test_a_list_without_flags_says_why_none_is_auditory(contact: Callable[[str], Path]) -> None:
    contact("nl-39")
    loaded, _ = load("nat4", "A1")
    assert loaded.num_rows == {"est": 12, "val": 8}
    for split in loaded.values():
        assert set(split["auditory"]) == {None}
    cells, _ = load("nat4", "cells")
    assert set(cells["cells"].filter(lambda row: row["area"] == "A1")["auditory"]) == {None}
    with pytest.raises(CorpusError, match="no column sig_auditory") as caught:
        load_dataset("./nat4", "A1-auditory")
    assert "nat4 has no data for 'A1-auditory'" in str(caught.value)


def test_a_population_that_names_no_cells_is_refused(contact: Callable[[str], Path]) -> None:
    contact("n-24")
    with pytest.raises(CorpusError, match="the population names no cells"):
        load_dataset("./nat4", "A1")


def test_a_sound_that_the_population_has_twice_is_two_trials(
    contacts: Path, contact: Callable[[str], Path]
) -> None:
    """Each window is a trial; of spectrograms that differ none is chosen in silence."""
    contact("n-28")
    loaded, _ = load("nat4", "A1")
    wanted, sounds = expected(contacts, "n-28")
    assert_equal(responses(loaded), wanted)
    twice = "STIM_cat10_rec1_x_excerpt1.wav"
    assert {len(row["response"]) for row in loaded["est"] if row["stim"] == twice} == {2}
    stimuli, _ = load("nat4", "stimuli")
    assert_equal(spectrograms(stimuli), sounds)
    texts = [note.text for note in notes_of("nat4") if note.subject == twice]
    assert texts == [
        "its 2 spectrograms in A1 differ: that of PEG is given",
        "the population has it 2 times: so many trials",
    ]


def test_a_site_without_its_archive_has_no_validation_data(
    contacts: Path, contact: Callable[[str], Path]
) -> None:
    contact("n-35")
    loaded, (warning,) = load("nat4", "A1")
    assert_equal(responses(loaded), expected(contacts, "n-35")[0])
    assert warning.startswith("1 note on nat4")
    missing = ({*loaded["est"]["site"]} - {*loaded["val"]["site"]}).pop()
    site, _ = load("nat4", missing)
    assert site.num_rows == {"est": 6, "val": 0}
    cells, _ = load("nat4", "cells")
    has_val = dict(zip(cells["cells"]["site"], cells["cells"]["has_val"], strict=True))
    assert has_val == {"ARM029a": True, "ARM030a": True, "ARM017a": True, missing: False}
    (note,) = notes_of("nat4")
    assert (note.session, note.subject) == (missing, "")
    assert "none of 1 archives" in note.text
