"""Reading a cell list: twelve published rows, value by value, and what is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.cells import WHERE, read_cells, with_ids
from builders.errors import CorpusError
from builders.schema import CELL_ID, parse_cell_id
from wingert2026.builder import PUBLISHED, TEXT

Rows = dict[str, dict[str, Any]]

LIST = Path(__file__).parent / "data" / "cell_list_rows.csv"
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


def read(path: Path) -> pa.Table:
    return with_ids(read_cells(path, PUBLISHED, cell_id="cellid", site="siteid"))


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


def test_values_are_those_of_the_csv(rows: Rows) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        "string": str,
        "float64": float,
        "int32": lambda text: int(float(text)),
        "bool": {"True": True, "False": False}.__getitem__,
    }
    with LIST.open(newline="", encoding="utf-8") as file:
        for published in csv.DictReader(file):
            row = rows[published["cellid"]]
            for name, type_ in PUBLISHED.items():
                if name != "mwf":
                    text = published[name]
                    assert row[name] == (parsers[type_.dtype](text) if text else None)


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
        assert {name for name, value in rows[cell].items() if value is None} <= {"probe"}
        assert len(rows[cell]["mwf"]) == 100


def test_unlabelled_cells_have_nulls(rows: Rows) -> None:
    for cell in UNLABELLED:
        assert [name for name, value in rows[cell].items() if value is None] == [
            "area", "probe", "siteid_2", "probechannel", "layer", "depth", "iso", "sw", "mwf",
            "narrow", "superficial", "sorted_class", "celltype",
        ]  # fmt: skip


def test_only_the_columns_asked_for_are_read() -> None:
    table = read_cells(LIST, {"siteid": TEXT, "area": TEXT, "cellid": TEXT}, "cellid", "siteid")
    assert table.column_names == [*WHERE, "siteid", "cellid"]
    assert table["site"].to_pylist() == list(SITES.values())
    assert with_ids(table).column_names == [*CELL_ID, "siteid", "cellid"]


# What is refused

CONTENT = LIST.read_bytes()
ROW = b"PRN045b-130-1,0.2643049079,"
REFUSED = [
    # what stands in the list, what stands there instead, what the message says
    (b",celltype\n", b",kind\n", "no column celltype"),
    (b"cellid,CNN32-bsg,", b"cell,CNN32,", "no column cellid, CNN32-bsg"),
    (CONTENT, b"", "no column cellid"),
    (b"PRN008a-159-1,", b"PRN008a-158-1,", "twice, or has no id: PRN008a-158-1"),
    (b"PRN008a-159-1,", b",", "has no id: None"),
    (ROW, b"PRN045b-130-1,high,", "invalid value 'high'"),
    (b",True,0.07084994940532247,", b",yes,0.07084994940532247,", "invalid value 'yes'"),
    (b",130,6d,", b",130.5,6d,", "130.5"),
    (b",130,6d,", b",left,6d,", "invalid value 'left'"),
    (b",130,6d,", b",3000000000,6d,", "3000000000"),
    (b"-8.71421552e-03  5.52578705e-03", b"-8.71421552e-03  ...", "row 1: could not convert"),
    (b"[-8.71421552e-03 ", b"[exec(1) ", "row 1: could not convert"),
    (b",celltype\n", b",celltype\xff\n", "can't decode byte 0xff"),
    (b"PRN011b-131-2,", b"PRN011b-131-\xff,", "invalid UTF8 data"),
    (ROW, b"PRN045b-130-1,", "Expected 30 columns, got 29"),
    (b",True,False,2.0,ND\nPRN008a-158-1", b",True\nPRN008a-158-1", "Expected 30 columns"),
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


def test_a_list_cut_inside_a_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell_list.csv"
    for kept in (len(CONTENT) // 2, -200, -5):
        path.write_bytes(CONTENT[:kept])
        with pytest.raises(CorpusError, match="cannot read the cell list"):
            read(path)


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
        ("CLT027c-007-2", ("CLT027c", "CLT", None, 7, 2)),
        ("SLJ032a-B-154-1", ("SLJ032a", "SLJ", "B", 154, 1)),
        ("TNC008a-08-10", ("TNC008a", "TNC", None, 8, 10)),
    ],
)
def test_the_parts_of_an_id(cell: str, parts: tuple[Any, ...]) -> None:
    names = ("session", "animal", "probe", "electrode", "unit")
    assert parse_cell_id(cell) == dict(zip(names, parts, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    st.from_regex(r"[A-Za-z]{1,4}", fullmatch=True),
    st.from_regex(r"[0-9]{3}[a-z]", fullmatch=True),
    st.none() | st.sampled_from("ABCDZ"),
    st.integers(0, 9999),
    st.integers(0, 99),
    st.integers(1, 4),
)
def test_an_id_of_these_parts_has_these_parts(
    animal: str, penetration: str, probe: str | None, electrode: int, unit: int, width: int
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
    nothing = {"probe": None, "electrode": None, "unit": None}
    assert parse_cell_id(cell) == {"session": session, "animal": animal, **nothing}
