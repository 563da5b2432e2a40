"""Cell lists as laboratories write them: read to the values that were meant, noted, or invalid."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Features, List, Value
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders.errors import CorpusError
from builders.shards.cells import CellList, read_cell_table, read_cells, read_texts
from builders.shards.notes import Note
from builders.shards.tables import read_plain, read_tolerant, typed
from builders.texts import MISSING
from tests.shards.test_cells import CONTENT, MORE

COLUMNS = {
    "cellid": Value("string"),
    "siteid": Value("string"),
    "area": Value("string"),
    "layer": Value("string"),
    "good": Value("bool"),
    "channel": Value("int32"),
    "depth": Value("float64"),
    "mwf": List(Value("float32")),
}
TYPES = {field.name: field.type for field in Features(COLUMNS).arrow_schema}
HEADER = ",".join(COLUMNS)
ONE, TWO = "A001a-1-1,A001a,A1,13,True,4,0.5,[1. 2.]", "A002b-1-1,A002b,PEG,44,False,5,1.5,[3.]"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a list of these lines."""

    def write(*lines: str, end: str = "\n") -> Path:
        path = tmp_path / "cell_list.csv"
        path.write_bytes(end.join([*lines, ""]).encode())
        return path

    return write


def cells(path: Path, *columns: str) -> CellList:
    return read_cells(path, COLUMNS, "cellid", "siteid", columns or None)


def texts_of(found: CellList) -> list[str]:
    assert all((note.session, note.subject) == ("", "cell_list.csv") for note in found.notes)
    return [note.text for note in found.notes]


def column(path: Path, name: str) -> list[Any]:
    """A column of a list that has nothing to be noted."""
    found = cells(path)
    assert (found.notes, found.invalid) == ([], {})
    values: list[Any] = found.table[name].to_pylist()
    return values


# -- How values are spelled ------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*sorted(MISSING), " ", " NA ", '"NA"', '""', "\tnan"])
def test_a_missing_value(write: Callable[..., Path], text: str) -> None:
    path = write(HEADER, ONE, f"A002b-1-1,A002b,{','.join([text] * 6)}")
    found = cells(path)
    assert (found.notes, found.invalid) == ([], {})
    row = found.table.to_pylist()[1]
    assert [name for name, value in row.items() if value is None] == [
        "area", "layer", "good", "channel", "depth", "mwf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place", "texts", "value"),
    [
        ("good", 4, ["True", "TRUE", "true", "1", "1.0", " True ", '"1.0"'], True),
        ("good", 4, ["False", "FALSE", "false", "0", "0.0", "-0.0"], False),
        ("channel", 5, ["4", "4.0", " 4", "4. ", "4e0", "+4", "04"], 4),
        ("depth", 6, ["0.5", " 0.5 ", ".5", "5e-1", "+0.50"], 0.5),
        ("depth", 6, ["inf", "Infinity", "1e999"], math.inf),
        ("layer", 3, ["13", " 13", "13 ", '" 13 "', "\t13\t"], "13"),
        ("area", 2, ["A1", " A1 "], "A1"),
        ("siteid", 1, ["A001a-B", " A001a-B "], "A001a-B"),
        ("cellid", 0, ["A001a-2-1", " A001a-2-1 "], "A001a-2-1"),
        ("mwf", 7, ["[1. 2.]", '" [ 1.0e+00\n   2.0e+00 ]"', "[1 2]", '"[1\r\n2]"'], [1.0, 2.0]),
        ("mwf", 7, ["[inf -1.]"], [math.inf, -1.0]),
        ("mwf", 7, ["[]", "[ ]"], []),
    ],
)
def test_a_value(
    write: Callable[..., Path], name: str, place: int, texts: list[str], value: object
) -> None:
    for text in texts:
        fields = ONE.split(",")
        fields[place] = text
        assert column(write(HEADER, TWO, ",".join(fields)), name)[1] == value


def test_a_waveform_may_have_missing_points(write: Callable[..., Path]) -> None:
    points = column(write(HEADER, ONE.replace("[1. 2.]", "[1. nan]")), "mwf")[0]
    assert points[0] == 1
    assert math.isnan(points[1])


def test_names_of_columns_with_spaces_around_them(write: Callable[..., Path]) -> None:
    path = write(HEADER.replace(",", " , "), ONE)
    assert column(path, "layer") == ["13"]


# -- Columns ---------------------------------------------------------------------------------------


def test_a_missing_column_is_null_and_noted(write: Callable[..., Path]) -> None:
    path = write("siteid,extra,cellid", "A001a,9,A001a-1-1")
    found = cells(path, "layer", "good")
    assert texts_of(found) == [
        f"no column {name}: it is null in all rows" for name in ("area", "layer", "good")
    ]
    assert found.invalid == {}
    row = dict.fromkeys(("area", "layer", "good"))
    ids = {"cell_id": "A001a-1-1", "cellid": "A001a-1-1", "session": "A001a"}
    assert found.table.to_pylist() == [row | ids | {"site": "A001a", "siteid": "A001a"}]
    assert found.table.schema.field("good").type == pa.bool_()


def test_columns_that_nobody_asked_for_do_not_matter(write: Callable[..., Path]) -> None:
    path = write(f",{HEADER},odd,odd,", f"0,{ONE},1,2,3", f"1,{TWO},,x,")
    assert column(path, "depth") == [0.5, 1.5]
    path = write(f"{HEADER},depth", f"{ONE},7", f"{TWO},8")
    assert cells(path, "layer").checked()["layer"].to_pylist() == ["13", "44"]


def test_a_column_that_stands_twice(write: Callable[..., Path]) -> None:
    path = write(f"{HEADER},depth, layer", f"{ONE}, 0.5,13", f"{TWO},1.5,44")
    assert column(path, "depth") == [0.5, 1.5]
    path = write(f"{HEADER},depth", f"{ONE},0.5", f"{TWO},7")
    with pytest.raises(CorpusError, match="twice, with different values: depth"):
        cells(path)


# -- Rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", "   ", ",,,,,,,", " , ,", ",,,,,,,,,,", '"",""'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_without_text_are_none(write: Callable[..., Path], blank: str, end: str) -> None:
    path = write(blank, HEADER, blank, ONE, blank, blank, TWO, blank, end=end)
    assert column(path, "depth") == [0.5, 1.5]


def test_a_row_that_stands_twice_is_one(write: Callable[..., Path]) -> None:
    path = write(HEADER, ONE, TWO, ONE, ONE.replace(",13,", ", 13 ,"))
    assert column(path, "depth") == [0.5, 1.5]


def test_two_rows_of_a_cell_that_differ(write: Callable[..., Path]) -> None:
    path = write(HEADER, ONE, TWO, ONE.replace("0.5", "0.7"))
    found = cells(path)
    assert found.invalid == {"A001a-1-1": "two rows that differ, 1 and 3"}
    assert found.table["depth"].to_pylist() == [0.5, 1.5]
    assert cells(path, "layer").invalid == {}  # in what is asked for, they do not differ


def test_a_row_without_a_cell_is_left_out_and_noted(write: Callable[..., Path]) -> None:
    path = write(HEADER, ONE, ",A001a,A1,13,True,4,0.5,", "nan" + TWO[9:], TWO)
    found = cells(path)
    assert texts_of(found) == ["without cellid, and left out: rows 2, 3"]
    assert found.table["depth"].to_pylist() == [0.5, 1.5]
    assert found.invalid == {}
    found = cells(write(HEADER, ONE, *[f",A00{i}a" for i in range(8)]))
    assert texts_of(found)[0] == "without cellid, and left out: rows 2, 3, 4, 5, 6 and 3 more"


def test_a_row_without_a_site_is_invalid_and_has_no_place(write: Callable[..., Path]) -> None:
    found = cells(write(HEADER, ONE.replace(",A001a,", ",NA,"), TWO))
    assert found.invalid == {"A001a-1-1": "it has no siteid"}
    assert found.table["cell_id"].to_pylist() == ["A002b-1-1"]


def test_a_short_row_ends_in_nulls(write: Callable[..., Path]) -> None:
    path = write(HEADER, ONE, "A002b-1-1,A002b,PEG,44,False")
    found = cells(path)
    assert texts_of(found) == ["shorter than the header, the rest is null: row 2"]
    assert found.invalid == {}
    assert found.table["layer"].to_pylist() == ["13", "44"]
    assert found.table["depth"].to_pylist() == [0.5, None]
    assert cells(path, "layer").notes == []  # nothing that is asked for is missing


def test_a_long_row_is_invalid_unless_the_rest_is_empty(write: Callable[..., Path]) -> None:
    assert column(write(HEADER, f"{ONE},,", TWO + ", "), "depth") == [0.5, 1.5]
    found = cells(write(HEADER, ONE, f"{TWO},,7"))
    assert found.invalid == {"A002b-1-1": "row 2 has 10 fields, the header 8"}


def test_a_cell_id_that_is_not_utf_8_is_left_out_noted_and_invalid(tmp_path: Path) -> None:
    path = tmp_path / "cell_list.csv"
    path.write_bytes(f"{HEADER}\n{ONE}\n{TWO}\n".encode().replace(b"A002b-1-1", b"A002b-1-\xff"))
    found = cells(path)
    why = r"row 2: its cellid is not UTF-8, A002b-1-\xff"
    assert texts_of(found) == [f"{why}: it was left out"]
    assert found.invalid == {r"A002b-1-\xff": why}
    with pytest.raises(CorpusError, match="not UTF-8"):
        found.checked("A002b")
    assert found.checked("A001a")["cell_id"].to_pylist() == ["A001a-1-1"]


def test_a_list_without_rows(write: Callable[..., Path]) -> None:
    found = cells(write(HEADER))
    assert (len(found.table), found.notes, found.invalid) == (0, [], {})
    assert found.table.schema.field("mwf").type == pa.list_(pa.float32())


@pytest.mark.parametrize("rest", ['"1', '"', '1,"\n\n', '1,"""'])
def test_a_text_that_is_not_closed_is_refused(write: Callable[..., Path], rest: str) -> None:
    for layer in ("13", '1"3'):
        path = write(f"{HEADER},odd", ONE.replace(",13,", f",{layer},") + f",{rest}")
        with pytest.raises(CorpusError, match="a quotation mark is not closed"):
            cells(path)


# -- All columns, as texts -------------------------------------------------------------------------


def test_texts_are_in_the_rows_of_the_typed_columns(write: Callable[..., Path]) -> None:
    path = write(
        "r, cellid ,,r,flag,r",  # the r differ
        *("1,A-1-1,9,1,True,1", "", "2,A-1-2,9,2,NA,3", "1,A-1-1,9,1,True,1", "7,,,7,,7"),
    )
    every = read_texts(path, "cellid")
    known = read_cell_table(path, {"cellid": Value("string"), "flag": Value("bool")}, "cellid")
    assert every.table.to_pylist() == [
        {"cellid": "A-1-1", "flag": "True"},
        {"cellid": "A-1-2", "flag": None},
    ]
    assert known.table["cellid"] == every.table["cellid"]
    assert known.table["flag"].to_pylist() == [True, None]
    left_out = Note("", "cell_list.csv", "without cellid, and left out: row 4")
    assert known.notes == [left_out]
    assert every.notes == [
        left_out,
        Note("", "cell_list.csv", "two columns r that differ: left out"),
    ]


def test_typed_texts() -> None:
    values, wrong = typed(["1.0", None, "x", " NA "], pa.bool_())
    assert values.to_pylist() == [True, None, None, None]
    assert wrong == {2: "'x' is no flag"}


# -- Both readers give the same values -------------------------------------------------------------


def same(content: bytes, types: dict[str, pa.DataType]) -> bool:
    """Whether the fast reader takes it; the tolerant one must then find the same, and no fault."""
    plain = read_plain(content, types, "cellid")
    if plain is None:
        return False
    found = read_tolerant(content, types, "cellid")
    assert plain.combine_chunks().equals(found.table.combine_chunks())
    assert (found.notes, found.invalid, found.twice) == ([], {}, [])
    return True


def test_published_rows_are_plain() -> None:
    from wingert2026.cells import LIST, PUBLISHED

    types = {field.name: field.type for field in Features(PUBLISHED).arrow_schema}
    for content in (CONTENT, MORE.read_bytes(), CONTENT.replace(b"\n", b"\r\n")):
        assert same(content, types)
        assert same(content, {name: types[name] for name in ("cellid", *LIST.of_records)})


PLAIN = f"{HEADER},odd\n{ONE},1\n{TWO},2\n".encode()
PIECES = [
    *(b",", b"\n", b"\r", b"\r\n", b"\n\n", b'"', b'""', b" ", b"\t", b"\xc2\xa0", b"\xe2\x80\xa8"),
    *(b"NA", b"nan", b"NAN", b"-nan", b"nan(1)", b"inf", b"1e400", b"1e300", b"1e-46", b"1_0"),
    *(
        b"+",
        b"-",
        b".",
        b"0x1",
        b"\xd9\xa2",
        b"True",
        b"1.0",
        b"0",
        b"3000000000",
        b"[",
        b"]",
        b"[]",
    ),
    *(b"\x1c", b"\xff", b"\xef\xbb\xbf", b"A001a-1-1", b",depth", b",odd"),
    *(HEADER.encode(), ONE.encode()),
]


@settings(max_examples=400, deadline=None)
@example([(0, 0, b"\xef\xbb\xbf")])
@example([(PLAIN.index(b"13"), 2, b'"ab"cd')])
@example([(PLAIN.index(b"13"), 2, b'a"b"')])
@example([(PLAIN.index(b"[1."), 7, b"NA")])
@example([(len(PLAIN) - 2, 0, b'"')])
@example([(len(PLAIN) - 2, 1, b'""')])
@example([(len(PLAIN) - 2, 0, b'"1""'), (PLAIN.index(b"13") + 1, 0, b'"')])
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(PLAIN)),
            st.integers(0, 3),
            st.sampled_from(PIECES) | st.binary(max_size=2).filter(lambda each: b"\0" not in each),
        ),
        max_size=3,
    )
)
def test_both_readers_agree_on_what_the_fast_one_takes(
    edits: list[tuple[int, int, bytes]],
) -> None:
    content = PLAIN
    for place, size, piece in edits:
        content = content[:place] + piece + content[place + size :]
    for types in (TYPES, {name: TYPES[name] for name in ("cellid", "layer", "depth")}):
        same(content, types)


# -- Any list, written in any way ------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6).map(str.strip)
FLOATS = st.floats(allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "layer": TEXTS.filter(lambda text: text not in MISSING),
    "good": st.booleans(),
    "channel": st.integers(-(2**31), 2**31 - 1),
    "depth": FLOATS,
    "mwf": st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
    "area": st.sampled_from(["A1", "PEG"]),
}
IDS = st.from_regex(r"[A-Z]{3}\d{3}[a-z]-\d{1,3}-\d", fullmatch=True)
ROWS = st.dictionaries(
    IDS,
    st.fixed_dictionaries({name: st.none() | each for name, each in VALUES.items()}),
    max_size=5,
)


def spellings(value: Any) -> list[str]:
    if value is None:
        return sorted(MISSING)
    if isinstance(value, bool):
        number = str(int(value))
        return [str(value), str(value).lower(), str(value).upper(), number, f"{number}.0"]
    if isinstance(value, int):
        return [str(value), f"{value}.0", f"{value}.", f"{value:+d}"]
    if isinstance(value, float):
        return [repr(value), f"{value:.17e}", f"{value:+.17g}"]
    if isinstance(value, list):
        printed = np.array2string(np.array(value, np.float32), floatmode="unique", threshold=9)
        return [
            printed,
            f"[{'  '.join(map(repr, value))}]",
            "[\n" + "\r\n".join(map(repr, value)) + " ]",
        ]
    return [str(value)]


@settings(max_examples=150, deadline=None)
@given(ROWS, st.data())
def test_any_list_reads_to_the_values_that_it_was_made_of(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    draw = data.draw
    spaces = st.sampled_from(["", "", " ", "\t", "  "])

    def spelled(value: Any) -> str:
        text = draw(spaces) + draw(st.sampled_from(spellings(value))) + draw(spaces)
        needed = any(each in text for each in ',"\r\n')
        return '"' + text.replace('"', '""') + '"' if needed or draw(st.booleans()) else text

    names = draw(st.permutations([*COLUMNS, *draw(st.lists(st.sampled_from(["", "x", "y"])))]))
    lines = [[draw(spaces) + name + draw(spaces) for name in names]]
    for cell, values in rows.items():
        all_of = values | {"cellid": cell, "siteid": cell.partition("-")[0], "x": "1", "y": None}
        written = [spelled(all_of.get(name)) for name in names]
        surplus = draw(st.lists(st.just(""), max_size=2))
        lines += [[*written, *surplus]] * draw(st.integers(1, 2))
        lines += draw(st.lists(st.sampled_from([[""], ["  "], [""] * len(names)]), max_size=2))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = draw(st.sampled_from(["", "\ufeff"])) + "".join(",".join(each) + end for each in lines)

    path = tmp_path_factory.getbasetemp() / "any_list.csv"
    path.write_bytes(text.encode())
    found = read_cell_table(path, COLUMNS, "cellid")
    assert (found.notes, found.invalid) == ([], {})
    read = {row["cellid"]: row for row in found.table.to_pylist()}
    assert list(read) == list(rows)
    for cell, values in rows.items():
        assert {name: read[cell][name] for name in values} == values
