"""Reading a cell list: published rows, value by value, and what is refused.

What is read although it is odd: `test_tables`.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.conventions import parse_cell_id
from builders.errors import CorpusError
from builders.schema import CELL_ID
from builders.shards.cells import WHERE, CellList, read_cells, with_ids
from tests.conftest import REPOSITORY
from wingert2026.cells import PUBLISHED, TEXT

Rows = dict[str, dict[str, Any]]

LIST = REPOSITORY / "tests" / "data" / "cell_list_rows.csv"
MORE = LIST.with_name("cell_list_rows_24.csv")
SITES = {
    "PRN045b-130-1": "PRN045b",
    "PRN008a-158-1": "PRN008a",
    "PRN008a-159-1": "PRN008a",
    "CLT052d-016-1": "CLT052d",
    "LMD014a-A-348-1": "LMD014a",
    "LMD014a-A-356-1": "LMD014a",
    "CLT048c-050-1": "CLT048c",
    "LMD019a-A-344-1": "LMD019a",
    "PRN065a-342-1": "PRN065a",
    "PRN011b-090-1": "PRN011b",
    "PRN011b-131-2": "PRN011b",
    "SLJ032a-B-282-1": "SLJ032a-B",
}
UNLABELLED = ("PRN011b-090-1", "PRN011b-131-2")


def read_list(path: Path, **options: Any) -> CellList:
    return read_cells(path, PUBLISHED, cell_id="cellid", site="siteid", **options)


def read(path: Path) -> pa.Table:
    return with_ids(read_list(path).checked())


@pytest.fixture(scope="module")
def rows() -> Rows:
    """The published rows, by cell."""
    return {row["cell_id"]: row for row in read(LIST).to_pylist()}


# The published rows


def test_rows_span_lines(rows: Rows) -> None:
    assert len(LIST.read_text(encoding="utf-8").splitlines()) == 197
    assert {cell: row["site"] for cell, row in rows.items()} == SITES
    assert list(rows) == list(SITES)


def test_a_list_of_the_published_length(tmp_path: Path, rows: Rows) -> None:
    names, _, cells = LIST.read_text(encoding="utf-8").partition("\n")
    path = tmp_path / "cell_list.csv"
    copies = [re.sub(r"\b(PRN|CLT|LMD|SLJ)", rf"\1X{i}X", cells) for i in range(300)]
    path.write_text("".join([names, "\n", *copies]), encoding="utf-8")
    table = read(path)
    assert table.num_rows == 3600
    assert table["mwf"].to_pylist() == [row["mwf"] for row in rows.values()] * 300


def test_columns_and_types() -> None:
    types = {field.name: field.type for field in read(LIST).schema}
    assert list(types) == list(dict.fromkeys([*CELL_ID, *PUBLISHED]))  # area is in both
    assert types.pop("mwf") == pa.list_(pa.float32())
    assert {name for name, each in types.items() if each == pa.int32()} == {
        "electrode", "unit", "probechannel", "sorted_class",
    }  # fmt: skip
    assert {name for name, each in types.items() if each == pa.bool_()} == {
        "goodpred", "goodpred_ceil", "narrow", "superficial",
    }  # fmt: skip
    assert {name for name, each in types.items() if each == pa.float64()} == {
        "CNN32-bsg", "LN32", "sspredxc", "CNN32-bsg_ceil", "LN32_ceil", "sspredxc_ceil", "improve",
        "0.8", "0.9", "0.95", "0.99", "sspredxc0", "spont_mean", "evoked_mean",
        "depth", "iso", "sw",
    }  # fmt: skip
    assert {name for name, each in types.items() if each == pa.string()} == {
        "cell_id", "site", "session", "area", "animal", "probe",
        "cellid", "siteid", "siteid_2", "layer", "celltype",
    }  # fmt: skip


def test_one_row(rows: Rows) -> None:
    row = rows["SLJ032a-B-282-1"]
    assert {name: row[name] for name in row if name != "mwf"} == {
        "cell_id": "SLJ032a-B-282-1", "site": "SLJ032a-B", "session": "SLJ032a", "area": "PEG",
        "animal": "SLJ", "probe": "B", "electrode": 282, "unit": 1, "cellid": "SLJ032a-B-282-1",
        "CNN32-bsg": 0.2845569743, "LN32": 0.2417023816, "sspredxc": 0.1769485658,
        "goodpred": True, "improve": 0.060941567035250874, "CNN32-bsg_ceil": 0.5098364232,
        "LN32_ceil": 0.4320527427, "sspredxc_ceil": 0.3170360666779196, "goodpred_ceil": True,
        "siteid": "SLJ032a-B", "0.8": 4.0, "0.9": 8.0, "0.95": 13.0, "0.99": 22.0,
        "sspredxc0": 0.19440486750162644, "spont_mean": 0.015166666666666665,
        "evoked_mean": 0.007681250000000001, "siteid_2": "SLJ032a", "probechannel": 282,
        "layer": "13", "depth": -140.0, "iso": 95.0, "sw": 0.45899999999999996, "narrow": False,
        "superficial": True, "sorted_class": 1, "celltype": "RS",
    }  # fmt: skip


@pytest.mark.parametrize("path", [LIST, MORE], ids=["12 rows", "24 rows"])
def test_values_are_those_of_the_csv(path: Path) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        "string": str,
        "float64": float,
        "int32": lambda text: int(float(text)),
        "bool": {"True": True, "False": False}.__getitem__,
    }
    found = read_list(path)
    assert (found.notes, found.invalid) == ([], {})
    rows = {row["cellid"]: row for row in found.table.to_pylist()}
    with path.open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert list(rows) == [texts["cellid"] for texts in published]
    for texts in published:
        row = rows[texts["cellid"]]
        for name, type_ in PUBLISHED.items():
            if not (text := texts[name]):
                assert row[name] is None
            elif name == "mwf":
                assert row[name] == np.array(text.strip("[]").split(), np.float32).tolist()
            else:
                assert row[name] == parsers[type_.dtype](text)


# numpy prints an array in one of two layouts, by its range of values
@pytest.mark.parametrize(
    ("cell", "values"),
    [
        (
            "SLJ032a-B-282-1",
            {0: -4.80452596e-03, 1: 9.83152123e-03, 48: -1.00167806, 99: -3.03996412e-01},
        ),
        (
            "PRN008a-158-1",
            {0: -0.03445398, 10: -0.018323, 49: -1.02006139, 58: -0.15421, 99: -0.18508727},
        ),
        ("LMD019a-A-344-1", {0: 0.02063536, 49: -1.0}),
        ("CLT052d-016-1", {0: 0.0, 48: -0.94830985, 99: -0.1600525}),
    ],
)
def test_a_waveform_has_100_points(rows: Rows, cell: str, values: dict[int, float]) -> None:
    waveform = rows[cell]["mwf"]
    assert len(waveform) == 100
    assert {at: waveform[at] for at in values} == {
        at: float(np.float32(value)) for at, value in values.items()
    }


def test_labelled_cells_have_all_values(rows: Rows) -> None:
    for cell in SITES.keys() - UNLABELLED:
        assert None not in rows[cell].values()
        assert len(rows[cell]["mwf"]) == 100


def test_unlabelled_cells_have_nulls(rows: Rows) -> None:
    for cell in UNLABELLED:
        assert [name for name, value in rows[cell].items() if value is None] == [
            "area", "siteid_2", "probechannel", "layer", "depth", "iso", "sw", "mwf",
            "narrow", "superficial", "sorted_class", "celltype",
        ]  # fmt: skip


def test_only_the_columns_asked_for_are_read() -> None:
    some = {"siteid": TEXT, "area": TEXT, "cellid": TEXT}
    table = read_cells(LIST, some, "cellid", "siteid").table
    assert table.column_names == [*WHERE, "siteid", "cellid"]
    assert table["site"].to_pylist() == list(SITES.values())
    assert with_ids(table).column_names == [*CELL_ID, "siteid", "cellid"]


# What is refused

CONTENT = LIST.read_bytes()
ROW = b"PRN045b-130-1,0.2643049079,"
REFUSED = [
    # what stands in the list, what stands there instead, what the message says
    (b"cellid,CNN32-bsg,", b"cell,CNN32,", "no column cellid"),
    (b",siteid,", b",site,", "no column siteid"),
    (CONTENT, b"", "no column cellid, siteid"),
    (CONTENT, b" ,,\n\n", "no column cellid, siteid"),
    (b"PRN008a-159-1,", b"PRN008a-158-1,", "PRN008a-158-1: two rows that differ, 2 and 3"),
    (b",PRN045b,9,", b", ,9,", "PRN045b-130-1: it has no siteid"),
    (ROW, b"PRN045b-130-1,high,", "PRN045b-130-1: row 1, column CNN32-bsg: 'high' is no number"),
    (ROW, b"PRN045b-130-1,2_0,", "column CNN32-bsg: '2_0' is no number"),
    (ROW, "PRN045b-130-1,٢,".encode(), "column CNN32-bsg: '٢' is no number"),
    (ROW, b"PRN045b-130-1,NAN,", "column CNN32-bsg: 'NAN' is no number"),
    (ROW, b"PRN045b-130-1,nan(1),", "column CNN32-bsg: 'nan(1)' is no number"),
    (b",True,0.07084994940532247,", b",yes,0.07084994940532247,", "goodpred: 'yes' is no flag"),
    (b",True,0.07084994940532247,", b",2,0.07084994940532247,", "goodpred: '2' is no flag"),
    (b",130,6d,", b",130.5,6d,", "probechannel: '130.5' is no integer of 32 bits"),
    (b",130,6d,", b",left,6d,", "probechannel: 'left' is no number"),
    (b",130,6d,", b",3000000000,6d,", "'3000000000' is no integer of 32 bits"),
    (b",130,6d,", b",inf,6d,", "'inf' is no integer of 32 bits"),
    (b",130,6d,", b",130,6\xff,", r"column layer: '6\udcff' is not UTF-8"),
    (b"-8.71421552e-03  5.52578705e-03", b"-8.71421552e-03  ...", "row 1, column mwf: could not"),
    (b"[-8.71421552e-03 ", b"[exec(1) ", "row 1, column mwf: 'exec(1)' is no number"),
    (b"[-8.71421552e-03 ", b"[-8.7_1421552e-03 ", "column mwf: '-8.7_1421552e-03' is no number"),
    (b"[-8.71421552e-03 ", b"[None ", "column mwf: 'None' is no number"),
    (b"[-8.71421552e-03 ", b"[[-8.71421552e-03 ", "column mwf: '[-8.71421552e-03' is no number"),
    (b"[-8.71421552e-03 ", b"-8.71421552e-03 ", "is no printed array"),
    (b"PRN011b-131-2,", b"PRN011b-131-\xff,", "row 11: its cellid is not UTF-8"),
    (ROW, b"PRN045b-130-1,", "PRN045b-130-1: row 1, column sspredxc: 'True' is no number"),
    (b",celltype\nPRN045b", b"\nPRN045b", "row 1 has 30 fields, the header 29; "),
]


def edited(folder: Path, old: bytes, new: bytes) -> Path:
    assert CONTENT.count(old) == 1
    path = folder / "cell_list.csv"
    path.write_bytes(CONTENT.replace(old, new))
    return path


@pytest.mark.parametrize(("old", "new", "why"), REFUSED, ids=[each[2] for each in REFUSED])
def test_a_damaged_list_is_refused(tmp_path: Path, old: bytes, new: bytes, why: str) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(CorpusError, match="cannot read the cell list") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ROW, b"PRN/045b-130-1,0.2643049079,"),
        (b",PRN045b,9,", b",PRN/045b,9,"),
        (b",1060,HC,", b",1060,H/C,"),
        (ROW, b" PRN/045b-130-1 ,high,"),
    ],
)
def test_a_name_that_cannot_be_a_folder_refuses_the_list(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    with pytest.raises(CorpusError, match=r"a name in the cell list cannot be a folder: '.*/"):
        read_list(edited(tmp_path, old, new), columns=["layer"])


def test_only_the_first_few_are_named(tmp_path: Path) -> None:
    path = edited(tmp_path, b",celltype\nPRN045b", b"\nPRN045b")
    found = read_list(path)
    assert len(found.invalid) == 10  # the others have no text in that field
    with pytest.raises(CorpusError, match="; and 7 more") as caught:
        found.checked()
    assert sum(cell in str(caught.value) for cell in SITES) == 3


def test_an_error_about_a_long_text_is_short(tmp_path: Path) -> None:
    path = edited(tmp_path, ROW, b"PRN045b-130-1," + b"x" * 100_000 + b",")
    with pytest.raises(CorpusError, match="is no number") as caught:
        read(path)
    assert len(str(caught.value)) < 1000


def test_an_invalid_value_refuses_the_cells_of_its_session(tmp_path: Path) -> None:
    found = read_list(edited(tmp_path, b",130,6d,", b",left,6d,"))
    assert list(found.invalid) == ["PRN045b-130-1"]
    assert found.table["probechannel"][0].as_py() is None
    assert found.checked("PRN008a") is found.table
    with pytest.raises(CorpusError, match="'left' is no number"):
        found.checked("PRN045b")


def test_an_invalid_value_in_a_column_that_is_not_asked_for_is_not_looked_at(
    tmp_path: Path,
) -> None:
    path = edited(tmp_path, b",130,6d,", b",\xff,6d,")
    found = read_list(path, columns=["layer"])
    assert (found.invalid, found.notes) == ({}, [])
    assert found.checked()["layer"].to_pylist()[:2] == ["6d", "6d5d"]


def test_a_list_cut_inside_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell_list.csv"
    for kept in (len(CONTENT) // 2, CONTENT.rindex(b']"') + 1):
        path.write_bytes(CONTENT[:kept])
        with pytest.raises(CorpusError, match="a quotation mark is not closed"):
            read(path)


def test_the_published_list_is_not_to_be_downloaded_again(tmp_path: Path) -> None:
    doi = "https://doi.org/10.5281/zenodo.18331549"
    changes = [(b",130,6d,", b",left,6d,"), (b",siteid,", b",site,"), (b",PRN045b,", b",a/b,")]
    for old, new in changes:
        path = tmp_path / "cell_list.csv"
        path.write_bytes(CONTENT.replace(old, new))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        with pytest.raises(CorpusError) as caught:
            read_list(path, md5=md5, source=doi).checked()
        for words in ("the file is as published", "please tell its authors", doi):
            assert words in str(caught.value)
        assert "download" not in str(caught.value)
        with pytest.raises(CorpusError, match="where they differ, download it again"):
            read_list(path, md5=md5[::-1], source=doi).checked()


def test_a_number_in_an_id_that_no_probe_has_is_no_electrode(tmp_path: Path) -> None:
    path = edited(tmp_path, ROW, ROW.replace(b"-130-", b"-99999999999-"))
    assert read(path)["electrode"][0].as_py() is None


def test_windows_line_ends_change_nothing(tmp_path: Path, rows: Rows) -> None:
    path = tmp_path / "cell_list.csv"
    path.write_bytes(CONTENT.replace(b"\n", b"\r\n"))
    assert read(path).to_pylist() == list(rows.values())


# The parts of a cell id


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("CLT027c-007-2", ("CLT027c", "CLT", "", 7, 2)),
        ("SLJ032a-B-154-1", ("SLJ032a", "SLJ", "B", 154, 1)),
        ("TNC008a-08-10", ("TNC008a", "TNC", "", 8, 10)),
    ],
)
def test_the_parts_of_an_id(cell: str, parts: tuple[Any, ...]) -> None:
    names = ("session", "animal", "probe", "electrode", "unit")
    assert parse_cell_id(cell) == dict(zip(names, parts, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    st.from_regex(r"[A-Za-z]{1,4}", fullmatch=True),
    st.from_regex(r"[0-9]{3}[a-z]", fullmatch=True),
    st.sampled_from(["", *"ABCDZ"]),
    st.integers(0, 9999),
    st.integers(0, 99),
    st.integers(1, 4),
)
def test_an_id_of_these_parts_has_these_parts(
    animal: str, penetration: str, probe: str, electrode: int, unit: int, width: int
) -> None:
    session = animal + penetration
    cell = "-".join([session, *([probe] if probe else []), f"{electrode:0{width}d}", str(unit)])
    assert parse_cell_id(cell) == {
        "session": session,
        "animal": animal,
        "probe": probe,
        "electrode": electrode,
        "unit": unit,
    }


@pytest.mark.parametrize(
    ("cell", "session", "animal"),
    [
        ("CLT027c", "CLT027c", "CLT"),
        ("CLT027c-007", "CLT027c", "CLT"),
        ("CLT027c-007-1-2", "CLT027c", "CLT"),
        ("CLT027c-a-007-1", "CLT027c", "CLT"),
        ("CLT027c-AB-007-1", "CLT027c", "CLT"),
        ("CLT027c-A-B-007-1", "CLT027c", "CLT"),
        ("CLT027c-007-x", "CLT027c", "CLT"),
        ("CLT027c-007-1 ", "CLT027c", "CLT"),
        ("clt027c", "clt027c", "clt"),
        ("027c-007-1", "027c", ""),
        ("-007-1", "", ""),
        ("", "", ""),
    ],
)
def test_an_odd_id_has_a_session_and_no_numbers(cell: str, session: str, animal: str) -> None:
    nothing = {"probe": "", "electrode": None, "unit": None}
    assert parse_cell_id(cell) == {"session": session, "animal": animal, **nothing}
