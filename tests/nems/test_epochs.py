"""The epochs table: what a row says when its epoch is asked for, and that no other row matters."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.nems.epochs import Epochs
from builders.texts import MISSING

HEAD = "name,start,end"
NAN = math.nan


def bounds(text: str, name: str = "A") -> list[tuple[float, float]]:
    starts, ends = Epochs(text.encode()).bounds(name)
    assert starts.dtype == ends.dtype == np.float64
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def equal(found: Sequence[tuple[float, float]], expected: Sequence[tuple[float, float]]) -> None:
    np.testing.assert_array_equal(np.array(found), np.array(expected))


def test_bounds_come_in_the_files_order() -> None:
    equal(bounds(f"{HEAD}\nA,3,4\nB,9,9\nA,1,2\n"), [(3, 4), (1, 2)])


def test_an_epoch_that_is_not_there_has_no_bounds_and_no_trials() -> None:
    epochs = Epochs(f"{HEAD}\nA,0,1\n".encode())
    assert "A" in epochs
    assert "B" not in epochs
    assert bounds(f"{HEAD}\n", "A") == []
    with pytest.raises(ValueError, match="no such epoch"):
        epochs.trials("B", 100)


@pytest.mark.parametrize("text", sorted(MISSING))
@pytest.mark.parametrize("space", ["", " ", "\t"])
def test_a_missing_bound_is_nan_however_it_is_spelled(text: str, space: str) -> None:
    equal(bounds(f"{HEAD}\nA,{space}{text}{space},1\nA,0,{text}\n"), [(NAN, 1), (0, NAN)])


@pytest.mark.parametrize("row", ["A", "A,", "A,0.5"])
def test_a_short_row_lacks_bounds(row: str) -> None:
    start = 0.5 if row.endswith("5") else NAN
    equal(bounds(f"{HEAD}\n{row}\n"), [(start, NAN)])


@pytest.mark.parametrize("row", ["A,0.5,1,", "A,0.5,1,,", "A,0.5,1, ,\t"])
def test_surplus_columns_of_a_long_row_may_be_empty(row: str) -> None:
    equal(bounds(f"{HEAD}\n{row}\n"), [(0.5, 1)])


def test_surplus_columns_with_values_are_refused_where_their_row_is_asked_for() -> None:
    text = f"{HEAD}\nA,0,1,2\nB,0,1\n"
    equal(bounds(text, "B"), [(0, 1)])
    with pytest.raises(ValueError, match="a row has 4 columns, the header 3"):
        bounds(text, "A")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), (" 1 ", 1), ("+1.5", 1.5), (".5", 0.5), ("5.", 5), ("1e-3", 0.001), ("1E2", 100),
     ("-0.001", -0.001), ("inf", math.inf), ("-Infinity", -math.inf)],
)  # fmt: skip
def test_numbers_are_plain_decimals(text: str, value: float) -> None:
    equal(bounds(f"{HEAD}\nA,{text},9\n"), [(value, 9)])


@pytest.mark.parametrize("text", ["late", "1_0", "٣", "0x10", "1,5", "1 2", "--1", "1e", "True"])
@pytest.mark.parametrize("column", [0, 1])
def test_what_is_no_number_is_refused_where_it_is_asked_for(text: str, column: int) -> None:
    cells = ["0.5", "0.5"]
    cells[column] = f'"{text}"'
    table = f"{HEAD}\nA,{','.join(cells)}\nB,0,1\n"
    equal(bounds(table, "B"), [(0, 1)])
    with pytest.raises(ValueError, match="is no number"):
        bounds(table, "A")


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (" start ,name\t,end", "0,A,1"),
        ("unnamed,,,name,start,end,x,x", "1,2,3,A,0,1,4,5"),
        ("name,start,end,start,end", "A,0,1,0,1"),
        ("name,start,end,start", "A,0,1, 0 "),
        ("name,name,start,end", "A,A,0,1"),
        ("end,start,name,note", "1,0,A"),
    ],
)
def test_columns_stand_in_any_order_and_others_do_not_matter(head: str, row: str) -> None:
    equal(bounds(f"{head}\n{row}\n"), [(0, 1)])


@pytest.mark.parametrize(
    ("head", "good", "odd"),
    [
        ("name,start,end,start", "C,0,1,0", "A,0,1,0.5"),
        ("name,start,end,start", "C,0,1,0", "A,0,1"),
        ("name,start,end,end", "C,0,1,1", "A,0,1,"),
        ("name,start,end,name", "C,0,1,C", "A,0,1,B"),
        ("name,name,start,end", "C,C,0,1", "B,A,0,1"),
    ],
)
def test_a_column_that_stands_twice_is_refused_where_its_values_differ(
    head: str, good: str, odd: str
) -> None:
    text = f"{head}\n{odd}\n{good}\n"
    equal(bounds(text, "C"), [(0, 1)])
    for name in "AB" if "B" in odd else "A":
        with pytest.raises(ValueError, match="stands there twice"):
            bounds(text, name)


@pytest.mark.parametrize("missing", ["name", "start", "end"])
def test_a_table_without_a_column_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=f"no column '{missing}'"):
        Epochs(HEAD.replace(missing, "other").encode())


def test_names_are_exact() -> None:
    epochs = Epochs(f'{HEAD}\nSTIM_a,0,1\n STIM_a,2,3\n"STIM_a ",4,5\nstim_a,6,7\n'.encode())
    assert epochs.stimuli() == ["STIM_a", "STIM_a "]
    assert " STIM_a" in epochs
    assert epochs.trials("STIM_a ", 100).onsets.tolist() == [4.0]


def test_an_occurrence_without_a_bound_is_left_out_and_the_others_are_trials() -> None:
    trials = Epochs(f"{HEAD}\nA,0,0.1\nA,0.2,\nA,,0.4\nA,0.4,0.5\n".encode()).trials("A", 100)
    assert trials.onsets.tolist() == [0.0, 0.4]
    assert trials.left_out == ("2 occurrences left out: without a start or an end",)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
NUMBER = st.floats(0, 1e6) | st.just(NAN)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXT, NUMBER, NUMBER), max_size=6), st.permutations(range(4)))
def test_whatever_a_writer_of_csv_writes_is_read(
    rows: list[tuple[str, float, float]], order: list[int]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    head = ("name", "start", "end", "note")
    for row in [head, *[(*row, "x") for row in rows]]:
        writer.writerow([row[i] for i in order])
    for name, _, _ in rows:
        expected = [(start, end) for other, start, end in rows if other == name]
        equal(bounds(text.getvalue(), name), expected)


@pytest.mark.parametrize(
    "content",
    [
        *("", "\n", "\r\n", " ", "\ufeff\n", ",,\n"),
        '{"name": ["STIM_a"], "start": [0], "end": [1]}',
        '[{"name": "STIM_a", "start": 0, "end": 1}]',
        '["name", "start", "end"]\n["STIM_a", 0, 1]',
        '{"name":\n["STIM_a"],\n"start": [0]}',
        "[]",
        "null",
    ],
)
def test_json_and_an_empty_line_are_no_table(content: str) -> None:
    with pytest.raises(ValueError, match=r"no column 'name'|it is no table"):
        Epochs(content.encode())
