"""Reads typed columns from a CSV with one row per cell, with the values that pandas would give.

Two readers give the same values: `read_plain` is fast and reads only regular tables;
`read_tolerant` reads tables as laboratories write them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from builders.texts import MISSING, flag, is_missing, number

#: Limit for a table, in bytes; the largest published table has 5.7 MB.
LARGEST_TABLE = 256 << 20
#: Limit for a message about a value, in characters: a value may have any length.
LONGEST_MESSAGE = 200
_DECIMALS = re.compile(r"[-+.0-9eE\s]*")

Types = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Found:
    """The result of `read_tolerant`.

    Attributes
    ----------
    table : pyarrow.Table
        One row per cell; null if a value is missing or invalid.
    notes : list of str
        One sentence for each thing that is missing or was left out.
    invalid : dict of str to str
        Cell id -> what is wrong with its first invalid value.
    twice : list of str
        Columns that the CSV has twice, with different values; the table has the first one.
    """

    table: pa.Table
    notes: list[str]
    invalid: dict[str, str]
    twice: list[str]


def content_of(path: Path) -> bytes:
    """The bytes of a table; a ValueError if they exceed `LARGEST_TABLE` or are not text."""
    if (size := path.stat().st_size) > LARGEST_TABLE:
        raise ValueError(f"it has {size} bytes; {LARGEST_TABLE} is the limit")
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError("it holds NUL bytes, as no text in UTF-8 does")
    return content


def header_of(content: bytes) -> list[str]:
    """The column names, without surrounding spaces."""
    return [name.strip() for name in next(_rows(content), [])]


# -- The fast reader -------------------------------------------------------------------------------


def read_plain(content: bytes, types: Types, cell_id: str) -> pa.Table | None:
    """Read the columns in `types` from a regular table; None if the table is irregular.

    pyarrow splits and converts. A table is irregular if pyarrow refuses it or would read it
    differently than `read_tolerant` does; `read_tolerant` then finds out which cells are affected.
    """
    header = next(csv.reader(_lines(content)), [])
    counts = Counter(map(str.strip, header))
    if not header or not set(types).issubset(header) or any(counts[name] > 1 for name in types):
        return None
    # The last quotation mark may open a text that is never closed; pyarrow would accept that.
    quote = content.rfind(b'"')
    if quote >= 0 and content[max(quote - 1, 0) : quote] in (b"", b",", b"\r", b"\n", b'"'):
        return None
    # pandas writes an integer column with missing values as floats: 2.0 for 2.
    read_as = {
        name: pa.float64() if pa.types.is_integer(each) else each
        for name, each in types.items()
        if not pa.types.is_list(each)
    }
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={**dict.fromkeys(types, pa.string()), **read_as},
                include_columns=list(types),
                null_values=list(MISSING),
                strings_can_be_null=True,
            ),
        )
        columns = {name: _convert(table[name], each) for name, each in types.items()}
    except ValueError:  # pyarrow.ArrowInvalid is a subclass
        return None
    if columns[cell_id].null_count or pc.count_distinct(columns[cell_id]).as_py() < len(table):
        return None
    return pa.table(columns)


def _convert(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Cast a column that pyarrow read to its type; a ValueError if a value is irregular."""
    values = column
    if pa.types.is_list(type_):
        texts = pc.utf8_trim_whitespace(column)
        framed = pc.and_(pc.starts_with(texts, "["), pc.ends_with(texts, "]"))
        points = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(texts, 1, -1))
        # Via float64, which rounds as Python does.
        column = pc.ascii_split_whitespace(points).cast(pa.list_(pa.float64())).cast(type_)
        values = pc.list_flatten(column)
        odd = pc.invert(framed)
    elif pa.types.is_string(type_):
        odd = pc.not_equal(column, pc.utf8_trim_whitespace(column))
    else:
        odd = pa.chunked_array([], pa.bool_())
    if pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
        raise ValueError("a spelling of nan that pandas does not know")
    if pc.any(odd).as_py():
        raise ValueError("a text in another form")
    return column.cast(type_)


# -- The tolerant reader ---------------------------------------------------------------------------


def read_tolerant(
    content: bytes, types: Types, cell_id: str, needed: Collection[str] = ()
) -> Found:
    r"""Read the columns in `types` from any table, as far as they are readable.

    Parameters
    ----------
    content : bytes
        A CSV with a header. Rows without any text are skipped.
    types : mapping of str to pyarrow.DataType
        The wanted columns; others are ignored. A list column holds printed numpy arrays, as
        ``"[ 1.0e-03 -2.0e-03\\n ...]"``.
    cell_id : str
        The column that holds the cell's id, one of `types`.
    needed : collection of str
        The columns that must exist, besides `cell_id`.

    Raises
    ------
    ValueError
        If a needed column is missing, or a quotation mark is not closed.
    """
    rows = _rows(content)
    header = [name.strip() for name in next(rows, [])]
    places: dict[str, list[int]] = {name: [] for name in types}
    for place, name in enumerate(header):
        if name in places:
            places[name].append(place)
    if missing := [name for name in dict.fromkeys([cell_id, *needed]) if not places.get(name)]:
        raise ValueError(f"no column {', '.join(missing)}")
    last = max(place for each in places.values() for place in each)

    cells: dict[str, tuple[int, dict[str, str | None]]] = {}
    invalid: dict[str, str] = {}
    notes = [
        f"no column {name}: it is null in all rows" for name, each in places.items() if not each
    ]
    twice: dict[str, None] = {}
    without_id: list[int] = []
    short: list[int] = []
    for row, fields in enumerate(rows, 1):
        texts = {}
        for name, each in places.items():
            found = [_text(fields[place]) if place < len(fields) else None for place in each]
            texts[name] = found[0] if found else None
            if len(set(found)) > 1:
                twice[name] = None
        cell = texts[cell_id]
        if cell is None:
            without_id.append(row)
            continue
        if (readable := _utf8(cell)) != cell:
            why = f"row {row}: its {cell_id} is not UTF-8, {readable}"
            invalid.setdefault(readable, why)
            notes.append(f"{why}: it was left out")
            continue
        if any(map(str.strip, fields[len(header) :])):
            why = f"row {row} has {len(fields)} fields, the header {len(header)}"
            invalid.setdefault(cell, why)
        if len(fields) <= last:
            short.append(row)
        first, known = cells.setdefault(cell, (row, texts))
        if known != texts:
            invalid.setdefault(cell, f"two rows that differ, {first} and {row}")

    ids, columns = list(cells), {}
    for name, type_ in types.items():
        columns[name], wrong = typed([texts[name] for _, texts in cells.values()], type_)
        for at, why in wrong.items():
            invalid.setdefault(ids[at], f"row {cells[ids[at]][0]}, column {name}: {why}")
    if without_id:
        notes.append(f"without {cell_id}, and left out: {_some(without_id)}")
    if short:
        notes.append(f"shorter than the header, the rest is null: {_some(short)}")
    return Found(pa.table(columns), notes, invalid, list(twice))


def typed(texts: Collection[str | None], type_: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """Parse texts as values of a type; also says what is wrong with each invalid text.

    Returns
    -------
    pyarrow.Array
        Null if a value is missing or invalid.
    dict of int to str
        Position of an invalid text -> what is wrong with it.
    """
    parse = _parser(type_)
    values: list[Any] = []
    wrong = {}
    for at, text in enumerate(texts):
        try:
            values.append(None if is_missing(text) else parse(text))
        except ValueError as error:
            values.append(None)
            wrong[at] = _short(str(error))
    return pa.array(values, type_), wrong


def _short(message: str) -> str:
    """A message, without its middle if it is longer than `LONGEST_MESSAGE`."""
    cut = len(message) > LONGEST_MESSAGE
    return (
        f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 2 :]}"
        if cut
        else message
    )


def _parser(type_: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_list(type_):
        return _points
    if pa.types.is_boolean(type_):
        return flag
    if pa.types.is_integer(type_):
        return partial(_integer, bits=type_.bit_width)
    return number if pa.types.is_floating(type_) else _plain_text


def _points(text: str) -> list[float]:
    """The numbers of a printed numpy array; nothing is evaluated."""
    framed = text.strip()
    if not framed.startswith("[") or not framed.endswith("]"):
        raise ValueError(f"{text!r} is no printed array")
    points = framed[1:-1].split()
    # Lists have up to 300,000 numbers, so check all characters at once: of texts made of these
    # characters, Python's `float` accepts only plain decimals.
    parse = float if _DECIMALS.fullmatch(framed, 1, len(framed) - 1) else _point
    return [parse(point) for point in points]


def _point(text: str) -> float:
    if text == "nan":
        return float(text)
    if (found := number(text)) is None:
        raise ValueError(f"{text!r} is no number")
    return found


def _integer(text: str, bits: int) -> int | None:
    """Pandas writes an integer column that has gaps as floats, 2.0 for 2."""
    found = number(text)
    if found is None:
        return None
    if not found.is_integer() or not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise ValueError(f"{text!r} is no integer of {bits} bits")
    return int(found)


def _plain_text(text: str) -> str:
    if _utf8(text) != text:
        raise ValueError(f"{text!r} is not UTF-8")
    return text.strip()


def _utf8(text: str) -> str:
    r"""The text, with bytes that are not UTF-8 written as ``\\xff``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _text(field: str) -> str | None:
    return None if is_missing(field) else field.strip()


def _some(rows: list[int]) -> str:
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{'rows' if len(rows) > 1 else 'row'} {', '.join(map(str, rows[:5]))}{more}"


def _lines(content: bytes) -> io.TextIOWrapper:
    """The lines of a table; bytes that are not UTF-8 are kept, for errors only if they matter."""
    return io.TextIOWrapper(
        io.BytesIO(content), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def _rows(content: bytes) -> Iterator[list[str]]:
    """The fields of each row that holds any text, the header first."""
    fields: list[str] = []
    # The added line at the end is an empty row, unless a quoted text is never closed.
    for fields in csv.reader(chain(_lines(content), ["\n"])):
        if any(map(str.strip, fields)):
            yield fields
    if fields:
        raise ValueError("a quotation mark is not closed")
