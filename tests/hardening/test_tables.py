"""Planted faults in tables: the epochs of a recording, and the list of cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builders.errors import CorpusError
from builders.nems.binning import MAX_BINS
from builders.nems.recording import LARGEST_SIDECAR, read_signals
from builders.shards.cells import read_texts
from tests.archives import CELL, EPOCHS, epoch_csv, pack, response
from tests.hardening.faults import RESP_EPOCHS, changed, refusal, same
from tests.shards.test_cells import CONTENT as CELL_LIST
from tests.shards.test_cells import read as read_cell_list

pytestmark = pytest.mark.usefixtures("limited_memory")

# -- Epochs ----------------------------------------------------------------------------------------

ROWS = epoch_csv(EPOCHS)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + ROWS,
        b"\xef\xbb\xbf" + epoch_csv(EPOCHS, ("start", "end", "name")),
        ROWS.replace(b"\n", b"\r\n"),
        ROWS.replace(b"\n", b"\r"),
        ROWS.rstrip(b"\n"),
        ROWS.replace(b"\n", b"\n\n"),
        ROWS.replace(b"STIM_b.wav", b'"STIM_b.wav"'),
        ROWS + b"   \n\t\n",
        ROWS.replace(b",0", b", 0").replace(b"name,start,end", b" name , start,end "),
        ROWS.replace(b"\n", b",\n"),
        ROWS.replace(b"\n", b",x\n").replace(b"end,x", b"end,name of the sound"),
        ROWS + b"TRIAL,nan,nan\nLICK,-5,-7\nPASSIVE_EXPERIMENT,0,inf\nLEVER,late,,,x\nSHORT\n",
        ROWS + b"L\xfcCK,0.0,0.1\n",
        ROWS + b"NUL\0,0.0,0.1\n",
        ROWS + b"x" * 200_000 + b",0.0,0.1\n",
        ROWS + b"LICK,0,0\n" * 300_000,
    ],
    ids=[
        "BOM",
        "BOM before start",
        "CRLF",
        "CR",
        "no last line end",
        "empty lines",
        "quotes",
        "lines of spaces",
        "spaces around headers and numbers",
        "an empty column",
        "another column",
        "odd rows that nobody asks for",
        "a name that is no UTF-8",
        "a name with a NUL",
        "a long name",
        "many rows",
    ],
)
def test_epochs_in_another_spelling_are_read(tmp_path: Path, content: bytes) -> None:
    same(pack(tmp_path, changed("resp.epoch.csv", content)))


NAMES = ["a,b", "STIM_ä.wav", "STIM_猫, 犬.wav", 'a"b', "a\nb", "a\r\nb", " a ", "", "a/b", "../x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_epochs_are_kept(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path, response({CELL: []}, epochs=[(name, 0.0, 0.1)]))
    epochs = read_signals(archive, ["resp"])["resp"].epochs
    assert name in epochs
    assert [each.tolist() for each in epochs.bounds(name)] == [[0.0], [0.1]]


def rows(*each: str) -> bytes:
    return "\n".join(["name,start,end", *each, ""]).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (rows("STIM_a.wav,0.0,inf"), "STIM_a.wav: an epoch bound is past bin"),
        (rows("STIM_a.wav,-inf,0.1"), "STIM_a.wav: an epoch bound is past bin"),
        (rows("STIM_a.wav,-0.1,0.5"), "STIM_a.wav: an epoch starts before 0"),
        (rows("STIM_a.wav,0.5,0.1"), "STIM_a.wav: an epoch starts before 0 or ends before"),
        (rows(f"STIM_a.wav,0.0,{MAX_BINS}"), "STIM_a.wav: an epoch bound is past bin"),
        (rows("STIM_a.wav,0.0,1e300"), "STIM_a.wav: an epoch bound is past bin"),
        (rows("STIM_a.wav,0.0,0.5,0.7"), "STIM_a.wav: a row has 4 columns, the header 3"),
        (rows("STIM_a.wav,0.0,1_0"), "STIM_a.wav: '1_0' is no number"),
        (rows("STIM_a.wav,0.0,٣"), "STIM_a.wav: '٣' is no number"),
        (rows("STIM_a.wav,0.0,0x1"), "STIM_a.wav: '0x1' is no number"),
        (rows("STIM_ä.wav,0.0,0.5").decode().encode("latin-1"), "its name is not in UTF-8"),
        (rows("STIM_a.wav,0.0,0.5").decode().encode("utf-16"), "no column 'name'"),
        (rows("STIM_a.wav,0.0,0.5").decode().encode("utf-16-le"), "no column 'name'"),
        (b"name,start,end,start\nSTIM_a.wav,0.0,0.5,0.2\n", "a column stands there twice"),
        (b"name,start,end,name\nSTIM_a.wav,0.0,0.5,STIM_b.wav\n", "with two names"),
        (b'name,start,end\n"STIM_a.wav,0.0,0.5\n', "it is no table: unexpected end of data"),
        (rows('"STIM_a"x.wav,0.0,0.5'), "it is no table"),
        (rows("x" * 2_000_000 + ",0.0,0.5"), "field larger"),
        (b"", "no such member"),
        (b"\n", "no column 'name'"),
        (b"x" * (LARGEST_SIDECAR + 1), "is the limit"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_damaged_epochs_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    refusal(pack(tmp_path, changed("resp.epoch.csv", content)), RESP_EPOCHS, why)


# -- Cell lists ------------------------------------------------------------------------------------


def read_all_texts(path: Path) -> object:
    return read_texts(path, "cellid")


def cell_list(folder: Path, content: bytes) -> Path:
    path = folder / "cell_list.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CELL_LIST,
        CELL_LIST.replace(b"\n", b"\r\n"),
        CELL_LIST.replace(b"\n", b"\r"),
        CELL_LIST.rstrip(b"\n"),
        CELL_LIST + b"\n\n",
        CELL_LIST.replace(b"PRN045b-130-1", b'"PRN045b-130-1"'),
        CELL_LIST.replace(b"\n", b",9\n", 1),
    ],
    ids=["BOM", "CRLF", "CR", "no last line end", "empty lines", "quotes", "a column too many"],
)
def test_a_cell_list_in_another_spelling_is_read(tmp_path: Path, content: bytes) -> None:
    expected = read_cell_list(cell_list(tmp_path, CELL_LIST)).to_pylist()
    path = cell_list(tmp_path, content)
    assert read_cell_list(path).to_pylist() == expected
    assert len(read_texts(path, "cellid").checked()) == len(expected)


FIRST = CELL_LIST.index(b"\n") + 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (CELL_LIST.replace(b"PRN045b-130-1", b"PRN045b\0-130-1"), "NUL"),
        (CELL_LIST.decode().encode("utf-16"), "NUL"),
        (CELL_LIST.decode().encode("utf-16-be"), "NUL"),
        (CELL_LIST.replace(b"PRN045b-130-1", b"PRN045\xe4-130-1"), "is not UTF-8"),
        (CELL_LIST[:FIRST] + b"x,y\n" + CELL_LIST[FIRST:], "x: row 1, column CNN32-bsg: 'y'"),
        (CELL_LIST[:FIRST] + b"x" + b"," * 40 + b"\n" + CELL_LIST[FIRST:], "x: it has no siteid"),
        (CELL_LIST.replace(b",celltype\n", b",area\n", 1), "twice, with different values: area"),
        (CELL_LIST.replace(b"cellid,", b"cellid,cellid,", 1), "different values: cellid"),
        (CELL_LIST[:FIRST] + b'"' + CELL_LIST[FIRST:], "PRN045b-130-1,0.2643049079"),
        (b"\0" * 10_000, "NUL"),
        (b"," * 1_000_000, "no column"),
        (b'"' * 200_001, ""),
        (b"a" * 2_000_000, "field larger"),
        (b"", "no column"),
    ],
)
def test_a_damaged_cell_list_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = cell_list(tmp_path, content)
    with pytest.raises(CorpusError, match="cannot read the cell list") as caught:
        read_cell_list(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


def test_a_huge_cell_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell_list.csv"
    with path.open("wb") as file:
        file.truncate(50 << 30)  # a hole: it takes no disk
    for reader in (read_cell_list, read_all_texts):
        with pytest.raises(CorpusError, match="is the limit") as caught:
            reader(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("reader", [read_cell_list, read_all_texts])
def test_a_cell_list_that_cannot_be_opened_is_refused(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    (tmp_path / "cell_list.csv").mkdir()
    with pytest.raises(CorpusError, match="cannot read the cell list"):
        reader(tmp_path / "cell_list.csv")


def test_long_texts_in_a_column_that_is_not_asked_for_are_refused(tmp_path: Path) -> None:
    """pyarrow reads them, Python's csv does not."""
    content = b"cellid,siteid,area,note\nA001a-1-1,A001a,A1," + b"x" * 2_000_000 + b"\n"
    path = cell_list(tmp_path, content)
    with pytest.raises(CorpusError, match="field larger"):
        read_all_texts(path)
